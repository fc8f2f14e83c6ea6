"""Locks on names in DNS, for providers that write all values of a name at once: a Lease each, held for one change.

Two orders that read, change and write back at the same time would lose each other's values.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime

from issuer_job import log, names
from issuer_job import vocabulary as v
from issuer_job.cluster import bodies, changes
from issuer_job.cluster.api import LEASES, Cluster, Json, KubeError

FIRST_PAUSE = 0.05
LONGEST_PAUSE = 0.5
MARGIN = 10
"""Seconds after which a lock that is held is worth a renewal."""


class LockBusy(Exception):
    """Others held the lock for as long as we could wait."""


class LockLost(Exception):
    """Somebody has taken over a lock that was not renewed in time."""


@dataclass
class Locks:
    """Those that `holder`, a pod's uid, takes, each for at most `seconds`: then others may take it over.

    `taken` are the leases, and when each was last written, or earlier: others count from when they see it.
    """

    cluster: Cluster
    holder: str
    seconds: int
    clock: Callable[[], datetime]
    sleep: Callable[[float], None]
    taken: list[tuple[Json, datetime]] = field(default_factory=list)

    @contextmanager
    def held(self, wanted: Iterable[str], *, deadline: datetime) -> Iterator[None]:
        """Hold the locks on all these names, taken in one order by everybody. Raises LockBusy, KubeError.

        What takes longer than their time must call `renew` now and then.
        """
        try:
            self._take_all(sorted(set(wanted)), deadline)
            yield
        finally:
            self._give_back()

    def renew(self) -> None:
        """From here on all last `MARGIN` seconds less than their time, or longer. Raises LockLost, KubeError."""
        for index, (lease, renewed_at) in enumerate(self.taken):
            now = self.clock()
            if (now - renewed_at).total_seconds() >= MARGIN:
                self.taken[index] = self._renewed(lease, self.holder), now

    def leave(self) -> None:
        """Let them run out from now on: what they were taken for may still be going on. Not even we get them back."""
        while self.taken:
            lease, _ = self.taken.pop()
            try:
                self._renewed(lease, f"{self.holder}-left")
            except (LockLost, KubeError) as problem:
                log.warning("lock-not-renewed", lease=lease["metadata"]["name"], problem=str(problem))

    def _take_all(self, wanted: Sequence[str], deadline: datetime) -> None:
        """The first may be lost again while the last is waited for."""
        while True:
            try:
                for name in wanted:
                    self._take(name, deadline)
                self.renew()
                return
            except LockLost:
                self._give_back()

    def _take(self, name: str, deadline: datetime) -> None:
        """Who has not renewed it within its time, by our clock since we first saw it, has lost it.

        Raises LockBusy, KubeError.
        """
        lease_name = f"dns-{names.digest(name, length=20)}"
        seen_version, seen_at, pause = "", self.clock(), FIRST_PAUSE
        free: Json | None = None
        while True:
            asked_at = self.clock()
            done = changes.swap(self.cluster, LEASES, v.NAMESPACE, free, self._lease(lease_name, self.holder))
            if done is not None:
                self.taken.append((done.after, asked_at))
                return
            held, free, now = self.cluster.find(LEASES, v.NAMESPACE, lease_name), None, self.clock()
            if held is None:
                continue
            if held["metadata"]["resourceVersion"] != seen_version:
                seen_version, seen_at = held["metadata"]["resourceVersion"], now
            spec = held.get("spec") or {}
            over = (now - seen_at).total_seconds() >= int(spec.get("leaseDurationSeconds") or self.seconds)
            if over or spec.get("holderIdentity") == self.holder:
                free = held
                continue
            if now >= deadline:
                raise LockBusy(f"another order is changing the records of {name}")
            self.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 - jitter
            pause = min(pause * 1.5, LONGEST_PAUSE)

    def _renewed(self, lease: Json, holder: str) -> Json:
        """The lease, with its time beginning anew."""
        name = lease["metadata"]["name"]
        done = changes.swap(self.cluster, LEASES, v.NAMESPACE, lease, self._lease(name, holder))
        if done is None:
            raise LockLost(f"the lock {name} was taken over")
        return done.after

    def _give_back(self) -> None:
        """All but those that were taken over. One where that fails runs out all the same."""
        while self.taken:
            lease, _ = self.taken.pop()
            try:
                changes.swap(self.cluster, LEASES, v.NAMESPACE, lease, None)
            except KubeError as problem:
                log.warning("lock-not-given-back", lease=lease["metadata"]["name"], problem=str(problem))

    def _lease(self, name: str, holder: str) -> Json:
        now = f"{self.clock():%Y-%m-%dT%H:%M:%S.%fZ}"
        spec = {
            "holderIdentity": holder,
            "leaseDurationSeconds": self.seconds,
            "acquireTime": now,
            "renewTime": now,
        }
        metadata = bodies.own_metadata(name, {})
        return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec}
