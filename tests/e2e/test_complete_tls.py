"""The sweep may complete an empty spec.tls, if the operator lets it, and change nothing else of an Ingress."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from issuer_job import vocabulary as v
from issuer_job.cluster.api import Json
from tests.e2e import world
from tests.e2e.api import INGRESSES, Api, kubectl, path, wait_for
from tests.e2e.attacks import assert_verdict
from tests.e2e.observe import added_secret
from tests.e2e.parts import options, scaled
from tests.e2e.sweeps import run_sweep

OPTIONAL = Path(__file__).resolve().parents[2] / "manifests/optional/complete-tls.yaml"
Change = Callable[[Json], Any]


@pytest.fixture(scope="module")
def allowed(admin: Api) -> Iterator[None]:
    """The sweep has the right to update Ingresses, as far as the API server knows."""
    kubectl("apply", "-f", str(OPTIONAL))
    attributes = {"verb": "update", "group": "networking.k8s.io", "resource": "ingresses", "namespace": "default"}
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {"user": f"system:serviceaccount:{v.NAMESPACE}:sweep", "resourceAttributes": attributes},
    }

    def is_known() -> bool:
        answer = admin.call("POST", path("subjectaccessreviews.authorization.k8s.io/v1"), review)
        return bool(answer.json["status"]["allowed"])

    wait_for(is_known, what="the right is known")
    yield
    kubectl("delete", "-f", str(OPTIONAL))


def completed(ingress: Json) -> Json:
    """As the sweep writes it."""
    body = copy.deepcopy(ingress)
    del body["metadata"]["resourceVersion"]  # the ingress controller writes its status
    host = body["spec"]["rules"][0]["host"]
    body["spec"]["tls"] = [{"secretName": "web-tls", "hosts": [host]}]
    body["metadata"].setdefault("annotations", {})[v.TLS_ENTRY] = "web-tls 0123456789"
    return body


CHANGES: list[tuple[str, Change, str]] = [
    ("completion", lambda b: None, "ok"),
    ("foreign host", lambda b: b["spec"]["tls"][0].update(hosts=["other.test"]), "certjob-complete: only one entry"),
    ("two entries", lambda b: b["spec"]["tls"].append({"secretName": "x"}), "certjob-complete: only one entry"),
    ("no hosts", lambda b: b["spec"]["tls"][0].pop("hosts"), "certjob-complete: only one entry"),
    ("no Secret", lambda b: b["spec"]["tls"][0].pop("secretName"), "certjob-complete: only one entry"),
    ("no entry", lambda b: b["spec"].pop("tls"), "certjob-complete: only one entry"),
    ("rule", lambda b: b["spec"]["rules"].append({"host": "x.test"}), "certjob-complete: nothing else of the spec"),
    ("class", lambda b: b["spec"].update(ingressClassName="other"), "certjob-complete: nothing else of the spec"),
    (
        "backend",
        lambda b: b["spec"].update(defaultBackend={"service": {"name": "x", "port": {"number": 1}}}),
        "certjob-complete: nothing else of the spec",
    ),
    ("annotation", lambda b: b["metadata"]["annotations"].update(a="b"), "certjob-complete: no annotation"),
    ("annotation lost", lambda b: b["metadata"]["annotations"].pop("mine"), "certjob-complete: no annotation"),
    ("no mark", lambda b: b["metadata"]["annotations"].pop(v.TLS_ENTRY), "certjob-complete: no annotation"),
    ("label", lambda b: b["metadata"].update(labels={"a": "b"}), "certjob-complete: no label"),
    ("finalizer", lambda b: b["metadata"].update(finalizers=["a.b/c"]), "certjob-complete: no label"),
]


def test_without_the_optional_right_the_sweep_changes_no_ingress(
    namespace: str, identity: Callable[[str], Api]
) -> None:
    stored = world.create(namespace, world.manifest("web", [f"web.{namespace}.test"]))
    answer = identity("sweep").call("PUT", path(INGRESSES, namespace, "web"), completed(stored), dryRun="All")
    assert_verdict(answer, "cannot update resource")


@pytest.mark.usefixtures("allowed")
@pytest.mark.parametrize(("change", "verdict"), [case[1:] for case in CHANGES], ids=[case[0] for case in CHANGES])
def test_what_the_sweep_may_change(
    namespace: str, identity: Callable[[str], Api], admin: Api, change: Change, verdict: str
) -> None:
    ingress = world.manifest("web", [f"web.{namespace}.test"])
    ingress["metadata"]["annotations"] = {"mine": "1"}
    stored = world.create(namespace, ingress)
    body = completed(stored)
    change(body)
    assert_verdict(identity("sweep").call("PUT", path(INGRESSES, namespace, "web"), body, dryRun="All"), verdict)


@pytest.mark.usefixtures("allowed")
def test_an_entry_that_is_there_is_not_the_sweeps_to_change(namespace: str, identity: Callable[[str], Api]) -> None:
    tls = [{"secretName": "mine", "hosts": [f"web.{namespace}.test"]}]
    stored = world.create(namespace, world.manifest("web", [f"web.{namespace}.test"], tls=tls))
    answer = identity("sweep").call("PUT", path(INGRESSES, namespace, "web"), completed(stored), dryRun="All")
    assert_verdict(answer, "certjob-complete: only one entry")


@pytest.mark.usefixtures("allowed")
def test_the_sweep_completes_what_the_webhook_missed(namespace: str) -> None:
    host = f"bare.{namespace}.test"
    with scaled("certjob-webhook", 0):
        world.create(namespace, world.manifest("bare", [host], bare=True, tls_acme="true"))
    with options() as put:
        put({"completeTls": True})
        run_sweep()
    assert world.live(namespace, "bare")["spec"]["tls"] == [{"hosts": [host], "secretName": added_secret(host)}]
    world.wait_issued(namespace, added_secret(host), [host])
