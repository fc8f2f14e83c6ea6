"""Jobs: exactly what PodTemplate certjob-issue says, and nothing else."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from issuer_job import names, vocabulary
from tests.e2e.api import JOBS, MERGE_PATCH, Api, Json, path
from tests.e2e.attacks import assert_verdict

CERTJOB = vocabulary.NAMESPACE
Identity = Callable[[str], Api]
Change = Callable[[Json], Any]

UID, ANOTHER = "11111111-1111-1111-1111-111111111111", "22222222-2222-2222-2222-222222222222"
OWNER = {"apiVersion": "v1", "kind": "ConfigMap", "name": "tenant.web", "uid": UID}
EPOCH = 1700000000
OLD = names.old_hash("tenant", "web")
ACCOUNT = names.account("pebble", "https://ca.test/dir", 1)
NEXT = names.account("pebble", "https://ca.test/dir", 2)


@pytest.fixture(scope="module")
def template(admin: Api) -> Json:
    """The stored PodTemplate, with the API server's defaults."""
    spec: Json = admin.call("GET", path("podtemplates", CERTJOB, vocabulary.POD_TEMPLATE)).json["template"]["spec"]
    return spec


def job(template: Json) -> Json:
    """An issue Job as certjob makes it."""
    labels = {
        "app.kubernetes.io/name": "certjob",
        "app.kubernetes.io/component": "issue",
        "certjob.io/issuer": "pebble",
        "certjob.io/record-uid": UID,
        "certjob.io/epoch": str(EPOCH),
        "certjob.io/namespace": "tenant",
    }
    pod = {"labels": dict(labels), "annotations": {"certjob.io/record": "tenant.web"}}
    metadata = {
        "name": names.job("tenant", "web", UID, EPOCH),
        "labels": labels,
        "annotations": {"certjob.io/record": "tenant.web"},
    }
    fail: Json = {"containerName": "issue", "operator": "In", "values": [10, 11, 12]}
    rules: list[Json] = [
        {"action": "FailJob", "onExitCodes": fail},
        {"action": "Ignore", "onExitCodes": fail | {"values": [13]}},
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
    ]
    spec = {
        "backoffLimit": 3,
        "ttlSecondsAfterFinished": 600,
        "podReplacementPolicy": "Failed",
        "podFailurePolicy": {"rules": rules},
        "template": {"metadata": pod, "spec": copy.deepcopy(template)},
    }
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec}


def pod(body: Json) -> Json:
    found: Json = body["spec"]["template"]["spec"]
    return found


def pod_metadata(body: Json) -> Json:
    found: Json = body["spec"]["template"]["metadata"]
    return found


def container(body: Json) -> Json:
    found: Json = pod(body)["containers"][0]
    return found


def mount(volume: str, secret: str, **more: Any) -> Change:
    """Let a volume of the pod be another Secret."""

    def change(body: Json) -> None:
        for found in pod(body)["volumes"]:
            if found["name"] == volume:
                found["secret"] |= {"secretName": secret} | more

    return change


def label(key: str, value: str) -> Change:
    """Set a label on Job and pod."""

    def change(body: Json) -> None:
        body["metadata"]["labels"][key] = value
        body["spec"]["template"]["metadata"]["labels"][key] = value

    return change


def extra_volume(source: Json) -> Change:
    return lambda body: pod(body)["volumes"].append({"name": "more"} | source)


def check_job(*changes: Change) -> Change:
    """The Job that tests the issuer instead: its record is the issuer's bare name."""

    def change(body: Json) -> None:
        body["metadata"]["name"] = names.check_job("pebble", EPOCH)
        for metadata in (body["metadata"], pod_metadata(body)):
            metadata["annotations"]["certjob.io/record"] = "pebble"
            metadata["labels"].pop("certjob.io/namespace", None)
        for further in changes:
            further(body)

    return change


IGNORED: Json = {"action": "Ignore", "onPodConditions": [{"type": "Ready", "status": "False"}]}


def failure_rule(number: int, **changes: Any) -> Change:
    """Another rule in the podFailurePolicy."""
    return lambda body: body["spec"]["podFailurePolicy"]["rules"][number]["onExitCodes"].update(changes)


def record_name(name: str) -> Change:
    """Name another record, on Job and pod."""

    def change(body: Json) -> None:
        for metadata in (body["metadata"], pod_metadata(body)):
            metadata["annotations"]["certjob.io/record"] = name

    return change


ALLOWED_JOBS: list[tuple[str, Change]] = [
    ("as it is", lambda body: None),
    ("with account", mount("account", ACCOUNT)),
    ("with pending key", mount("pending", names.pending_key(UID, EPOCH))),
    ("with an earlier attempt's pending key", mount("pending", names.pending_key(UID, EPOCH - 600))),
    ("with a pending key of 0.1.0", mount("pending", names.pending_key(names.old_hash("tenant", "web"), EPOCH))),
    ("under the name that 0.1.0 gives it", lambda body: body["metadata"].update(name=f"web-{OLD}-{EPOCH}")),
    ("with credentials", mount("credentials", names.credentials("pebble"))),
    ("with a deadline", lambda body: body["spec"].update(activeDeadlineSeconds=3600)),
    ("test of an issuer", check_job()),
    (
        "test of an issuer, with its keys",
        check_job(mount("account", ACCOUNT), mount("next", NEXT), mount("credentials", names.credentials("pebble"))),
    ),
    ("with the label that 0.1.0 gives it", label("certjob.io/record-hash", OLD)),
]


@pytest.mark.parametrize("service_account", ["webhook", "sweep"])
@pytest.mark.parametrize("change", [c[1] for c in ALLOWED_JOBS], ids=[c[0] for c in ALLOWED_JOBS])
def test_a_job_stamped_from_the_template_is_allowed(
    identity: Identity, template: Json, change: Change, service_account: str
) -> None:
    body = job(template)
    change(body)
    assert_verdict(identity(service_account).call("POST", path(JOBS, CERTJOB), body, dryRun="All"), "ok")


HOSTPATH = {"hostPath": {"path": "/", "type": ""}}
TOKEN_VOLUME = {"projected": {"sources": [{"serviceAccountToken": {"path": "t", "audience": "x"}}]}}
REFUSED_JOBS: list[tuple[str, Change]] = [
    ("image", lambda b: container(b).update(image="localhost/other")),
    ("command", lambda b: container(b).update(command=["sh", "-c", "id"])),
    ("args", lambda b: container(b).update(args=["--help"])),
    ("environment", lambda b: container(b)["env"].append({"name": "PYTHONPATH", "value": "/tmp"})),
    ("environment from a Secret", lambda b: container(b).update(envFrom=[{"secretRef": {"name": "credentials-x"}}])),
    ("working directory", lambda b: container(b).update(workingDir="/tmp")),
    ("lifecycle", lambda b: container(b).update(lifecycle={"postStart": {"exec": {"command": ["id"]}}})),
    ("probe", lambda b: container(b).update(livenessProbe={"exec": {"command": ["id"]}})),
    ("security context", lambda b: container(b)["securityContext"].update(readOnlyRootFilesystem=False)),
    ("resources", lambda b: container(b).update(resources={})),
    ("second container", lambda b: pod(b)["containers"].append(container(b) | {"name": "more"})),
    ("init container", lambda b: pod(b).update(initContainers=[container(b) | {"name": "more"}])),
    ("ephemeral mount", lambda b: container(b)["volumeMounts"].append({"name": "tmp", "mountPath": "/app"})),
    ("service account", lambda b: pod(b).update(serviceAccountName="sweep", serviceAccount="sweep")),
    ("host network", lambda b: pod(b).update(hostNetwork=True)),
    ("host process ids", lambda b: pod(b).update(hostPID=True)),
    ("node name", lambda b: pod(b).update(nodeName="node")),
    ("node selector", lambda b: pod(b).update(nodeSelector={"a": "b"})),
    ("priority class", lambda b: pod(b).update(priorityClassName="system-node-critical")),
    ("runtime class", lambda b: pod(b).update(runtimeClassName="other")),
    ("tolerations", lambda b: pod(b).update(tolerations=[{"operator": "Exists"}])),
    ("host aliases", lambda b: pod(b).update(hostAliases=[{"ip": "10.0.0.1", "hostnames": ["ca.test"]}])),
    ("DNS", lambda b: pod(b).update(dnsPolicy="None", dnsConfig={"nameservers": ["10.0.0.1"]})),
    ("image pull secret", lambda b: pod(b).update(imagePullSecrets=[{"name": "x"}])),
    ("pod deadline", lambda b: pod(b).update(activeDeadlineSeconds=86400)),
    ("restart policy", lambda b: (pod(b).update(restartPolicy="OnFailure"), b["spec"].pop("podFailurePolicy"))),
    ("host path", extra_volume(HOSTPATH)),
    ("another Secret", extra_volume({"secret": {"secretName": "certjob-webhook-ca"}})),
    ("another token", extra_volume(TOKEN_VOLUME)),
    ("larger tmp", lambda b: pod(b)["volumes"][0].update(emptyDir={"sizeLimit": "1Ti"})),
    ("account of another issuer", mount("account", names.account("letsencrypt", "https://ca.test/dir", 1))),
    ("account of an issuer with a longer name", mount("account", ACCOUNT.replace("pebble", "pebble-2"))),
    ("CA as account", mount("account", "certjob-webhook-ca")),
    ("CA as pending key", mount("pending", "certjob-webhook-ca")),
    ("pending key of another record", mount("pending", names.pending_key(ANOTHER, EPOCH))),
    ("pending key of any record", label("certjob.io/record-uid", f"1{34 * '.'}1")),
    ("pending key with a tail", mount("pending", names.pending_key(UID, EPOCH) + "-x")),
    ("credentials of another issuer", mount("credentials", "credentials-letsencrypt")),
    ("credentials as account", mount("account", "credentials-pebble")),
    ("host path as account", lambda b: [v.update(HOSTPATH) or v.pop("secret") for v in pod(b)["volumes"][1:2]]),
    ("items of a volume", mount("account", ACCOUNT, items=[{"key": "key.pem", "path": "other"}])),
    ("mode of a volume", mount("account", ACCOUNT, defaultMode=0o777)),
    ("next account key of a certificate's Job", mount("next", NEXT)),
    ("credentials as next account key", mount("next", "credentials-pebble")),
    ("test of an issuer with another's next key", check_job(
        mount("next", names.account("letsencrypt", "https://ca.test/dir", 2)))),
    ("test of an issuer with a pending key", check_job(mount("pending", names.pending_key(UID, EPOCH)))),
    ("test of an issuer with credentials as next key", check_job(mount("next", "credentials-pebble"))),
    ("test of an issuer with the CA as next key", check_job(mount("next", "certjob-webhook-ca"))),
    ("test of another issuer", check_job(record_name("letsencrypt"))),
    ("test of an issuer under another name", check_job(lambda b: b["metadata"].update(
        name=names.job("tenant", "web", UID, EPOCH)))),
    ("bare record", record_name("pebble")),
    ("issuer that is an expression", label("certjob.io/issuer", "p.bble")),
    ("no issuer", lambda b: b["metadata"]["labels"].pop("certjob.io/issuer")),
    ("another issuer on the pod", lambda b: pod_metadata(b)["labels"].update({"certjob.io/issuer": "x"})),
    ("another epoch on the pod", lambda b: pod_metadata(b)["labels"].update({"certjob.io/epoch": "1"})),
    ("another epoch than the name's", label("certjob.io/epoch", "1700000001")),
    ("epoch that is no number", label("certjob.io/epoch", "1111111111111111-1700000000")),
    ("record uid that is none", label("certjob.io/record-uid", "x")),
    ("another application", label("app.kubernetes.io/name", "x")),
    ("annotation of others", lambda b: b["metadata"]["annotations"].update({"example.org/x": "y"})),
    ("record that is no name, twice", lambda b: (b["metadata"]["annotations"].update({"certjob.io/record": "-x"}),
                                                 pod_metadata(b)["annotations"].update({"certjob.io/record": "-x"}))),
    ("name of another record's Job", lambda b: b["metadata"].update(name=names.job("tenant", "web", ANOTHER, EPOCH))),
    ("name without a hash", lambda b: b["metadata"].update(name=f"web-{EPOCH}")),
    ("long name", lambda b: b["metadata"].update(name="w" * 24 + names.job("tenant", "web", UID, EPOCH)[3:])),
    ("another component", label("app.kubernetes.io/component", "webhook")),
    ("label of others", label("sidecar.istio.io/inject", "true")),
    ("pod label of others", lambda b: pod_metadata(b)["labels"].update({"example.org/x": "y"})),
    ("pod annotation of others", lambda b: pod_metadata(b)["annotations"].update({"a.test/x": "y"})),
    ("no record", lambda b: pod_metadata(b).pop("annotations")),
    ("record that is no name", lambda b: pod_metadata(b)["annotations"].update(
        {"certjob.io/record": "-x\n"})),
    ("pod finalizer", lambda b: pod_metadata(b).update(finalizers=["example.test/hold"])),
    ("finalizer", lambda b: b["metadata"].update(finalizers=["example.test/hold"])),
    ("owner", lambda b: b["metadata"].update(ownerReferences=[OWNER])),
    ("another's name", lambda b: b["metadata"].update(name="certjob-bootstrap")),
    ("generateName", lambda b: b["metadata"].update(generateName="x-", name="")),
    ("parallelism", lambda b: b["spec"].update(parallelism=2)),
    ("completions", lambda b: b["spec"].update(completions=2)),
    ("indexed", lambda b: b["spec"].update(completionMode="Indexed", completions=1)),
    ("back-off", lambda b: b["spec"].update(backoffLimit=100)),
    ("deadline", lambda b: b["spec"].update(activeDeadlineSeconds=86400)),
    ("kept for ever", lambda b: b["spec"].pop("ttlSecondsAfterFinished")),
    ("kept for a week", lambda b: b["spec"].update(ttlSecondsAfterFinished=604800)),
    ("no podFailurePolicy", lambda b: b["spec"].pop("podFailurePolicy")),
    ("pods for ever", failure_rule(1, values=[1, 13])),
    ("a failure that counts", failure_rule(0, values=[10, 11])),
    ("every other code ignored", failure_rule(1, operator="NotIn")),
    ("codes of any container", failure_rule(0, containerName=None)),
    ("a rule that goes first", lambda b: b["spec"]["podFailurePolicy"]["rules"].insert(0, IGNORED)),
    ("suspended", lambda b: b["spec"].update(suspend=True)),
    ("selector of its own", lambda b: b["spec"].update(
        manualSelector=True, selector={"matchLabels": {"certjob.io/epoch": str(EPOCH)}})),
    ("managed by others", lambda b: b["spec"].update(managedBy="example.test/controller")),
]  # fmt: skip


@pytest.mark.parametrize(("what", "change"), REFUSED_JOBS, ids=[c[0] for c in REFUSED_JOBS])
def test_any_other_job_is_refused(identity: Identity, template: Json, what: str, change: Change) -> None:
    body = job(template)
    change(body)
    answer = identity("webhook").call("POST", path(JOBS, CERTJOB), body, dryRun="All")
    assert_verdict(answer, "certjob-foreign-metadata" if "of others" in what else "certjob-job")


def test_no_job_is_deleted_but_bootstraps_once_it_is_finished(identity: Identity, admin: Api) -> None:
    pod = {"restartPolicy": "Never", "containers": [{"name": "x", "image": "x"}]}
    made = []
    for component in ("bootstrap", "issue"):
        name = f"e2e-{component}"
        metadata = {"name": name, "labels": {"app.kubernetes.io/component": component}}
        spec = {"suspend": True, "template": {"spec": pod}}
        body = {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec}
        assert admin.call("POST", path(JOBS, CERTJOB), body).status == 201
        made.append(path(JOBS, CERTJOB, name))
    try:
        for where in made:
            assert_verdict(identity("sweep").call("DELETE", where, dryRun="All"), "certjob-job")
        for where, done in zip(made, ("ok", "certjob-job"), strict=True):
            finished = {"type": "Failed", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}
            started = {"startTime": "2026-01-01T00:00:00Z"}
            status = {"status": started | {"conditions": [finished | {"type": "FailureTarget"}, finished]}}
            answer = admin.call("PATCH", f"{where}/status", status, content_type=MERGE_PATCH)
            assert answer.status == 200, answer
            assert_verdict(identity("sweep").call("DELETE", where, dryRun="All"), done)
            assert identity("job").call("DELETE", where, dryRun="All").status == 403
    finally:
        for where in made:
            admin.call("DELETE", where, propagationPolicy="Background")


def test_nobody_else_makes_jobs_and_none_elsewhere(identity: Identity, template: Json) -> None:
    for service_account in ("job", "responder"):
        answer = identity(service_account).call("POST", path(JOBS, CERTJOB), job(template), dryRun="All")
        assert answer.status == 403
    assert identity("webhook").call("POST", path(JOBS, "default"), job(template), dryRun="All").status == 403
