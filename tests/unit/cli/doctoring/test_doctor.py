"""`kubectl certjob doctor`: what is well, what is a fault, what may not be known, and where more is said."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest

from issuer_job import vocabulary as v
from issuer_job.cli.base.endings import CommandError
from issuer_job.cli.doctoring.facts import RESOURCES
from issuer_job.cluster.api import CONFIGMAPS, DEPLOYMENTS, INGRESSES, PODS, Unreachable
from issuer_job.cluster.quota import RESOURCE_QUOTAS
from issuer_job.issuers.state import NOT_READY
from issuer_job.migrate.others.cert_manager import CERTIFICATES
from tests.worlds import seen
from tests.worlds.cli import NOW, CommandLine
from tests.worlds.installed import edit, installed, issuer, may_impersonate, pod


@pytest.fixture
def line() -> CommandLine:
    return installed()


def of(line: CommandLine, about: str, *arguments: str) -> list[str]:
    """Verdict and sentence of each line about that."""
    ran = line.run("doctor", *arguments)
    found = (text[1:].split(maxsplit=1) for text in ran.out.splitlines())
    return [f"{verdict} {rest[len(about) :].strip()}" for verdict, rest in found if rest.startswith(about)]


def test_all_is_well_and_what_is_not_known_is_said(line: CommandLine) -> None:
    ran = line.run("doctor")
    assert [text.split(maxsplit=1)[0] for text in ran.out.splitlines()] == [
        *("ok", "ok", "?", "ok", "?", "ok", "ok", "ok", "ok", "ok", "ok")
    ]
    assert ran.out == (
        " ok    Kubernetes   1.36.4; installation for 1.36 or later; images and plugin 0.1.0, records version 2\n"
        " ok    parts        webhook 2/2, responder 2/2, view 1/1 ready\n"
        " ?     parts        whether the caBundle trusts what webhook pods serve: kubectl port-forward "
        "pod/certjob-webhook-1: pods is forbidden\n"
        " ok    policies     13, and all rights, as in the manifests of 0.1.0\n"
        " ?     policies     canary and look not tried: you may not impersonate serviceaccounts in certjob; "
        "the sweeps do it before they begin\n"
        " ok    sweep        last success 2m ago, every 5m\n"
        " ok    two masters  no Secret is another tool's, too\n"
        " ok    issuers      1 of 2 ready, letsencrypt is the default\n"
        " ok    clock        the API server's is this machine's\n"
        " ok    quota        none is set\n"
        " ok    namespace    certjob enforces the restricted Pod Security standard\n"
    )
    assert (ran.code, ran.err) == (0, "")


def test_nothing_is_written_and_no_secret_asked_for(line: CommandLine) -> None:
    before = len(line.api._store.history)
    line.run("doctor")
    assert len(line.api._store.history) == before
    assert not [request for request in line.api.requests if "/secrets" in request.path]


def test_the_installation_for_older_clusters_has_manifests_of_its_own() -> None:
    older = installed(before_1_36=True)
    assert of(older, "Kubernetes") == [
        "ok 1.33.1; installation for before 1.36; images and plugin 0.1.0, records version 2"
    ]
    assert of(older, "policies")[0] == "ok 12, and all rights, as in the manifests of 0.1.0"


def test_an_installation_that_is_not_for_this_kubernetes_is_told() -> None:
    newer = of(installed(before_1_36=True, git_version="v1.36.0"), "Kubernetes")
    assert newer[0].startswith("warn 1.36.0; installation for before 1.36; ")
    assert "apply the one for 1.36 or later" in newer[0]
    older = of(installed(git_version="v1.35.9"), "Kubernetes")
    assert older[0].startswith("FAIL 1.35.9; installation for 1.36 or later; ")
    assert of(installed(git_version="nonsense"), "Kubernetes")[0].startswith("warn its version is not known")


def test_parts_of_several_versions_are_told(line: CommandLine) -> None:
    found = edit(line, "Deployment", "certjob-webhook")
    found["spec"]["template"]["spec"]["containers"][0]["image"] = (
        "registry.example:5000/certjob-webhook:0.0.9@sha256:ab"
    )
    line.api.add(DEPLOYMENTS, v.NAMESPACE, found)
    told = of(line, "Kubernetes")
    assert told[1] == "warn the parts are of several versions: job 0.1.0, webhook 0.0.9, responder 0.1.0, view 0.1.0"


@pytest.mark.parametrize(
    ("ready", "expected"),
    [(1, "warn webhook: 1 of 2 pods are ready"), (0, "FAIL webhook: 0 of 2 pods are ready")],
)
def test_pods_that_are_not_ready_are_told(line: CommandLine, ready: int, expected: str) -> None:
    found = edit(line, "Deployment", "certjob-webhook")
    line.api.add(DEPLOYMENTS, v.NAMESPACE, found | {"status": {"readyReplicas": ready}})
    assert of(line, "parts")[0] == f"{expected} -> docs/runbook.md#certjobwebhookdown"


def test_the_view_may_be_left_out_and_nothing_else(line: CommandLine) -> None:
    for kind, name in (("Deployment", "certjob-view"), ("ServiceAccount", "view"), ("Role", "view")):
        line.api.remove(RESOURCES[kind], v.NAMESPACE, name)
    assert of(line, "parts")[0] == "ok webhook 2/2, responder 2/2, view left out ready"
    assert of(line, "policies")[0].startswith("ok 13")
    line.api.remove(DEPLOYMENTS, v.NAMESPACE, "certjob-responder")
    assert of(line, "parts")[0].startswith("FAIL there is no Deployment certjob-responder")
    assert of(line, "manifests") == ["FAIL not installed: Deployment certjob-responder"]


@pytest.mark.exhaustive
def test_a_policy_that_is_gone_or_weakened_is_a_fault(line: CommandLine) -> None:
    policies, bindings = RESOURCES["ValidatingAdmissionPolicy"], RESOURCES["ValidatingAdmissionPolicyBinding"]
    found = edit(line, "ValidatingAdmissionPolicy", "certjob-jobs", None)
    found["spec"]["validations"][0]["expression"] = "true"
    line.api.add(policies, None, found)
    bound = edit(line, "ValidatingAdmissionPolicyBinding", "certjob-routes", None)
    bound["spec"]["matchResources"] = {"namespaceSelector": {"matchLabels": {"no": "where"}}}
    line.api.add(bindings, None, bound)
    line.api.remove(policies, None, "certjob-events")
    told = of(line, "policies")
    docs = " -> docs/security.md#the-policies"
    assert told[0] == f"FAIL not installed: ValidatingAdmissionPolicy certjob-events{docs}"
    changed = "is not as in the manifests of 0.1.0:"
    assert f"FAIL ValidatingAdmissionPolicy certjob-jobs {changed} .spec.validations[0].expression{docs}" in told
    assert f"FAIL ValidatingAdmissionPolicyBinding certjob-routes {changed} .spec.matchResources{docs}" in told
    assert line.run("doctor").code == 1


def test_rights_that_were_widened_are_a_fault(line: CommandLine) -> None:
    found = edit(line, "Role", "webhook")
    found["rules"].append({"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]})
    line.api.add(RESOURCES["Role"], v.NAMESPACE, found)
    assert of(line, "policies")[0].startswith("FAIL Role webhook is not as in the manifests of 0.1.0: .rules ->")


def test_what_overlays_change_is_no_drift_and_what_they_should_not_is_told(line: CommandLine) -> None:
    found = edit(line, "Deployment", "certjob-webhook")
    spec = found["spec"]["template"]["spec"]
    spec |= {"nodeSelector": {"pool": "infra"}, "tolerations": [{"key": "infra"}]}
    spec["containers"][0] |= {"resources": {"limits": {"memory": "1Gi"}}}
    spec["containers"][0]["env"].append({"name": "HTTPS_PROXY", "value": "http://proxy"})
    found["spec"]["replicas"] = 2
    line.api.add(DEPLOYMENTS, v.NAMESPACE, found)
    assert of(line, "manifests") == []
    spec["containers"][0]["securityContext"]["readOnlyRootFilesystem"] = False
    line.api.add(DEPLOYMENTS, v.NAMESPACE, found)
    [told] = of(line, "manifests")
    assert told.startswith(
        "warn not as in the manifests of 0.1.0, perhaps by an overlay: Deployment certjob-webhook "
    )
    assert "[webhook].securityContext.readOnlyRootFilesystem" in told


def test_a_webhook_that_is_sent_nothing_is_a_fault(line: CommandLine) -> None:
    found = edit(line, "MutatingWebhookConfiguration", v.WEBHOOK_CONFIGURATION, None)
    del found["webhooks"][0]["rules"]
    line.api.add(RESOURCES["MutatingWebhookConfiguration"], None, found)
    assert any("sends the webhook nothing for annotated.certjob.io" in told for told in of(line, "parts"))
    line.api.remove(RESOURCES["MutatingWebhookConfiguration"], None, v.WEBHOOK_CONFIGURATION)
    assert any(
        "there is no MutatingWebhookConfiguration" in told
        for told in of(line, "parts", "--certjob-namespace=certjob")
    )


def test_canary_and_look_are_tried_by_who_may_impersonate(line: CommandLine) -> None:
    may_impersonate(line)
    told = of(line, "policies")
    assert told[-1].startswith("ok in force: ")
    assert told[-1].endswith("refused, look answered")


def test_a_policy_that_refuses_nothing_is_a_fault(line: CommandLine) -> None:
    may_impersonate(line)
    line.api.missing_policies = {"certjob-leases"}
    told = of(line, "policies")
    assert told[-1] == "FAIL admission policy certjob-leases is not in force -> docs/security.md#the-canaries"


def test_a_sweep_that_is_late_is_a_fault_with_its_last_word(line: CommandLine) -> None:
    docs = " -> docs/runbook.md#certjobsweepstale"
    cron = edit(line, "CronJob", "certjob-sweep")
    cron["status"]["lastSuccessfulTime"] = f"{NOW - timedelta(minutes=41):%Y-%m-%dT%H:%M:%SZ}"
    line.api.add(RESOURCES["CronJob"], v.NAMESPACE, cron)
    assert of(line, "sweep") == [f"FAIL last success 41m ago, should be 5m{docs}"]
    word = json.dumps({"work": "sweep", "exitCode": 11, "problem": "quotaExceeded"})
    ended = {"containerStatuses": [{"state": {"terminated": {"exitCode": 11, "message": word}}}]}
    line.api.add(PODS, v.NAMESPACE, pod("certjob-sweep-2", "sweep", at="2026-11-27T14:00:00Z", **ended))
    line.api.add(PODS, v.NAMESPACE, pod("certjob-sweep-1", "sweep", at="2026-11-27T13:00:00Z"))
    assert of(line, "sweep") == [f'FAIL last success 41m ago, should be 5m: last word "quotaExceeded"{docs}']
    waits = {"containerStatuses": [{"state": {"waiting": {"reason": "ImagePullBackOff"}}}]}
    line.api.add(PODS, v.NAMESPACE, pod("certjob-sweep-3", "sweep", at="2026-11-27T14:05:00Z", **waits))
    assert of(line, "sweep") == [f"FAIL last success 41m ago, should be 5m: its pod waits: ImagePullBackOff{docs}"]
    hostile = {
        "containerStatuses": [{"state": {"terminated": {"exitCode": 1, "reason": "Error", "message": "\x1b[2J"}}}]
    }
    line.api.add(PODS, v.NAMESPACE, pod("certjob-sweep-4", "sweep", at="2026-11-27T14:06:00Z", **hostile))
    assert of(line, "sweep") == [f"FAIL last success 41m ago, should be 5m: its last pod ended with 1 (Error){docs}"]


def test_sweeps_that_were_stopped_are_a_fault(line: CommandLine) -> None:
    cron = edit(line, "CronJob", "certjob-sweep")
    cron["spec"]["suspend"] = True
    line.api.add(RESOURCES["CronJob"], v.NAMESPACE, cron)
    assert of(line, "sweep")[0].startswith("FAIL the CronJob certjob-sweep is suspended: nothing is renewed")
    line.api.remove(RESOURCES["CronJob"], v.NAMESPACE, "certjob-sweep")
    assert of(line, "sweep")[0].startswith("FAIL there is no CronJob certjob-sweep")


def test_a_secret_with_two_masters_is_a_fault(line: CommandLine) -> None:
    certificate = {"metadata": {"name": "old", "namespace": "shop"}, "spec": {"secretName": "shop-tls"}}
    line.api.add(CERTIFICATES, "shop", certificate)
    assert of(line, "two masters") == [
        "FAIL shop/shop-tls is cert-manager's (Certificate old), too -> docs/moving.md#two-masters"
    ]
    line.api.remove(CERTIFICATES, "shop", "old")
    lego = {
        "metadata": {"name": "kube-lego"},
        "spec": {"template": {"spec": {"containers": [{"image": "x/kube-lego:1"}]}}},
    }
    line.api.add(DEPLOYMENTS, "kube-lego", lego)
    served = {"spec": {"tls": [{"secretName": "shop-tls"}]}}
    metadata = {"name": "shop", "annotations": {v.TLS_ACME: "true"}}
    line.api.add(INGRESSES, "shop", served | {"metadata": metadata})
    assert of(line, "two masters")[0].startswith("FAIL shop/shop-tls is kube-lego's (Ingress shop), too")


def test_issuers_are_judged(line: CommandLine) -> None:
    issuer(line, "letsencrypt-staging")
    line.api.add(
        CONFIGMAPS,
        v.NAMESPACE,
        seen.issuer(
            "letsencrypt-staging",
            "server: https://acme-staging-v02.api.letsencrypt.org/directory",
            **{v.DEFAULT_ISSUER: "true"},
        ),
    )
    assert of(line, "issuers")[0] == (
        "warn letsencrypt-staging is the default issuer, whose certificates browsers do not trust"
    )
    issuer(line, result=NOT_READY)
    assert of(line, "issuers")[0].startswith("FAIL letsencrypt is not ready")
    issuer(line, default=False)
    assert of(line, "issuers")[0].startswith("warn none is the default: Ingresses have to name one")


@pytest.mark.parametrize(
    ("date", "expected"),
    [
        ("Fri, 27 Nov 2026 14:28:09 GMT", "ok the API server's is this machine's"),
        (
            "Fri, 27 Nov 2026 14:29:11 GMT",
            "warn the API server's is 2m1s ahead of this machine's: one of both",
        ),
        (
            "Fri, 27 Nov 2026 14:00:00 GMT",
            "warn the API server's is 27m10s behind this machine's: one of both",
        ),
    ],
)
def test_clocks_are_compared(line: CommandLine, date: str, expected: str) -> None:
    line.api.date = date
    [told] = of(line, "clock")
    assert told.startswith(expected)


def test_a_quota_that_is_nearly_used_up_is_a_fault(line: CommandLine) -> None:
    found = edit(line, "ResourceQuota", "certjob-issue")
    for used, expected in (("200", "ok 80% used at most"), ("201", "FAIL over 80% used: pods 201/250 -> ")):
        line.api.add(
            RESOURCE_QUOTAS, v.NAMESPACE, found | {"status": {"hard": {"pods": "250"}, "used": {"pods": used}}}
        )
        assert of(line, "quota")[0].startswith(expected)


def test_a_namespace_without_pod_security_is_warned_of(line: CommandLine) -> None:
    line.api.add(RESOURCES["Namespace"], None, {"metadata": {"name": "certjob", "labels": {}}})
    [told] = of(line, "namespace")
    assert told.startswith(
        "warn certjob does not enforce the restricted Pod Security standard: kubectl label namespace"
    )


def test_options_and_records_that_cannot_be_read_are_told(line: CommandLine) -> None:
    options = {"metadata": {"name": v.OPTIONS_CONFIG_MAP}, "data": {v.OPTIONS_KEY: "hostPolicy: all"}}
    line.api.add(CONFIGMAPS, v.NAMESPACE, options)
    assert of(line, "options")[0].startswith("FAIL ConfigMap certjob-options: ")
    broken = {"metadata": {"name": "shop.x", "labels": {v.RECORD: "true"}}, "data": {v.RECORD_KEY: "{}"}}
    line.api.add(CONFIGMAPS, v.NAMESPACE, broken)
    assert of(line, "records")[0].startswith("warn 1 of 2 records cannot be read: shop.x")


def test_without_any_right_nothing_is_a_fault_and_it_is_3(line: CommandLine) -> None:
    line.api.fail("GET", "/", seen.no_right("things", "get"), times=10_000)
    line.api.clear_faults()
    line.api.fail("GET", "^(?!/version)", seen.no_right("things", "get"), times=10_000)
    line.clock = lambda: NOW
    ran = line.run("doctor")
    verdicts = {text.split(maxsplit=1)[0] for text in ran.out.splitlines()}
    assert verdicts <= {"?", "ok"}
    assert 'User "jo" cannot get resource "things"' in ran.out


def test_where_certjob_is_not_there_it_is_one_sentence(line: CommandLine) -> None:
    ran = line.run("doctor", "--certjob-namespace", "nowhere")
    assert (ran.code, ran.out) == (1, " FAIL  Kubernetes  certjob is not installed in namespace nowhere: README.md\n")


def test_in_another_namespace_the_manifests_are_that_ones(line: CommandLine) -> None:
    from issuer_job.cli.doctoring.elsewhere import elsewhere
    from tests.worlds.installed import filled_in
    from tests.worlds.manifests import documents

    other = installed()
    for body in documents():
        if body["kind"] in RESOURCES:
            moved = elsewhere(filled_in(body), "tls-system")
            other.api.add(RESOURCES[body["kind"]], moved["metadata"].get("namespace"), moved)
    assert of(other, "policies", "--certjob-namespace", "tls-system")[0] == (
        "ok 13, and all rights, as in the manifests of 0.1.0"
    )
    v.NAMESPACE = "certjob"
    assert of(other, "policies", "--certjob-namespace", "certjob")[0].startswith("FAIL ")


def test_an_api_server_that_is_away_is_3(line: CommandLine) -> None:
    line.api.fail("GET", "/podtemplates/", Unreachable("connection refused"))
    ran = line.run("doctor")
    assert (ran.code, ran.out) == (3, "")
    assert ran.err == "error: the API server cannot be reached: connection refused\n"


def test_manifests_that_cannot_be_made_keep_nothing_else_from_being_looked_at(line: CommandLine) -> None:
    def broken(place: Path) -> bytes:
        raise CommandError("kubectl is not on the PATH")

    line.kustomize = broken
    assert of(line, "policies")[0] == "? not compared with the manifests: kubectl is not on the PATH"
    assert of(line, "sweep")[0].startswith("ok")


def test_it_is_published_as_json(line: CommandLine) -> None:
    found = json.loads(line.run("doctor", "-o", "json").out)
    assert (found["apiVersion"], found["kind"]) == ("certjob.io/v1", "DoctorReport")
    assert found["subjects"][0]["findings"][0]["about"] == "Kubernetes"
