"""All that the view shows, kept equal to what is stored by list and watch: no request makes one to the API server."""

from __future__ import annotations

from collections.abc import Callable, Container
from datetime import datetime
from threading import Event, Thread

from issuer_job import log
from issuer_job import vocabulary as v
from issuer_job.cluster.api import CONFIGMAPS, PODS, Cluster, KubeError, Resource
from issuer_job.cluster.following import Follower, Keeper, Timing
from issuer_job.metrics.exposition import Exposition
from issuer_job.polling import utc_now
from webhook.view.certificates import Certificates
from webhook.view.issuers import IssuerObjects, IssuerStates
from webhook.view.results import Results
from webhook.view.sweeps import EndedPods, SweepSchedule, read_schedule

SCHEDULE_EVERY = 30.0
"""Seconds between two looks at the sweeps' CronJob."""


class Snapshot:
    """One per process; whoever reads it may do so from any thread."""

    def __init__(
        self,
        cluster: Cluster,
        exposition: Exposition,
        *,
        clock: Callable[[], datetime] = utc_now,
        timing: Timing | None = None,
    ) -> None:
        self._cluster, self._timing = cluster, timing
        self._stopped = Event()
        self.schedule: SweepSchedule | None = None
        """None: there is no CronJob, or it was not read yet."""
        results = Results(exposition, self.known_issuers)
        self.issuers, self.states = IssuerObjects(), IssuerStates()
        self.pods = EndedPods(results.add_word)
        self.certificates = Certificates(results.add, interval=lambda: self._interval, clock=clock)
        self._interval = SweepSchedule().interval
        self._records = self._follower(CONFIGMAPS, self.certificates, f"{v.RECORD}=true")
        # Issuers first: what is told of a record names one.
        self._followers = (
            self._follower(CONFIGMAPS, self.issuers, f"{v.ISSUER}=true"),
            self._follower(CONFIGMAPS, self.states, f"{v.ISSUER_STATE}=true"),
            self._follower(PODS, self.pods, f"{v.APP_NAME}=certjob"),
            self._records,
        )

    def start(self) -> None:
        """Follows everything from now on, in threads that end with the process."""
        self._look_at_schedule()
        for follower in self._followers:
            follower.start()
        Thread(target=self._keep_looking, name="schedule", daemon=True).start()

    def stop(self) -> None:
        """Ends the threads, each with what it waits for."""
        self._stopped.set()
        for follower in self._followers:
            follower.stop()

    def is_complete(self) -> bool:
        """Whether everything was listed once: before, nothing is known."""
        return all(follower.listed.is_set() for follower in self._followers)

    def alive(self) -> bool:
        """Whether everything is followed: false after a bug, and then only a restart helps."""
        return all(follower.alive() for follower in self._followers)

    def heard_at(self) -> float:
        """When all of it was known to be so, in seconds since 1970."""
        return min(follower.heard_at for follower in self._followers)

    def known_issuers(self) -> Container[str]:
        """Names of the issuers that are there."""
        return self.issuers.issuers.versions

    def _follower(self, resource: Resource, keeper: Keeper, labels: str) -> Follower:
        return Follower(self._cluster, resource, v.NAMESPACE, keeper, labels=labels, timing=self._timing)

    def _keep_looking(self) -> None:
        while not self._stopped.wait(SCHEDULE_EVERY):
            self._look_at_schedule()

    def _look_at_schedule(self) -> None:
        """What it was stays while the API server is away."""
        try:
            self.schedule = read_schedule(self._cluster)
        except KubeError as problem:
            log.warning("schedule", problem=str(problem)[:300])
            return
        interval = (self.schedule or SweepSchedule()).interval
        if interval != self._interval:
            self._interval = interval
            self._records.list_again()  # renewals are due at other times
