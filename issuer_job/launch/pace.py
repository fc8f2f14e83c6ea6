"""How many attempts the nodes carry at once: what a namespace launches after its first few keeps within that.

Nobody says how large the cluster is, and what else it runs. So it is found out as for networks (RFC 5681): by a
window that each attempt which had a CPU when it needed one makes wider, and each that had to wait for one narrower.
The first few of others wait for nobody, and while they are at work, whoever has launched many launches nothing but
one at a time.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta
from threading import Lock

from issuer_job.cluster.api import Cluster
from issuer_job.polling import utc_now
from issuer_job.record.phases import Phase
from issuer_job.record.record import Record
from issuer_job.record.store import list_at_work
from issuer_job.record.transitions import attempt_of

FIRST = 3
"""Attempts of a namespace that wait for nobody, within a time that is its caller's to choose."""
LEAST = 3
"""Attempts at work that any cluster is to carry."""
FREELY, HARDLY = 2.0, 4.0
"""Below the one stretch of an attempt (see `AttemptState`) the window becomes wider, beyond the other narrower."""
FRESH = 0.25
"""Seconds that a count is good for."""
COST = 5
"""How many times as long as it took a count is good for at least."""
UNSEEN = 2.0
"""Seconds from a launch until a count, begun then, surely has it."""
IDLE = 60.0
"""Seconds without a count after which nothing that was learned holds any more (RFC 7661)."""
STANDSTILL = timedelta(minutes=2)
"""An attempt that made no step for so long has no use for a CPU: it hangs, has crashed, or its pod finds no node."""


class Pace:
    """One per process; thread-safe. Every process finds out for itself, but counts what all of them have launched."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic, now: Callable[[], datetime] = utc_now) -> None:
        self._clock, self._now = clock, now
        self._counting, self._lock = Lock(), Lock()
        self._at, self._good_for = float("-inf"), 0.0
        self._counted: dict[str, str] = {}
        """The namespaces of the attempts at work, by the names of their records; as it was at `_at`."""
        self._launched: dict[str, tuple[float, str]] = {}
        """Those of this process since then, and when."""
        self._awaited: dict[str, float] = {}
        """When those were launched of which it is not known yet how they started."""
        self.size = LEAST
        """The window: how many may be at work."""

    def fits(self, cluster: Cluster, namespace: str) -> bool:
        """Whether the namespace may have one more at work just now. Raises KubeError."""
        self._count(cluster)
        with self._lock:
            at_work = [*(self._counted | {name: space for name, (_, space) in self._launched.items()}).values()]
        own, sharing = at_work.count(namespace), len({*at_work, namespace})
        return not own or (len(at_work) < self.size and own * sharing < self.size)

    def add(self, namespace: str, name: str, *, first: bool) -> None:
        """It is launched now; of the `first` of a namespace nothing is learned."""
        with self._lock:
            self._launched[name] = (self._clock(), namespace)
            if not first:
                self._awaited[name] = self._clock()

    def take_back(self, name: str) -> None:
        """It was not launched after all."""
        with self._lock:
            self._launched.pop(name, None)
            self._awaited.pop(name, None)

    def _count(self, cluster: Cluster) -> None:
        with self._counting:
            begun = self._clock()
            if begun - self._at <= self._good_for:
                return
            found = {record.name: record for record in list_at_work(cluster)}
            now = self._now()
            with self._lock:
                self._learn(found, begun)
                moving = (record for record in found.values() if now - record.since < STANDSTILL)
                self._counted = {record.name: record.namespace for record in moving}
                self._launched = {
                    name: (at, namespace)
                    for name, (at, namespace) in self._launched.items()
                    if begun - at < UNSEEN and name not in found
                }
                self._at, self._good_for = begun, max(FRESH, COST * (self._clock() - begun))

    def _learn(self, found: dict[str, Record], begun: float) -> None:
        if begun - self._at > IDLE:
            self.size, self._awaited = LEAST, {}
        total = len(found)
        for name, at in list(self._awaited.items()):
            record = found.get(name)
            if begun - at < UNSEEN if record is None else record.phase is Phase.LAUNCHED:
                continue
            del self._awaited[name]
            # What nobody saw at work has not waited for long.
            stretch = 1.0 if record is None else attempt_of(record).stretch
            if 0 < stretch < FREELY and 2 * total >= self.size:  # only of a window that was used
                self.size += 1
            elif stretch > HARDLY:
                self.size = max(LEAST, self.size - 1)
