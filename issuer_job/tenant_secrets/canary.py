"""The canaries: what the admission policies must refuse, tried as dry runs before anything is done.

Rights without policies would be rights without bounds. Only a refusal by the policy itself counts, or where somebody
else's comes first, that it was asked all the same, and denies: the API server tells the first denial that it comes
across, in an order that changes, but every warning. So each policy has a second binding, which warns of canaries
alone; that the first one denies is read then.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from threading import Lock

from issuer_job import vocabulary as v
from issuer_job.background import at_once
from issuer_job.cluster import bodies
from issuer_job.cluster.api import (
    CONFIGMAPS,
    EVENTS,
    INGRESSES,
    JOBS,
    LEASES,
    MUTATING_WEBHOOKS,
    SECRETS,
    ApiError,
    Cluster,
    Json,
    NotFound,
    Resource,
)
from issuer_job.cluster.refusals import RefusedBy, exempt, refusal

NAME = "certjob-canary"
LIFETIME = 60.0
"""Seconds for which a process that goes on believes what all canaries said; the first is sent each time."""
MOMENT = 1.0
"""Seconds for which placeholders without an order need no canary of their own."""
BINDINGS = Resource("/apis/admissionregistration.k8s.io/v1", "validatingadmissionpolicybindings")


@dataclass(frozen=True)
class Canary:
    """One thing that `policy` refuses with a message that begins with `denial`, to the identities that have a right
    to do such things. `send` is a dry run; False: there is nothing to try it on.
    """

    policy: str
    denial: str
    identities: frozenset[str]
    send: Callable[[Cluster], bool]

    also: Canary | None = None
    """For where somebody else refuses this one before any policy is asked."""

    def problem(self, cluster: Cluster) -> str:
        """Empty if the policy is in force, for this identity; else a sentence. Raises KubeError without an answer."""
        try:
            if not self.send(cluster):
                return ""
        except ApiError as answer:
            return self._judged(cluster, answer)
        return f"admission policy {self.policy} is not in force"

    def _judged(self, cluster: Cluster, answer: ApiError) -> str:
        refused = refusal(answer)
        if refused is None:
            if answer.status >= 429:
                raise answer
            return f"the canary of policy {self.policy} was answered with {answer}"[:400]
        own = (refused.by, refused.name, refused.binding) == (RefusedBy.POLICY, self.policy, self.policy)
        if own and refused.words.startswith(self.denial):
            return ""
        # Quotes that others write are escaped there (RFC 9110, 5.6.4).
        named = f"ValidatingAdmissionPolicy '{self.policy}' with binding '{self.policy}-canary'"
        warning = f'299 - "Validation failed for {named}'
        if f"{warning}: {self.denial}" in answer.warnings:
            return "" if _denies(cluster, self.policy) else f"admission policy {self.policy} does not deny"
        if self.also is not None:
            return self.also.problem(cluster)
        advice = f" first, {exempt()}" if refused.is_others else ""
        return f"something else refuses the canary of policy {self.policy}{advice}: {refused.brief}"


def _denies(cluster: Cluster, policy: str) -> bool:
    """Whether the binding of that name denies, for all that the policy is about. Raises KubeError."""
    spec = (cluster.find(BINDINGS, None, policy) or {}).get("spec") or {}
    resources = (spec.get("matchResources") or {}).items()
    narrowed = {key: held for key, held in resources if held and key != "matchPolicy"}
    whole = narrowed == (_MANAGED if policy == "certjob-foreign-metadata" else {})
    return whole and spec.get("policyName") == policy and "Deny" in (spec.get("validationActions") or [])


_MANAGED = {"objectSelector": {"matchLabels": {v.MANAGED: "true"}}}
"""What all that it is about has to have, by other policies."""


def canary_secret(namespace: str = v.CANARY_NAMESPACE) -> Json:
    """What certjob must never be able to write: the policies have to refuse it (sent with dryRun)."""
    return bodies.secret({"name": NAME, "namespace": namespace}, "Opaque", {})


def _creating(
    policy: str,
    denial: str,
    identities: str,
    resource: Resource,
    made: Callable[[], Json],
    *,
    also: Canary | None = None,
) -> Canary:
    def send(cluster: Cluster) -> bool:
        body = made()
        cluster.create(resource, body["metadata"]["namespace"], body, dry_run=True)
        return True

    return Canary(policy, denial, frozenset(identities.split()), send, also)


def _own(resource: Resource, kind: str, labels: dict[str, str] | None = None, **fields: object) -> Callable[[], Json]:
    def made() -> Json:
        metadata: Json = {"name": NAME, "namespace": v.NAMESPACE} | ({"labels": labels} if labels else {})
        return {"apiVersion": resource.api_version, "kind": kind, "metadata": metadata, **fields}

    return made


def _delete_secret(cluster: Cluster) -> bool:
    try:
        cluster.delete(SECRETS, v.NAMESPACE, v.WEBHOOK_TLS_SECRET, dry_run=True)
    except NotFound:
        return False
    return True


def _change_configuration(cluster: Cluster) -> bool:
    held = cluster.find(MUTATING_WEBHOOKS, None, v.WEBHOOK_CONFIGURATION)
    if held is not None:
        cluster.update(MUTATING_WEBHOOKS, None, _marked(held), dry_run=True)
    return held is not None


def _change_ingress(cluster: Cluster) -> bool:
    some = next(cluster.pages(INGRESSES, limit=20)).objects()
    held = [ingress for ingress in some if not v.is_excluded(ingress["metadata"]["namespace"])]
    try:
        for ingress in held[:1]:
            cluster.update(INGRESSES, ingress["metadata"]["namespace"], _marked(ingress), dry_run=True)
    except ApiError as answer:
        refused = refusal(answer)
        if refused is None or refused.by is not RefusedBy.OTHER:
            raise  # without the right, which is optional (manifests/optional/complete-tls.yaml), nobody else is asked
        return False
    return bool(held)


def _marked(held: Json) -> Json:
    labels = (held["metadata"].get("labels") or {}) | {NAME: "true"}
    return held | {"metadata": held["metadata"] | {"labels": labels}}


_POD = {"restartPolicy": "Never", "containers": [{"name": "canary", "image": "canary"}]}
_JOB = _own(JOBS, "Job", spec={"template": {"spec": _POD}})
_ISSUE_JOB = _own(JOBS, "Job", {v.APP_COMPONENT: "issue"}, spec={"template": {"spec": _POD}})
_BACKEND = {"service": {"name": "canary", "port": {"number": 80}}}
_INGRESS = _own(INGRESSES, "Ingress", spec={"defaultBackend": _BACKEND})
_SECRET = _own(SECRETS, "Secret", type="Opaque")
# Others may be allowed any key but certjob's.
_PLACEHOLDER = bodies.secret(
    {
        "name": NAME,
        "namespace": v.CANARY_NAMESPACE,
        "labels": {v.MANAGED: "true", v.STATE: "placeholder"},
        "annotations": {f"never.{v.PREFIX}canary": "true"},
    },
    v.TLS_SECRET_TYPE,
    {"tls.crt": b"", "tls.key": b""},
)


def _event() -> Json:
    return _own(
        EVENTS,
        "Event",
        eventTime="2026-01-01T00:00:00.000000Z",
        reportingController="certjob.io/canary",
        reportingInstance=NAME,
        action="Issue",
        reason="Canary",
        type="Normal",
        regarding={"apiVersion": "v1", "kind": "ConfigMap", "namespace": v.NAMESPACE, "name": NAME},
    )()


_NO_OTHER_JOBS = "certjob-job: certjob only creates Jobs, and only those"
_WRITERS = "webhook job sweep"

_TENANTS = ("certjob-tenant-secrets", "certjob-shape", _WRITERS, SECRETS)
# Most webhooks leave kube-system alone, so that one that is down does not stop certjob everywhere.
TENANT_SECRETS = _creating(
    *_TENANTS, canary_secret, also=_creating(*_TENANTS, lambda: canary_secret(v.SYSTEM_NAMESPACE))
)
COMPLETE_TLS = Canary("certjob-complete-tls", "certjob-complete", frozenset({"sweep"}), _change_ingress)
"""Lists Ingresses: for when the option completeTls is on."""
OTHERS = (
    _creating("certjob-own-secrets", "certjob-own-name", _WRITERS, SECRETS, _SECRET),
    _creating("certjob-configmaps", "certjob-cm", _WRITERS, CONFIGMAPS, _own(CONFIGMAPS, "ConfigMap")),
    _creating("certjob-foreign-metadata", "certjob-foreign-metadata", _WRITERS, SECRETS, lambda: _PLACEHOLDER),
    _creating("certjob-routes", "certjob-route", _WRITERS, INGRESSES, _INGRESS),
    _creating("certjob-jobs", "certjob-job", "webhook sweep", JOBS, _ISSUE_JOB),
    _creating("certjob-elsewhere", _NO_OTHER_JOBS, "webhook sweep", JOBS, _JOB),
    _creating("certjob-events", "certjob-event", "job sweep", EVENTS, _event),
    _creating("certjob-leases", "certjob-lease", "job", LEASES, _own(LEASES, "Lease")),
    Canary("certjob-secrets-delete", "certjob-delete", frozenset({"job", "sweep"}), _delete_secret),
    Canary("certjob-webhook-config", "certjob-webhook-config", frozenset({"sweep"}), _change_configuration),
    COMPLETE_TLS,
)
CANARIES = (TENANT_SECRETS, *OTHERS)
"""Of every validating policy, those first that protect most. `certjob-look` shows itself in each look."""


def canaries_of(identity: str) -> tuple[Canary, ...]:
    """What bounds the rights of this service account."""
    return tuple(canary for canary in CANARIES if identity in canary.identities)


FOR_JOBS = canaries_of("job")[:3]
"""Each costs a Job a request, and the sweep sends them all."""
FOR_SWEEPS = tuple(canary for canary in canaries_of("sweep") if canary is not COMPLETE_TLS)


def problems(cluster: Cluster, canaries: tuple[Canary, ...]) -> Iterator[str]:
    """What each that is not in force has to say, sent several at a time. Raises KubeError."""
    yield from filter(None, at_once(lambda canary: canary.problem(cluster), canaries))


class LaunchCanaries:
    """For what launches all the time: webhook and sweep. Thread-safe."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._checked = -math.inf
        self._lock = Lock()
        self._trying: Future[str] | None = None
        """What others wait for, too, while one tries them all."""
        self._placing = Lock()
        self._placed = -math.inf

    def placing_problem(self, cluster: Cluster) -> str:
        """The same for placeholders alone, which come many at once: those of a moment ask once. Raises KubeError."""
        with self._placing:
            began = self._clock()
            found = "" if began - self._placed < MOMENT else self.problem(cluster)
            self._placed = self._placed if found else began
            return found

    def problem(self, cluster: Cluster) -> str:
        """Empty if every policy that bounds a launch is in force; else a sentence. Raises KubeError."""
        with self._lock:
            trying = self._trying
            tries = trying is None and self._clock() - self._checked > LIFETIME
            if tries:
                self._trying = mine = Future[str]()
        if not tries:
            return TENANT_SECRETS.problem(cluster) or (trying.result() if trying is not None else "")
        try:
            began, canaries = self._clock(), canaries_of("webhook")
            found = next(filter(None, at_once(lambda canary: canary.problem(cluster), canaries)), "")
            self._checked = self._checked if found else began
            mine.set_result(found)
        except BaseException as problem:
            mine.set_exception(problem)
            raise
        finally:
            with self._lock:
                self._trying = None
        return found
