"""Admission rules of others, real ones: what they deny is told in their words, and what they add may be allowed."""

from __future__ import annotations

import json
import secrets
import subprocess
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from functools import partial

import pytest

from issuer_job import vocabulary as v
from issuer_job.cluster.api import CONFIGMAPS, EVENTS, JOBS, SECRETS, ApiError, Cluster, Json, Resource
from issuer_job.cluster.transport import HttpTransport
from issuer_job.record.sources import SourceKind
from issuer_job.tenant_secrets import canary
from tests.e2e import world
from tests.e2e.api import Api, path, wait_for
from tests.e2e.attacks import tls_secret
from tests.e2e.observe import PODS, cluster
from tests.e2e.sweeps import sweep_as_job

Identity = Callable[[str], Api]
API = "/apis/admissionregistration.k8s.io/v1"
TEAM = "e2e-team"
OURS = f"request.userInfo.username.startsWith('system:serviceaccount:{v.NAMESPACE}:')"
WORDS = "every object needs the label e2e-team"
KINDS = [("", "secrets"), ("", "configmaps"), ("batch", "jobs"), ("networking.k8s.io", "ingresses")]
KINDS += [("events.k8s.io", "events"), ("coordination.k8s.io", "leases")]

pytestmark = pytest.mark.usefixtures("no_sweeps")


@contextmanager
def installed(*objects: tuple[str, Json]) -> Iterator[None]:
    """Objects of admission, by plural, until the block ends."""
    made = []
    try:
        for plural, body in objects:
            cluster().create(Resource(API, plural), None, body)
            made.append((plural, body["metadata"]["name"]))
        yield
    finally:
        for plural, name in reversed(made):
            cluster().delete(Resource(API, plural), None, name)


def matching(*namespaces: str, without: Collection[str] = ()) -> Json:
    names = {"key": "kubernetes.io/metadata.name", "operator": "In", "values": list(namespaces)}
    rules = [
        {"apiGroups": [group], "apiVersions": ["*"], "operations": ["CREATE", "UPDATE"], "resources": [plural]}
        for group, plural in KINDS
        if plural not in without
    ]
    return {"namespaceSelector": {"matchExpressions": [names]}, "resourceRules": rules}


def denying(name: str, *namespaces: str, expression: str = "false", only: str = "") -> tuple[tuple[str, Json], ...]:
    """A policy that denies without a reason (422)."""
    matches = [{"name": "only", "expression": only}] if only else []
    spec = {"matchConstraints": matching(*namespaces), "matchConditions": matches}
    policy: Json = {"metadata": {"name": name}, "spec": spec}
    policy["spec"]["validations"] = [{"expression": expression, "message": WORDS}]
    bound = {"metadata": {"name": name}, "spec": {"policyName": name, "validationActions": ["Deny"]}}
    return ("validatingadmissionpolicies", policy), ("validatingadmissionpolicybindings", bound)


def adding(name: str, *namespaces: str, without: Collection[str] = ()) -> tuple[tuple[str, Json], ...]:
    """A policy that adds a label and an annotation to all that certjob writes."""
    expression = (
        "Object{metadata: Object.metadata{labels: {'e2e-team': 'web'}, annotations: {'example.org/e2e': 'x'}}}"
    )
    spec: Json = {
        "matchConstraints": matching(*namespaces, without=without),
        "matchConditions": [{"name": "ours", "expression": OURS}],
        "reinvocationPolicy": "IfNeeded",
        "mutations": [{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}}],
    }
    bound = {"metadata": {"name": name}, "spec": {"policyName": name}}
    return (
        ("mutatingadmissionpolicies", {"metadata": {"name": name}, "spec": spec}),
        ("mutatingadmissionpolicybindings", bound),
    )


@contextmanager
def allowed(**keys: str) -> Iterator[None]:
    """Keys in the policies' parameters, as the API server knows them; afterwards it knows them no more."""
    before = cluster().get(CONFIGMAPS, v.NAMESPACE, v.ROUTE_POLICY)
    mark = f"e2e.test/{secrets.token_hex(4)}"  # tells these keys from those of the test before
    job, body = as_identity("job"), tls_secret("default", "probe")
    body["metadata"]["labels"] |= {mark: "x"}
    data = {**before.get("data", {}), **keys, "foreignLabels": f"{keys.get('foreignLabels', '')}\n{mark}".strip()}
    cluster().update(CONFIGMAPS, v.NAMESPACE, before | {"data": data})
    try:
        wait_for(lambda: answered(job, body) == "", what="the keys are allowed")
        yield
    finally:
        now = cluster().get(CONFIGMAPS, v.NAMESPACE, v.ROUTE_POLICY)
        cluster().update(CONFIGMAPS, v.NAMESPACE, {**now, "data": before.get("data") or {}})
    wait_for(lambda: mark in answered(job, body), what="the keys are allowed no more")


def rewriting(name: str, kind: str, patch: str, *, only: str = "true") -> tuple[tuple[str, Json], ...]:
    """A policy that changes the Jobs, or the pods, of certjob's namespace, by a JSON patch."""
    matches = matching(v.NAMESPACE) | {
        "resourceRules": [
            {
                "apiGroups": ["batch" if kind == "jobs" else ""],
                "apiVersions": ["v1"],
                "operations": ["CREATE"],
                "resources": [kind],
            }
        ]
    }
    issue = "object.metadata.?labels[?'app.kubernetes.io/component'].orValue('') == 'issue'"
    spec: Json = {
        "matchConstraints": matches,
        "matchConditions": [{"name": "issue", "expression": issue}, {"name": "only", "expression": only}],
        "reinvocationPolicy": "Never",
        "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": patch}}],
    }
    bound = {"metadata": {"name": name}, "spec": {"policyName": name}}
    return (
        ("mutatingadmissionpolicies", {"metadata": {"name": name}, "spec": spec}),
        ("mutatingadmissionpolicybindings", bound),
    )


def as_identity(name: str) -> Cluster:
    return Cluster(HttpTransport(user=f"system:serviceaccount:{v.NAMESPACE}:{name}"))


def denies(by: Cluster, secret: Json) -> bool:
    """Whether it is our own rule that refuses a Secret."""
    return WORDS in answered(by, secret)


def answered(by: Cluster, secret: Json) -> str:
    """Why a Secret is refused; empty if it is not."""
    try:
        by.create(SECRETS, secret["metadata"]["namespace"], secret, dry_run=True)
    except ApiError as problem:
        return str(problem)
    return ""


def test_the_canary_is_certain_while_somebody_else_denies_it_too() -> None:
    """Whose denial is told is the API server's choice; a unit test has the other one first."""
    job = as_identity("job")
    only = "request.resource.resource == 'secrets' && object.metadata.name == 'certjob-canary'"
    for round_ in range(8):
        with installed(*denying(f"{'ae'[round_ % 2]}2e-closed-{round_}", "default", only=only)):
            probe = tls_secret("default", canary.NAME)  # which certjob's policies let pass
            wait_for(partial(denies, job, probe), what="the other policy denies")
            assert canary.TENANT_SECRETS.problem(job) == ""


def test_a_refused_secret_is_told_in_the_policys_words_and_waits(namespace: str) -> None:
    host = f"web.{namespace}.test"
    secret = "!has(object.metadata.labels) || !('certjob.io/managed' in object.metadata.labels)"
    only = f"{OURS} && request.resource.resource == 'secrets'"
    with installed(*denying("e2e-team-label", namespace, expression=secret, only=only)):
        body = tls_secret(namespace, "probe")

        job = as_identity("job")
        wait_for(lambda: WORDS in answered(job, body), what="the policy denies")
        world.create(namespace, world.manifest("web", [host], tls_acme="true"))
        note = world.wait_event(namespace, "web", "CertificateFailed")
        assert f"policy e2e-team-label: {WORDS}" in note
        record = world.wait_phase(namespace, "web-tls", "Waiting")
        assert record.retry is not None
        assert record.retry.problem.type == "secretRefused"
        assert f"policy e2e-team-label: {WORDS}" in record.retry.problem.detail
        assert not [entry for entry in record.history if entry.event == "ordered"]


def mutated(api: Api, namespace: str) -> bool:
    """Whether the label is there, or refused for what it is."""
    body = tls_secret(namespace, "probe")
    return TEAM in api.call("POST", path("secrets", namespace), body, dryRun="All").text


def test_what_others_add_is_refused_by_name_until_it_is_allowed(namespace: str, identity: Identity) -> None:
    hosts = {name: f"{name}.{namespace}.test" for name in ("before", "after")}
    # Events without what they add: else there were none.
    with installed(*adding("e2e-adds", namespace, v.NAMESPACE, without=["events"])):
        wait_for(lambda: mutated(identity("job"), namespace), what="the policy adds a label")
        world.create(namespace, world.manifest("before", [hosts["before"]], tls_acme="true"))
        sweep_as_job()
        note = world.wait_event(namespace, "before", "CertificateFailed")
        assert "e2e-team is added or changed by another admission plugin" in note
        assert "ConfigMap certjob-route-policy, key foreignLabels" in note
    keys = {"foreignLabels": "e2e-*", "foreignAnnotations": "other.example.org/*\nexample.org/e2e"}
    with installed(*adding("e2e-adds-to-all", namespace, v.NAMESPACE)), allowed(**keys):
        body = tls_secret(namespace, "probe")

        def is_added() -> bool:
            answer = identity("job").call("POST", path("secrets", namespace), body, dryRun="All")
            return answer.status == 201 and TEAM in answer.text

        wait_for(is_added, what="the policy adds what is allowed")
        world.create(namespace, world.manifest("after", [hosts["after"]], tls_acme="true"))
        world.wait_issued(namespace, "after-tls", [hosts["after"]])
        metadata = cluster().get(SECRETS, namespace, "after-tls")["metadata"]
        assert (metadata["labels"][TEAM], metadata["annotations"]["example.org/e2e"]) == ("web", "x")
        assert world.wait_event(namespace, "after", "CertificateIssued")


def probed(kind: str) -> str:
    """What an administrator's own Job, or pod, becomes."""
    labels = {"app.kubernetes.io/component": "issue"}
    secure = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    pod = {
        "restartPolicy": "Never",
        "containers": [{"name": "issue", "image": "x", "securityContext": secure}],
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
    }
    body = {
        "metadata": {"name": "probe", "labels": labels},
        "spec": {"template": {"spec": pod}} if kind == "jobs" else pod,
    }
    return json.dumps(cluster().create(JOBS if kind == "jobs" else PODS, v.NAMESPACE, body, dry_run=True)["spec"])


MIRROR_AND_SIDECAR = """[
    JSONPatch{op: "replace", path: "/spec/template/spec/containers/0/image",
        value: "mirror.example.org/" + object.spec.template.spec.containers[0].image},
    JSONPatch{op: "add", path: "/spec/template/spec/containers/-",
        value: {"name": "proxy", "image": "mesh.example.org/proxy"}}]"""
EXEMPT = f"!('system:serviceaccounts:{v.NAMESPACE}' in request.userInfo.groups)"


def test_a_job_that_others_rewrite_is_told_with_what_helps_and_that_helps(namespace: str) -> None:
    hosts = {name: f"{name}.{namespace}.test" for name in ("before", "after")}
    with installed(*rewriting("e2e-rewrites", "jobs", MIRROR_AND_SIDECAR)):
        wait_for(lambda: "example.org" in probed("jobs"), what="the policy rewrites Jobs")
        body = json.dumps(world.manifest("before", [hosts["before"]], tls_acme="true"))
        command = ["kubectl", "apply", "-n", namespace, "-f", "-"]
        done = subprocess.run(command, input=body, capture_output=True, text=True, check=True)
        assert "the pod differs from PodTemplate certjob-issue" in done.stderr
        record = world.wait_phase(namespace, "before-tls", "Waiting")
        assert record.retry is not None
        assert record.retry.problem.type == "writeRefused"
        sweep_as_job()
        note = world.wait_event(namespace, "before", "CertificateFailed")
        for text in (record.retry.problem.detail, note):
            assert "If another admission plugin rewrites images or adds containers" in text
            assert "put that into the PodTemplate, or exempt certjob's namespace there" in text
    wait_for(lambda: "example.org" not in probed("jobs"), what="the policy is gone")
    with installed(*rewriting("e2e-rewrites-others", "jobs", MIRROR_AND_SIDECAR, only=EXEMPT)):
        wait_for(lambda: "example.org" in probed("jobs"), what="the policy rewrites others' Jobs")
        world.create(namespace, world.manifest("after", [hosts["after"]], tls_acme="true"))
        world.wait_issued(namespace, "after-tls", [hosts["after"]])


def test_a_native_sidecar_in_a_pod_ends_with_the_job(namespace: str) -> None:
    """What meshes inject into pods, not Jobs: the Job controller makes these, so nothing is compared."""
    host = f"mesh.{namespace}.test"
    image = "object.spec.containers[0].image"
    secure = '{"allowPrivilegeEscalation": dyn(false), "capabilities": dyn({"drop": ["ALL"]})}'
    sidecar = f"""{{"name": dyn("proxy"), "image": dyn({image}), "imagePullPolicy": dyn("IfNotPresent"),
        "restartPolicy": dyn("Always"), "command": dyn(["python", "-c", "import time; time.sleep(600)"]),
        "resources": dyn({{"limits": {{"memory": "64Mi"}}}}), "securityContext": dyn({secure})}}"""
    patch = f'[JSONPatch{{op: "add", path: "/spec/initContainers", value: [{sidecar}]}}]'
    with installed(*rewriting("e2e-mesh", "pods", patch)):
        wait_for(lambda: "proxy" in probed("pods"), what="the policy adds a sidecar")
        labels = f"{v.RECORD_NAMESPACE}={namespace}"
        world.create(namespace, world.manifest("mesh", [host], tls_acme="true"))
        world.wait_issued(namespace, "mesh-tls", [host])
        [pod] = cluster().items(PODS, v.NAMESPACE, labels=labels)
        assert [one["name"] for one in pod["spec"].get("initContainers", [])] == ["proxy"]

        def complete() -> bool:
            [job] = cluster().items(JOBS, v.NAMESPACE, labels=labels)
            conditions = job.get("status", {}).get("conditions") or []
            return any(one["type"] == "Complete" and one["status"] == "True" for one in conditions)

        wait_for(complete, what="the Job ends with its sidecar", seconds=45)


def test_an_event_that_others_change_is_named_in_the_log_until_its_key_is_allowed(namespace: str) -> None:
    host, others = f"web.{namespace}.test", [plural for _, plural in KINDS if plural != "events"]
    with installed(*adding("e2e-adds-to-events", namespace, without=others)):
        wait_for(
            lambda: TEAM in told_by(as_identity("job"), namespace), what="the policy adds a label that is not allowed"
        )
        world.create(namespace, world.manifest("web", [host], tls_acme="true"))
        world.wait_issued(namespace, "web-tls", [host])
        assert world.events(namespace, "web", "CertificateIssued") == []
        [line] = [line for line in world.job_logs(namespace) if line["event"] == "event-failed"]
        assert "label e2e-team is added or changed by another admission plugin" in line["problem"]
        assert "ConfigMap certjob-route-policy, key foreignLabels" in line["problem"]
        with allowed(foreignLabels="e2e-*", foreignAnnotations="example.org/*"):
            wait_for(lambda: told_by(as_identity("job"), namespace) == "", what="the key is allowed")


def told_by(job: Cluster, namespace: str) -> str:
    """Why an Event of certjob's is refused; empty if it is not."""
    about = SourceKind.INGRESS.reference(namespace=namespace, name="web", uid="11111111-1111-1111-1111-111111111111")
    event = {
        "metadata": {"name": "probe", "labels": {v.MANAGED: "true"}},
        "eventTime": "2026-01-01T00:00:00.000000Z",
        "reportingController": v.CONTROLLER,
        "reportingInstance": "certjob",
        "action": "Issue",
        "reason": "CertificateIssued",
        "type": "Normal",
        "note": "test",
        "regarding": about,
    }
    try:
        job.create(EVENTS, namespace, event, dry_run=True)
    except ApiError as problem:
        return str(problem)
    return ""


def test_an_allowed_key_that_is_there_stays_as_it_is(admin: Api, identity: Identity, namespace: str) -> None:
    with allowed(foreignLabels="e2e-*"):
        labels = {v.MANAGED: "true", TEAM: "theirs"}
        stored = tls_secret(namespace, "web", metadata={"name": "web", "labels": labels})
        assert admin.call("POST", path("secrets", namespace), stored).status == 201
        for team in ({TEAM: "ours"}, {}):
            body = tls_secret(namespace, "web", metadata={"name": "web", "labels": {v.MANAGED: "true"} | team})
            answer = identity("job").call("PUT", path("secrets", namespace, "web"), body)
            assert answer.json["metadata"]["labels"][TEAM] == "theirs"


@pytest.mark.parametrize(
    ("before", "after", "verdict"),
    [
        ({}, {"e2e-team": "a"}, ""),
        ({"e2e-team": "a"}, {"e2e-team": "a"}, ""),
        ({}, {"other": "a"}, "label other is added or changed"),
        ({}, {"never.certjob.io/x": "a"}, "label never.certjob.io/x is added or changed"),
        ({}, {"example.org/x": "a"}, ""),
        ({}, {"examplexorg/x": "a"}, "label examplexorg/x is added or changed"),
    ],
)
def test_what_an_allowed_key_lets_certjob_do(
    admin: Api, identity: Identity, namespace: str, before: Json, after: Json, verdict: str
) -> None:
    managed = {v.MANAGED: "true"}
    with allowed(foreignLabels="e2e-*\nexample.org/*\n*.certjob.io/*\n[bad"):
        stored = tls_secret(namespace, "web", metadata={"name": "web", "labels": managed | before})
        assert admin.call("POST", path("secrets", namespace), stored).status == 201
        body = tls_secret(namespace, "web", metadata={"name": "web", "labels": managed | after})
        answer = identity("job").call("PUT", path("secrets", namespace, "web"), body, dryRun="All")
        assert (answer.status, verdict in answer.text) == (403 if verdict else 200, True), answer
