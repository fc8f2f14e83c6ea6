"""The application with its real launcher, on the API server in memory."""

from __future__ import annotations

import json
import time
from base64 import b64decode
from collections.abc import Callable
from typing import Any

import jsonpatch
import pytest
from flask.testing import FlaskClient

from issuer_job import vocabulary as v
from issuer_job.cluster.api import (
    CONFIGMAPS,
    INGRESSES,
    JOBS,
    MUTATING_WEBHOOKS,
    POD_TEMPLATES,
    SECRETS,
    Cluster,
    Json,
    Response,
    Unreachable,
)
from tests.fakes.api import Attempt, FakeApi, Outcome, status
from tests.fakes.store import denied_by
from tests.fakes.webhook_parts import ANNOTATED, configuration
from tests.worlds.reviews import ADDED, ingress, review
from webhook.app import Parts, create_app

ISSUER = "server: https://acme.certjob.dev/directory\n"


def canary(attempt: Attempt) -> Json | Response | None:
    labels = ((attempt.new or {}).get("metadata") or {}).get("labels") or {}
    return None if labels.get(v.MANAGED) == "true" else denied_by("certjob-tenant-secrets", "certjob-shape: no")


@pytest.fixture
def api() -> FakeApi:
    api = FakeApi(hooks={"secrets": canary})
    metadata = {"name": "staging", "labels": {v.ISSUER: "true"}, "annotations": {v.DEFAULT_ISSUER: "true"}}
    api.add(CONFIGMAPS, v.NAMESPACE, {"metadata": metadata, "data": {v.ISSUER_KEY: ISSUER}})
    pod = {"spec": {"containers": [{"name": "issue"}], "volumes": []}}
    api.add(MUTATING_WEBHOOKS, None, configuration())
    api.add(POD_TEMPLATES, v.NAMESPACE, {"metadata": {"name": v.POD_TEMPLATE}, "template": pod})
    return api


@pytest.fixture
def client(api: FakeApi) -> FlaskClient:
    return create_app(Parts.of(Cluster(api))).test_client()


def admit(client: FlaskClient, **request: Any) -> dict[str, Any]:
    answer = client.post(f"{ANNOTATED}?timeout=5s", json=review(ingress(), **request))
    response: dict[str, Any] = answer.get_json()["response"]
    assert answer.status_code == 200
    assert response["allowed"] is True
    assert "patch" in response
    return response


def writes(api: FakeApi) -> list[str]:
    return [f"{r.method} {r.path}" for r in api.requests if r.method != "GET" and r.query.get("dryRun") != "All"]


def test_everything_is_created_and_told(api: FakeApi, client: FlaskClient) -> None:
    response = admit(client)
    assert response["warnings"] == [f"certjob: Secret {ADDED}: certificate for 1 host is being ordered from staging"]
    assert api.stored(CONFIGMAPS, v.NAMESPACE, f"shop.{ADDED}")
    assert len(api.all(INGRESSES, v.NAMESPACE)) == 1
    assert len(api.all(JOBS, v.NAMESPACE)) == 1
    secret = api.stored(SECRETS, "shop", ADDED)
    assert secret is not None
    assert secret["metadata"]["labels"][v.STATE] == "placeholder"


def test_a_second_time_nothing_is_written_nor_told(api: FakeApi, client: FlaskClient) -> None:
    admit(client)
    before = len(writes(api))
    assert "warnings" not in admit(client, operation="UPDATE", old=ingress())
    assert len(writes(api)) == before


def test_a_creation_that_comes_twice_changes_nothing(api: FakeApi, client: FlaskClient) -> None:
    """Another admission plugin changed the Ingress, so the API server asks again."""
    admit(client)
    record = api.stored(CONFIGMAPS, v.NAMESPACE, f"shop.{ADDED}")
    assert "warnings" not in admit(client)
    assert api.stored(CONFIGMAPS, v.NAMESPACE, f"shop.{ADDED}") == record
    assert len(api.all(JOBS, v.NAMESPACE)) == 1


def test_a_dry_run_creates_nothing(api: FakeApi, client: FlaskClient) -> None:
    admit(client, dryRun=True)
    assert writes(api) == []


def eventually(condition: Callable[[], bool], seconds: float = 5) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.01)


def many_hosts() -> Json:
    return ingress([f"h{n}.certjob.dev" for n in range(100)])


def many_entries() -> Json:
    body = ingress([f"h{n}.certjob.dev" for n in range(20)])
    body["spec"]["tls"] = [{"secretName": f"s{n}", "hosts": [f"h{n}.certjob.dev"]} for n in range(20)]
    return body


@pytest.mark.parametrize("body", [many_hosts(), many_entries()], ids=["100 hosts", "20 entries"])
def test_whatever_its_size_its_placeholders_are_there_with_the_answer(
    api: FakeApi, client: FlaskClient, body: Json
) -> None:
    answer = client.post(f"{ANNOTATED}?timeout=5s", json=review(body)).get_json()["response"]
    patched = jsonpatch.apply_patch(body, json.loads(b64decode(answer["patch"]))) if "patch" in answer else body
    names = {entry["secretName"] for entry in patched["spec"]["tls"]}
    secrets = {s["metadata"]["name"]: s["metadata"]["labels"][v.STATE] for s in api.all(SECRETS, "shop")}
    assert secrets == dict.fromkeys(names, "placeholder")
    assert all(api.stored(CONFIGMAPS, v.NAMESPACE, f"shop.{name}") for name in names)
    assert any("one after the other" in warning for warning in answer["warnings"]), answer["warnings"]


def test_what_is_too_large_for_one_admission_is_launched_right_after_it(api: FakeApi, client: FlaskClient) -> None:
    client.post(f"{ANNOTATED}?timeout=5s", json=review(many_hosts()))
    eventually(lambda: len(api.all(JOBS, v.NAMESPACE)) == 1)


def test_a_large_ingress_whose_record_is_there_has_its_placeholder_again(api: FakeApi, client: FlaskClient) -> None:
    for _ in range(2):
        client.post(f"{ANNOTATED}?timeout=5s", json=review(many_hosts()))
        [secret] = api.all(SECRETS, "shop")
        eventually(lambda: len(api.all(JOBS, v.NAMESPACE)) == 1)
        api.remove(SECRETS, "shop", secret["metadata"]["name"])


@pytest.mark.parametrize("name", ["web-tls", "shop.certjob.dev-tls"])
def test_a_secret_that_is_somebodys_already_is_never_pointed_at(api: FakeApi, client: FlaskClient, name: str) -> None:
    """As a chart's own pair, for use inside: to the world it says whatever it was made for."""
    theirs = api.add(SECRETS, "shop", {"metadata": {"name": name}, "type": v.TLS_SECRET_TYPE, "data": {}})
    patch = json.loads(b64decode(admit(client)["patch"]))
    [tls] = [change["value"] for change in patch if change["path"] == "/spec/tls"]
    assert tls[0]["secretName"] != name
    assert api.stored(SECRETS, "shop", name) == theirs
    made = api.stored(SECRETS, "shop", tls[0]["secretName"])
    assert made is not None
    assert made["metadata"]["labels"][v.STATE] == "placeholder"


def test_a_host_of_another_namespace_is_told(api: FakeApi, client: FlaskClient) -> None:
    admit(client, namespace="first")
    assert "belongs to another namespace" in admit(client, namespace="second")["warnings"][0]
    assert len(api.all(JOBS, v.NAMESPACE)) == 1


ALLOW_LIST = "hostPolicy: allow-list\nallowedHosts:\n- namespaces: [other]\n  suffixes: [certjob.dev]\n"


def set_options(api: FakeApi, text: str) -> None:
    api.add(CONFIGMAPS, v.NAMESPACE, {"metadata": {"name": v.OPTIONS_CONFIG_MAP}, "data": {v.OPTIONS_KEY: text}})


def warned(client: FlaskClient, body: Json, **request: Any) -> list[str]:
    answer = client.post(f"{ANNOTATED}?timeout=5s", json=review(body, **request)).get_json()
    return list(answer["response"].get("warnings", []))


def of_another(api: FakeApi, client: FlaskClient) -> None:
    warned(client, ingress(), namespace="first")


def not_listed(api: FakeApi, client: FlaskClient) -> None:
    set_options(api, ALLOW_LIST)


def full(api: FakeApi, client: FlaskClient) -> None:
    set_options(api, "certificatesPerNamespace: 1\n")
    warned(client, ingress(["first.certjob.dev"], name="first"))


def not_in_force(api: FakeApi, client: FlaskClient) -> None:
    del api.hooks["secrets"]


@pytest.mark.parametrize(
    ("obstacle", "why"),
    [
        (of_another, "belongs to another namespace"),
        (not_listed, "is not allowed in this namespace"),
        (full, "option certificatesPerNamespace"),
        (not_in_force, "policies are not in force"),
    ],
)
def test_without_a_placeholder_it_is_said_what_https_answers(
    api: FakeApi, client: FlaskClient, obstacle: Callable[[FakeApi, FlaskClient], None], why: str
) -> None:
    obstacle(api, client)
    before = api.all(SECRETS, "shop")
    told, default = warned(client, ingress())
    assert why in told
    assert default.endswith("without its Secret, HTTPS has the ingress controller's default certificate")
    assert api.all(SECRETS, "shop") == before


def test_that_is_said_once(api: FakeApi, client: FlaskClient) -> None:
    not_listed(api, client)
    body = ingress(["a.certjob.dev", "b.certjob.dev"])
    body["spec"]["tls"] = [{"secretName": f"{name}-tls", "hosts": [f"{name}.certjob.dev"]} for name in "ab"]
    told = warned(client, body)
    assert ["default certificate" in warning for warning in told].count(True) == 1
    assert ["is not allowed" in warning for warning in told].count(True) == 2


PROBLEMS: list[Outcome] = [
    status(403, "Forbidden", "quota"),
    status(409, "Conflict", "changed"),
    status(429, "TooManyRequests", "slow down", retry_after=1),
    status(500, "InternalError", "etcd\nleader changed"),
    Unreachable("read timeout"),
]


@pytest.mark.exhaustive
@pytest.mark.usefixtures("no_pauses")
@pytest.mark.parametrize("problem", PROBLEMS, ids=["403", "409", "429", "500", "timeout"])
@pytest.mark.parametrize("what", ["configmaps", "jobs", "secrets", "ingresses", "podtemplates"])
def test_an_api_error_admits_all_the_same(api: FakeApi, client: FlaskClient, what: str, problem: Outcome) -> None:
    admit(client, dryRun=True)  # the issuers are known
    for method in ("GET", "POST", "PUT"):
        api.fail(method, f"/{what}", problem, 100)
    response = admit(client)
    if what in ("configmaps", "jobs", "podtemplates"):
        assert any("later" in warning for warning in response["warnings"]), response
    assert "internal error" not in json.dumps(response)


def test_readiness_is_that_of_the_api_server(api: FakeApi, client: FlaskClient) -> None:
    api.fail("GET", "/readyz", status(500, "InternalError"))
    assert client.get("/readyz").status_code == 503
