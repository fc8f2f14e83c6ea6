"""Reviews of Secrets that ask for a certificate, and what the webhook makes of them."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from datetime import UTC, datetime, timedelta
from typing import Any

import jsonpatch
from cryptography import x509
from flask.testing import FlaskClient

from certs.chain import parse_chain
from certs.keys import KeyAlgorithm, generate_key, key_to_pem
from issuer_job import vocabulary as v
from issuer_job.issuers.load import Issuers
from tests.fakes.certs_ca import FakeCA, pem
from tests.fakes.webhook_parts import ISSUERS, REQUEST, FakeLauncher, FakeSettings, parts
from tests.worlds.reviews import decision_on, read
from webhook.app import create_app
from webhook.decide_secret import SecretPolicy
from webhook.policy import Decision
from webhook.review import Review

NOW = datetime.now(UTC).replace(microsecond=0)
HOSTS = "db.certjob.dev, mail.certjob.dev"
NAMES = {"db.certjob.dev", "mail.certjob.dev"}
PATH = f"{REQUEST}?timeout=5s"
JOB = "system:serviceaccount:certjob:job"


def secret(hosts: str = HOSTS, data: Any = None, **fields: Any) -> dict[str, Any]:
    """The manifest that a user applies. Annotations as keywords: `key_algorithm="rsa-2048"`."""
    metadata = fields.pop("metadata", {})
    notes = {f"certjob.io/{key.replace('_', '-')}": value for key, value in fields.pop("notes", {}).items()}
    made = {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": v.TLS_SECRET_TYPE,
        "metadata": {
            "name": "db-tls",
            "labels": {v.REQUEST: "true", "team": "db"},
            "annotations": {v.HOSTS: hosts, **notes},
            **metadata,
        },
        **fields,
    }
    return made if data is None else made | {"data": data}


def review_of(new: Any, old: Any = None, **request: Any) -> dict[str, Any]:
    kind = {"group": "", "version": "v1", "kind": "Secret"}
    request = {"namespace": "shop", "kind": kind, "dryRun": False, "userInfo": {"username": "alice"}, **request}
    request |= {"uid": "u-1", "operation": "UPDATE" if old else "CREATE", "object": new, "oldObject": old}
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}


def as_review(document: dict[str, Any]) -> Review:
    return read(json.dumps(document).encode(), SecretPolicy())


def decided(new: Any, old: Any = None, *, issuers: Issuers = ISSUERS, **request: Any) -> Decision:
    return decision_on(as_review(review_of(new, old, **request)), SecretPolicy(), issuers=issuers, now=NOW)


def applied(new: dict[str, Any], decision: Decision) -> dict[str, Any]:
    result: dict[str, Any] = jsonpatch.apply_patch(new, list(decision.patch))
    return result


def admitted(new: dict[str, Any], old: Any = None) -> dict[str, Any]:
    """The object as it is stored."""
    return applied(new, decided(new, old))


def pair(hosts: tuple[str, ...] = tuple(sorted(NAMES)), *, days: float = 80, age: float = 1) -> dict[str, str]:
    """A CA's certificate and its key, as `data`."""
    key = generate_key(KeyAlgorithm.ECDSA_P256)
    ca = FakeCA.root()
    leaf = ca.issue(list(hosts), key, not_before=NOW - timedelta(days=age), not_after=NOW + timedelta(days=days))
    return encoded(pem(leaf, ca.certificate), key_to_pem(key))


def encoded(chain: bytes, key: bytes) -> dict[str, str]:
    return {"tls.crt": b64encode(chain).decode(), "tls.key": b64encode(key).decode()}


def issued(stored: dict[str, Any]) -> dict[str, Any]:
    """After the Job: another certificate, and what certjob writes with it."""
    labels = stored["metadata"]["labels"] | {v.STATE: "issued"}
    metadata = stored["metadata"] | {"labels": labels, "uid": "s-1"}
    return stored | {"metadata": metadata, "data": pair()}


def leaf_of(stored: dict[str, Any]) -> x509.Certificate:
    return parse_chain(b64decode(stored["data"]["tls.crt"]))[0]


def other_key() -> dict[str, str]:
    return pair() | {"tls.key": pair()["tls.key"]}


def without_label() -> dict[str, Any]:
    new = secret()
    del new["metadata"]["labels"][v.REQUEST]
    return new


def client_of(launcher: FakeLauncher | None = None, known: FakeSettings | None = None) -> FlaskClient:
    return create_app(parts(launcher, known)).test_client()


def response_of(client: FlaskClient, document: Any) -> dict[str, Any]:
    answer = client.post(PATH, json=document)
    assert answer.status_code == 200
    response: dict[str, Any] = answer.get_json()["response"]
    return response
