"""ConfigMaps by kind and identity; issuers, settings and the webhook's configuration stay the operator's."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from issuer_job import names, vocabulary
from tests.e2e.api import CONFIGMAPS, MUTATING_WEBHOOKS, Api, Json, path
from tests.e2e.attacks import assert_verdict, encoded

pytestmark = pytest.mark.usefixtures("no_sweeps")
"""One might clear away what is stored here, of which no record knows."""

CERTJOB = vocabulary.NAMESPACE
Identity = Callable[[str], Api]
Change = Callable[[Json], Any]

UID = "11111111-1111-1111-1111-111111111111"
OWNER = {"apiVersion": "v1", "kind": "ConfigMap", "name": "tenant.web", "uid": UID}
OTHER_OWNER = {"apiVersion": "v1", "kind": "Node", "name": "node", "uid": UID}
EPOCH = 1700000000


RECORD = names.record("e2e-policies", "web")
KINDS = {
    "record": RECORD,
    "claim": names.claim("e2e-policies.test"),
    "challenge": names.challenge(UID, EPOCH),
    "dns-challenge": names.dns_trace(UID),
    "revocation": names.revocation("e2e-policies", "web", "ab"),
    "issuer-state": names.issuer_state("e2e-policies", "https://ca.test/dir"),
    "options-in-force": vocabulary.OPTIONS_IN_FORCE,
}
WRITES = {
    "webhook": {"POST record", "PUT record", "POST claim"},
    "job": {"PUT record", "POST claim", "PUT claim", "DELETE claim", "POST challenge", "PUT challenge",
            "DELETE challenge", "POST issuer-state", "PUT issuer-state", "PUT revocation",
            "POST dns-challenge", "PUT dns-challenge", "DELETE dns-challenge"},
    "sweep": {f"{verb} {kind}" for verb in ("POST", "PUT", "DELETE") for kind in KINDS if kind != "dns-challenge"}
    - {"DELETE options-in-force"},
    "responder": set(),
}  # fmt: skip


def config_map(name: str, kind: str = "", **metadata: Any) -> Json:
    labels = {f"certjob.io/{kind}": "true"} if kind else {}
    labels |= {"certjob.io/namespace": name.partition(".")[0]} if kind == "record" else {}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": labels} | metadata}


@pytest.fixture(scope="module")
def stored_kinds(admin: Api) -> Iterator[None]:
    """One ConfigMap of each kind. Claims of nobody and a challenge of nothing disturb nobody."""
    for kind, name in KINDS.items():
        answer = admin.call("POST", path(CONFIGMAPS, CERTJOB), config_map(name, kind))
        assert answer.status in {201, 409}, answer
    yield
    for name in KINDS.values():
        admin.call("DELETE", path(CONFIGMAPS, CERTJOB, name))


@pytest.mark.parametrize("service_account", WRITES)
@pytest.mark.parametrize("verb", ["POST", "PUT", "DELETE"])
@pytest.mark.parametrize("kind", KINDS)
def test_who_writes_which_config_map(
    identity: Identity, stored_kinds: None, kind: str, verb: str, service_account: str
) -> None:
    name = None if verb == "POST" else KINDS[kind]
    body = None if verb == "DELETE" else config_map(KINDS[kind], kind)
    answer = identity(service_account).call(verb, path(CONFIGMAPS, CERTJOB, name), body, dryRun="All")
    if f"{verb} {kind}" in WRITES[service_account]:
        assert answer.status in {200, 409}, answer  # POST: it is there, and the policy let it get as far
    else:
        assert answer.status == 403, answer


CHECKED = {vocabulary.CHECKED: "2026-01-01T00:00:00+00:00"}


@pytest.fixture
def checked_claim(admin: Api) -> Iterator[Json]:
    """A host that somebody holds."""
    name = names.claim("e2e-held.test")
    body = config_map(name, "claim", annotations=CHECKED) | {"data": {"host": "e2e-held.test", "namespace": "tenant"}}
    answer = admin.call("POST", path(CONFIGMAPS, CERTJOB), body)
    assert answer.status == 201, answer
    yield answer.json
    admin.call("DELETE", path(CONFIGMAPS, CERTJOB, name))


def test_no_job_takes_a_host_from_whom_it_belongs_to(identity: Identity, checked_claim: Json) -> None:
    where = path(CONFIGMAPS, CERTJOB, checked_claim["metadata"]["name"])
    unmarked = checked_claim | {"metadata": checked_claim["metadata"] | {"annotations": {}}}
    for verb, body in (("DELETE", None), ("PUT", checked_claim), ("PUT", unmarked)):
        assert_verdict(identity("job").call(verb, where, body, dryRun="All"), "what was checked no Job touches")
        assert_verdict(identity("sweep").call(verb, where, body, dryRun="All"), "ok")


BAD_CONFIG_MAPS: list[tuple[str, Json]] = [
    ("issuer", config_map("evil", "issuer")),
    ("issuer and record", config_map("a.b", labels={"certjob.io/issuer": "true", "certjob.io/record": "true"})),
    ("issuer=false and record", config_map("a.b", labels={"certjob.io/issuer": "", "certjob.io/record": "true"})),
    ("two kinds", config_map("a.b", labels={"certjob.io/claim": "true", "certjob.io/record": "true"})),
    ("no kind", config_map("anything")),
    ("record with a plain name", config_map("evil", "record")),
    ("claim with a plain name", config_map("evil", "claim")),
    ("challenge with a plain name", config_map("evil", "challenge")),
    ("issuer state with a plain name", config_map("evil", "issuer-state")),
    ("finalizer", config_map("a.b", "record", finalizers=["example.test/hold"])),
    ("owner", config_map("a.b", "record", ownerReferences=[OTHER_OWNER])),
    ("immutable", config_map("a.b", "record") | {"immutable": True}),
    (
        "record of another namespace",
        config_map("a.b", labels={"certjob.io/record": "true", "certjob.io/namespace": "b"}),
    ),
    ("record of no namespace", config_map("a.b", labels={"certjob.io/record": "true"})),
    (
        "another record's challenge",
        config_map(
            names.challenge(UID, EPOCH), "challenge", ownerReferences=[OWNER | {"uid": UID.replace("1", "2")}]
        ),
    ),
]


@pytest.mark.parametrize("service_account", ["webhook", "job", "sweep"])
@pytest.mark.parametrize("body", [b[1] for b in BAD_CONFIG_MAPS], ids=[b[0] for b in BAD_CONFIG_MAPS])
def test_no_other_config_map_is_made(identity: Identity, body: Json, service_account: str) -> None:
    answer = identity(service_account).call("POST", path(CONFIGMAPS, CERTJOB), body, dryRun="All")
    assert_verdict(answer, "certjob-cm")


@pytest.mark.parametrize(
    ("state", "verdict"),
    [("Launched", "ok"), ("Issued", "ok"), ("Retired", "certjob-cm"), ("Orphaned", "certjob-cm"), ("", "ok")],
)
def test_how_an_attempt_went_is_not_the_webhooks_to_say(
    identity: Identity, stored_kinds: None, state: str, verdict: str
) -> None:
    body = config_map(RECORD, "record")
    body["metadata"]["labels"] |= {"certjob.io/state": state} if state else {}
    where = path(CONFIGMAPS, CERTJOB, RECORD)
    assert_verdict(identity("webhook").call("PUT", where, body, dryRun="All"), verdict)
    assert_verdict(identity("sweep").call("PUT", where, body, dryRun="All"), "ok")


@pytest.mark.parametrize("service_account", ["webhook", "job", "sweep", "responder"])
@pytest.mark.parametrize("name", ["letsencrypt", "letsencrypt-staging", "certjob-route-policy", "kube-root-ca.crt"])
def test_issuers_and_settings_are_the_operators(
    admin: Api, identity: Identity, name: str, service_account: str
) -> None:
    where = path(CONFIGMAPS, CERTJOB, name)
    stored = admin.call("GET", where).json
    disguised = stored | {"metadata": stored["metadata"] | {"labels": {"certjob.io/record": "true"}}}
    for body in (stored | {"data": {"issuer.yaml": "server: https://evil.test/dir"}}, disguised):
        assert identity(service_account).call("PUT", where, body, dryRun="All").status == 403
    assert identity(service_account).call("DELETE", where, dryRun="All").status == 403


def webhooks(body: Json) -> list[Json]:
    found: list[Json] = body["webhooks"]
    return found


SECRETS_RULE = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["*"], "resources": ["secrets"], "scope": "*"}
TAKEN_OVER: list[tuple[str, Change]] = [
    ("Secrets", lambda b: webhooks(b)[0]["rules"].append(SECRETS_RULE)),
    ("all namespaces", lambda b: webhooks(b)[0].update(namespaceSelector={})),
    ("no conditions", lambda b: webhooks(b)[0].pop("matchConditions")),
    ("another place", lambda b: webhooks(b)[0].update(clientConfig={"url": "https://evil.test/"})),
    ("another Service", lambda b: webhooks(b)[0]["clientConfig"]["service"].update(namespace="default")),
    ("failure policy", lambda b: webhooks(b)[0].update(failurePolicy="Fail")),
    ("third webhook", lambda b: webhooks(b).append(webhooks(b)[0] | {"name": "more.certjob.io"})),
    ("one webhook less", lambda b: webhooks(b).pop()),
    ("labels", lambda b: b["metadata"].update(labels={"a": "b"})),
    ("annotations", lambda b: b["metadata"].update(annotations={"a": "b"})),
    ("finalizer", lambda b: b["metadata"].update(finalizers=["example.test/hold"])),
    ("owner", lambda b: b["metadata"].update(ownerReferences=[OTHER_OWNER])),
]
CONFIGURATION = path(MUTATING_WEBHOOKS, None, vocabulary.WEBHOOK_CONFIGURATION)
FORMER = path(MUTATING_WEBHOOKS, None, vocabulary.FORMER_WEBHOOK_CONFIGURATION)


def to_path(number: int, text: str) -> Change:
    return lambda b: webhooks(b)[number]["clientConfig"]["service"].update(path=text)


OTHER_PATHS: list[tuple[str, Change]] = [
    ("a path that everybody knows", to_path(0, "/mutate/annotated")),
    ("no path", lambda b: webhooks(b)[0]["clientConfig"]["service"].pop("path")),
    ("a short token", to_path(0, "/mutate/annotated/" + "a" * 63)),
    ("a token of other digits", to_path(0, "/mutate/annotated/" + "g" * 64)),
    ("a path of another kind", to_path(0, "/mutate/request/" + "a" * 64)),
    ("a path in front", to_path(0, "/x/mutate/annotated/" + "a" * 64)),
    ("another port", lambda b: webhooks(b)[0]["clientConfig"]["service"].update(port=8443)),
    ("no rules any more", lambda b: webhooks(b)[2].pop("rules")),
    ("other rules", lambda b: webhooks(b)[0]["rules"][0].update(resources=["secrets"], apiGroups=[""])),
    ("deletions, too", lambda b: webhooks(b)[2]["rules"][0]["operations"].append("DELETE")),
]
REFUSED = TAKEN_OVER + OTHER_PATHS


def test_rotation_may_fill_in_ca_bundle_and_paths(admin: Api, identity: Identity) -> None:
    body = admin.call("GET", CONFIGURATION).json
    authority = admin.call("GET", path(CONFIGMAPS, CERTJOB, "kube-root-ca.crt")).json["data"]["ca.crt"]
    for webhook in webhooks(body):
        webhook["clientConfig"]["caBundle"] = encoded(authority)
        kind = webhook["name"].partition(".")[0]
        webhook["clientConfig"]["service"]["path"] = f"/mutate/{kind}/{'0123456789abcdef' * 4}"
    assert_verdict(identity("sweep").call("PUT", CONFIGURATION, body, dryRun="All"), "ok")


@pytest.mark.parametrize(
    "change", [t[1] for t in TAKEN_OVER + OTHER_PATHS], ids=[t[0] for t in TAKEN_OVER + OTHER_PATHS]
)
def test_rotation_may_change_nothing_else(admin: Api, identity: Identity, change: Change) -> None:
    body = admin.call("GET", CONFIGURATION).json
    change(body)
    answer = identity("sweep").call("PUT", CONFIGURATION, body, dryRun="All")
    assert_verdict(answer, "certjob-webhook-config")


@pytest.fixture
def former(admin: Api) -> Iterator[Json]:
    """A configuration with the name that 0.1.0 gave it, for nobody's requests: one entry has no rules."""
    body = admin.call("GET", CONFIGURATION).json
    entries = [webhooks(body)[0] | {"name": name} for name in ("annotated.certjob.io", "request.certjob.io")]
    entries[0] = entries[0] | {"rules": [SECRETS_RULE | {"apiGroups": ["example.test"]}]}
    del entries[1]["rules"]
    made = {key: body[key] for key in ("apiVersion", "kind")} | {
        "metadata": {"name": vocabulary.FORMER_WEBHOOK_CONFIGURATION},
        "webhooks": entries,
    }
    admin.call("DELETE", FORMER)  # what an upgrade has left
    answer = admin.call("POST", path(MUTATING_WEBHOOKS), made)
    assert answer.status == 201, answer
    yield answer.json
    admin.call("DELETE", FORMER)


def test_the_configuration_of_0_1_0_may_be_sent_nothing_any_more_and_never_more(
    identity: Identity, former: Json
) -> None:
    def put(change: Change) -> str:
        body = json.loads(json.dumps(former))
        change(body)
        answer = identity("sweep").call("PUT", FORMER, body, dryRun="All")
        return "ok" if answer.status == 200 else answer.message

    assert put(lambda b: webhooks(b)[0].pop("rules")) == "ok"
    for more in (lambda b: webhooks(b)[1].update(rules=[SECRETS_RULE]), to_path(0, "/mutate/annotated/" + "a" * 64)):
        assert "certjob-webhook-config" in put(more)


@pytest.mark.parametrize("service_account", ["webhook", "job", "responder"])
def test_others_may_not_touch_the_webhook_configuration(admin: Api, identity: Identity, service_account: str) -> None:
    body = admin.call("GET", CONFIGURATION).json
    assert identity(service_account).call("PUT", CONFIGURATION, body, dryRun="All").status == 403
    collection = path(MUTATING_WEBHOOKS)
    body["metadata"] = {"name": "another"}
    for anybody in (service_account, "sweep"):
        assert identity(anybody).call("POST", collection, body, dryRun="All").status == 403
