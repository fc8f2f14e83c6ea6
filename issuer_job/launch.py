"""Launching an attempt: claims, record, challenge routes, Job, placeholder. Used by webhook and sweep.

The order matters. The record is the lock; the routes come before the placeholder and the Ingress itself, which an
ingress controller watches too, so that its first reload carries them.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from issuer_job import claims, names, objects, record, secrets, transitions
from issuer_job import vocabulary as v
from issuer_job.issuers import Issuer
from issuer_job.kube import (
    CONFIGMAPS,
    INGRESSES,
    JOBS,
    SECRETS,
    AlreadyExists,
    ApiError,
    Cluster,
    Conflict,
    KubeError,
    NotFound,
)
from issuer_job.placeholders import placeholder_secret
from issuer_job.plan import Plan, plan
from issuer_job.record import Record
from issuer_job.settings import SettingsCache
from issuer_job.wants import Entry

logger = logging.getLogger(__name__)

LONGEST_CALL = 10.0
ATTEMPTS = 5
"""Rounds of read, merge and compare-and-swap before the sweep has to do it."""


class OutcomeReason(StrEnum):
    """How a launch ended."""

    LAUNCHED = "Launched"
    UNCHANGED = "Unchanged"
    MERGED = "Merged"
    HOST_CLAIMED = "HostClaimed"
    NOT_IN_FORCE = "PoliciesNotInForce"
    LATER = "Later"


@dataclass(frozen=True)
class Outcome:
    """What became of one entry; `warning` is for the user."""

    reason: OutcomeReason
    secret_name: str
    epoch: int = 0
    warning: str | None = None


class _Stopped(Exception):
    """This entry is not launched now, and the outcome says why."""

    def __init__(self, reason: OutcomeReason, warning: str) -> None:
        super().__init__(warning)
        self.reason = reason
        self.warning = warning


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Launcher:
    """Launches attempts. One per process; thread-safe."""

    def __init__(
        self,
        cluster: Cluster,
        settings: SettingsCache,
        *,
        clock: Callable[[], datetime] = _utc_now,
        threads: int = 16,
    ) -> None:
        self._cluster = cluster
        self._settings = settings
        self._clock = clock
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="launch")

    def launch(self, entry: Entry, *, namespace: str, deadline: float, expect_new: bool = False) -> Outcome:
        """Make sure that an attempt for this entry exists, if it needs one.

        `expect_new` saves a request when there is no record yet. `deadline` is a time.monotonic() value.
        Never raises KubeError: what could not be done now is an outcome with a warning, and the sweep's work.
        """
        try:
            return self._launch(entry, namespace, deadline, expect_new=expect_new)
        except _Stopped as stop:
            return Outcome(stop.reason, entry.secret_name, warning=stop.warning)
        except (KubeError, record.RecordError) as problem:
            logger.warning("launch-failed", extra={"fields": {"secret": entry.secret_name, "problem": str(problem)}})
            warning = f"Secret {entry.secret_name[:40]}: certificate will come later ({_short(problem)})"
            return Outcome(OutcomeReason.LATER, entry.secret_name, warning=warning)

    def _launch(self, entry: Entry, namespace: str, deadline: float, *, expect_new: bool) -> Outcome:
        existing = None if expect_new else self._find(entry, namespace, deadline)
        for _ in range(ATTEMPTS):
            decided = plan(
                existing, entry.source, namespace=namespace, secret_name=entry.secret_name, now=self._clock()
            )
            warning = _minor_warning(entry, decided)
            if decided.record is None:
                epoch = existing.epoch if existing else 0
                return Outcome(OutcomeReason.UNCHANGED, entry.secret_name, epoch, warning)
            if decided.launch:
                self._preconditions(decided.record, deadline)
            try:
                stored = self._store(decided.record, deadline)
            except (AlreadyExists, Conflict, NotFound):
                existing = self._find(entry, namespace, deadline)
                continue
            if not decided.launch:
                return Outcome(OutcomeReason.MERGED, entry.secret_name, stored.epoch, warning)
            started = self.start(stored, deadline)
            return Outcome(OutcomeReason.LAUNCHED, entry.secret_name, started.epoch, warning)
        raise KubeError("the record keeps changing")

    def start(self, stored: Record, deadline: float) -> Record:
        """The effects of an attempt whose epoch is persisted: Job and routes, and the placeholder after the routes.

        A route or placeholder that cannot be written is left to the Job; without the Job KubeError is raised.
        Returns the record as it is then: with a later epoch if the Job's name was taken.
        """
        job = self._pool.submit(self._create_job, stored, deadline)
        list(self._pool.map(lambda pair: self._create_route(stored, pair[0], pair[1], deadline), stored.routes))
        self._create_placeholder(stored, deadline)
        return job.result()

    def _preconditions(self, wanted: Record, deadline: float) -> None:
        """The policies are in force, and this namespace holds every host."""
        canary: Future[bool] = self._pool.submit(secrets.policies_in_force, self._cluster, timeout=_left(deadline))
        # One after the other in the order of their names: of two namespaces that want the same hosts, one gets all.
        for host in sorted(wanted.intent.hosts):
            held_by = claims.take(self._cluster, host, wanted.namespace, timeout=_left(deadline))
            if held_by != wanted.namespace:
                raise _Stopped(
                    OutcomeReason.HOST_CLAIMED, f"{host[:70]} belongs to another namespace: no certificate"
                )
        if not canary.result():
            raise _Stopped(
                OutcomeReason.NOT_IN_FORCE,
                "certjob's admission policies are not in force: no certificate until they are",
            )

    def _find(self, entry: Entry, namespace: str, deadline: float) -> Record | None:
        name = names.record(namespace, entry.secret_name)
        found = self._cluster.find(CONFIGMAPS, v.NAMESPACE, name, timeout=_left(deadline))
        return None if found is None else record.from_config_map(found)

    def _store(self, wanted: Record, deadline: float) -> Record:
        body = record.to_config_map(wanted)
        write = self._cluster.update if wanted.resource_version else self._cluster.create
        return record.from_config_map(write(CONFIGMAPS, v.NAMESPACE, body, timeout=_left(deadline)))

    def _create_route(self, stored: Record, host: str, ingress_class: record.IngressClass, deadline: float) -> None:
        try:
            body = objects.route(stored, host, ingress_class, self._issuer(stored))
            self._cluster.create(INGRESSES, v.NAMESPACE, body, timeout=_left(deadline))
        except AlreadyExists:
            return  # another record's, or our last attempt's: the Job joins it
        except KubeError as problem:
            logger.warning("route-failed", extra={"fields": {"host": host, "problem": str(problem)}})

    def _create_job(self, stored: Record, deadline: float) -> Record:
        try:
            self._post_job(stored, deadline, fresh=False)
        except AlreadyExists:
            name = names.job(stored.namespace, stored.secret_name, stored.epoch)
            labels = self._cluster.get(JOBS, v.NAMESPACE, name, timeout=_left(deadline))["metadata"].get("labels")
            if (labels or {}).get(v.RECORD_UID) != stored.uid:
                # A Job of a record that was deleted and made anew within one second.
                stored = self._store(transitions.launched(stored, now=self._clock(), reason="name taken"), deadline)
                self._post_job(stored, deadline, fresh=False)
        except ApiError as problem:
            if problem.status not in {403, 422}:
                raise
            # The operator may just have changed the PodTemplate that the policy compares with.
            self._post_job(stored, deadline, fresh=True)
        return stored

    def _issuer(self, stored: Record) -> Issuer:
        name = stored.intent.settings.issuer
        issuer = self._settings.issuers().valid.get(name)
        if issuer is None:
            raise KubeError(f"issuer {name} is not there")
        return issuer

    def _post_job(self, stored: Record, deadline: float, *, fresh: bool) -> None:
        name, issuer = stored.intent.settings.issuer, self._issuer(stored)
        body = objects.job(
            stored,
            self._settings.pod_template(fresh=fresh),
            account_number=self._settings.account_number(name, issuer.server),
            server=issuer.server,
        )
        self._cluster.create(JOBS, v.NAMESPACE, body, timeout=_left(deadline))

    def _create_placeholder(self, stored: Record, deadline: float) -> None:
        """Best effort: a Secret that is there already is the Job's to look at."""
        body = placeholder_secret(stored, now=self._clock())
        try:
            self._cluster.create(SECRETS, stored.namespace, body, timeout=_left(deadline))
        except AlreadyExists:
            return
        except KubeError as problem:
            fields = {"secret": stored.secret_name, "problem": str(problem)}
            logger.warning("placeholder-failed", extra={"fields": fields})


def _left(deadline: float) -> float:
    """Seconds until the deadline, as a timeout of one call. Raises KubeError when there are none."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise KubeError("no time left")
    return min(left, LONGEST_CALL)


def _minor_warning(entry: Entry, decided: Plan) -> str | None:
    if not decided.minor:
        return None
    return f"Secret {entry.secret_name[:40]}: an older Ingress decides issuer and key algorithm"


def _short(problem: Exception) -> str:
    if isinstance(problem, ApiError):
        return f"API server: {problem.status} {problem.reason}"[:60]
    return str(problem)[:60]
