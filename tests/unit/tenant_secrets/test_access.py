"""Canary, look and write: what each answer of the API server means."""

from __future__ import annotations

from base64 import b64encode
from datetime import UTC, datetime

import pytest

from issuer_job import vocabulary as v
from issuer_job.cluster.api import SECRETS, AlreadyExists, ApiError, Cluster, Conflict, Json, Response
from issuer_job.record.record import Issued, Phase, Record
from issuer_job.tenant_secrets import access as secrets
from issuer_job.tenant_secrets.access import Content, Looker, Refusal, SecretRefused, look_by_policy, look_by_version
from issuer_job.tenant_secrets.bodies import tls_secret
from tests.fakes.api import FakeApi, denied, status
from tests.fakes.policies import FakePolicies
from tests.worlds import samples

NOW = datetime(2026, 5, 5, 10, 0, tzinfo=UTC)
RECORD = samples.record()


@pytest.fixture
def policies() -> FakePolicies:
    return FakePolicies()


@pytest.fixture
def api(policies: FakePolicies) -> FakeApi:
    return FakeApi(hooks={"secrets": policies.secrets})


def managed(**fields: object) -> Json:
    labels = {v.MANAGED: "true", v.STATE: "issued"}
    metadata = {"name": "web-tls", "labels": labels, "annotations": {v.ISSUER: "le"}}
    data = {"tls.crt": b64encode(b"chain").decode(), "tls.key": b64encode(b"key").decode()}
    return {"metadata": metadata, "type": v.TLS_SECRET_TYPE, "data": data, **fields}


def body(uid: str = "", version: str = "") -> Json:
    seen = secrets.Look(uid, version)
    return tls_secret(
        RECORD,
        seen,
        v.SecretState.ISSUED,
        chain_pem=b"new",
        key_pem=b"new",
        issuer="le",
        not_after=NOW,
        further={},
    )


def test_a_look_sees_what_is_stored_and_changes_nothing(api: FakeApi) -> None:
    stored = api.add(SECRETS, "shop", managed())
    seen = secrets.look_by_policy(Cluster(api), RECORD)
    assert seen.found
    assert (seen.uid, seen.resource_version) == (stored["metadata"]["uid"], stored["metadata"]["resourceVersion"])
    assert (seen.state, seen.issuer) == ("issued", "le")
    assert (seen.stored.tls_crt, seen.stored.tls_key) == (b"chain", b"key")
    assert api.stored(SECRETS, "shop", "web-tls") == stored
    assert "'key'" not in repr(seen)


def test_a_look_at_nothing(api: FakeApi) -> None:
    assert not secrets.look_by_policy(Cluster(api), RECORD).found


@pytest.mark.parametrize("value", ["!", "AAA", ""])
def test_a_look_at_data_that_is_none(api: FakeApi, value: str) -> None:
    api.add(SECRETS, "shop", managed(data={"tls.crt": value}))
    seen = secrets.look_by_policy(Cluster(api), RECORD)
    assert (seen.stored.tls_crt, seen.stored.tls_key) == (b"", None)


@pytest.mark.parametrize("looker", [look_by_policy, look_by_version])
@pytest.mark.parametrize(
    ("stored", "reason"),
    [
        (managed(metadata={"name": "web-tls"}), Refusal.FOREIGN),
        (managed(type="Opaque"), Refusal.FOREIGN),
        (managed(type="Opaque", immutable=True), Refusal.FOREIGN),
        (managed(immutable=True), Refusal.IMMUTABLE),
    ],
)
def test_a_look_at_what_is_not_ours(
    api: FakeApi, policies: FakePolicies, looker: Looker, stored: Json, reason: Refusal
) -> None:
    policies.look = looker is look_by_policy
    api.add(SECRETS, "shop", stored)
    with pytest.raises(SecretRefused) as refused:
        looker(Cluster(api), RECORD)
    assert refused.value.reason is reason
    assert reason.is_permanent
    assert "shop/web-tls" in str(refused.value)


def test_without_the_look_policy_the_answer_is_our_own_question(api: FakeApi, policies: FakePolicies) -> None:
    policies.look = False
    api.add(SECRETS, "shop", managed())
    with pytest.raises(SecretRefused) as refused:
        secrets.look_by_policy(Cluster(api), RECORD)
    assert refused.value.reason is Refusal.NOT_IN_FORCE
    assert not refused.value.reason.is_permanent


def remembering(stored: Json, *, version: str = "") -> Record:
    """A record that remembers the Secret, as it is or in another version."""
    metadata = stored["metadata"]
    issued = samples.issued(secret_uid=metadata["uid"], secret_version=version or metadata["resourceVersion"])
    return samples.record(Phase.ISSUED, issued=issued)


def test_without_the_look_policy_the_version_tells_whether_it_was_touched(
    api: FakeApi, policies: FakePolicies
) -> None:
    policies.look = False
    stored = api.add(SECRETS, "shop", managed())
    record = remembering(stored)
    assert look_by_version(Cluster(api), record).content is Content.UNTOUCHED
    touched = api.add(SECRETS, "shop", managed(data={}))
    seen = look_by_version(Cluster(api), record)
    assert seen.content is Content.CHANGED
    assert (seen.uid, seen.resource_version) == (touched["metadata"]["uid"], touched["metadata"]["resourceVersion"])
    assert api.stored(SECRETS, "shop", "web-tls") == touched


def test_what_our_question_holds_is_never_taken_for_what_is_stored(api: FakeApi, policies: FakePolicies) -> None:
    policies.look = False
    seen = look_by_version(Cluster(api), remembering(api.add(SECRETS, "shop", managed())))
    assert (seen.stored.tls_crt, seen.stored.tls_key, seen.state, seen.issuer) == (None, None, "", "")


@pytest.mark.parametrize("issued", [None, samples.issued(), samples.issued(secret_uid="", secret_version="")])
def test_a_secret_that_the_record_does_not_remember(
    api: FakeApi, policies: FakePolicies, issued: Issued | None
) -> None:
    policies.look = False
    api.add(SECRETS, "shop", managed())
    seen = look_by_version(Cluster(api), samples.record(issued=issued))
    assert (seen.found, seen.content) == (True, Content.UNKNOWN)


def test_a_look_by_version_at_nothing(api: FakeApi, policies: FakePolicies) -> None:
    policies.look = False
    assert not look_by_version(Cluster(api), RECORD).found


@pytest.mark.parametrize("field", ["ownerReferences", "finalizers"])
def test_what_nobody_keeps_on_a_secret_is_not_dropped(api: FakeApi, policies: FakePolicies, field: str) -> None:
    metadata = managed()["metadata"] | {field: ["x"]}
    stored = api.add(SECRETS, "shop", managed(metadata=metadata))
    assert look_by_policy(Cluster(api), RECORD).found
    policies.look = False
    with pytest.raises(SecretRefused, match="ownerReferences or finalizers") as refused:
        look_by_version(Cluster(api), RECORD)
    assert refused.value.reason is Refusal.OWNED
    assert refused.value.reason.is_permanent
    assert api.stored(SECRETS, "shop", "web-tls") == stored


def test_a_write_replaces_just_what_was_looked_at(api: FakeApi) -> None:
    cluster = Cluster(api)
    api.add(SECRETS, "shop", managed())
    seen = secrets.look_by_policy(cluster, RECORD)
    secrets.write(cluster, body(seen.uid, seen.resource_version), dry_run=True)
    secrets.write(cluster, body(seen.uid, seen.resource_version))
    with pytest.raises(Conflict):
        secrets.write(cluster, body(seen.uid, seen.resource_version))
    with pytest.raises(AlreadyExists):
        secrets.write(cluster, body())


def test_a_secret_deleted_and_made_anew_is_another(api: FakeApi) -> None:
    cluster = Cluster(api)
    api.add(SECRETS, "shop", managed())
    seen = secrets.look_by_policy(cluster, RECORD)
    api.remove(SECRETS, "shop", "web-tls")
    with pytest.raises(Conflict):
        secrets.write(cluster, body(seen.uid, seen.resource_version))
    assert api.stored(SECRETS, "shop", "web-tls") is None


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (denied('secrets "x" is forbidden: exceeded quota: few, requested: secrets=1'), Refusal.QUOTA),
        (status(403, "Forbidden", "x", causes=[{"reason": "NamespaceTerminating"}]), Refusal.TERMINATING),
        (status(404, "NotFound", 'namespaces "shop" not found', kind="namespaces"), Refusal.TERMINATING),
        (denied("some other webhook says no"), Refusal.OTHER),
        (status(400, "BadRequest"), Refusal.OTHER),
    ],
)
def test_refusals_that_pass(api: FakeApi, answer: Response, reason: Refusal) -> None:
    api.fail("POST", "/shop/secrets", answer)
    with pytest.raises(SecretRefused) as refused:
        secrets.write(Cluster(api), body())
    assert refused.value.reason is reason
    assert not reason.is_permanent


def test_a_server_in_trouble_is_no_refusal(api: FakeApi) -> None:
    api.fail("POST", "/shop/secrets", status(503, "ServiceUnavailable"))
    with pytest.raises(ApiError, match="503"):
        secrets.write(Cluster(api), body())
