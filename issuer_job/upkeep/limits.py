"""What counts against the limits of each issuer's CA, and whether one more order is within them. Pure.

The periods are Let's Encrypt's. Its buckets refill bit by bit; a whole period looked back is at least as strict.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache

from certs.hostnames import first_few, without_redundant
from issuer_job import names
from issuer_job.issuers.schema import CaLimits
from issuer_job.record.ledger_entries import WINDOWS
from issuer_job.record.phases import GONE
from issuer_job.record.record import ACTIVE, Counted, Problem, Record

UNDER_WAY = timedelta(minutes=20)
"""From launch until an attempt has written down what it ordered, or has failed: so long it is counted unseen."""


@dataclass(frozen=True)
class PlannedOrder:
    """What a launch will ask of the issuer's CA; `exempt` if it will name what it replaces (RFC 9773, section 5)."""

    issuer: str
    limits: CaLimits
    hosts: tuple[str, ...]
    exempt: bool = False
    namespace: str = ""


@dataclass(frozen=True)
class OverLimit:
    """An order now would exceed a limit. At `until` it would be within every one, as far as is known now."""

    problem: Problem
    until: datetime


_Key = tuple[str, str]
"""What is counted, and of whom."""
_ORDERS = ("orders", "")
_ORDERS_OF = "orders of"


@dataclass(frozen=True)
class _Bound:
    """How often something may count."""

    what: str
    limit: int
    kind: Counted
    key: _Key

    def free_at(self, times: Sequence[float], now: datetime) -> datetime | None:
        """When there is room for one more, None if there is now. Never later than a whole period from now."""
        if not self.limit or len(times) < self.limit:
            return None
        free = datetime.fromtimestamp(times[len(times) - self.limit], UTC)
        return min(free, now + WINDOWS[self.kind])  # later only if a clock was wrong


@dataclass(frozen=True)
class _Ordered:
    """What counts for the hosts until it is `over`, in seconds since 1970."""

    over: float
    hosts: tuple[str, ...]
    order: bool
    certificate: bool
    namespace: str = ""

    def counts_for(self, key: _Key) -> bool:
        """Whether it is one of those that are counted there."""
        if key in {_ORDERS, (_ORDERS_OF, self.namespace)}:
            return self.order
        if key[0] == _ORDERS_OF:
            return False
        same = key in _by_domain(self.hosts) if key[0] == "domain" else key == _exactly(self.hosts)
        return self.certificate and same


@dataclass
class _Counts:
    """Of one issuer. Each number is when something stops to count, in seconds since 1970; all lists are sorted."""

    times: dict[_Key, list[float]] = field(default_factory=lambda: defaultdict(list))
    users: set[str] = field(default_factory=set)
    """Namespaces that have certificates from it."""
    certificates: list[_Ordered] = field(default_factory=list)
    """Not yet counted by domain: a pass that launches nothing does without the list of suffixes."""

    def add(self, ordered: _Ordered) -> None:
        if ordered.order:
            insort(self.times[_ORDERS], ordered.over)
            insort(self.times[_ORDERS_OF, ordered.namespace], ordered.over)
        if ordered.certificate:
            insort(self.times[_exactly(ordered.hosts)], ordered.over)
            self.certificates.append(ordered)

    def count_by_domain(self) -> None:
        for ordered in self.certificates:
            for key in _by_domain(ordered.hosts):
                insort(self.times[key], ordered.over)
        self.certificates.clear()

    def of(self, bound: _Bound, own: _Ordered | None, now: datetime) -> Sequence[float]:
        """The times that still count, the first to end first, without one that is `own`."""
        times = self.times.get(bound.key, [])
        times = times[bisect_right(times, now.timestamp()) :]
        if own is not None and own.over in times and own.counts_for(bound.key):
            times.remove(own.over)
        return times


class Ledger:
    """Filled from all records by `add`, asked by `allowed`, told of each launch by `count`."""

    def __init__(self) -> None:
        self._issuers: dict[str, _Counts] = defaultdict(_Counts)

    def add(self, record: Record) -> None:
        """What the record remembers, and what its attempt, if one is under way, is about to do."""
        if record.phase not in GONE:
            self._issuers[record.issuer].users.add(record.namespace)
        for entry in record.ledger:
            over, counts = (entry.at + WINDOWS[entry.kind]).timestamp(), self._issuers[entry.issuer]
            if entry.exempt:
                continue
            if entry.kind is Counted.FAILURE:
                for host in entry.hosts:
                    insort(counts.times["failures", host], over)
            else:
                is_order = entry.kind is Counted.ORDER
                counts.add(_Ordered(over, entry.hosts, is_order, not is_order, record.namespace))
        if (own := _under_way(record)) is not None:
            self._issuers[record.issuer].add(own)

    def count(self, order: PlannedOrder, now: datetime) -> None:
        """The order has just been launched."""
        over, counts = (now + UNDER_WAY).timestamp(), not order.exempt
        self._issuers[order.issuer].add(_Ordered(over, order.hosts, counts, counts, order.namespace))

    def allowed(self, record: Record | None, order: PlannedOrder, now: datetime) -> OverLimit | None:
        """None if the order is within every limit, else the limit that it must wait for the longest.

        What the record's own attempt is about to do does not count: the order is to take its place. An exempt one is
        bound by failures only.
        """
        issuer, limits, hosts = order.issuer, order.limits, order.hosts
        counts = self._issuers[issuer]
        own = _under_way(record) if record is not None and record.issuer == issuer else None
        bounds = [
            _Bound(f"failed validations of {host}", limits.failed_validations, Counted.FAILURE, ("failures", host))
            for host in hosts
        ]
        if not order.exempt:
            what = f"certificates for exactly {first_few(hosts)}"
            bounds.append(_Bound("orders", limits.orders, Counted.ORDER, _ORDERS))
            bounds.append(_Bound(what, limits.per_exact_set, Counted.CERTIFICATE, _exactly(hosts)))
            issued = record.issued if record is not None else None
            renewal = issued is not None and issued.directory and _exactly(issued.hosts) == _exactly(hosts)
            if limits.per_registered_domain and not renewal:  # of a renewal only the exact set counts
                counts.count_by_domain()
                bounds += [
                    _Bound(f"certificates for {of}", limits.per_registered_domain, Counted.CERTIFICATE, (kind, of))
                    for kind, of in sorted(_by_domain(hosts))
                ]
        held = [(until, bound) for bound in bounds if (until := bound.free_at(counts.of(bound, own, now), now))]
        if not order.exempt:
            held += self._beyond_share(order, counts, own, now)
        if not held:
            return None
        until, bound = max(held, key=lambda pair: pair[0])
        detail = (
            f"issuer {issuer}: {len(counts.of(bound, own, now))} of at most {bound.limit} {bound.what} within "
            f"{_period(WINDOWS[bound.kind])}; there is room again at {until:%Y-%m-%d %H:%M:%S} UTC"
        )
        return OverLimit(Problem(type="heldBack", detail=detail, step="limits"), until)

    def _beyond_share(
        self, order: PlannedOrder, counts: _Counts, own: _Ordered | None, now: datetime
    ) -> list[tuple[datetime, _Bound]]:
        """A namespace that has had its share has more only of what the others' leave: at most half of all is kept for
        them, and a tenth for newcomers where nobody else uses the issuer.
        """
        limits, share = order.limits, order.limits.share
        if not limits.orders or not share:
            return []
        others = len(counts.users - {order.namespace})
        kept = min(share * others, limits.orders // 2) if others else min(share, limits.orders // 10)
        what = f"orders of namespace {order.namespace}, while the rest is kept for others,"
        mine = _Bound(what, share, Counted.ORDER, (_ORDERS_OF, order.namespace))
        left = _Bound("orders", max(1, limits.orders - kept), Counted.ORDER, _ORDERS)
        times = [bound.free_at(counts.of(bound, own, now), now) for bound in (mine, left)]
        return [] if None in times else [(min(time for time in times if time), mine)]


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


def _under_way(record: Record) -> _Ordered | None:
    """What an attempt will have written down when it is over, unless it fails."""
    attempt = record.attempt
    if record.phase not in ACTIVE or attempt is None:
        return None
    over = (attempt.launched_at + UNDER_WAY).timestamp()
    return _Ordered(over, record.intent.hosts, not attempt.order_url, not attempt.replaces, record.namespace)


def _period(window: timedelta) -> str:
    hours = int(window.total_seconds()) // 3600
    return f"{hours // 24} days" if hours >= 48 else f"{hours} hours" if hours > 1 else "an hour"


def _exactly(hosts: Iterable[str]) -> _Key:
    return "set", names.digest(*sorted(without_redundant(hosts)), length=32)


def _by_domain(hosts: Iterable[str]) -> set[_Key]:
    return {("domain", registered_domain(host)) for host in hosts}
