"""The effects of a launch whose epoch is persisted: Job, challenge routes, placeholder.

The order matters: the routes come before the placeholder and the Ingress itself, which an ingress controller watches
too, so that its first reload carries them. Where they take long the placeholder does not wait for them.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import datetime

from issuer_job import log
from issuer_job import vocabulary as v
from issuer_job.backoff import wait_after
from issuer_job.cluster.api import JOBS, SECRETS, AlreadyExists, ApiError, Cluster, KubeError
from issuer_job.cluster.refusals import refusal
from issuer_job.http01.routes import create_route, needed_routes
from issuer_job.issuers.options import Routes
from issuer_job.issuers.schema import Issuer
from issuer_job.issuers.types import directory_of
from issuer_job.launch import jobs
from issuer_job.launch.configuration import SettingsCache
from issuer_job.record import transitions
from issuer_job.record.record import Problem, Record
from issuer_job.record.sources import RoutePlace
from issuer_job.record.store import write_record
from issuer_job.tenant_secrets.access import Look
from issuer_job.tenant_secrets.bodies import placeholder_secret
from issuer_job.tenant_secrets.refused import refused_problem

LEAD = 0.5
"""Seconds by which the routes come before the placeholder at most: it shall be there with an admission's answer."""


class LaunchRefused(KubeError):
    """The Job was refused: the record waits, with this problem."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.note)
        self.problem = problem


@dataclass(frozen=True)
class Starter:
    """Writes what an attempt needs, until the cluster's deadline. Thread-safe."""

    cluster: Cluster
    settings: SettingsCache
    clock: Callable[[], datetime]
    pool: ThreadPoolExecutor

    def start(self, stored: Record) -> str:
        """The effects of an attempt whose epoch is persisted: Job and routes, and after the routes, or `LEAD`, the
        placeholder.

        A route or placeholder that cannot be written is left to the Job, and who refused one is returned; without the
        Job KubeError is raised, LaunchRefused if it was refused.
        """
        job = self.pool.submit(self._create_job, stored)
        told: list[str] = []
        routes: list[Future[str]] = []
        if self.settings.options().routes is Routes.ADMISSION:
            issuer = self._issuer(stored)
            needed = needed_routes(stored, issuer)
            routes = [self.pool.submit(self._create_route, stored, place, issuer) for place in needed]
            wait(routes, timeout=LEAD)
        if not stored.secret_is_its_owners:
            told.append(_refuser("the placeholder", self._without_placeholder(stored)))
        told = [*(route.result() for route in routes), *told]
        try:
            job.result()
        except ApiError as problem:
            refused = refused_problem(problem, step="launch")
            if refused is None:
                raise
            raise self._put_off(stored, refused) from None
        return next(filter(None, told), "")

    def _put_off(self, stored: Record, problem: Problem) -> LaunchRefused:
        """Write down why there is no Job; who has changed the record meanwhile goes on with it."""
        now, wait = self.clock(), wait_after(transitions.failures_of(stored) + 1)
        version = self.settings.issuers().version(stored.issuer)
        write_record(self.cluster, transitions.waiting(stored, now, problem=problem, wait=wait, issuer=version))
        log.warning("job-refused", record=stored.name, problem=str(problem))
        return LaunchRefused(problem)

    def write_down(self, wanted: Record) -> Record | None:
        """Store a record that is not launched, with a placeholder; None if somebody else was faster."""
        stored = write_record(self.cluster, wanted)
        if stored is not None:
            self.create_placeholder(stored)
        return stored

    def _create_route(self, stored: Record, place: RoutePlace, issuer: Issuer) -> str:
        """Who refused it."""
        try:
            create_route(self.cluster, stored, place, issuer)
        except AlreadyExists:
            pass  # another record's, or our last attempt's: the Job joins it
        except KubeError as problem:
            log.warning("route-failed", host=place[0], problem=str(problem))
            return _refuser("a challenge route", problem)
        return ""

    def _create_job(self, stored: Record) -> None:
        try:
            self._post_job(stored, fresh=False)
        except AlreadyExists:
            return  # it is this record's: the name says which
        except ApiError as problem:
            if problem.status not in {403, 422}:
                raise
            # The operator may just have changed the PodTemplate that the policy compares with.
            self._post_job(stored, fresh=True)

    def _issuer(self, stored: Record) -> Issuer:
        issuer = self.settings.issuers().valid.get(stored.issuer)
        if issuer is None:
            raise KubeError(f"issuer {stored.issuer} is not there")
        return issuer

    def _post_job(self, stored: Record, *, fresh: bool) -> None:
        name, directory = stored.issuer, directory_of(self._issuer(stored))
        body = jobs.issue_job_body(
            stored,
            self.settings.pod_template(fresh=fresh),
            account_number=self.settings.account_number(name, directory),
            directory=directory,
        )
        self.cluster.create(JOBS, v.NAMESPACE, body)

    def secret_is_missing(self, stored: Record) -> bool:
        """Whether a Secret could be made, as its owner is about to do; not known is no. Writes nothing."""
        return self._without_placeholder(stored, dry_run=True) is None

    def create_placeholder(self, stored: Record) -> bool:
        """Whether it was made. Best effort: a Secret that is there already is the Job's to look at.

        Never in the place of a Secret that its owner makes: it may be just on its way, and would be refused.
        """
        return not stored.secret_is_its_owners and self._without_placeholder(stored) is None

    def _without_placeholder(self, stored: Record, *, dry_run: bool = False) -> KubeError | None:
        """Why none was made."""
        body = placeholder_secret(stored, Look(), now=self.clock())
        try:
            self.cluster.create(SECRETS, stored.namespace, body, dry_run=dry_run)
        except AlreadyExists as there:
            return there
        except KubeError as problem:
            log.warning("placeholder-failed", secret=stored.secret_name, problem=str(problem))
            return problem
        return None


def _refuser(what: str, problem: KubeError | None) -> str:
    """For a warning; empty for what passes."""
    refused = problem and refusal(problem)
    return f"{what} is refused: {refused.brief}" if refused else ""
