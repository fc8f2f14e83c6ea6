"""Locks on names in DNS, for providers that write all values of a name at once: a Lease each, held for one change.

Two orders that read, change and write back at the same time would lose each other's values.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime

from issuer_job import names
from issuer_job import vocabulary as v
from issuer_job.kube import AlreadyExists, Cluster, Conflict, Json, KubeError, NotFound, Resource

logger = logging.getLogger(__name__)

LEASES = Resource("/apis/coordination.k8s.io/v1", "leases")
FIRST_PAUSE = 0.05
LONGEST_PAUSE = 0.5


class LockBusy(Exception):
    """Others held the lock for as long as we could wait."""


@dataclass(frozen=True)
class Locks:
    """Takes locks for `holder`, a pod's uid, each for at most `seconds`: then others may take it over."""

    cluster: Cluster
    holder: str
    seconds: int
    clock: Callable[[], datetime]
    sleep: Callable[[float], None]

    @contextmanager
    def held(self, wanted: Sequence[str], *, deadline: datetime) -> Iterator[None]:
        """Hold the locks on all these names, taken in one order by everybody. Raises LockBusy, KubeError."""
        with ExitStack() as stack:
            for name in sorted(set(wanted)):
                lease = self._take(name, deadline)
                stack.callback(self._give_back, lease)
            yield

    def _take(self, name: str, deadline: datetime) -> Json:
        """Who has not renewed it within its time, by our clock since we first saw it, has lost it."""
        body = self._lease(name)
        seen_version, seen_at, pause = "", self.clock(), FIRST_PAUSE
        while True:
            try:
                return self.cluster.create(LEASES, v.NAMESPACE, body)
            except AlreadyExists:
                held = self.cluster.find(LEASES, v.NAMESPACE, body["metadata"]["name"])
            now = self.clock()
            if held is None:
                continue
            if held["metadata"]["resourceVersion"] != seen_version:
                seen_version, seen_at = held["metadata"]["resourceVersion"], now
            spec = held.get("spec") or {}
            over = (now - seen_at).total_seconds() >= int(spec.get("leaseDurationSeconds") or self.seconds)
            if over or spec.get("holderIdentity") == self.holder:
                try:
                    return self.cluster.update(LEASES, v.NAMESPACE, self._lease(name, held))
                except (Conflict, NotFound):
                    continue
            if now >= deadline:
                raise LockBusy(f"another order is changing the records of {name}")
            self.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 - jitter
            pause = min(pause * 1.5, LONGEST_PAUSE)

    def _give_back(self, lease: Json) -> None:
        metadata = lease["metadata"]
        uid, version = metadata["uid"], metadata["resourceVersion"]
        try:
            self.cluster.delete(LEASES, v.NAMESPACE, metadata["name"], uid=uid, resource_version=version)
        except Conflict:
            return  # it was taken over
        except KubeError as problem:
            fields = {"lease": metadata["name"], "problem": str(problem)}
            logger.warning("lock-not-given-back", extra={"fields": fields})

    def _lease(self, name: str, held: Json | None = None) -> Json:
        metadata: Json = {
            "name": f"dns-{names.digest(name, length=20)}",
            "namespace": v.NAMESPACE,
            "labels": {v.MANAGED_BY: "certjob"},
        }
        if held is not None:
            metadata |= {key: held["metadata"][key] for key in ("uid", "resourceVersion")}
        now = f"{self.clock():%Y-%m-%dT%H:%M:%S.%fZ}"
        spec = {
            "holderIdentity": self.holder,
            "leaseDurationSeconds": self.seconds,
            "acquireTime": now,
            "renewTime": now,
        }
        return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec}
