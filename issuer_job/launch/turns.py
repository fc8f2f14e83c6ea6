"""Launches that had to wait: each namespace in turn, as soon as there is room for it, without waiting for a sweep."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from threading import Event, Lock, Thread
from typing import Unpack

from issuer_job import log, names
from issuer_job.cluster.api import Cluster, KubeError
from issuer_job.demand.askers import is_there
from issuer_job.demand.common import Entry
from issuer_job.launch.launcher import Launcher
from issuer_job.launch.outcome import LaunchOutcome, Occasion, OutcomeReason
from issuer_job.launch.room import Room
from issuer_job.record.record import RecordError
from issuer_job.record.store import live_record

PATIENCE = 600.0
"""Seconds after which the sweep has long come by."""
LAUNCH_SECONDS = 30.0
STORED_WITHIN = 30.0
"""Seconds after its admission in which an object may not be there yet: others are asked about it, too."""
PAUSE = 0.25
"""Seconds between two looks for room."""
TROUBLE = 5.0
"""Seconds after one at which the API server had no answer."""
MOST = 2000
"""Entries that wait, of all namespaces; of one at most half as many as are still free. The rest is the sweep's."""

_Key = tuple[str, str]
"""Name of the Secret, and what asks for it."""


@dataclass(frozen=True)
class _Waiting:
    """Since when (by the clock), for what, and which epoch its record had then."""

    since: float
    entry: Entry
    epoch: int


class Turns:
    """Launches at once what there is room for, and the rest in turn. One per process; thread-safe.

    What waits is lost with the process: that is the sweep's work, as is all that was put off for another reason.
    """

    def __init__(
        self, cluster: Cluster, launcher: Launcher, room: Room, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._cluster = cluster
        self._launcher = launcher
        self._room = room
        self._clock = clock
        self._lock = Lock()
        self._waiting: dict[str, dict[_Key, _Waiting]] = {}
        self._more = Event()
        self.pause = PAUSE
        """Seconds until the next look."""

    def launch(self, entry: Entry, *, namespace: str, deadline: float, **occasion: Unpack[Occasion]) -> LaunchOutcome:
        """See Launcher."""
        key = (entry.secret_name, entry.source.key)
        self._forget(namespace, key)  # what it wanted before is not wanted any more
        outcome = self._launcher.launch(entry, namespace=namespace, deadline=deadline, **occasion)
        if outcome.reason is OutcomeReason.PUT_OFF:
            self._remember(namespace, key, _Waiting(self._clock(), entry, outcome.epoch))
        return outcome

    def keep_on(self) -> None:
        """Take turns from now on, in a thread that ends with the process."""

        def forever() -> None:
            while True:
                self._more.wait()
                if not self.take():
                    time.sleep(self.pause)

        Thread(target=forever, name="turns", daemon=True).start()

    def take(self) -> int:
        """One of each namespace that waits and for which there is room; how many were launched or need it no more."""
        with self._lock:
            namespaces = list(self._waiting)
            if not namespaces:
                self._more.clear()
        self.pause = PAUSE
        return sum(self._take_one(namespace) for namespace in namespaces)

    def _take_one(self, namespace: str) -> bool:
        with self._lock:
            first = next(iter(self._waiting.get(namespace, {}).items()), None)
        if first is None:
            return False
        key, waiting = first
        entry = waiting.entry
        try:
            if self._clock() - waiting.since < PATIENCE:
                if not self._room.take(self._cluster, namespace):
                    return False
                if self._is_past(waiting, namespace) or self._is_gone(waiting, namespace):
                    self._forget(namespace, key, entry)
                    return True
                end = time.monotonic() + LAUNCH_SECONDS
                outcome = self._launcher.launch(entry, namespace=namespace, deadline=end)
                if outcome.reason is OutcomeReason.PUT_OFF:
                    return False
                log.info("launch", namespace=namespace, secret=entry.secret_name, reason=outcome.reason, after="turn")
        except RecordError as problem:
            log.error("record", problem=str(problem))  # for an operator, and the sweep tells of it
        except KubeError as problem:
            log.warning("turn-put-off", namespace=namespace, problem=str(problem)[:300])
            self.pause = TROUBLE
            return False
        except Exception:  # noqa: BLE001 - nobody would start the thread again
            log.exception("internal-error", namespace=namespace, secret=entry.secret_name)
        self._forget(namespace, key, entry)
        return True

    def _is_past(self, waiting: _Waiting, namespace: str) -> bool:
        """Whether another process has launched since then what its source says now."""
        source = waiting.entry.source
        record = live_record(self._cluster, names.record(namespace, waiting.entry.secret_name))
        if record is None or record.epoch <= waiting.epoch:
            return False
        known = next((known for known in record.sources if known.key == source.key), source)
        return (known.hosts, known.settings) != (source.hosts, source.settings)

    def _is_gone(self, waiting: _Waiting, namespace: str) -> bool:
        """Whether its object is not there any more, or was never stored: then an attempt would find nothing to do."""
        settled = self._clock() - waiting.since >= STORED_WITHIN
        return settled and not is_there(self._cluster, waiting.entry.source, namespace)

    def _remember(self, namespace: str, key: _Key, waiting: _Waiting) -> None:
        with self._lock:
            own = self._waiting.get(namespace, {})
            if 2 * len(own) >= MOST - sum(map(len, self._waiting.values())):
                return
            self._waiting.setdefault(namespace, own)[key] = waiting
            self._more.set()

    def _forget(self, namespace: str, key: _Key, entry: Entry | None = None) -> None:
        """Unless another entry has taken its place meanwhile."""
        with self._lock:
            own = self._waiting.get(namespace, {})
            if key in own and (entry is None or entry is own[key].entry):
                del own[key]
            if not own:
                self._waiting.pop(namespace, None)
