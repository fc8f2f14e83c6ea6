"""The orders of an issuer's account, in one place that all who order write to: the last word on its limits.

It is a key of the issuer's state, whose compare-and-swap lets no two orders pass together. A Job enters its order
just before it makes it. Each sweep counts anew, from the records, and drops what these tell by then; so the book is
small: of what is far from its limit the sweep only says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

import msgspec
from msgspec.structs import replace

from issuer_job import log
from issuer_job.cluster.api import Cluster
from issuer_job.hosts.limits import (
    DOMAIN,
    FAILURES,
    SET,
    Counts,
    Key,
    Ledger,
    Ordered,
    OverLimit,
    PlannedOrder,
    exactly,
    over_limit,
)
from issuer_job.issuers.schema import CaLimits, Issuer
from issuer_job.issuers.state import ORDERS, IssuerState, change_state
from issuer_job.issuers.types import directory_of, type_of
from issuer_job.record.annotations import Stored
from issuer_job.record.ledger_entries import WINDOWS
from issuer_job.record.phases import ACTIVE, SWEEP_INTERVAL
from issuer_job.record.record import Counted, Problem, Record

MOST_BYTES = 400 * 1024
"""Of a ConfigMap's 1 MiB. Beyond, no order is made before a sweep has counted."""
MOST_LISTED = 4000
"""Sets, domains and hosts, of each kind: where more are near their limits, those that are nearest."""
CLOCKS = 60
"""Seconds by which the clocks of nodes may differ."""


class BookEntry(Stored, frozen=True):
    """One order that is about to be made or was, at a time in seconds since 1970; `record` is the record's name.

    Not an `order` any more: its record remembers it, and not yet what came of it. No `certificate`: none came of it.
    """

    at: int
    record: str
    epoch: int
    namespace: str
    hosts: tuple[str, ...]
    order: bool = True
    certificate: bool = True

    @classmethod
    def of(cls, wanted: Record, order: PlannedOrder, now: datetime) -> BookEntry:
        """The order that the record's attempt makes now."""
        return cls(
            at=int(now.timestamp()),
            record=wanted.name,
            epoch=wanted.epoch,
            namespace=wanted.namespace,
            hosts=order.hosts,
        )

    def ordered(self, kind: Counted) -> Ordered:
        """What it counts for as an order, or as a certificate."""
        is_order = kind is Counted.ORDER
        over = self.at + WINDOWS[kind].total_seconds()
        return Ordered(over, self.hosts, is_order and self.order, not is_order and self.certificate, self.namespace)


class OrderBook(Stored, frozen=True):
    """What a sweep has counted `at` (seconds since 1970), and the orders since.

    `times` say when each stops to count, by what is counted; `least` how often something of a kind must count to be
    listed. `users` are namespaces that use the issuer, as many as make a difference.
    """

    at: int = 0
    times: Mapping[str, tuple[int, ...]] = {}
    least: Mapping[str, int] = {}
    users: tuple[str, ...] = ()
    entries: tuple[BookEntry, ...] = ()

    @classmethod
    def of(cls, state: IssuerState) -> OrderBook:
        """As it is stored; empty if there is none, or people have edited it beyond recognition."""
        try:
            return msgspec.json.decode(state.data.get(ORDERS, "{}"), type=cls)
        except (msgspec.DecodeError, RecursionError) as problem:
            log.warning("order-book", issuer=state.issuer, problem=str(problem)[:200])
            return cls()

    def change(self) -> dict[str, str]:
        """Of the issuer's state."""
        return {ORDERS: msgspec.json.encode(self).decode()}

    def allowed(self, wanted: Record, order: PlannedOrder, now: datetime) -> OverLimit | None:
        """See `Ledger.allowed`. What is not listed counts as often as it may without being so."""
        return over_limit(self._counts(wanted, order, now), wanted, order, None, now)

    def with_others(self, entries: Iterable[BookEntry]) -> OrderBook:
        """With these besides."""
        return replace(self, entries=(*self.entries, *entries))

    def with_order(self, wanted: Record, order: PlannedOrder, now: datetime) -> OrderBook | OverLimit:
        """The book with the record's order, if that is within the limits."""
        over = self.allowed(wanted, order, now)
        return over or self.entered(wanted, order, now)

    def entered(self, wanted: Record, order: PlannedOrder, now: datetime) -> OrderBook | OverLimit:
        """The book with the record's order. An exempt one counts for nothing."""
        if order.exempt:
            return self
        own = self._as_known_to(wanted)
        book = own.with_others((BookEntry.of(wanted, order, now),))
        if len(msgspec.json.encode(book)) <= MOST_BYTES:
            return book
        detail = f"issuer {order.issuer}: very many orders just now, they are counted first"
        return OverLimit(Problem(type="heldBack", detail=detail, step="limits"), now + SWEEP_INTERVAL)

    def _as_known_to(self, record: Record) -> OrderBook:
        """Of its own orders a record knows what came of them; the same attempt's, a crash ago, is made only once."""

        def known(entry: BookEntry) -> BookEntry:
            certified = any(e.kind is Counted.CERTIFICATE and e.at.timestamp() >= entry.at for e in record.ledger)
            return replace(entry, certificate=certified) if entry.record == record.name else entry

        attempt = record.attempt
        drops = attempt.orders_dropped if attempt is not None else 0
        made = [e for e in self.entries if (e.record, e.epoch) == (record.name, record.epoch)]
        again = made[drops:]  # one for each order that was dropped, and the one that is about to be made
        return replace(self, entries=tuple(known(e) for e in self.entries if e not in again))

    def _counts(self, wanted: Record, order: PlannedOrder, now: datetime) -> Counts:
        book = self._as_known_to(wanted)
        listed = {host.partition(" ")[2] for host in book.times if host.startswith(f"{DOMAIN} ")}
        counts = Counts(lambda host: listed_domain(host, listed))
        counts.users |= set(book.users)
        for text, times in book.times.items():
            kind, _, whom = text.partition(" ")
            counts.times[kind, whom] = [float(time) for time in times]
        for entry in book.entries:
            counts.add(entry.ordered(Counted.ORDER))
            counts.add(entry.ordered(Counted.CERTIFICATE))
        self._count_unlisted(counts, wanted, order, now)
        return counts

    def _count_unlisted(self, counts: Counts, wanted: Record, order: PlannedOrder, now: datetime) -> None:
        soon = now + SWEEP_INTERVAL
        for host in order.hosts:
            failed = (e for e in wanted.ledger if e.kind is Counted.FAILURE and host in e.hosts)
            own = [e.at for e in failed if e.at.timestamp() > self.at and e.issuer == order.issuer]
            others = (e for e in self.entries if host in e.hosts and e.record != wanted.name)
            over = [at + WINDOWS[Counted.FAILURE] for at in own] + [soon for _ in others]
            counts.times[FAILURES, host] += [moment.timestamp() for moment in over]
        keys = {*((FAILURES, host) for host in order.hosts), exactly(order.hosts), *counts.by_domain(order.hosts)}
        for key in keys:
            if _text(key) not in self.times:
                counts.times[key] += [soon.timestamp()] * (self.least.get(key[0], 1) - 1)
            counts.times[key].sort()


def enter(
    cluster: Cluster, wanted: Record, order: PlannedOrder, state: IssuerState, now: datetime, *, pressing: bool
) -> OverLimit | None:
    """Write the order that the record's attempt is about to make into the book, unless it would exceed a limit: then
    which. `state` is the issuer's as it was read before. A `pressing` one is entered whatever the limits are.

    Raises KubeError.
    """
    limits = order.limits
    if order.exempt and not limits.failed_validations:
        return None
    if not any((limits.orders, limits.per_registered_domain, limits.per_exact_set, limits.failed_validations)):
        return None
    over: OverLimit | None = None

    def with_order(stored: IssuerState) -> Mapping[str, str]:
        nonlocal over
        book = OrderBook.of(stored)
        made = book.entered(wanted, order, now) if pressing else book.with_order(wanted, order, now)
        over = made if isinstance(made, OverLimit) and not pressing else None
        return made.change() if isinstance(made, OrderBook) and made is not book else {}

    change_state(cluster, state.issuer, state.directory, with_order, held=state)
    return over


@dataclass
class Recount:
    """A sweep's counting anew: filled from all records by `add`, each once."""

    ledger: Ledger
    _known: dict[str, tuple[int, int]] = field(default_factory=dict)
    """By name of the record: the epoch of an attempt that is under way, else 0; when it ordered last."""

    def add(self, record: Record) -> None:
        """One record, with its ledger."""
        self.ledger.add(record)
        last = max((int(e.at.timestamp()) for e in record.ledger if e.kind is Counted.ORDER), default=0)
        self._known[record.name] = (record.epoch if record.phase in ACTIVE else 0, last)

    def write(self, cluster: Cluster, issuers: Mapping[str, Issuer], *, now: datetime) -> None:
        """Bring each issuer's book up to date; nothing is written where it is. Raises KubeError."""
        for name, issuer in issuers.items():
            if type_of(issuer).counts_orders:
                change = self._counted(name, issuer.limits, now)
                change_state(cluster, name, directory_of(issuer), change)

    def _counted(self, name: str, limits: CaLimits, now: datetime) -> Callable[[IssuerState], Mapping[str, str]]:
        counts, at = self.ledger.of(name), int(now.timestamp())
        least = {
            SET: max(1, limits.per_exact_set // 2),
            DOMAIN: max(1, limits.per_registered_domain // 2),
            FAILURES: max(1, limits.failed_validations // 2),
        }
        if counts.could_list_a_domain(least[DOMAIN]):
            counts.count_by_domain()
        times: dict[str, tuple[int, ...]] = {}
        for kind, of_kind in _by_kind(counts.settled(now)).items():
            lengths = sorted((len(ends) for ends in of_kind.values()), reverse=True)
            if kind in least and len(lengths) > MOST_LISTED:
                least[kind] = max(least[kind], lengths[MOST_LISTED] + 1)
            listed = {key: ends for key, ends in of_kind.items() if len(ends) >= least.get(kind, 1)}
            times |= {_text(key): tuple(int(end) for end in ends) for key, ends in listed.items()}
        enough = limits.orders // 2 // max(1, limits.share) + 2
        users = tuple(sorted(counts.users)[:enough])
        counted = OrderBook(at=at, times=dict(sorted(times.items())), least=least, users=users)

        def change(state: IssuerState) -> Mapping[str, str]:
            stored = OrderBook.of(state)
            book = replace(counted, entries=tuple(self._left(stored.entries, at)))
            # Who uses it no more is not worth a write.
            users = counted.users if set(counted.users) - set(stored.users) else stored.users
            same = replace(stored, at=at, times=_still(stored.times, at)) == replace(book, users=users)
            nothing = ORDERS not in state.data and not book.times and not book.entries
            return {} if same or nothing else book.change()

        return change

    def _left(self, entries: Iterable[BookEntry], at: int) -> Iterable[BookEntry]:
        """What the records do not tell yet."""
        for entry in entries:
            epoch, last = self._known.get(entry.record, (entry.epoch, 0))
            told = last >= entry.at
            if at - entry.at >= WINDOWS[Counted.CERTIFICATE].total_seconds():
                continue
            if epoch == entry.epoch or (not told and at - entry.at < CLOCKS):
                yield replace(entry, order=entry.order and not told)


def listed_domain(host: str, listed: set[str]) -> str:
    """The domain that is near its limit, or else one that is at least as large as the host's registered domain."""
    labels = host.removeprefix("*.").split(".")
    above = (".".join(labels[cut:]) for cut in range(len(labels)))
    return next((name for name in above if name in listed), ".".join(labels[-2:]))


def _text(key: Key) -> str:
    return " ".join(key)


def _by_kind(times: Mapping[Key, list[float]]) -> dict[str, dict[Key, list[float]]]:
    kinds: dict[str, dict[Key, list[float]]] = {}
    for key, ends in times.items():
        kinds.setdefault(key[0], {})[key] = ends
    return kinds


def _still(times: Mapping[str, tuple[int, ...]], at: int) -> dict[str, tuple[int, ...]]:
    """Without what counts no more."""
    left = {key: tuple(end for end in ends if end > at) for key, ends in times.items()}
    return {key: ends for key, ends in left.items() if ends}
