"""The operator's self-test: every policy, and rights that nobody may have, tried as each of certjob's identities."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from issuer_job import vocabulary as v
from issuer_job.cluster.api import CONFIGMAPS, Cluster, Json, Resource
from issuer_job.record.record import Phase
from issuer_job.record.store import from_config_map
from issuer_job.tenant_secrets import canary
from issuer_job.tenant_secrets.access import Refusal, SecretRefused, look_by_policy

IDENTITIES = ("webhook", "job", "sweep", "responder", "view")
"""certjob's service accounts."""
ACCESS_REVIEWS = Resource("/apis/authorization.k8s.io/v1", "selfsubjectaccessreviews")
SUBJECT_REVIEWS = Resource("/apis/authentication.k8s.io/v1", "selfsubjectreviews")
_ADMISSION, _RBAC = "admissionregistration.k8s.io", "rbac.authorization.k8s.io"


@dataclass(frozen=True)
class Boundary:
    """A right that only the identities `of` may have; `namespace` is empty for what is in none."""

    verb: str
    resource: str
    namespace: str = ""
    group: str = ""
    name: str = ""
    of: tuple[str, ...] = ()

    def __str__(self) -> str:
        where = f" in {self.namespace}" if self.namespace else ""
        return f"{self.verb} {self.resource}{'.' if self.group else ''}{self.group}{where}"

    def problem(self, cluster: Cluster) -> str:
        """Empty if this identity has no such right. Raises KubeError."""
        resource, _, sub_resource = self.resource.partition("/")
        about: Json = {"verb": self.verb, "group": self.group, "resource": resource, "subresource": sub_resource}
        about |= {"namespace": self.namespace, "name": self.name}
        body: Json = {
            "apiVersion": ACCESS_REVIEWS.api_version,
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": about},
        }
        answer = cluster.create(ACCESS_REVIEWS, None, body)
        return "it has this right: apply the manifests again" if (answer.get("status") or {}).get("allowed") else ""


def boundaries() -> tuple[Boundary, ...]:
    """Rights that would lead to others, or past the policies."""
    return (
        *(
            Boundary(verb, "secrets", namespace)
            for namespace in (v.CANARY_NAMESPACE, v.SYSTEM_NAMESPACE, v.NAMESPACE)
            for verb in ("get", "list", "watch", "patch", "deletecollection")
        ),
        Boundary("create", "secrets", v.CANARY_NAMESPACE, of=("webhook", "job", "sweep")),
        Boundary("update", "secrets", v.CANARY_NAMESPACE, of=("job", "sweep")),
        Boundary("delete", "secrets", v.CANARY_NAMESPACE, of=("sweep",)),
        *(Boundary(verb, "configmaps", v.NAMESPACE, of=("webhook", "job", "sweep")) for verb in ("create", "update")),
        Boundary("list", "pods", v.NAMESPACE, of=("view",)),
        Boundary("create", "pods", v.NAMESPACE),
        Boundary("create", "pods/exec", v.NAMESPACE),
        Boundary("create", "serviceaccounts/token", v.NAMESPACE),
        Boundary("update", "podtemplates", v.NAMESPACE),
        Boundary("create", "jobs", v.NAMESPACE, "batch", of=("webhook", "sweep")),
        Boundary("update", "jobs", v.NAMESPACE, "batch"),
        Boundary("delete", "jobs", v.NAMESPACE, "batch", of=("sweep",)),
        Boundary("update", "mutatingwebhookconfigurations", "", _ADMISSION, v.WEBHOOK_CONFIGURATION, of=("sweep",)),
        Boundary("create", "mutatingwebhookconfigurations", "", _ADMISSION),
        *(
            Boundary(verb, resource, "", _ADMISSION)
            for resource in ("validatingadmissionpolicies", "validatingadmissionpolicybindings")
            for verb in ("create", "update", "patch", "delete")
        ),
        *(Boundary(verb, "clusterroles", "", _RBAC) for verb in ("create", "update", "patch", "bind", "escalate")),
        Boundary("create", "clusterrolebindings", "", _RBAC),
        Boundary("create", "rolebindings", v.NAMESPACE, _RBAC),
        Boundary("impersonate", "users"),
    )


def identity_of(cluster: Cluster) -> str:
    """The service account of certjob that we are; the whole user name if it is none. Raises KubeError."""
    body: Json = {"apiVersion": SUBJECT_REVIEWS.api_version, "kind": "SelfSubjectReview"}
    answer = cluster.create(SUBJECT_REVIEWS, None, body)
    username: str = answer["status"]["userInfo"]["username"]
    return username.removeprefix(f"system:serviceaccount:{v.NAMESPACE}:")


def self_test(
    clusters: Mapping[str, Cluster], *, looks: bool = True, say: Callable[[str], None] = print
) -> v.ExitCode:
    """Try everything as each identity, and tell it line by line; PERMANENT if anything was not as it should be.

    Without `looks` the policy certjob-look is left out: before Kubernetes 1.36 there is none. Raises KubeError.
    """
    failed = tried = 0
    for identity, cluster in clusters.items():
        for what, problem in _tried(cluster, identity, looks=looks):
            say(f"{'FAILED' if problem else 'ok':<8}{identity:<11}{what}{': ' if problem else ''}{problem}")
            failed, tried = failed + bool(problem), tried + 1
    say(f"{tried} tried, {failed} failed")
    return v.ExitCode.PERMANENT if failed else v.ExitCode.DONE


def in_force(cluster: Cluster, identity: str, *, looks: bool) -> Iterator[tuple[str, str]]:
    """What each policy has to do, tried as this identity, and what was wrong with that. Raises KubeError."""
    for one in canary.canaries_of(identity):
        yield f"refused by policy {one.policy}", one.problem(cluster)
    if looks and identity in {"job", "sweep"}:
        yield "answered by policy certjob-look", _look(cluster)


def _tried(cluster: Cluster, identity: str, *, looks: bool) -> Iterator[tuple[str, str]]:
    yield from in_force(cluster, identity, looks=looks)
    for boundary in boundaries():
        if identity not in boundary.of:
            yield f"no right to {boundary}", boundary.problem(cluster)


def _look(cluster: Cluster) -> str:
    """At the first Secret that holds a certificate: empty if the policy answered, or refused it as another's."""
    labels = f"{v.RECORD}=true,{v.STATE}={Phase.ISSUED}"
    try:
        for held in next(cluster.pages(CONFIGMAPS, v.NAMESPACE, labels=labels, limit=1)).objects():
            look_by_policy(cluster, from_config_map(held))
    except SecretRefused as refused:
        return str(refused) if refused.reason is Refusal.NOT_IN_FORCE else ""
    return ""
