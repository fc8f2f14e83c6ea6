"""What counts against the limits of each issuer's CA, and whether one more order is within them. Pure.

The periods are Let's Encrypt's. Its buckets refill bit by bit; a whole period looked back is at least as strict.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache

from msgspec.structs import replace

from issuer_job import names
from issuer_job.issuers.schema import CaLimits
from issuer_job.record.ledger_entries import WINDOWS
from issuer_job.record.record import ACTIVE, Counted, Problem, Record

UNDER_WAY = timedelta(minutes=20)
"""From launch until an attempt has written down what it ordered, or has failed: so long it is counted unseen."""


@dataclass(frozen=True)
class OverLimit:
    """An order now would exceed a limit. At `until` it would be within every one, as far as is known now."""

    problem: Problem
    until: datetime


@dataclass
class _Counts:
    """Of one issuer. Each number is when something stops to count, in seconds since 1970; all lists are sorted."""

    orders: list[float] = field(default_factory=list)
    sets: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    domains: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    failures: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    certificates: list[tuple[float, tuple[str, ...]]] = field(default_factory=list)
    """Not yet counted by domain: a pass that launches nothing does without the list of suffixes."""


class Ledger:
    """Filled from all records by `add`, asked by `allowed`, told of each launch by `count`."""

    def __init__(self) -> None:
        self._issuers: dict[str, _Counts] = defaultdict(_Counts)

    def add(self, record: Record) -> None:
        """What the record remembers, and what its attempt, if one is under way, is about to do."""
        for entry in record.ledger:
            over = (entry.at + WINDOWS[entry.kind]).timestamp()
            counts = self._issuers[entry.issuer]
            if entry.exempt:
                continue
            if entry.kind is Counted.ORDER:
                insort(counts.orders, over)
            elif entry.kind is Counted.FAILURE:
                for host in entry.hosts:
                    insort(counts.failures[host], over)
            else:
                _add_certificate(counts, over, entry.hosts)
        if (own := _under_way(record)) is not None:
            self._expect(record.issuer, record.intent.hosts, own)

    def count(self, hosts: Iterable[str], *, issuer: str, now: datetime, exempt: bool = False) -> None:
        """An order for the hosts has just been launched; `exempt` if it will name what it replaces."""
        over = (now + UNDER_WAY).timestamp()
        self._expect(issuer, tuple(hosts), _UnderWay(over, order=not exempt, certificate=not exempt))

    def allowed(
        self,
        record: Record | None,
        hosts: Iterable[str],
        *,
        issuer: str,
        limits: CaLimits,
        now: datetime,
        exempt: bool = False,
    ) -> OverLimit | None:
        """None if an order for the hosts is within every limit, else the limit that it must wait for the longest.

        What the record's own attempt is about to do does not count: the order is to take its place. An `exempt`
        renewal, one that will name what it replaces (RFC 9773, section 5), is bound by failures only.
        """
        hosts, counts = tuple(hosts), self._issuers[issuer]
        own = None
        if record is not None and record.issuer == issuer:
            own = _under_way(record)
        found = [
            _Count(f"failed validations of {host}", limits.failed_validations, Counted.FAILURE, failures)
            for host in hosts
            if (failures := counts.failures.get(host))
        ]
        if not exempt:
            orders = _less(counts.orders, own if own and own.order else None)
            found.append(_Count("orders", limits.orders, Counted.ORDER, orders))
            mine = record.intent.hosts if record is not None and own is not None and own.certificate else ()
            issued = record.issued if record is not None else None
            if issued is not None and issued.directory and set(issued.hosts) == set(hosts):
                limits = replace(limits, per_registered_domain=0)  # a renewal: only the exact set counts
            found += _certificates(counts, hosts, limits, mine, own)
        held = [(until, count) for count in found if (until := count.free_at(now)) is not None]
        return _held(issuer, *max(held, key=lambda pair: pair[0]), now=now) if held else None

    def _expect(self, issuer: str, hosts: tuple[str, ...], expected: _UnderWay) -> None:
        counts = self._issuers[issuer]
        if expected.order:
            insort(counts.orders, expected.over)
        if expected.certificate:
            _add_certificate(counts, expected.over, hosts)


def registered_domain(host: str) -> str:
    """Public suffix and one label, private suffixes counted as Let's Encrypt does; a suffix is its own domain.

    Of a name under no known suffix the last two labels (publicsuffix.org: the rule that always holds is `*`).
    """
    host = host.removeprefix("*.")
    domain, suffix = _split()(host)
    if not suffix:
        return ".".join(host.split(".")[-2:])
    return f"{domain}.{suffix}" if domain else suffix


@cache
def _split() -> Callable[[str], tuple[str, str]]:
    """From the list of suffixes that the library brings: no request, no file written."""
    import tldextract  # 0.1 s and 8 MiB or more that Jobs and webhook do without

    extract = tldextract.TLDExtract(cache_dir=None, suffix_list_urls=(), include_psl_private_domains=True)

    def split(host: str) -> tuple[str, str]:
        found = extract.extract_str(host)
        return found.domain, found.suffix

    return split


@dataclass(frozen=True)
class _UnderWay:
    """What an attempt will have written down when it is `over`, unless it fails."""

    over: float
    order: bool
    certificate: bool


def _under_way(record: Record) -> _UnderWay | None:
    attempt = record.attempt
    if record.phase not in ACTIVE or attempt is None:
        return None
    over = (attempt.launched_at + UNDER_WAY).timestamp()
    return _UnderWay(over, order=not attempt.order_url, certificate=not attempt.replaces)


@dataclass(frozen=True)
class _Count:
    """How often something counts, with its limit."""

    what: str
    limit: int
    kind: Counted
    times: Sequence[float]

    def free_at(self, now: datetime) -> datetime | None:
        """When there is room for one more, None if there is now. Never later than a whole period from now."""
        times = self.counted(now)
        if not self.limit or len(times) < self.limit:
            return None
        free = datetime.fromtimestamp(times[len(times) - self.limit], UTC)
        return min(free, now + WINDOWS[self.kind])  # later only if a clock was wrong

    def counted(self, now: datetime) -> Sequence[float]:
        """The times that still count, the first to end first."""
        return self.times[bisect_right(self.times, now.timestamp()) :]


def _certificates(
    counts: _Counts, hosts: tuple[str, ...], limits: CaLimits, mine: tuple[str, ...], own: _UnderWay | None
) -> Iterator[_Count]:
    """What counts by certificate; `mine` are the hosts that are counted for the record's `own` attempt."""
    times = _less(counts.sets.get(_set(hosts), ()), own if _set(mine) == _set(hosts) else None)
    yield _Count(f"certificates for exactly {_shown(hosts)}", limits.per_exact_set, Counted.CERTIFICATE, times)
    if not limits.per_registered_domain:
        return
    _count_by_domain(counts)
    my_domains = _domains(mine)
    for domain in sorted(_domains(hosts)):
        times = _less(counts.domains.get(domain, ()), own if domain in my_domains else None)
        yield _Count(f"certificates for {domain}", limits.per_registered_domain, Counted.CERTIFICATE, times)


def _held(issuer: str, until: datetime, count: _Count, *, now: datetime) -> OverLimit:
    detail = (
        f"issuer {issuer}: {len(count.counted(now))} of at most {count.limit} {count.what} within "
        f"{_period(WINDOWS[count.kind])}; there is room again at {until:%Y-%m-%d %H:%M:%S} UTC"
    )
    return OverLimit(Problem(type="heldBack", detail=detail, step="limits"), until)


def _period(window: timedelta) -> str:
    hours = int(window.total_seconds()) // 3600
    return f"{hours // 24} days" if hours >= 48 else f"{hours} hours" if hours > 1 else "an hour"


def _add_certificate(counts: _Counts, over: float, hosts: tuple[str, ...]) -> None:
    insort(counts.sets[_set(hosts)], over)
    counts.certificates.append((over, hosts))


def _count_by_domain(counts: _Counts) -> None:
    for over, hosts in counts.certificates:
        for domain in _domains(hosts):
            insort(counts.domains[domain], over)
    counts.certificates.clear()


def _domains(hosts: Iterable[str]) -> set[str]:
    return {registered_domain(host) for host in hosts}


def _set(hosts: Iterable[str]) -> str:
    return names.digest(*sorted(hosts), length=16)


def _less(times: Sequence[float], own: _UnderWay | None) -> Sequence[float]:
    """Without one entry of that attempt."""
    at = bisect_left(times, own.over) if own is not None else len(times)
    if own is None or at == len(times) or times[at] != own.over:
        return times
    return [*times[:at], *times[at + 1 :]]


def _shown(hosts: Sequence[str]) -> str:
    first = ", ".join(hosts[:3])
    return first if len(hosts) <= 3 else f"{first} and {len(hosts) - 3} more"
