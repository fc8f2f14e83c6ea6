"""Bodies of tenants' Secrets, as the policies expect them."""

from __future__ import annotations

from base64 import b64decode
from datetime import UTC, datetime

from issuer_job import vocabulary as v
from issuer_job.cluster.api import Json
from issuer_job.tenant_secrets.access import Look, look_secret
from issuer_job.tenant_secrets.bodies import tls_secret
from issuer_job.tenant_secrets.canary import canary_secret
from tests.worlds.samples import HOSTS, record


def secret(**seen: str) -> Json:
    return tls_secret(
        record(),
        Look(**seen),
        v.SecretState.PLACEHOLDER,
        chain_pem=b"chain",
        key_pem=b"key",
        issuer="le",
        not_after=datetime(2026, 8, 3, 10, 0, 1, 999, tzinfo=UTC),
        further={},
    )


def test_a_tls_secret_is_a_status_page() -> None:
    made = secret()
    assert made["type"] == "kubernetes.io/tls"
    assert made["metadata"] == {
        "name": "web-tls",
        "namespace": "shop",
        "labels": {v.MANAGED: "true", v.STATE: "placeholder", v.MANAGED_BY: "certjob"},
        "annotations": {v.HOSTS: ",".join(HOSTS), v.ISSUER: "le", v.NOT_AFTER: "2026-08-03T10:00:01Z"},
    }
    assert {key: b64decode(value) for key, value in made["data"].items()} == {"tls.crt": b"chain", "tls.key": b"key"}
    assert "immutable" not in made


def test_a_secret_that_replaces_names_what_it_replaces() -> None:
    metadata = secret(uid="u", resource_version="9")["metadata"]
    assert (metadata["uid"], metadata["resourceVersion"]) == ("u", "9")


def test_look_and_canary() -> None:
    look = look_secret("shop", "web-tls")
    assert look["metadata"]["annotations"] == {v.LOOK: "true"}
    assert look["type"] == "kubernetes.io/tls"
    assert set(look["data"].values()) == {""}
    canary = canary_secret()
    assert (canary["type"], canary["metadata"].get("labels"), canary["data"]) == ("Opaque", None, {})
    assert canary["metadata"]["namespace"] != v.NAMESPACE
