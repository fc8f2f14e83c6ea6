"""What counts against the limits of each issuer's CA, and whether one more order is within them. Pure.

The periods are Let's Encrypt's. Its buckets refill bit by bit; a whole period looked back is at least as strict.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from certs.hostnames import first_few, without_redundant
from issuer_job import names
from issuer_job.issuers.schema import CaLimits, Issuer
from issuer_job.record.ledger_entries import WINDOWS
from issuer_job.record.phases import GONE
from issuer_job.record.record import ACTIVE, Counted, Problem, Record
from issuer_job.record.renewal import replaceable

UNDER_WAY = timedelta(minutes=20)
"""From launch until an attempt has written down what it ordered, or has failed: so long it is counted unseen."""


@dataclass(frozen=True)
class PlannedOrder:
    """What an attempt asks of the issuer's CA; `exempt` if it will name what it replaces (RFC 9773, section 5)."""

    issuer: str
    limits: CaLimits
    hosts: tuple[str, ...]
    exempt: bool = False
    namespace: str = ""


def planned_order(wanted: Record, name: str, issuer: Issuer, *, now: datetime) -> PlannedOrder:
    """The order that an attempt of this record makes at the issuer of that name."""
    issued, replaces = wanted.issued, replaceable(wanted, directory=issuer.server)
    exempt = issued is not None and bool(replaces) and issued.is_suggested(now)
    return PlannedOrder(name, issuer.limits, wanted.intent.identifiers, exempt, wanted.namespace)


@dataclass(frozen=True)
class OverLimit:
    """An order now would exceed a limit. At `until` it would be within every one, as far as is known now."""

    problem: Problem
    until: datetime


Key = tuple[str, str]
"""What is counted, and of whom."""
SET, DOMAIN, FAILURES, ORDERS_OF = "set", "domain", "failures", "orders-of"
ORDERS: Key = ("orders", "")


@dataclass(frozen=True)
class _Bound:
    """How often something may count."""

    what: str
    limit: int
    kind: Counted
    key: Key

    def free_at(self, times: Sequence[float], now: datetime) -> datetime | None:
        """When there is room for one more, None if there is now. Never later than a whole period from now."""
        if not self.limit or len(times) < self.limit:
            return None
        free = datetime.fromtimestamp(times[len(times) - self.limit], UTC)
        return min(free, now + WINDOWS[self.kind])  # later only if a clock was wrong


@dataclass(frozen=True)
class Ordered:
    """What counts for the hosts until it is `over`, in seconds since 1970."""

    over: float
    hosts: tuple[str, ...]
    order: bool
    certificate: bool
    namespace: str = ""


@dataclass
class Counts:
    """Of one issuer. Each number is when something stops to count, in seconds since 1970; all lists are sorted.

    `domain_of` says which registered domain a host counts for.
    """

    domain_of: Callable[[str], str]
    times: dict[Key, list[float]] = field(default_factory=lambda: defaultdict(list))
    users: set[str] = field(default_factory=set)
    """Namespaces that have certificates from it."""
    unseen: list[Ordered] = field(default_factory=list)
    """What attempts that are under way are about to do: it is counted, too."""
    _certificates: list[Ordered] = field(default_factory=list)
    """Not yet counted by domain: a pass that launches nothing does without the list of suffixes."""

    def add(self, ordered: Ordered) -> None:
        for key in keys_of(ordered):
            insort(self.times[key], ordered.over)
        if ordered.certificate:
            self._certificates.append(ordered)

    def count_by_domain(self) -> None:
        for ordered in self._certificates:
            for key in self.by_domain(ordered.hosts):
                insort(self.times[key], ordered.over)
        self._certificates.clear()

    def could_list_a_domain(self, least: int) -> bool:
        """Whether a domain can have so many certificates: without the list of suffixes."""
        return len(self._certificates) >= least

    def by_domain(self, hosts: Iterable[str]) -> set[Key]:
        return {(DOMAIN, self.domain_of(host)) for host in hosts}

    def of(self, key: Key, own: Ordered | None, now: datetime) -> Sequence[float]:
        """The times that still count, the first to end first, without one that is `own`."""
        times = self.times.get(key, [])
        times = times[bisect_right(times, now.timestamp()) :]
        if own is not None and own.over in times and self._counts_for(own, key):
            times.remove(own.over)
        return times

    def settled(self, now: datetime) -> dict[Key, list[float]]:
        """What counts now, without what is only about to: what is under way tells itself."""
        left: dict[Key, list[float]] = {}
        for key, times in self.times.items():
            still = times[bisect_right(times, now.timestamp()) :]
            for own in self.unseen:
                if own.over in still and self._counts_for(own, key):
                    still.remove(own.over)
            if still:
                left[key] = still
        return left

    def _counts_for(self, ordered: Ordered, key: Key) -> bool:
        by_domain = key[0] == DOMAIN and ordered.certificate and key in self.by_domain(ordered.hosts)
        return by_domain or key in keys_of(ordered)


def keys_of(ordered: Ordered) -> list[Key]:
    """What it counts for, besides its domains."""
    orders = [ORDERS, (ORDERS_OF, ordered.namespace)] if ordered.order else []
    return [*orders, exactly(ordered.hosts)] if ordered.certificate else orders


class Ledger:
    """Filled from all records by `add`, asked by `allowed`, told of each launch by `count`."""

    def __init__(self, domain_of: Callable[[str], str]) -> None:
        self._issuers: dict[str, Counts] = defaultdict(lambda: Counts(domain_of))

    def of(self, issuer: str) -> Counts:
        """What counts at that issuer's CA."""
        return self._issuers[issuer]

    def add(self, record: Record) -> None:
        """What the record remembers, and what its attempt, if one is under way, is about to do."""
        if record.phase not in GONE:
            self._issuers[record.issuer].users.add(record.namespace)
        for entry in record.ledger:
            over, counts = (entry.at + WINDOWS[entry.kind]).timestamp(), self._issuers[entry.issuer]
            if entry.exempt:
                continue
            if entry.kind is Counted.FAILURE:
                for key in ((ORDERS_OF, record.namespace), *((FAILURES, host) for host in entry.hosts)):
                    insort(counts.times[key], over)
            else:
                is_order = entry.kind is Counted.ORDER
                counts.add(Ordered(over, entry.hosts, is_order, not is_order, record.namespace))
        if (own := _under_way(record)) is not None:
            self._issuers[record.issuer].add(own)
            self._issuers[record.issuer].unseen.append(own)

    def count(self, order: PlannedOrder, now: datetime) -> None:
        """The order has just been launched."""
        over, counts = (now + UNDER_WAY).timestamp(), not order.exempt
        self._issuers[order.issuer].add(Ordered(over, order.hosts, counts, counts, order.namespace))

    def allowed(self, record: Record | None, order: PlannedOrder, now: datetime) -> OverLimit | None:
        """None if the order is within every limit, else the limit that it must wait for the longest.

        What the record's own attempt is about to do does not count: the order is to take its place. An exempt one is
        bound by failures only.
        """
        own = _under_way(record) if record is not None and record.issuer == order.issuer else None
        return over_limit(self._issuers[order.issuer], record, order, own, now)


def over_limit(
    counts: Counts, record: Record | None, order: PlannedOrder, own: Ordered | None, now: datetime
) -> OverLimit | None:
    """See `Ledger.allowed`; what is `own` does not count."""
    issuer, limits, hosts = order.issuer, order.limits, order.hosts
    bounds = [
        _Bound(f"failed validations of {host}", limits.failed_validations, Counted.FAILURE, (FAILURES, host))
        for host in hosts
    ]
    if not order.exempt:
        what = f"certificates for exactly {first_few(hosts)}"
        bounds.append(_Bound("orders", limits.orders, Counted.ORDER, ORDERS))
        bounds.append(_Bound(what, limits.per_exact_set, Counted.CERTIFICATE, exactly(hosts)))
        issued = record.issued if record is not None else None
        renewal = issued is not None and issued.directory and exactly(issued.hosts) == exactly(hosts)
        if limits.per_registered_domain and not renewal:  # of a renewal only the exact set counts
            counts.count_by_domain()
            bounds += [
                _Bound(f"certificates for {of}", limits.per_registered_domain, Counted.CERTIFICATE, (kind, of))
                for kind, of in sorted(counts.by_domain(hosts))
            ]
    held = [(until, bound) for bound in bounds if (until := bound.free_at(counts.of(bound.key, own, now), now))]
    if not order.exempt:
        held += _beyond_share(order, counts, own, now)
    if not held:
        return None
    until, bound = max(held, key=lambda pair: pair[0])
    detail = (
        f"issuer {issuer}: {len(counts.of(bound.key, own, now))} of at most {bound.limit} {bound.what} within "
        f"{_period(WINDOWS[bound.kind])}; there is room again at {until:%Y-%m-%d %H:%M:%S} UTC"
    )
    return OverLimit(Problem(type="heldBack", detail=detail, step="limits"), until)


def _beyond_share(
    order: PlannedOrder, counts: Counts, own: Ordered | None, now: datetime
) -> list[tuple[datetime, _Bound]]:
    """A namespace that has had its share has more only of what the others' leave: at most half of all is kept for
    them, and a tenth for newcomers where nobody else uses the issuer. Failed validations take from its share, too.
    """
    limits, share = order.limits, order.limits.share
    if not limits.orders or not share:
        return []
    others = len(counts.users - {order.namespace})
    kept = min(share * others, limits.orders // 2) if others else min(share, limits.orders // 10)
    what = f"orders of namespace {order.namespace}, while the rest is kept for others,"
    mine = _Bound(what, share, Counted.ORDER, (ORDERS_OF, order.namespace))
    left = _Bound("orders", max(1, limits.orders - kept), Counted.ORDER, ORDERS)
    times = [bound.free_at(counts.of(bound.key, own, now), now) for bound in (mine, left)]
    return [] if None in times else [(min(time for time in times if time), mine)]


def _under_way(record: Record) -> Ordered | None:
    """What an attempt will have written down when it is over, unless it fails."""
    attempt = record.attempt
    if record.phase not in ACTIVE or attempt is None:
        return None
    over = (attempt.launched_at + UNDER_WAY).timestamp()
    return Ordered(over, record.intent.hosts, not attempt.order_url, not attempt.replaces, record.namespace)


def _period(window: timedelta) -> str:
    hours = int(window.total_seconds()) // 3600
    return f"{hours // 24} days" if hours >= 48 else f"{hours} hours" if hours > 1 else "an hour"


def exactly(hosts: Iterable[str]) -> Key:
    """Stands for exactly these hosts."""
    return SET, names.digest(*sorted(without_redundant(hosts)), length=32)
