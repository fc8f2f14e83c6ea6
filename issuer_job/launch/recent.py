"""Whether admission orders within an issuer's limits, as far as it is known here: the Job has the last word."""

from __future__ import annotations

from datetime import datetime, timedelta
from threading import Lock

from issuer_job.demand.common import Entry
from issuer_job.demand.plan import Plan, PlanReason
from issuer_job.hosts.limits import OverLimit, planned_order
from issuer_job.hosts.order_book import CLOCKS, BookEntry
from issuer_job.issuers.types import directory_of, type_of
from issuer_job.launch.configuration import SettingsCache
from issuer_job.launch.start import Starter
from issuer_job.record import intents, transitions
from issuer_job.record.phases import ACTIVE
from issuer_job.record.record import Record

UNSEEN = timedelta(minutes=2)
"""From a launch until its Job has surely entered its order into the book, and that was read here."""


class RecentOrders:
    """What was launched here and is not in the issuers' books yet. One per process; thread-safe."""

    def __init__(self, settings: SettingsCache) -> None:
        self._settings = settings
        self._lock = Lock()
        self._launched: dict[str, tuple[str, BookEntry]] = {}
        """By name of the record: the issuer, and what will be in its book."""

    def take(self, wanted: Record, now: datetime) -> OverLimit | None:
        """Which limit the record's order would exceed; if none, it is counted from now on. Raises KubeError."""
        name = wanted.issuer
        issuer = self._settings.issuers().valid.get(name)
        if issuer is None or not type_of(issuer).counts_orders:
            return None
        order = planned_order(wanted, name, issuer, now=now)
        book = self._settings.order_book(name, directory_of(issuer))
        with self._lock:
            self._forget_old(now)
            seen = {entry.record for entry in book.entries if now.timestamp() - entry.at < UNSEEN.total_seconds()}
            unseen = [
                entry
                for record, (of, entry) in self._launched.items()
                if of == name and record != wanted.name and record not in seen
            ]
            over = book.with_others(unseen).allowed(wanted, order, now)
            if over is None and not order.exempt:
                self._launched[wanted.name] = name, BookEntry.of(wanted, order, now)
            return over

    def give_back(self, name: str) -> None:
        """The record with that name was not launched."""
        with self._lock:
            self._launched.pop(name, None)

    def _forget_old(self, now: datetime) -> None:
        """The oldest are the first."""
        oldest = now.timestamp() - UNSEEN.total_seconds() - CLOCKS
        while self._launched and next(iter(self._launched.values()))[1].at < oldest:
            del self._launched[next(iter(self._launched))]


def held_plan(existing: Record | None, entry: Entry, over: OverLimit, starter: Starter, namespace: str) -> Plan:
    """What is written down in the place of a launch that a limit of the issuer forbids until then.

    An edit of the issuer ends the wait. What runs is left alone: its Job looks.
    """
    source, now = entry.source, starter.clock()
    version = starter.settings.issuers().version(source.settings.issuer)
    if existing is not None and existing.phase in ACTIVE:
        return Plan(PlanReason.OVER_LIMIT)
    if existing is None:
        name = entry.secret_name
        record = transitions.wanted(namespace=namespace, secret_name=name, sources=(source,), now=now)
    else:
        record = intents.asked(existing, source)
    held = transitions.held_back(record, now, problem=over.problem, until=over.until, issuer=version)
    return Plan(PlanReason.OVER_LIMIT, held)
