"""The effects of a launch whose epoch is persisted: Job, challenge routes, placeholder.

The order matters: the routes come before the placeholder and the Ingress itself, which an ingress controller watches
too, so that its first reload carries them.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime

from issuer_job import log
from issuer_job import vocabulary as v
from issuer_job.cluster.api import JOBS, SECRETS, AlreadyExists, ApiError, Cluster, KubeError
from issuer_job.http01.routes import create_route, needed_routes
from issuer_job.issuers.options import Routes
from issuer_job.issuers.schema import Issuer
from issuer_job.issuers.types import directory_of
from issuer_job.launch import jobs
from issuer_job.launch.configuration import SettingsCache
from issuer_job.record.record import Record
from issuer_job.record.sources import RoutePlace
from issuer_job.record.store import write_record
from issuer_job.tenant_secrets.access import Look
from issuer_job.tenant_secrets.bodies import placeholder_secret


@dataclass(frozen=True)
class Starter:
    """Writes what an attempt needs, until the cluster's deadline. Thread-safe."""

    cluster: Cluster
    settings: SettingsCache
    clock: Callable[[], datetime]
    pool: ThreadPoolExecutor

    def start(self, stored: Record) -> None:
        """The effects of an attempt whose epoch is persisted: Job and routes, and the placeholder after the routes.

        A route or placeholder that cannot be written is left to the Job; without the Job KubeError is raised.
        """
        job = self.pool.submit(self._create_job, stored)
        if self.settings.options().routes is Routes.ADMISSION:
            issuer = self._issuer(stored)
            needed = needed_routes(stored, issuer)
            list(self.pool.map(lambda place: self._create_route(stored, place, issuer), needed))
        self.create_placeholder(stored)
        job.result()

    def write_down(self, wanted: Record) -> Record | None:
        """Store a record that is not launched, with a placeholder; None if somebody else was faster."""
        stored = write_record(self.cluster, wanted)
        if stored is not None:
            self.create_placeholder(stored)
        return stored

    def _create_route(self, stored: Record, place: RoutePlace, issuer: Issuer) -> None:
        try:
            create_route(self.cluster, stored, place, issuer)
        except AlreadyExists:
            return  # another record's, or our last attempt's: the Job joins it
        except KubeError as problem:
            log.warning("route-failed", host=place[0], problem=str(problem))

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
        return self._made_placeholder(stored, dry_run=True)

    def create_placeholder(self, stored: Record) -> bool:
        """Whether it was made. Best effort: a Secret that is there already is the Job's to look at.

        Never in the place of a Secret that its owner makes: it may be just on its way, and would be refused.
        """
        return not stored.secret_is_its_owners and self._made_placeholder(stored)

    def _made_placeholder(self, stored: Record, *, dry_run: bool = False) -> bool:
        body = placeholder_secret(stored, Look(), now=self.clock())
        try:
            self.cluster.create(SECRETS, stored.namespace, body, dry_run=dry_run)
        except AlreadyExists:
            return False
        except KubeError as problem:
            log.warning("placeholder-failed", secret=stored.secret_name, problem=str(problem))
            return False
        return True
