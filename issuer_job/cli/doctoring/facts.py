"""What is read of an installation. What may not be read is said, and keeps nothing else from being looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import TypeVar

from issuer_job import names
from issuer_job import vocabulary as v
from issuer_job.background import at_once
from issuer_job.cli.base.endings import is_forbidden
from issuer_job.cli.base.session import Session
from issuer_job.cli.doctoring.drift import Key, key_of
from issuer_job.cli.sight.sweeps import Sweeps, read_sweeps
from issuer_job.cluster.api import (
    CONFIGMAPS,
    DEPLOYMENTS,
    MUTATING_WEBHOOKS,
    NAMESPACES,
    POD_TEMPLATES,
    PODS,
    ApiError,
    Cluster,
    Json,
    KubeError,
    NotFound,
    Resource,
)
from issuer_job.cluster.quota import Quota, read_quota
from issuer_job.issuers.load import Issuers
from issuer_job.issuers.options import OptionsError, read_options
from issuer_job.issuers.state import IssuerState
from issuer_job.issuers.types import directory_of
from issuer_job.record.record import Record, RecordError
from issuer_job.record.store import from_config_map
from issuer_job.status.issuer_status import IssuerStatus, issuer_status

T = TypeVar("T")


@dataclass(frozen=True)
class MayNotRead:
    """What could not be read, and why."""

    why: str


def read(what: Callable[[], T]) -> T | MayNotRead:
    """What may be read. Raises KubeError for anything but a right that is missing."""
    try:
        return what()
    except KubeError as problem:
        if not is_forbidden(problem):
            raise
        return MayNotRead(problem.message if isinstance(problem, ApiError) else str(problem))


RESOURCES = {
    "ClusterRole": Resource("/apis/rbac.authorization.k8s.io/v1", "clusterroles"),
    "ClusterRoleBinding": Resource("/apis/rbac.authorization.k8s.io/v1", "clusterrolebindings"),
    "ConfigMap": CONFIGMAPS,
    "CronJob": Resource("/apis/batch/v1", "cronjobs"),
    "Deployment": DEPLOYMENTS,
    "MutatingAdmissionPolicy": Resource("/apis/admissionregistration.k8s.io/v1", "mutatingadmissionpolicies"),
    "MutatingAdmissionPolicyBinding": Resource(
        "/apis/admissionregistration.k8s.io/v1", "mutatingadmissionpolicybindings"
    ),
    "MutatingWebhookConfiguration": MUTATING_WEBHOOKS,
    "Namespace": NAMESPACES,
    "NetworkPolicy": Resource("/apis/networking.k8s.io/v1", "networkpolicies"),
    "PodDisruptionBudget": Resource("/apis/policy/v1", "poddisruptionbudgets"),
    "PodTemplate": POD_TEMPLATES,
    "PriorityClass": Resource("/apis/scheduling.k8s.io/v1", "priorityclasses"),
    "ResourceQuota": Resource("/api/v1", "resourcequotas"),
    "Role": Resource("/apis/rbac.authorization.k8s.io/v1", "roles"),
    "RoleBinding": Resource("/apis/rbac.authorization.k8s.io/v1", "rolebindings"),
    "Service": Resource("/api/v1", "services"),
    "ServiceAccount": Resource("/api/v1", "serviceaccounts"),
    "ValidatingAdmissionPolicy": Resource("/apis/admissionregistration.k8s.io/v1", "validatingadmissionpolicies"),
    "ValidatingAdmissionPolicyBinding": Resource(
        "/apis/admissionregistration.k8s.io/v1", "validatingadmissionpolicybindings"
    ),
}
"""Where the kinds of the manifests are."""


@dataclass
class Facts:
    """Each is read when it is asked for, once. All may raise KubeError."""

    session: Session

    @property
    def cluster(self) -> Cluster:
        """As the user has it."""
        return self.session.cluster

    @cached_property
    def where(self) -> str:
        """certjob's namespace."""
        return self.session.certjob_namespace

    @cached_property
    def kubernetes(self) -> str:
        """Its version, "1.36.4"."""
        return self.cluster.server_version().removeprefix("v")

    @cached_property
    def clock(self) -> tuple[datetime | None, datetime]:
        """The API server's, and this machine's at the same time."""
        return self.cluster.server_time(), self.session.now

    @cached_property
    def template(self) -> Json | MayNotRead | None:
        """That the Jobs are stamped from."""
        return read(lambda: self.cluster.find(POD_TEMPLATES, self.where, v.POD_TEMPLATE))

    @cached_property
    def deployments(self) -> dict[str, Json] | MayNotRead:
        """By name."""
        return read(lambda: _by_name(self.cluster.items(DEPLOYMENTS, self.where)))

    @cached_property
    def webhook_pods(self) -> list[Json] | MayNotRead:
        """Of the webhook, those that serve."""
        labels = f"{v.APP_COMPONENT}=webhook"
        found = read(lambda: list(self.cluster.items(PODS, self.where, labels=labels)))
        if isinstance(found, MayNotRead):
            return found
        return [pod for pod in found if (pod.get("status") or {}).get("phase") == "Running"]

    @cached_property
    def sweep_pods(self) -> list[Json] | MayNotRead:
        """Of sweeps, the last one last."""
        labels = f"{v.APP_COMPONENT}=sweep"
        found = read(lambda: list(self.cluster.items(PODS, self.where, labels=labels)))
        if isinstance(found, MayNotRead):
            return found
        return sorted(found, key=lambda pod: str(pod["metadata"].get("creationTimestamp") or ""))

    @cached_property
    def webhook_configuration(self) -> Json | MayNotRead | None:
        """What the API server sends where."""
        return read(lambda: self.cluster.find(MUTATING_WEBHOOKS, None, v.WEBHOOK_CONFIGURATION))

    @cached_property
    def sweeps(self) -> Sweeps | MayNotRead | None:
        """When they come by; None without a CronJob."""
        try:
            return read(lambda: read_sweeps(self.cluster, self.where))
        except NotFound:
            return None

    @cached_property
    def namespace(self) -> Json | MayNotRead | None:
        """certjob's own."""
        return read(lambda: self.cluster.find(NAMESPACES, None, self.where))

    @cached_property
    def quota(self) -> Quota | MayNotRead:
        """What is used of certjob's own."""
        return read(lambda: read_quota(self.cluster, self.where))

    @cached_property
    def options_problem(self) -> str | MayNotRead:
        """What is wrong with the operator's options, empty if nothing is."""

        def problem() -> str:
            try:
                read_options(self.cluster)
            except OptionsError as wrong:
                return str(wrong)
            return ""

        return read(problem)

    @cached_property
    def issuers(self) -> Issuers | MayNotRead:
        """As they are configured."""
        return read(lambda: Issuers.from_config_maps(self._labelled(v.ISSUER)))

    @cached_property
    def issuer_statuses(self) -> list[IssuerStatus]:
        """Of each; none if they may not be read."""
        issuers = self.issuers
        if isinstance(issuers, MayNotRead):
            return []
        states = _by_name(self._labelled(v.ISSUER_STATE))
        found = []
        for name in sorted(issuers.versions):
            issuer = issuers.valid.get(name)
            directory = "" if issuer is None else directory_of(issuer)
            state = IssuerState(name, directory, states.get(names.issuer_state(name, directory)))
            found.append(issuer_status(name, issuers, state, certificates=0, now=self.session.now))
        return found

    @cached_property
    def records(self) -> tuple[list[Record], list[str]] | MayNotRead:
        """Those that can be read, and the names of the others."""

        def every() -> tuple[list[Record], list[str]]:
            good, broken = [], []
            for found in self._labelled(v.RECORD):
                try:
                    good.append(from_config_map(found))
                except RecordError:
                    broken.append(str(found["metadata"]["name"]))
            return good, broken

        return read(every)

    def installed(self, wanted: Iterable[Json]) -> tuple[dict[Key, Json | None], list[str]]:
        """What is installed under the names of these objects, and which rights to look are missing."""
        keys = {key_of(body): body["metadata"].get("namespace") for body in wanted if body["kind"] in RESOURCES}

        def one(key: Key) -> Json | MayNotRead | None:
            return read(lambda: self.cluster.find(RESOURCES[key[0]], keys[key], key[1]))

        found = dict(zip(keys, at_once(one, keys), strict=True))
        unread = dict.fromkeys(key[0] for key, body in found.items() if isinstance(body, MayNotRead))
        return {key: body for key, body in found.items() if not isinstance(body, MayNotRead)}, list(unread)

    def _labelled(self, label: str) -> Iterable[Json]:
        return self.cluster.items(CONFIGMAPS, self.where, labels=f"{label}=true")


def _by_name(items: Iterable[Json]) -> dict[str, Json]:
    return {item["metadata"]["name"]: item for item in items}
