"""Secrets: no identity of certjob can read a foreign one, and each writes only what it must."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from issuer_job import vocabulary
from tests.e2e.api import MERGE_PATCH, SECRETS, Answer, Api, Json, NewNamespace, canary, path
from tests.e2e.attacks import (
    OWNER,
    SENTINEL,
    Attack,
    assert_verdict,
    create,
    encoded,
    look,
    secret_attacks,
    tells,
    tls_secret,
)

CERTJOB = vocabulary.NAMESPACE
IDENTITIES = ["webhook", "responder", "job", "sweep", "default"]
Identity = Callable[[str], Api]


@pytest.fixture(scope="module")
def tenant(new_namespace: NewNamespace) -> str:
    return new_namespace("policies")


@pytest.fixture(scope="module")
def foreign(admin: Api, tenant: str) -> Iterator[list[tuple[str, str, str]]]:
    """Secrets that are none of certjob's: namespace, name and resourceVersion."""
    secret = {"apiVersion": "v1", "kind": "Secret", "data": {"password": encoded(SENTINEL)}}
    pair = {"tls.crt": encoded(SENTINEL), "tls.key": encoded(SENTINEL)}
    labels = {"certjob.io/managed": "true", "certjob.io/state": "placeholder"}
    bodies: list[Json] = [
        secret | {"metadata": {"name": "opaque", "namespace": tenant}},
        secret | {"metadata": {"name": "held", "namespace": tenant, "finalizers": ["example.test/hold"]}},
        secret | {"metadata": {"name": "wrong-type", "namespace": tenant, "labels": labels}},
        secret | {"metadata": {"name": "fixed", "namespace": tenant}, "immutable": True},
        secret | {"metadata": {"name": "tls", "namespace": tenant}, "type": "kubernetes.io/tls", "data": pair},
        secret | {"metadata": {"name": "credentials-e2e-policies", "namespace": CERTJOB}},
    ]
    made = [create(admin, body)["metadata"] for body in bodies]
    yield [(m["namespace"], m["name"], m["resourceVersion"]) for m in made]
    release(admin, tenant, "held")
    admin.call("DELETE", path(SECRETS, CERTJOB, "credentials-e2e-policies"))


@pytest.mark.parametrize("service_account", IDENTITIES)
@pytest.mark.parametrize("attack", secret_attacks(), ids=str)
def test_no_answer_tells_what_a_foreign_secret_holds(
    admin: Api, identity: Identity, foreign: list[tuple[str, str, str]], attack: Attack, service_account: str
) -> None:
    for namespace, name, _ in foreign:
        answer = attack.send(identity(service_account), namespace, name)
        assert answer.status >= 400, (name, answer)
        assert not tells(answer), (name, answer)
    stored = [
        s for namespace in {f[0] for f in foreign} for s in admin.call("GET", path(SECRETS, namespace)).json["items"]
    ]
    versions = {(s["metadata"]["namespace"], s["metadata"]["name"], s["metadata"]["resourceVersion"]) for s in stored}
    assert versions >= set(foreign)


def test_the_search_finds_what_a_reader_would_see(admin: Api, foreign: list[tuple[str, str, str]]) -> None:
    for namespace, name, _ in foreign:
        assert tells(admin.call("GET", path(SECRETS, namespace, name)))
        leak = Attack("leak", "PATCH", body={"immutable": "x"}, content_type=MERGE_PATCH)
        assert tells(leak.send(admin, namespace, name))


READING_VERBS = ["get", "list", "watch", "patch", "deletecollection", "impersonate", "bind", "escalate", "*"]


@pytest.mark.parametrize("service_account", IDENTITIES)
def test_rbac_gives_no_right_that_reads(admin: Api, tenant: str, service_account: str) -> None:
    user = f"system:serviceaccount:{CERTJOB}:{service_account}"
    questions = [{"verb": verb, "resource": "secrets", "namespace": ns} for verb in READING_VERBS
                 for ns in (tenant, CERTJOB, "kube-system")]  # fmt: skip
    questions += [{"verb": "create", "resource": "pods", "namespace": CERTJOB}]
    questions += [{"verb": "create", "resource": "pods", "subresource": "exec", "namespace": CERTJOB}]
    questions += [{"verb": "create", "resource": "serviceaccounts", "subresource": "token", "namespace": CERTJOB}]
    for attributes in questions:
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {"user": user, "groups": ["system:serviceaccounts"], "resourceAttributes": attributes},
        }
        answer = admin.call("POST", path("subjectaccessreviews.authorization.k8s.io/v1"), review)
        assert answer.json["status"]["allowed"] is False, attributes


@pytest.mark.parametrize("service_account", ["webhook", "job", "sweep"])
def test_the_canary_is_refused_by_the_policy(identity: Identity, service_account: str) -> None:
    answer = canary(identity(service_account))
    assert answer.status == 403
    assert vocabulary.CANARY_DENIAL in answer.message


@pytest.mark.parametrize("service_account", ["webhook", "job", "sweep"])
def test_nothing_is_written_in_namespaces_that_are_left_out(identity: Identity, service_account: str) -> None:
    for namespace in (vocabulary.NAMESPACE, vocabulary.SYSTEM_NAMESPACE):
        body = tls_secret(namespace, "e2e-excluded")
        answer = identity(service_account).call("POST", path(SECRETS, namespace), body, dryRun="All")
        assert answer.status == 403
        # In certjob's own namespace other policies say what there may be.
        assert ("certjob-excluded" in answer.message) is (namespace == "kube-system")


def labelled(**changes: str) -> Json:
    return {"labels": {"certjob.io/managed": "true", "certjob.io/state": "placeholder"} | changes}


def annotated(key: str, value: str = "x") -> Json:
    return {"annotations": {key: value}}


REPLICATE = "replicator.v1.mittwald.de/replicate-"
ISSUED = {"certjob.io/state": "issued"}
CREATES: list[tuple[str, str, Json, Json, str]] = [
    ("webhook makes a placeholder", "webhook", {}, {}, "ok"),
    ("webhook says who manages it", "webhook", labelled(**{"app.kubernetes.io/managed-by": "certjob"}), {}, "ok"),
    ("webhook makes an issued one", "webhook", labelled(**ISSUED), {}, "certjob-who"),
    ("job makes an issued one", "job", labelled(**ISSUED), {}, "ok"),
    ("sweep makes an issued one", "sweep", labelled(**ISSUED), {}, "ok"),
    ("Opaque", "job", {}, {"type": "Opaque"}, "certjob-shape"),
    ("service account token", "job", annotated("kubernetes.io/service-account.name", "default"),
     {"type": "kubernetes.io/service-account-token"}, "ValidatingAdmissionPolicy 'certjob-"),
    ("bootstrap token", "job", {}, {"type": "bootstrap.kubernetes.io/token"}, "certjob-shape"),
    ("not labelled", "job", {"labels": {}}, {}, "certjob-shape"),
    ("managed=false", "job", labelled(**{"certjob.io/managed": "false"}), {}, "certjob-shape"),
    ("other data", "job", {}, {"data": {"tls.crt": "", "tls.key": "", "password": ""}}, "certjob-data"),
    ("immutable", "job", {}, {"immutable": True}, "certjob-data"),
    ("replicate-from", "job", annotated(REPLICATE + "from", "kube-system/x"), {},
     "certjob-foreign-metadata"),
    ("reflector", "job", annotated("reflector.v1.k8s.emberstack.com/reflects", "kube-system/x"), {},
     "certjob-foreign-metadata"),
    ("label of others", "job", labelled(**{"example.org/sync": "true"}), {}, "certjob-foreign-metadata"),
    ("managed by others", "job", labelled(**{"app.kubernetes.io/managed-by": "x"}), {}, "certjob-foreign-metadata"),
    ("finalizer", "job", {"finalizers": ["example.test/hold"]}, {}, "certjob-meta"),
    ("owner", "job", {"ownerReferences": [OWNER]}, {}, "certjob-meta"),
    ("generateName", "webhook", {"generateName": "x-", "name": ""}, {}, "certjob-meta"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("service_account", "metadata", "changes", "verdict"), [c[1:] for c in CREATES], ids=[c[0] for c in CREATES]
)
def test_creating_a_tenants_secret(
    identity: Identity, tenant: str, service_account: str, metadata: Json, changes: Json, verdict: str
) -> None:
    body = tls_secret(tenant, "new", **changes)
    body["metadata"] |= metadata
    assert_verdict(identity(service_account).call("POST", path(SECRETS, tenant), body, dryRun="All"), verdict)


@pytest.mark.parametrize("service_account", ["responder", "default"])
def test_other_identities_write_no_tenants_secret(identity: Identity, tenant: str, service_account: str) -> None:
    answer = identity(service_account).call("POST", path(SECRETS, tenant), tls_secret(tenant, "new"), dryRun="All")
    assert answer.status == 403


@pytest.fixture
def managed(admin: Api, namespace: str) -> Iterator[Json]:
    """A managed Secret that others have labelled, annotated, own and hold."""
    config_map = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "owner"}}
    owner = admin.call("POST", path("configmaps", namespace), config_map).json["metadata"]["uid"]
    metadata: Json = {
        "name": "web",
        "namespace": namespace,
        "annotations": {"example.org/note": "kept", "certjob.io/hosts": "a.example.org"},
        "finalizers": ["example.test/hold"],
        "ownerReferences": [OWNER | {"name": "owner", "uid": owner}],
    } | labelled(**{"example.org/team": "web"})
    data = {"tls.crt": encoded("certificate"), "tls.key": encoded("key")}
    yield create(admin, tls_secret(namespace, "web", metadata=metadata, data=data))
    release(admin, namespace, "web")


def release(admin: Api, namespace: str, name: str) -> None:
    """Take the finalizers away, so that the namespace can be deleted."""
    body = {"metadata": {"finalizers": None}}
    admin.call("PATCH", path(SECRETS, namespace, name), body, content_type=MERGE_PATCH)


@pytest.mark.parametrize("service_account", ["job", "sweep"])
def test_a_look_is_answered_with_what_is_stored(identity: Identity, managed: Json, service_account: str) -> None:
    namespace = managed["metadata"]["namespace"]
    answer = identity(service_account).call(
        "PUT", path(SECRETS, namespace, "web"), look(namespace, "web"), dryRun="All"
    )
    assert answer.status == 200, answer
    seen = answer.json
    assert seen["data"] == managed["data"]
    assert seen["metadata"]["resourceVersion"] == managed["metadata"]["resourceVersion"]
    assert seen["metadata"]["uid"] == managed["metadata"]["uid"]
    assert seen["metadata"]["labels"] == managed["metadata"]["labels"]
    told = {
        vocabulary.LOOK: "seen",
        vocabulary.WRITTEN_BY: seen["metadata"]["annotations"].get(vocabulary.WRITTEN_BY),
    }
    assert seen["metadata"]["annotations"] == managed["metadata"]["annotations"] | told
    assert told[vocabulary.WRITTEN_BY].startswith(
        "unknown at 20"
    )  # what the API server calls a client without a name


def test_a_look_that_is_no_dry_run_is_refused(identity: Identity, managed: Json) -> None:
    namespace = managed["metadata"]["namespace"]
    answer = identity("job").call("PUT", path(SECRETS, namespace, "web"), look(namespace, "web"))
    assert_verdict(answer, "certjob-look: a look must be a dry run")


def test_looks_at_what_is_not_certjobs(
    admin: Api, identity: Identity, tenant: str, foreign: list[tuple[str, str, str]]
) -> None:
    def looked(name: str) -> Answer:
        return identity("job").call("PUT", path(SECRETS, tenant, name), look(tenant, name), dryRun="All")

    pair = {"tls.crt": encoded(SENTINEL), "tls.key": encoded(SENTINEL)}
    create(admin, tls_secret(tenant, "frozen", data=pair, immutable=True))
    assert looked("absent").status == 404
    assert_verdict(looked("tls"), "certjob-foreign:")
    assert (looked("opaque").status, looked("wrong-type").status) == (422, 422)
    assert "type" in looked("wrong-type").message
    # The look fills in the data of an immutable Secret of ours, so it is the flag that is refused.
    assert looked("frozen").status == 422
    assert "immutable" in looked("frozen").message
    assert not tells(looked("frozen"))


def test_a_write_keeps_what_others_put_on_the_secret_and_is_conditional(
    admin: Api, identity: Identity, managed: Json
) -> None:
    namespace, where = managed["metadata"]["namespace"], path(SECRETS, managed["metadata"]["namespace"], "web")
    version = {key: managed["metadata"][key] for key in ("uid", "resourceVersion")}
    metadata = {"name": "web"} | labelled(**ISSUED) | annotated("certjob.io/issuer", "pebble") | version
    body = tls_secret(namespace, "web", metadata=metadata, data={"tls.crt": encoded("c2"), "tls.key": encoded("k2")})

    written = identity("job").call("PUT", where, body)
    stale = identity("job").call("PUT", where, body)
    another = identity("job").call("PUT", where, body | {"metadata": metadata | {"uid": OWNER["uid"]}})

    assert written.status == 200, written
    assert (stale.status, another.status) == (409, 409)
    stored = admin.call("GET", where).json
    assert stored["data"] == body["data"]
    before, after = managed["metadata"], stored["metadata"]
    assert after["labels"] == {"example.org/team": "web"} | labelled(**ISSUED)["labels"]
    assert after["annotations"] == {"example.org/note": "kept", "certjob.io/issuer": "pebble"}
    assert after["finalizers"] == before["finalizers"]
    assert after["ownerReferences"] == before["ownerReferences"]


FOREIGN = "certjob-foreign-metadata"
UPDATES: list[tuple[str, str, Json, Json, str]] = [
    ("webhook", "webhook", {}, {}, "cannot update resource"),
    ("job takes the label away", "job", {"labels": {}}, {}, "certjob-shape"),
    ("job makes it immutable", "job", {}, {"immutable": True}, "certjob-data"),
    ("job adds other data", "job", {}, {"data": {"tls.crt": "", "tls.key": "", "x": ""}}, "certjob-data"),
    ("job adds replicate-from", "job", annotated(REPLICATE + "from"), {}, FOREIGN),
    ("job changes a label of others", "job", labelled(**{"example.org/new": "x"}), {}, FOREIGN),
    ("sweep adds replicate-to", "sweep", annotated(REPLICATE + "to"), {}, FOREIGN),
]  # fmt: skip


@pytest.mark.parametrize(
    ("service_account", "metadata", "changes", "verdict"), [u[1:] for u in UPDATES], ids=[u[0] for u in UPDATES]
)
def test_updating_a_managed_secret(
    identity: Identity, managed: Json, service_account: str, metadata: Json, changes: Json, verdict: str
) -> None:
    namespace = managed["metadata"]["namespace"]
    body = tls_secret(namespace, "web", **changes)
    body["metadata"] |= metadata
    answer = identity(service_account).call("PUT", path(SECRETS, namespace, "web"), body, dryRun="All")
    assert_verdict(answer, verdict)


def test_only_the_sweep_deletes_and_only_placeholders(admin: Api, identity: Identity, namespace: str) -> None:
    for name, state in (("placeholder", "placeholder"), ("issued", "issued")):
        create(admin, tls_secret(namespace, name, metadata={"name": name} | labelled(**{"certjob.io/state": state})
                                 | {"namespace": namespace}))  # fmt: skip
    for service_account in ("webhook", "job", "responder"):
        assert identity(service_account).call("DELETE", path(SECRETS, namespace, "placeholder")).status == 403
    assert_verdict(identity("sweep").call("DELETE", path(SECRETS, namespace, "issued")), "certjob-delete: only the")
    assert_verdict(identity("sweep").call("DELETE", path(SECRETS, namespace, "placeholder")), "ok")
