"""Whether there is room for one more attempt just now: no namespace takes what others need of what all share.

Asked at admission, where a list is dear: what a namespace has is counted once, and what is launched here is added. It
is counted anew after a minute; where a bound is near, four times a second, or less often if the count takes long.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from functools import reduce
from operator import add
from threading import Lock

from issuer_job.cluster import quota
from issuer_job.cluster.api import Cluster
from issuer_job.cluster.quota import Quota
from issuer_job.demand.share import Use, adds_nothing, beyond, use_of
from issuer_job.issuers.options import Options
from issuer_job.launch.configuration import SettingsCache
from issuer_job.launch.pace import COST, FIRST, UNSEEN, Pace
from issuer_job.polling import utc_now
from issuer_job.record.record import Problem, Record
from issuer_job.record.store import list_records

JOBS_SHARE = 0.8
"""Of the quota of Jobs, for launches at admission: the rest is the sweep's, and the CronJob's."""
CONFIGMAPS_SHARE = 0.8
"""Of the quota of ConfigMaps, for new certificates and hosts: the rest is for what those that are there need."""
KEPT = 600.0
"""Seconds that a Job is there, finished or not, as the manifests have it: launches are remembered for so long."""
FAR, NEAR = 60.0, 0.25
"""Seconds that a count is good for."""
LATELY = 60.0
"""Seconds within which the first attempts of a namespace are its `pace.FIRST`."""
SLOWLY = 0.9
"""Part of its certificates and hosts from which on a namespace is near its bound: they become more one by one."""


def scarce(free: Quota) -> Problem | None:
    """What is wrong with anything new while ConfigMaps run short."""
    left = free.free(quota.CONFIGMAPS, CONFIGMAPS_SHARE)
    if left is None or left > 0:
        return None
    detail = "certjob's own quota of ConfigMaps is nearly used up: nothing new until an operator raises it"
    return Problem(type="noRoom", detail=detail, step="share")


@dataclass
class _Namespace:
    """What was counted at `at`, by name of the record, and what has been launched since.

    `begun` are the moments of the launches within `LATELY`, by any process, by name of the record.
    """

    at: float = float("-inf")
    good_for: float = 0.0
    counted: dict[str, Use] = field(default_factory=dict)
    launched: dict[str, tuple[float, Use]] = field(default_factory=dict)
    begun: dict[str, float] = field(default_factory=dict)
    lock: Lock = field(default_factory=Lock)

    def others(self, but: str) -> Use:
        """What all its certificates have but one."""
        uses = self.counted | {name: use for name, (_, use) in self.launched.items()}
        return reduce(add, (use for name, use in uses.items() if name != but), Use())


@dataclass
class _Recent:
    """What happened within so many seconds, by a key."""

    seconds: float
    times: dict[str, deque[float]] = field(default_factory=dict)
    """The oldest first."""

    def add(self, key: str, now: float) -> None:
        self.times.setdefault(key, deque()).append(now)

    def take_back(self, key: str) -> None:
        if self.times.get(key):
            self.times[key].pop()

    def number(self, key: str, now: float, *, within: float | None = None) -> int:
        times = self.times.get(key, deque())
        while times and now - times[0] > self.seconds:
            times.popleft()
        return len(times) if within is None else sum(now - at < within for at in times)

    def forget(self, now: float) -> None:
        for key in [key for key, times in self.times.items() if not times or now - times[-1] > self.seconds]:
            del self.times[key]


class Room:
    """One per process; thread-safe. What asks the cluster raises KubeError."""

    def __init__(
        self,
        settings: SettingsCache,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._settings = settings
        self._clock, self._now = clock, now
        self._pace = Pace(clock=clock, now=now)
        self._lock = Lock()
        self._namespaces: dict[str, _Namespace] = {}
        self._made = _Recent(KEPT)
        """Jobs of this process, by namespace."""

    def refusal(self, cluster: Cluster, wanted: Record) -> Problem | None:
        """Why the certificate is one too many, or has too many hosts; None for what is there already."""
        if adds_nothing(wanted):
            return None
        options = self._settings.options()
        seen = self._namespace(wanted.namespace)
        with seen.lock:
            others = self._counted(cluster, seen, wanted.namespace, but=wanted.name, options=options)
        return beyond(options, wanted, others) or scarce(self._settings.quota())

    def take(self, cluster: Cluster, namespace: str, name: str = "", use: Use | None = None) -> bool:
        """Whether there is room for one more attempt, which is taken now; without `use` nothing is taken."""
        options = self._settings.options()
        seen = self._namespace(namespace)
        with seen.lock:
            others = self._counted(cluster, seen, namespace, but=name, options=options)
            free = self._settings.quota()
            pods, jobs = free.free(quota.PODS), free.free(quota.JOBS, JOBS_SHARE)
            first = self._lately(namespace, seen) < FIRST
            # As many as are still free: who comes later always finds something.
            fits = (
                others.active < options.active_orders_per_namespace
                and (pods is None or others.active < pods)
                and (jobs is None or self._made_lately(namespace) < jobs)
                and (first or self._pace.fits(cluster, namespace))
            )
            if fits and use is not None:
                seen.launched[name] = (self._clock(), use)
                seen.begun[name] = self._clock()
                self._pace.add(namespace, name, first=first)
                with self._lock:
                    self._made.add(namespace, self._clock())
        return fits

    def give_back(self, namespace: str, name: str) -> None:
        """Nothing was launched: the room that was taken last for this record is free."""
        seen = self._namespace(namespace)
        with seen.lock:
            seen.launched.pop(name, None)
            seen.begun.pop(name, None)
            self._pace.take_back(name)
            with self._lock:
                self._made.take_back(namespace)

    def _namespace(self, namespace: str) -> _Namespace:
        with self._lock:
            if namespace not in self._namespaces:
                self._forget_old()
            return self._namespaces.setdefault(namespace, _Namespace())

    def _forget_old(self) -> None:
        """What is remembered grows with what was launched lately, not with all names that anybody ever sent."""
        now = self._clock()
        old = [name for name, seen in self._namespaces.items() if now - seen.at > FAR and not seen.lock.locked()]
        for name in old:
            del self._namespaces[name]
        self._made.forget(now)

    def _lately(self, namespace: str, seen: _Namespace) -> int:
        """How many attempts of the namespace were launched lately, as far as is known. Its lock is held."""
        since = self._clock() - LATELY
        seen.begun = {name: at for name, at in seen.begun.items() if at > since}
        with self._lock:  # one certificate may be launched again and again
            return max(len(seen.begun), self._made.number(namespace, self._clock(), within=LATELY))

    def _made_lately(self, namespace: str) -> int:
        with self._lock:
            return self._made.number(namespace, self._clock())

    def _counted(self, cluster: Cluster, seen: _Namespace, namespace: str, *, but: str, options: Options) -> Use:
        """What the namespace has besides that record, counted anew if need be. Its lock is held."""
        others, age = seen.others(but), self._clock() - seen.at
        bounds = (
            (others.certificates, options.certificates_per_namespace * SLOWLY),
            (others.hosts, options.hosts_per_namespace * SLOWLY),
            (others.active, options.active_orders_per_namespace / 2),
        )
        near = FIRST / 2 <= self._lately(namespace, seen) < FIRST or any(number >= most for number, most in bounds)
        if age <= (seen.good_for if near else FAR):
            return others
        begun = self._clock()
        seen.counted, now = {}, self._now()
        for record in list_records(cluster, namespace):
            seen.counted[record.name] = use_of(record)
            ago = LATELY if record.attempt is None else (now - record.attempt.launched_at).total_seconds()
            if ago < LATELY:
                seen.begun.setdefault(record.name, begun - ago)
        seen.at, seen.good_for = begun, max(NEAR, COST * (self._clock() - begun))
        seen.launched = {
            name: (at, use)
            for name, (at, use) in seen.launched.items()
            if begun - at < UNSEEN and not seen.counted.get(name, Use()).active
        }
        return seen.others(but)
