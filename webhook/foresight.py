"""What would become of what a dry run asks for. It reads alone: no claim, no room and no order is taken."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime

from issuer_job import names
from issuer_job.cluster.api import Cluster, KubeError
from issuer_job.demand.common import Entry
from issuer_job.demand.plan import plan
from issuer_job.hosts import at_launch
from issuer_job.hosts.limits import planned_order
from issuer_job.issuers.state import CHECK_RESULT, CHECKED_VERSION, NOT_READY
from issuer_job.issuers.types import directory_of, type_of
from issuer_job.launch.configuration import SettingsCache
from issuer_job.launch.outcome import (
    PUT_OFF,
    denial_of,
    held_warning,
    life_warning,
    of_hosts,
    short,
    unreadable_warning,
    waiting_warning,
    warning_of,
)
from issuer_job.launch.room import Room
from issuer_job.polling import utc_now
from issuer_job.record.record import Record, RecordError
from issuer_job.record.renewal import is_pressing, serves
from issuer_job.record.store import live_record


def _pool() -> Executor:
    return ThreadPoolExecutor(4, thread_name_prefix="foresight")


@dataclass(frozen=True)
class Foresight:
    """One per process; thread-safe."""

    cluster: Cluster
    settings: SettingsCache
    room: Room
    clock: Callable[[], datetime] = utc_now
    pool: Executor = field(default_factory=_pool)

    def warnings(self, entry: Entry, *, namespace: str, deadline: float) -> tuple[str, ...]:
        """What whoever applies the entry would be told, as far as it can be seen until `deadline` (time.monotonic()).

        Never raises KubeError.
        """
        try:
            return tuple(self._foreseen(self.cluster.until(deadline), entry, namespace))
        except RecordError:
            return (unreadable_warning(namespace, entry),)
        except KubeError as problem:
            return (f"Secret {entry.secret_name[:40]}: not all could be looked at ({short(problem)})",)

    def _foreseen(self, cluster: Cluster, entry: Entry, namespace: str) -> Iterator[str]:
        if entry.problem is not None:
            return  # the decision tells it
        found = live_record(cluster, names.record(namespace, entry.secret_name))
        decided = plan(found, entry, namespace=namespace, now=self.clock())
        if not decided.launch or decided.record is None:
            said = warning_of(entry, decided) or waiting_warning(found)
            yield from () if said is None else (said,)
            return
        wrong = tuple(self._in_the_way(cluster, entry, decided.record))
        issuer = entry.source.settings.issuer
        yield from wrong or (f"Secret {entry.secret_name[:40]}: {of_hosts(entry)} would be ordered from {issuer}",)
        if (lives := life_warning(entry, self.settings)) is not None:
            yield lives

    def _in_the_way(self, cluster: Cluster, entry: Entry, wanted: Record) -> Iterator[str]:
        if (full := self.room.refusal(cluster, wanted)) is not None:
            yield full.detail
        options, hosts = self.settings.options(), wanted.intent.hosts
        denied = at_launch.denied(cluster, options, hosts, wanted.namespace, pool=self.pool, only_looks=True)
        if denied is not None:
            yield denial_of(denied)[1]
        yield from self._of_issuer(entry, wanted)
        if not self.room.take(cluster, wanted.namespace, wanted.name):
            yield f"Secret {entry.secret_name[:40]}: {PUT_OFF}"

    def _of_issuer(self, entry: Entry, wanted: Record) -> Iterator[str]:
        """Whether it works, by its last test, and whether its limits leave room, by its book."""
        name, issuers, now = wanted.issuer, self.settings.issuers(), self.clock()
        issuer = issuers.valid.get(name)
        if issuer is None:
            return
        directory = directory_of(issuer)
        state = self.settings.state(name, directory).data
        tested = state.get(CHECKED_VERSION, "") == issuers.version(name)
        if tested and state.get(CHECK_RESULT) == NOT_READY:
            yield f"issuer {name} is not ready, its last test says: an operator has to put it right"
        replaces = wanted.attempt is not None and wanted.attempt.renews
        if not type_of(issuer).counts_orders or (serves(wanted) and not replaces) or is_pressing(wanted, now=now):
            return
        order, book = planned_order(wanted, name, issuer, now=now), self.settings.order_book(name, directory)
        if (over := book.allowed(wanted, order, now)) is not None:
            yield held_warning(entry, over)
