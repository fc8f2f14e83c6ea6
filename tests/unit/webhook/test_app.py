from __future__ import annotations

import json
import logging
import threading
import time
from base64 import b64decode
from typing import Any

import jsonpatch
import msgspec
import pytest
from flask.testing import FlaskClient
from hypothesis import given, settings
from hypothesis import strategies as st

from issuer_job import vocabulary as v
from issuer_job.demand.ingress_spec import TlsEntry
from issuer_job.issuers.load import Issuers
from issuer_job.issuers.options import Options
from issuer_job.issuers.schema import Issuer
from issuer_job.launch.outcome import LaunchOutcome, OutcomeReason
from tests.fakes import webhook_parts as parts
from tests.fakes.clock import QuickTime
from tests.fakes.webhook_parts import FakeForesight, FakeLauncher, FakeLosses, FakeSettings, fake_metrics, known_paths
from tests.worlds.reviews import ADDED, Golden, golden_reviews, ingress, review
from webhook import readiness
from webhook.admission import Admission
from webhook.app import POLICIES, Parts, create_app
from webhook.bounded_calls import LAUNCH_SECONDS
from webhook.decide_ingress import IngressPolicy
from webhook.readiness import Readiness
from webhook.review import MAX_BODY, ReviewedKind

ANNOTATED = f"{parts.ANNOTATED}?timeout=5s"
GOLDEN = golden_reviews()


def client_of(launcher: FakeLauncher | None = None, known: FakeSettings | None = None) -> FlaskClient:
    return create_app(parts.parts(launcher, known)).test_client()


def response_of(client: FlaskClient, document: Any, path: str = ANNOTATED) -> dict[str, Any]:
    answer = client.post(path, json=document)
    assert answer.status_code == 200
    response: dict[str, Any] = answer.get_json()["response"]
    assert response["allowed"] is True
    return response


def tls(*secret_names: str) -> dict[str, Any]:
    new = ingress()
    new["spec"]["tls"] = [{"secretName": name, "hosts": ["shop.certjob.dev"]} for name in secret_names]
    return new


@pytest.mark.parametrize("golden", GOLDEN, ids=[golden.name for golden in GOLDEN])
def test_golden_review_through_http(golden: Golden) -> None:
    launcher = FakeLauncher()
    path = parts.NAMESPACE if golden.namespace_enabled else parts.ANNOTATED
    response = response_of(client_of(launcher), golden.review, path)
    assert response["uid"] == golden.review["request"]["uid"]
    patch = json.loads(b64decode(response["patch"])) if "patch" in response else []
    assert patch == golden.expected["patch"]
    assert response.get("warnings", []) == golden.expected["warnings"]
    namespace = golden.review["request"]["namespace"]
    expected = [(namespace, entry["secretName"]) for entry in golden.expected["launch"]]
    assert sorted(launcher.launched) == sorted(expected)
    assert set(launcher.at_once) <= {golden.expected["atOnce"]}


def test_what_will_happen_is_told_when_something_is_launched() -> None:
    launcher = FakeLauncher(
        {"a": LaunchOutcome(OutcomeReason.LAUNCHED, "a", 7), "b": LaunchOutcome(OutcomeReason.UNCHANGED, "b")}
    )
    response = response_of(client_of(launcher), review(tls("a", "b")))
    assert response["warnings"] == ["certjob: Secret a: certificate for 1 host is being ordered from staging"]


def test_what_could_not_be_launched_is_told_and_the_ingress_admitted() -> None:
    launcher = FakeLauncher({ADDED: LaunchOutcome(OutcomeReason.LATER, ADDED, warning="later\n(API server: 429)")})
    response = response_of(client_of(launcher), review(ingress()))
    assert response["warnings"] == ["certjob: later (API server: 429)"]
    assert "patch" in response


def test_an_issuer_that_was_just_made_is_asked_for_at_once() -> None:
    launcher = FakeLauncher()
    known = FakeSettings(newest=Issuers({"brand-new": Issuer(server="https://ca.dev/dir")}, {}))
    new = ingress()
    new["metadata"]["annotations"] = {v.ISSUER: "brand-new"}
    response = response_of(client_of(launcher, known), review(new))
    assert [name.startswith("shop.certjob.dev-") for _, name in launcher.launched] == [True]
    assert "patch" in response


def test_a_bug_in_launching_admits_keeps_the_patch_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    client = client_of(FakeLauncher({ADDED: ZeroDivisionError("boom")}))
    response = response_of(client, review(ingress()))
    assert response["uid"] == "u-1"
    assert "internal error" in response["warnings"][0]
    assert "patch" in response
    assert "ZeroDivisionError: boom" in caplog.text
    assert response_of(client, review(tls("other")))["uid"] == "u-1"


def test_issuers_that_cannot_be_read_admit_with_a_warning() -> None:
    response = response_of(client_of(known=FakeSettings(None)), review(ingress()))
    assert "issuers cannot be read" in response["warnings"][0]
    assert "patch" not in response


def test_issuers_that_cannot_be_read_do_not_take_the_former_entry_away() -> None:
    old = ingress()
    entry = TlsEntry("web-tls", ("shop.certjob.dev",))
    old["spec"]["tls"] = [{"hosts": list(entry.hosts), "secretName": entry.secret_name}]
    old["metadata"]["annotations"]["certjob.io/tls-entry"] = entry.marker_on(old)
    client = client_of(known=FakeSettings(None))
    response = response_of(client, review(ingress(), old=old, operation="UPDATE"))
    assert jsonpatch.apply_patch(ingress(), json.loads(b64decode(response["patch"]))) == old
    assert "patch" not in response_of(client, review(old, old=old, operation="UPDATE"))


def test_issuers_seen_before_are_used_while_the_api_server_is_away() -> None:
    known = FakeSettings()
    client = client_of(known=known)
    first = response_of(client, review(ingress()))
    known.known = None
    assert response_of(client, review(ingress())) == first


def test_issuers_are_not_asked_for_when_the_ingress_is_left_alone() -> None:
    new = ingress()
    del new["metadata"]["annotations"]
    assert "warnings" not in response_of(client_of(known=FakeSettings(None)), review(new))


def test_entries_are_launched_at_once() -> None:
    started = time.monotonic()
    launcher = FakeLauncher(seconds=0.2)
    response_of(client_of(launcher), review(tls("a", "b", "c", "d", "e")))
    assert time.monotonic() - started < 0.8
    assert len(launcher.launched) == 5


@pytest.mark.parametrize("hanging", ["launcher", "issuers"])
def test_a_hanging_api_server_costs_no_more_than_the_timeout_less_a_second(hanging: str) -> None:
    gate = threading.Event()
    launcher = FakeLauncher(gate=gate if hanging == "launcher" else None)
    known = FakeSettings(gate=gate if hanging == "issuers" else None)
    started = time.monotonic()
    try:
        response = response_of(client_of(launcher, known), review(tls("a", "b")), f"{parts.ANNOTATED}?timeout=500ms")
        assert 0.2 < time.monotonic() - started < 0.7
        assert all("will come later" in warning for warning in response["warnings"])
        assert len(response["warnings"]) == (2 if hanging == "launcher" else 1)
    finally:
        gate.set()


@pytest.mark.parametrize(
    ("timeout", "seconds"), [("5s", 4), ("30s", 4), ("3s", 2), ("1s", 0.5), ("", 4), ("-1s", 4), ("x" * 99, 4)]
)
def test_a_launch_may_go_on_for_a_while_after_the_answer_is_due(timeout: str, seconds: float) -> None:
    launcher = FakeLauncher()
    started = time.monotonic()
    response_of(client_of(launcher), review(ingress()), f"{parts.ANNOTATED}?timeout={timeout}")
    assert launcher.deadlines[0] - started == pytest.approx(seconds + LAUNCH_SECONDS, abs=0.2)


def test_when_too_many_wait_the_next_does_not_queue() -> None:
    gate = threading.Event()
    launcher = FakeLauncher(gate=gate)
    admission = Admission(
        launcher, FakeForesight(), FakeSettings(), FakeLosses(), fake_metrics(), budget=0.1, max_outstanding=2
    )

    def warnings(*secret_names: str) -> list[str]:
        body = json.dumps(review(tls(*secret_names))).encode()
        reply = admission.admit(body, IngressPolicy(namespace_enabled=False), started=time.monotonic())
        found: list[str] = json.loads(reply)["response"]["warnings"]
        return found

    try:
        assert warnings("a") == ["certjob: Secret a: the API server is slow, the certificate will come later"]
        assert "certjob: Secret c: very busy, the certificate will come later" in warnings("b", "c")
        assert ("shop", "c") not in launcher.launched
    finally:
        gate.set()


def test_the_decision_is_one_log_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    launcher = FakeLauncher({ADDED: LaunchOutcome(OutcomeReason.LAUNCHED, ADDED, 7)})
    response_of(client_of(launcher), review(ingress()))
    fields = [record.__dict__["fields"] for record in caplog.records if record.message == "admission"]
    assert len(fields) == 1
    assert fields[0].pop("milliseconds") < 1000
    assert fields[0] == {
        "uid": "u-1", "namespace": "shop", "name": "web", "operation": "CREATE", "reason": "Wanted",
        "entries": 1, "outcomes": ["Launched"], "patched": True, "dryRun": False,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("method", "path", "content_type", "status"),
    [
        ("GET", parts.ANNOTATED, "application/json", 405),
        ("PUT", parts.NAMESPACE, "application/json", 405),
        ("DELETE", parts.ANNOTATED, "application/json", 405),
        ("POST", "/readyz", "application/json", 405),
        ("POST", "/mutate", "application/json", 404),
        ("POST", f"{parts.ANNOTATED}/", "application/json", 404),
        ("POST", parts.ANNOTATED, "text/plain", 415),
        ("POST", parts.ANNOTATED, "", 415),
        ("POST", parts.ANNOTATED, "application/yaml", 415),
        ("POST", parts.ANNOTATED, "application/json; charset=utf-8", 200),
    ],
)
def test_method_path_and_content_type(method: str, path: str, content_type: str, status: int) -> None:
    body = Golden("", False, review(ingress()), {}).body
    answer = client_of().open(path, method=method, data=body, headers={"Content-Type": content_type})
    assert answer.status_code == status
    assert answer.mimetype == ("application/json" if status == 200 else "text/plain")
    if status == 405:
        assert answer.headers["Allow"]


LARGE = b" " * (MAX_BODY + 1)


@pytest.mark.parametrize(
    ("body", "environ", "status"),
    [
        (LARGE, {}, 413),
        (b"{}", {"CONTENT_LENGTH": str(10**30)}, 413),
        (LARGE, {"CONTENT_LENGTH": "", "HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": True}, 413),
        (b"{}", {"CONTENT_LENGTH": "100"}, 400),
        (b"{}", {"CONTENT_LENGTH": "-1"}, 400),
        (b"{}", {"CONTENT_LENGTH": "x"}, 400),
    ],
    ids=["large", "declared", "chunked", "short", "negative", "no number"],
)
def test_the_bodys_length(body: bytes, environ: dict[str, Any], status: int) -> None:
    answer = client_of().post(ANNOTATED, data=body, content_type="application/json", environ_overrides=environ)
    assert answer.status_code == status


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=20,
)
texts = st.text(max_size=30) | st.sampled_from(
    ["shop.certjob.dev", "*.certjob.dev", "10.0.0.1", "a" * 300, "web-tls"]
)
maybe = st.one_of(st.none(), texts, json_values)
ingresses = st.fixed_dictionaries(
    {
        "metadata": st.fixed_dictionaries(
            {"annotations": st.fixed_dictionaries({"kubernetes.io/tls-acme": st.just("true")}, optional={
                "certjob.io/issuer": texts, "certjob.io/key-algorithm": texts, "certjob.io/tls-entry": texts,
                "kubernetes.io/ingress.class": texts,
            })},
            optional={"name": texts, "generateName": texts, "creationTimestamp": texts, "deletionTimestamp": texts},
        ),
        "spec": st.fixed_dictionaries({}, optional={
            "rules": st.lists(st.fixed_dictionaries({}, optional={"host": texts, "http": json_values})) | json_values,
            "tls": st.lists(st.fixed_dictionaries({}, optional={"hosts": st.lists(texts), "secretName": texts}))
            | json_values,
            "ingressClassName": maybe,
        }),
    }
)  # fmt: skip
FUZZED = client_of()


def check_fuzzed(body: bytes) -> None:
    answer = FUZZED.post(ANNOTATED, data=body, content_type="application/json")
    if answer.status_code == 200:
        response = answer.get_json()["response"]
        assert response["allowed"] is True
        assert response["uid"]
        for warning in response.get("warnings", []):
            assert len(warning) <= 120
            assert warning.isprintable()
            assert "internal error" not in warning
    else:
        assert 400 <= answer.status_code < 500


@settings(max_examples=50, deadline=2000)
@given(st.binary(max_size=200) | json_values.map(lambda value: json.dumps(value).encode()))
def test_fuzz_any_body(body: bytes) -> None:
    check_fuzzed(body)


@pytest.mark.exhaustive
@settings(max_examples=100, deadline=2000)
@given(new=ingresses | json_values, old=ingresses | json_values, operation=st.sampled_from(["CREATE", "UPDATE"]))
def test_fuzz_any_ingress(new: Any, old: Any, operation: str) -> None:
    check_fuzzed(json.dumps(review(new, old=old, operation=operation)).encode())


def test_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    reachable, passing = [True], QuickTime()
    monkeypatch.setattr(readiness, "time", passing)
    app = create_app(
        Parts(FakeLauncher(), FakeForesight(), FakeSettings(), FakeLosses(), known_paths(), lambda: reachable[0])
    )
    client = app.test_client()
    assert client.get("/livez").status_code == 200
    assert client.get("/readyz").status_code == 200
    reachable[0] = False
    passing.sleep(1.0)
    assert client.get("/readyz").status_code == 503
    assert client.get("/livez").status_code == 200


def test_readiness_goes_false_when_the_process_shall_stop() -> None:
    probe = Readiness(lambda: True)
    assert probe.ready()
    readiness.draining.set()
    try:
        assert not probe.ready()
    finally:
        readiness.draining.clear()


def test_a_hanging_api_server_does_not_block_the_probe_and_is_asked_once() -> None:
    gate = threading.Event()
    asked: list[float] = []

    def check() -> bool:
        asked.append(time.monotonic())
        return gate.wait()

    probe = Readiness(check, patience=0.2)
    started = time.monotonic()
    assert not probe.ready()
    assert not probe.ready()
    assert time.monotonic() - started < 1
    assert len(asked) == 1
    gate.set()
    assert probe.ready()
    assert len(asked) == 1


KINDS = {ReviewedKind("", "v1", "Pod")} | {policy.kind for policy in POLICIES.values()}


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        (f"{path}/{parts.TOKEN}", kind)
        for path, policy in POLICIES.items()
        for kind in sorted(KINDS - {policy.kind}, key=str)
    ],
)
def test_whatever_another_kind_looks_like_it_is_let_pass(path: str, kind: ReviewedKind) -> None:
    odd = review({"metadata": ["a"]}, kind=msgspec.to_builtins(kind))
    assert response_of(client_of(), odd, path) == {"uid": "u-1", "allowed": True}


ALIASED = {"cert-manager.io/cluster-issuer": "staging", "cert-manager.io/revision-history-limit": "1"}


def test_annotations_of_cert_manager_count_where_that_is_set() -> None:
    document = review(ingress(annotations=ALIASED))
    launcher = FakeLauncher()
    assert "patch" not in response_of(client_of(launcher), document)
    assert launcher.launched == []
    on = FakeSettings(set_by_operator=Options(cert_manager_annotations=True))
    response = response_of(client_of(launcher, on), document)
    patched = jsonpatch.apply_patch(document["request"]["object"], json.loads(b64decode(response["patch"])))
    assert patched["metadata"]["annotations"].keys() == {*ALIASED, v.TLS_ENTRY}
    assert [entry["secretName"] for entry in patched["spec"]["tls"]] == [ADDED]
    assert launcher.launched == [("shop", ADDED)]
    assert [line for line in response["warnings"] if "revision-history-limit" in line]


def test_an_update_that_drops_them_says_what_is_not_renewed_any_more() -> None:
    on = FakeSettings(set_by_operator=Options(cert_manager_annotations=True))
    new, old = tls("web-tls"), tls("web-tls")
    new["metadata"]["annotations"], old["metadata"]["annotations"] = {}, ALIASED
    response = response_of(client_of(FakeLauncher(), on), review(new, old=old, operation="UPDATE"))
    assert "not renewed" in response["warnings"][0]


def test_the_options_are_asked_for_no_ingress_without_them() -> None:
    class Unasked(FakeSettings):
        def options(self) -> Options:
            raise AssertionError

    response_of(client_of(FakeLauncher(), Unasked()), review(ingress()))
