"""Secrets that two tools renew."""

from __future__ import annotations

import pytest

from issuer_job.cluster.api import Json
from issuer_job.migrate.others.cm_controller import Controller, asks_cert_manager, controller_of, is_controller
from issuer_job.migrate.two_masters import two_masters
from issuer_job.record.record import Phase, Problem, Retry
from tests.worlds.samples import NOW, record

OURS = record(Phase.ISSUED)
"""Of Secret shop/web-tls."""


def certificate(name: str = "web", secret_name: str = "web-tls", **metadata: object) -> Json:
    spec = {"secretName": secret_name, "dnsNames": ["a.certjob.dev"], "issuerRef": {"name": "le"}}
    return {"metadata": {"name": name, "namespace": "shop", **metadata}, "spec": spec}


def ingress(**annotations: str) -> Json:
    notes = {key.replace("__", "/").replace("_", "-"): value for key, value in annotations.items()}
    spec = {"tls": [{"hosts": ["a.certjob.dev"], "secretName": "web-tls"}]}
    return {"metadata": {"name": "web", "namespace": "shop", "annotations": notes}, "spec": spec}


def deployment(*args: str, **spec: object) -> Json:
    image = "quay.io/jetstack/cert-manager-controller:v1.21.1"
    pod = {"containers": [{"image": image, "args": list(args)}]}
    return {"metadata": {"name": "cm", "namespace": "cm-ns"}, "spec": {"template": {"spec": pod}, **spec}}


LABELLED = ingress(**{"cert-manager.io/cluster-issuer": "le"})
AUTO = ingress(**{"kubernetes.io/tls-acme": "true"})


def test_a_secret_with_a_record_and_a_certificate_has_two_masters() -> None:
    (found,) = two_masters([OURS], certificates=[certificate()])
    assert str(found) == (
        "Secret shop/web-tls is certjob's and cert-manager's (Certificate web): see docs/moving.md#two-masters"
    )


@pytest.mark.parametrize(
    "alone",
    [
        {"certificates": [certificate(secret_name="other")]},
        {"certificates": [certificate(deletionTimestamp="2026-05-05T10:00:00Z")]},
        {"certificates": [{"metadata": {"name": "x"}, "spec": {"dnsNames": 7}}]},
        {"ingresses": [LABELLED]},  # no cert-manager is there to read it
        {"ingresses": [AUTO], "controller": Controller("cm", "cm")},  # it has no default issuer
        {"ingresses": [LABELLED], "kube_lego": True},
    ],
)
def test_one_master(alone: Json) -> None:
    assert two_masters([OURS], **alone) == ()


@pytest.mark.parametrize("phase", [Phase.ORPHANED, Phase.RETIRED, Phase.UNCONFIRMED])
def test_what_nobody_wants_of_certjob_has_one_master(phase: Phase) -> None:
    assert two_masters([record(phase)], certificates=[certificate()]) == ()


@pytest.mark.parametrize("problem", ["foreignSecret", "otherTool"])
def test_what_certjob_leaves_alone_has_one_master(problem: str) -> None:
    retry = Retry(problem=Problem(type=problem, detail=""), failures=1, intent_hash="x", since=NOW)
    assert two_masters([record(Phase.FAILED, retry=retry)], certificates=[certificate()]) == ()


@pytest.mark.parametrize("replicas", [0, 1])
def test_an_ingress_that_cert_manager_will_see_has_two_masters(replicas: int) -> None:
    controller = controller_of(deployment(replicas=replicas))
    assert controller.runs is (replicas == 1)
    (found,) = two_masters([OURS], ingresses=[LABELLED], controller=controller)
    assert found.other == "cert-manager's (Ingress web)"


def test_a_default_issuer_is_a_second_master_of_what_asks_as_kube_lego_had_it() -> None:
    controller = controller_of(deployment("--default-issuer-name=le"))
    (found,) = two_masters([OURS], ingresses=[AUTO], controller=controller)
    assert found.other == "cert-manager's (Ingress web)"
    for flag in ("--auto-certificate-annotations=", "--auto-certificate-annotations=example.com/tls"):
        assert not two_masters(
            [OURS], ingresses=[AUTO], controller=controller_of(deployment("--default-issuer-name=le", flag))
        )


def test_kube_lego_is_a_second_master_while_it_runs() -> None:
    (found,) = two_masters([OURS], ingresses=[AUTO], kube_lego=True)
    assert found.other == "kube-lego's (Ingress web)"


def test_of_a_certificate_and_its_ingress_the_certificate_is_named() -> None:
    controller = controller_of(deployment())
    (found,) = two_masters([OURS], ingresses=[LABELLED], certificates=[certificate()], controller=controller)
    assert "Certificate web" in found.other


def test_the_controller_is_told_by_its_image() -> None:
    assert is_controller(deployment())
    other = deployment()
    other["spec"]["template"]["spec"]["containers"][0]["image"] = "quay.io/jetstack/cert-manager-cainjector:v1.21.1"
    assert not is_controller(other)


def test_flags_and_their_defaults() -> None:
    plain = controller_of(deployment())
    assert (plain.owner_refs, plain.replicas, plain.auto_annotations) == (False, 1, ("kubernetes.io/tls-acme",))
    assert plain.secrets_of_cluster_issuers == "cm-ns"
    said = controller_of(
        deployment("--enable-certificate-owner-ref", "--cluster-resource-namespace=elsewhere", "--v=2", replicas=3)
    )
    assert (said.owner_refs, said.replicas, said.secrets_of_cluster_issuers) == (True, 3, "elsewhere")
    assert not controller_of(deployment("--enable-certificate-owner-ref=false")).owner_refs


CONFIG = """
apiVersion: controller.config.cert-manager.io/v1alpha1
kind: ControllerConfiguration
enableCertificateOwnerRef: true
ingressShimConfig:
  defaultIssuerName: le
  defaultIssuerKind: ClusterIssuer
"""


def test_a_configuration_file_is_read_and_flags_go_first() -> None:
    found = deployment("--config=/config/config.yaml")
    found["spec"]["template"]["spec"]["volumes"] = [{"configMap": {"name": "cm-config"}}]
    by_file = controller_of(found, {"cm-config": CONFIG})
    assert by_file.owner_refs
    assert asks_cert_manager({"kubernetes.io/tls-acme": "true"}, by_file)
    found["spec"]["template"]["spec"]["containers"][0]["args"].append("--enable-certificate-owner-ref=false")
    assert not controller_of(found, {"cm-config": CONFIG}).owner_refs


@pytest.mark.parametrize("text", ["a: &x 1", "[]", "a: 1\na: 2"])
def test_a_configuration_file_that_cannot_be_read_is_taken_for_the_dangerous_one(text: str) -> None:
    found = deployment("--config=/config/config.yaml")
    found["spec"]["template"]["spec"]["volumes"] = [{"configMap": {"name": "cm-config"}}]
    assert controller_of(found, {"cm-config": text}).owner_refs
    assert controller_of(found, {}).owner_refs
