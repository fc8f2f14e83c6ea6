"""Policies with parameters: where these are missing the API server refuses before it asks who is asking."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from issuer_job import vocabulary as v
from issuer_job.cluster.api import CONFIGMAPS, POD_TEMPLATES, Json, Resource
from tests.e2e import world
from tests.e2e.api import INGRESSES, JOBS, MERGE_PATCH, SECRETS, Api, path, wait_for
from tests.e2e.asking import asking
from tests.e2e.observe import cluster

pytestmark = pytest.mark.usefixtures("no_sweeps")

CONTAINER = {"name": "a", "image": "localhost/a:1"}
JOB: Json = {
    "apiVersion": "batch/v1",
    "kind": "Job",
    "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [CONTAINER]}}},
}
CASES = [
    (POD_TEMPLATES, v.POD_TEMPLATE, JOBS, JOB),
    (CONFIGMAPS, v.ROUTE_POLICY, INGRESSES, world.manifest("any", ["any.test"])),
]


@contextmanager
def without(resource: Resource, name: str) -> Iterator[None]:
    """An object of certjob's namespace is away until the block ends."""
    stored = cluster().get(resource, v.NAMESPACE, name)
    cluster().delete(resource, v.NAMESPACE, name)
    try:
        yield
    finally:
        for key in ("uid", "resourceVersion", "creationTimestamp", "managedFields"):
            stored["metadata"].pop(key, None)
        cluster().create(resource, v.NAMESPACE, stored)


@pytest.mark.parametrize(("resource", "parameters", "kind", "body"), CASES, ids=["PodTemplate", "ConfigMap"])
def test_missing_parameters_stop_certjob_alone(
    resource: Resource, parameters: str, kind: str, body: Json, admin: Api, namespace: str
) -> None:
    """Deleted by mistake, or with the namespace: nobody else in the cluster may notice."""

    def create(where: str, component: str = "issue") -> str:
        metadata = {"name": f"any-{secrets.token_hex(3)}", "labels": {v.APP_COMPONENT: component}}
        named = {**body, "metadata": {**body.get("metadata", {}), **metadata}}
        answer = admin.call("POST", path(kind, where), named, dryRun="All")
        return "created" if answer.status == 201 else answer.message

    assert create(namespace) == "created"
    with without(resource, parameters):
        wait_for(lambda: "no params found" in create(v.NAMESPACE), what="the API server misses the parameters")
        assert create(namespace) == "created"
        if kind == JOBS:  # as bootstrap's, which an apply makes before the PodTemplate
            assert create(v.NAMESPACE, component="bootstrap") == "created"
    wait_for(lambda: "no params found" not in create(v.NAMESPACE), what="the parameters are back")


def test_without_certjobs_namespace_no_secret_waits_for_the_webhook(admin: Api, namespace: str) -> None:
    """The right that stands for it goes with the namespace, which somebody may delete alone."""

    def is_sent() -> bool:
        body = asking(f"db.{namespace}.test", data={"tls.crt": "", "tls.key": ""})
        answer = admin.call("POST", path(SECRETS, namespace), body, dryRun="All")
        assert answer.status == 201, answer
        return v.MANAGED in answer.json["metadata"]["labels"]

    assert is_sent()
    with without(Resource("/apis/rbac.authorization.k8s.io/v1", "rolebindings"), "webhook"):
        wait_for(lambda: not is_sent(), what="the Secret is admitted as it is")
    wait_for(is_sent, what="certjob is there again")


@pytest.mark.parametrize("account", ["webhook", "job", "sweep"])
@pytest.mark.parametrize(("kind", "body"), [(JOBS, JOB), (INGRESSES, world.manifest("any", ["any.test"]))])
def test_jobs_and_routes_are_made_nowhere_else_whatever_rights_there_are(
    account: str, kind: str, body: Json, admin: Api, namespace: str
) -> None:
    """A further binding, made by mistake: cluster-admin for certjob's identity in a tenant's namespace."""
    user = f"system:serviceaccount:{v.NAMESPACE}:{account}"
    binding: Json = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "mistake"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": user}],
    }
    named = {**body, "metadata": {**body.get("metadata", {}), "name": f"any-{secrets.token_hex(3)}"}}
    assert admin.call("POST", path("rolebindings.rbac.authorization.k8s.io/v1", namespace), binding).status == 201
    with closing(admin.acting_as(user)) as identity:
        wait_for(
            lambda: "certjob-elsewhere" in identity.call("POST", path(kind, namespace), named, dryRun="All").text,
            what="the policy refuses it",
        )


def test_a_job_that_is_there_ends_without_the_pod_template(admin: Api) -> None:
    """The Job controller writes its status and lets go of its pods: else the namespace could not be deleted."""
    name = f"any-{secrets.token_hex(3)}"
    body = {**JOB, "metadata": {"name": name, "labels": {v.APP_COMPONENT: "issue"}}}
    body["spec"] = {**body["spec"], "suspend": True}
    assert admin.call("POST", path(JOBS, v.NAMESPACE), body).status == 201
    place = path(JOBS, v.NAMESPACE, name)
    try:
        with without(POD_TEMPLATES, v.POD_TEMPLATE):
            refused = {**body, "metadata": {**body["metadata"], "name": "another"}}
            wait_for(
                lambda: "no params found" in admin.call("POST", path(JOBS, v.NAMESPACE), refused, dryRun="All").text,
                what="the API server misses the parameters",
            )
            status = json.dumps({"status": {"active": 0}})
            changed = admin.call("PATCH", f"{place}/status", status, content_type=MERGE_PATCH)
            assert changed.status == 200, changed
    finally:
        admin.call("DELETE", place, propagationPolicy="Background")


@pytest.mark.parametrize("labels", [{}, {v.APP_COMPONENT: "bootstrap"}])
def test_a_job_that_is_not_compared_with_the_pod_template_is_no_job_of_certjobs(
    labels: dict[str, str], admin: Api
) -> None:
    """The webhook may create Jobs in certjob's namespace; the policy with the PodTemplate matches by label."""
    body = {**JOB, "metadata": {"name": f"any-{secrets.token_hex(3)}", "labels": labels}}
    with closing(admin.acting_as(f"system:serviceaccount:{v.NAMESPACE}:webhook")) as webhook:
        answer = webhook.call("POST", path(JOBS, v.NAMESPACE), body, dryRun="All")
    assert answer.status == 403
    assert "certjob-elsewhere" in answer.message
