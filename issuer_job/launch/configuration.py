"""What every launch needs and rarely changes: issuers, account numbers, options, PodTemplate. Cached for seconds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from threading import Lock, Thread
from typing import Generic, TypeVar

from issuer_job import log, names
from issuer_job import vocabulary as v
from issuer_job.cluster import quota
from issuer_job.cluster.api import CONFIGMAPS, POD_TEMPLATES, ApiError, Cluster, Json, KubeError
from issuer_job.cluster.quota import Quota, read_quota
from issuer_job.hosts.order_book import OrderBook
from issuer_job.issuers.load import Issuers
from issuer_job.issuers.options import Options, OptionsError, read_options
from issuer_job.issuers.state import IssuerState

T = TypeVar("T")

LIFETIME = 10.0
"""Seconds that a cached answer is good for."""
NEARLY_FULL = {quota.PODS: 0.5, quota.JOBS: 0.5, quota.CONFIGMAPS: 0.75}
"""From which part of a quota on what is left is asked for anew each time. ConfigMaps come and go slowly."""
PAUSE = 0.1
"""Seconds between two loads: whoever asks for something unknown must not make us ask as often as they do."""


class BrokenOptions(KubeError):
    """The operator's options cannot be used; the message names the field."""


class _Cached(Generic[T]):
    """One value, loaded by one thread at a time; while it is loaded anew, the others keep the old one."""

    def __init__(self, load: Callable[[], T], clock: Callable[[], float], sleep: Callable[[float], None]) -> None:
        self._load = load
        self._clock = clock
        self._sleep = sleep
        self._lock = Lock()
        self._value: tuple[float, T] | None = None

    def get(self, *, lifetime: float = LIFETIME) -> T:
        held, since = self._value, self._clock() - lifetime
        if held is not None and (held[0] > since or (lifetime == LIFETIME and self._lock.locked())):
            return held[1]
        return self._loaded(lambda at: at > since)

    def newer(self) -> T:
        """Loaded after this call began; those who call at the same moment share one load."""
        asked = self._clock()
        return self._loaded(lambda at: at >= asked, pause=PAUSE)

    def _loaded(self, is_new: Callable[[float], bool], *, pause: float = 0.0) -> T:
        """Another thread may have loaded it meanwhile."""
        with self._lock:
            held = self._value
            if held is not None and is_new(held[0]):
                return held[1]
            if held is not None and pause:
                self._sleep(max(0.0, held[0] + pause - self._clock()))
            held = (self._clock(), self._load())
            self._value = held
            return held[1]


class SettingsCache:
    """Reads what the operator configured. Every method may raise KubeError."""

    def __init__(
        self,
        cluster: Cluster,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._cluster = cluster
        self._sleep = sleep
        self._issuers = _Cached(lambda: Issuers.from_config_maps(self._labelled(v.ISSUER)), clock, sleep)
        self._template = _Cached(lambda: cluster.get(POD_TEMPLATES, v.NAMESPACE, v.POD_TEMPLATE), clock, sleep)
        self._states = _Cached(self._load_states, clock, sleep)
        self._options = _Cached(self._load_options, clock, sleep)
        self._quota = _Cached(self._load_quota, clock, sleep)

    def keep_fresh(self, *, interval: float = LIFETIME / 2) -> None:
        """Load everything anew every `interval` seconds from now on, in a thread, so that nobody waits for it.

        Whatever goes wrong is logged and tried again: what was loaded before is used in the meantime.
        """

        def refresh() -> None:
            while True:
                self._sleep(interval)
                for cached in (self._issuers, self._template, self._states, self._options, self._quota):
                    try:
                        cached.get(lifetime=0)
                    except Exception as problem:  # noqa: BLE001 - nobody would start it again
                        say = log.warning if isinstance(problem, KubeError) else log.exception
                        say("settings", problem=f"{type(problem).__name__}: {problem}"[:300])

        Thread(target=refresh, name="settings", daemon=True).start()

    def issuers(self, *, fresh: bool = False) -> Issuers:
        """All issuers; `fresh`: those there are now."""
        return self._issuers.newer() if fresh else self._issuers.get()

    def pod_template(self, *, fresh: bool = False) -> Json:
        """The PodTemplate that issue Jobs are stamped from."""
        return self._template.get(lifetime=0 if fresh else LIFETIME)

    def account_number(self, issuer: str, server: str) -> int:
        """Which of the issuer's account keys at that directory is in use."""
        return self.state(issuer, server).number

    def has_account(self, issuer: str, server: str) -> bool:
        """Whether a Job has made or used the issuer's account at that directory, so that its key is there."""
        state = self.state(issuer, server)
        return bool(state.account_url) or state.number > 1

    def order_book(self, issuer: str, server: str) -> OrderBook:
        """The orders of the issuer's account at that directory."""
        return OrderBook.of(self.state(issuer, server))

    def signers(self, issuer: str, server: str) -> bytes:
        """The CA certificates (PEM) that have signed for the issuer, see `certs.trust`."""
        return self.state(issuer, server).signers

    def state(self, issuer: str, server: str) -> IssuerState:
        """What is known of the issuer at that directory."""
        return IssuerState(issuer, server, self._states.get().get(names.issuer_state(issuer, server)))

    def options(self) -> Options:
        """The operator's options. Broken ones stop every launch: they may be what keeps something from happening."""
        return self._options.get()

    def quota(self) -> Quota:
        """What is used of certjob's own quotas: as it is now, where that matters."""
        held = self._quota.get()
        return held if held.is_within(NEARLY_FULL) else self._quota.newer()

    def _load_quota(self) -> Quota:
        try:
            return read_quota(self._cluster, v.NAMESPACE)
        except (
            ApiError
        ) as problem:  # an operator's own rights, as before an upgrade: the API server bounds all the same
            log.warning("quota-unknown", problem=str(problem))
            return Quota()

    def _load_options(self) -> Options:
        try:
            return read_options(self._cluster)
        except OptionsError as problem:
            raise BrokenOptions(str(problem)) from None

    def _load_states(self) -> dict[str, Json]:
        return {state["metadata"]["name"]: state for state in self._labelled(v.ISSUER_STATE)}

    def _labelled(self, label: str) -> Iterator[Json]:
        return self._cluster.items(CONFIGMAPS, v.NAMESPACE, labels=f"{label}=true")
