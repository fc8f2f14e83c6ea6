"""Targets: what users and operators write into the cluster."""

from __future__ import annotations

import json
import time
from base64 import b64decode
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from typing import Any

import jsonpatch
import msgspec

from certs import formats
from certs.chain import check_issued, describe_chain, dns_names, parse_chain
from certs.errors import CertError
from certs.keys import KeyAlgorithm, generate_key, key_from_pem, key_to_pem
from certs.validity import StoredCertificate, judge_stored
from issuer_job import names
from issuer_job import vocabulary as v
from issuer_job.demand.askers import READERS
from issuer_job.dns01 import trace
from issuer_job.hosts.precedence import Claim
from issuer_job.http01.challenge_index import read_challenges
from issuer_job.issuers.load import IssuerError, parse_issuer
from issuer_job.issuers.options import OptionsError, parse_options
from issuer_job.issuers.state import CHECK_RESULT, ORDERS, READY
from issuer_job.last_word import LastWord, Work
from issuer_job.record.record import Phase, RecordError
from issuer_job.record.store import from_config_map, to_config_map
from issuer_job.upkeep.revocations import read_revocation
from tests.fakes.certs_ca import NOW, FakeCA, pem
from tests.fakes.webhook_parts import ISSUERS, FakeForesight, FakeLauncher, FakeLosses, FakeSettings, fake_metrics
from tests.fuzz.target import Target
from tests.worlds import samples
from tests.worlds.documents import MANIFESTS
from tests.worlds.reviews import golden_reviews, ingress
from tests.worlds.secret_reviews import pair, review_of, secret
from tests.worlds.view import ViewWorld
from webhook.admission import Admission
from webhook.app import POLICIES
from webhook.policy import AdmissionPolicy
from webhook.review import BadRequest

PASSWORDS = {"pkcs12-password": "secret", "jks-password": "secret"}


def targets() -> Iterator[Target]:
    """All of this module."""
    reviews = [golden.body for golden in golden_reviews()]
    yield Target("review-ingress", _admits(POLICIES["/mutate/annotated"]), reviews)
    asking = [review_of(secret()), review_of(secret(), secret()), review_of(secret(data=pair()), secret(data=pair()))]
    yield Target("review-secret", _admits(POLICIES["/mutate/request"]), [_json(review) for review in asking])
    lost = _json(review_of(secret(), secret(data=pair())))
    yield Target("review-lost", _admits(POLICIES["/mutate/lost"]), [lost.replace(b'"UPDATE"', b'"DELETE"'), lost])
    sources = [_json(golden.review["request"].get("object")) for golden in golden_reviews()]
    yield Target("demand", _demand, [*sources, _json(ingress(["a.certjob.dev"])), _json(secret())])
    yield Target("issuer-yaml", _issuer, list(_issuer_documents()))
    yield Target("options-yaml", _options, [_OPTIONS, b"", b"hostPolicy: open\n"])
    records = [to_config_map(samples.full_record()), *(to_config_map(samples.record(phase)) for phase in Phase)]
    yield Target("record", _record, [record["data"][v.RECORD_KEY].encode() for record in records])
    words = [msgspec.json.encode(LastWord(work=Work.SWEEP, exit_code=0, steps={"Opening": 1.0}, counts={"looks": 3}))]
    books = [b'{"at":1777975200,"times":{"orders ":[1777975300],"domain a.dev":[1777975300]},"least":{"domain":25}}']
    seeds = [*(record["data"][v.RECORD_KEY].encode() for record in records), *words, *books]
    yield Target("view", _view(), seeds)
    yield Target("own-configmaps", _own_config_maps, [_json(document) for document in _own_documents()])
    yield Target("certificate-pem", _certificate, list(_pairs()))


def _json(document: Any) -> bytes:
    return json.dumps(document).encode()


def _admits(policy: AdmissionPolicy) -> Any:
    """From the bytes of a review to those of the answer."""
    admission = Admission(FakeLauncher(), FakeForesight(), FakeSettings(), FakeLosses(), fake_metrics())

    def run(data: bytes) -> None:
        try:
            reply = admission.admit(data, policy, timeout="5s", started=time.monotonic())
        except BadRequest:
            return
        assert b"an internal error" not in reply, reply
        response = json.loads(reply)["response"]
        assert response["uid"]
        assert isinstance(response["allowed"], bool)
        assert len(response.get("warnings", ())) <= 10
        if "patch" in response and len(data) < 4096:
            with suppress(UnicodeDecodeError):  # what nobody reads may be anything
                new = json.loads(data)["request"]["object"]
                jsonpatch.apply_patch(new, json.loads(b64decode(response["patch"])))

    return run


def _demand(data: bytes) -> None:
    """What an object asks for, as webhook, Job and sweep read it. The API server lets only typed ones be stored."""
    try:
        document = msgspec.json.decode(data)
    except (ValueError, RecursionError):
        return
    for path, reader in zip(("/mutate/annotated", "/mutate/request"), READERS.values(), strict=True):
        try:
            msgspec.convert(document, POLICIES[path].shape)
        except (msgspec.ValidationError, RecursionError):
            continue
        document["metadata"].setdefault("namespace", "shop")
        document["metadata"].setdefault("name", "web")
        for enabled in (False, True):
            wanted = reader.wants(document, issuers=ISSUERS, namespace_enabled=enabled)
            assert all(entry.hosts and len(entry.hosts) <= 100 for entry in wanted.entries)
            assert all(len(str(notice)) < 4000 for notice in wanted.notices)
            reader.named_secrets(document, namespace_enabled=enabled)
        reader.named_hosts(document)


def _issuer_documents() -> Iterator[bytes]:
    yield (MANIFESTS / "base/issuers.yaml").read_bytes()
    yield b"server: https://acme.certjob.dev/directory\nemail: ops@certjob.dev\nprivateNames: true\n"
    yield b"type: selfsigned\nlifetime: 90d\nallowedNamespaces: [a, 'b-*']\nallowedHosts:\n- hosts: ['*.a.test']\n"
    yield b"type: ca\nlifetime: 24h\n"
    yield (
        b"server: https://acme.certjob.dev/directory\nsolvers:\n- dns01:\n    provider: route53\n"
        b"    options: {auth_access_key: a}\n  selector: {dnsZones: [a.test]}\n- http01: {}\nlimits: {orders: 3}\n"
    )


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def _issuer(data: bytes) -> None:
    with suppress(IssuerError):
        parse_issuer({"metadata": {"name": "le"}, "data": {v.ISSUER_KEY: _text(data)}})


_OPTIONS = (
    b"hostPolicy: allow-list\nallowedHosts:\n- hosts: ['*.a.test']\n  namespaces: [a]\nroutes: job\n"
    b"launchesPerSweep: 10\nactiveOrdersPerNamespace: 5\ncompleteTls: true\ncertManagerAnnotations: true\n"
)


def _options(data: bytes) -> None:
    with suppress(OptionsError):
        parse_options({"metadata": {"name": v.OPTIONS_CONFIG_MAP}, "data": {v.OPTIONS_KEY: _text(data)}})


def _record(data: bytes) -> None:
    """What is read can be written, and reads the same again."""
    metadata = {"name": "shop.web-tls", "uid": "u", "resourceVersion": "1"}
    try:
        record = from_config_map({"metadata": metadata, "data": {v.RECORD_KEY: _text(data)}})
    except RecordError:
        return
    written = to_config_map(record)
    assert from_config_map(written) == record
    assert len(record.routes) <= len(data)


def _view() -> Callable[[bytes], None]:
    """As a record, a pod's last word and a book of orders: what Prometheus is told is well-formed, and little."""
    world = ViewWorld()
    world.first()
    ended = {"exitCode": 0, "finishedAt": "2026-05-05T10:00:00Z"}
    labels = {v.APP_COMPONENT: "sweep"}

    def run(data: bytes) -> None:
        text, snapshot = _text(data), world.snapshot
        body = {"metadata": {"name": "shop.web-tls", "uid": "u"}, "data": {v.RECORD_KEY: text}}
        snapshot.certificates.put(body)
        status = {"containerStatuses": [{"state": {"terminated": ended | {"message": text}}}]}
        snapshot.pods.put({"metadata": {"uid": "u", "labels": labels}, "status": status})
        snapshot.pods.drop({"metadata": {"uid": "u"}})
        state = names.issuer_state("le", "https://ca.certjob.dev/dir")
        snapshot.states.put({"metadata": {"name": state}, "data": {ORDERS: text, CHECK_RESULT: READY}})
        told = world.told()
        assert sum(len(series) for name, series in told.items()) < 2000
        assert all(len(text) < 300 for series in told.values() for labels in series for _, text in labels)

    return run


_GIVEN = {"name": "x", "uid": "u", "creationTimestamp": "2026-05-05T10:00:00Z", "resourceVersion": "1"}
"""By the API server."""


def _own_documents() -> Iterator[dict[str, Any]]:
    meta = {"name": "x", "uid": "u", "labels": {}, "annotations": {v.RECORD: "shop.web-tls"}}
    token = "tokenTOKENtokenTOKENtokenTOKENtoken0123456"
    yield {"metadata": meta, "data": {token: f"{token}.{'a' * 43}"}}
    yield {"metadata": meta, "data": {"host": "a.certjob.dev", "namespace": "shop"}}
    txt = [{"name": "_acme-challenge.a.test", "zone": "a.test", "value": "x", "issuer": "le", "epoch": 1}]
    yield {"metadata": meta, "data": {"txt.json": json.dumps(txt)}}
    asked = {
        "namespace": "shop",
        "secretName": "web-tls",
        "reason": "keyCompromise",
        "serial": "ab",
        "lost": ["a.test"],
    }
    yield {"metadata": meta, "data": {v.REVOCATION_KEY: json.dumps(asked)}}


def _own_config_maps(data: bytes) -> None:
    """Challenges, claims, traces and revocations: certjob writes them, a taken part may, and so may people."""
    try:
        document = json.loads(data)
        found = {
            "metadata": {**_strings(document["metadata"]), **_GIVEN},
            "data": _strings(document["data"]),
        }
    except (ValueError, RecursionError, TypeError, KeyError, AttributeError):
        return
    for kind in ("labels", "annotations"):
        given = document["metadata"]
        found["metadata"][kind] = _strings(given.get(kind) if isinstance(given, dict) else None)
    read_challenges(found)
    Claim.from_config_map(found)
    trace.read(found)
    read_revocation(found)


def _strings(mapping: Any) -> dict[str, Any]:
    items = mapping.items() if isinstance(mapping, dict) else ()
    return {str(key): value for key, value in items if isinstance(value, str)}


@cache
def _key() -> Any:
    return generate_key(KeyAlgorithm.ECDSA_P256)


def _pairs() -> Iterator[bytes]:
    """Chain and key in one, as people paste them."""
    ca = FakeCA.root()
    for hosts in (["a.certjob.dev"], ["a.certjob.dev", "*.b.certjob.dev"]):
        leaf = ca.issue(hosts, _key())
        yield pem(leaf, ca.certificate) + key_to_pem(_key())
    yield pem(ca.certificate)
    yield key_to_pem(generate_key(KeyAlgorithm.RSA_2048))


def _certificate(data: bytes) -> None:
    """What a Secret may hold and a CA may answer: chains and keys, and the stores that are made of them."""
    judge_stored(StoredCertificate(data, data), hosts=("a.certjob.dev",), now=NOW)
    with suppress(CertError):
        check_issued(data, key=_key(), hosts=("a.certjob.dev",), now=NOW)
    with suppress(CertError):
        described = describe_chain(data)
        assert described.not_before.tzinfo
        assert described.serial
    with suppress(CertError):
        for certificate in parse_chain(data):
            dns_names(certificate)
    with suppress(CertError):
        key_from_pem(data)
        made = formats.make(formats.Format, chain_pem=data, key_pem=data, passwords=PASSWORDS, now=NOW)
        formats.stale(made, made, chain_pem=data, key_pem=data)
