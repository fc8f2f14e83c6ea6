"""Secrets in certjob's own namespace: which identity may write or delete which."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from issuer_job import names, vocabulary
from tests.e2e.api import SECRETS, Api, Json, path
from tests.e2e.attacks import OWNER, assert_verdict, create

CERTJOB = vocabulary.NAMESPACE
Identity = Callable[[str], Api]
REPLICATE = "replicator.v1.mittwald.de/replicate-"

UID, ANOTHER = OWNER["uid"], "22222222-2222-2222-2222-222222222222"
PENDING, OTHERS = names.pending_key(UID, 1700000000), names.pending_key(ANOTHER, 1700000000)
OLD = names.pending_key(names.old_hash("tenant", "web"), 1700000000)
ACCOUNT = names.account("pebble", "https://ca.test/dir", 1)


def own(name: str, kind: str = "Opaque", **metadata: Any) -> Json:
    data = {"tls.crt": "", "tls.key": ""} if kind == "kubernetes.io/tls" else {}
    return {"apiVersion": "v1", "kind": "Secret", "type": kind, "data": data,
            "metadata": {"name": name, "namespace": CERTJOB} | metadata}  # fmt: skip


TLS = "kubernetes.io/tls"
OLD_METADATA: Json = {"labels": {"certjob.io/pending": "true"}, "ownerReferences": [OWNER]}
PENDING_METADATA: Json = OLD_METADATA | {"labels": {"certjob.io/pending": "true", "certjob.io/record-uid": UID}}
ANOTHERS: Json = PENDING_METADATA | {"ownerReferences": [OWNER | {"uid": ANOTHER}]}
ANY: Json = PENDING_METADATA | {"labels": {"certjob.io/pending": "true", "certjob.io/record-uid": f"1{34 * '.'}1"}}
ANY_POLICY = "ValidatingAdmissionPolicy 'certjob-"
"""For what more than one refuses: which one is told is the API server's choice."""
TOKEN = {"kubernetes.io/service-account.name": "sweep"}
OWN: list[tuple[str, str, Json, str]] = [
    ("pending key", "job", own(PENDING, **PENDING_METADATA), "ok"),
    ("account key", "job", own(ACCOUNT), "ok"),
    ("account key", "sweep", own(ACCOUNT), "ok"),
    ("account of a long issuer", "sweep", own(names.account("i" * 63, "https://ca.test/dir", 12)), "ok"),
    ("serving certificate", "sweep", own(vocabulary.WEBHOOK_TLS_SECRET, TLS), "ok"),
    ("CA", "sweep", own(vocabulary.WEBHOOK_CA_SECRET, TLS), "ok"),
    ("serving certificate", "job", own(vocabulary.WEBHOOK_TLS_SECRET, TLS), "certjob-own-name"),
    ("serving certificate", "webhook", own(vocabulary.WEBHOOK_TLS_SECRET, TLS), "certjob-own-name"),
    ("account key", "webhook", own(ACCOUNT), "certjob-own-name"),
    ("pending key by a pod of 0.1.0", "job", own(OLD, **OLD_METADATA), "ok"),
    ("pending key with another's name", "job", own(OTHERS, **PENDING_METADATA), "certjob-own-name"),
    ("pending key with another's name, of 0.1.0", "job", own(OTHERS, **OLD_METADATA), "certjob-own-name"),
    ("pending key with another's owner", "job", own(PENDING, **ANOTHERS), "certjob-own-name"),
    ("pending key with no owner's label", "job", own(PENDING, **OLD_METADATA), "certjob-own-name"),
    ("pending key of anybody", "job", own(PENDING, **ANY), "certjob-own-name"),
    ("pending key", "sweep", own(PENDING, **PENDING_METADATA), "certjob-own-name"),
    ("pending key without owner", "job", own(PENDING, labels=PENDING_METADATA["labels"]), "certjob-own-name"),
    ("pending key without label", "job", own(PENDING, ownerReferences=[OWNER]), "certjob-own-name"),
    ("pending key of another name", "job", own("pending-x", **PENDING_METADATA), "certjob-own-name"),
    ("pending key with a tail", "job", own(PENDING + "-x", **PENDING_METADATA), "certjob-own-name"),
    ("pending key with a finalizer", "job", own(PENDING, finalizers=["example.test/hold"], **PENDING_METADATA),
     "certjob-own-meta"),
    ("account of another name", "job", own("account-pebble"), "certjob-own-name"),
    ("account with replicate-from", "job", own(ACCOUNT, annotations={REPLICATE + "from": "a/b"}),
     "certjob-foreign-metadata"),
    ("account with a label of others", "job", own(ACCOUNT, labels={"example.org/sync": "true"}),
     "certjob-foreign-metadata"),
    ("credentials", "job", own("credentials-pebble"), "certjob-own-name"),
    ("credentials", "sweep", own("credentials-pebble"), "certjob-own-name"),
    ("any name", "sweep", own("anything"), "certjob-own-name"),
    ("service account token", "job", own(PENDING, "kubernetes.io/service-account-token", annotations=TOKEN,
                                         **PENDING_METADATA), ANY_POLICY),
    ("service account token", "sweep", own(ACCOUNT, "kubernetes.io/service-account-token", annotations=TOKEN),
     ANY_POLICY),
    ("service account token", "sweep", own(vocabulary.WEBHOOK_CA_SECRET, "kubernetes.io/service-account-token",
                                           annotations=TOKEN), ANY_POLICY),
    ("bootstrap token", "job", own(PENDING, "bootstrap.kubernetes.io/token", **PENDING_METADATA), "certjob-own-type"),
    ("bootstrap token", "sweep", own(ACCOUNT, "bootstrap.kubernetes.io/token"), "certjob-own-type"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("service_account", "body", "verdict"), [o[1:] for o in OWN], ids=[f"{o[0]}, {o[1]}" for o in OWN]
)
def test_creating_a_secret_in_certjobs_namespace(
    identity: Identity, service_account: str, body: Json, verdict: str
) -> None:
    answer = identity(service_account).call("POST", path(SECRETS, CERTJOB), body, dryRun="All")
    if verdict == "ok":
        assert answer.status in {201, 409}, answer  # 409: it is there; what a policy refuses does not get so far
    else:
        assert_verdict(answer, verdict)


def test_own_secrets_are_not_updated_and_only_pending_keys_deleted(admin: Api, identity: Identity) -> None:
    key = names.pending_key(UID, 1)
    account = names.account("e2e-policies", "https://ca.test/dir", 1)
    metadata: Json = {"labels": {"certjob.io/pending": "true"}}
    try:
        for body in (own(key, **metadata), own(account)):
            create(admin, body)
            name = body["metadata"]["name"]
            for who in ("job", "sweep"):
                assert_verdict(identity(who).call("PUT", path(SECRETS, CERTJOB, name), body), "certjob-own-name")
        for who in ("job", "sweep"):
            answer = identity(who).call("DELETE", path(SECRETS, CERTJOB, account))
            assert_verdict(answer, "certjob-delete: only pending keys")
            assert_verdict(identity(who).call("DELETE", path(SECRETS, CERTJOB, key), dryRun="All"), "ok")
        assert identity("webhook").call("DELETE", path(SECRETS, CERTJOB, key)).status == 403
        assert_verdict(identity("job").call("DELETE", path(SECRETS, CERTJOB, key)), "ok")
    finally:
        for name in (key, account):
            admin.call("DELETE", path(SECRETS, CERTJOB, name))
