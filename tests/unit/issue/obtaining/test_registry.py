"""The types of issuers, and a further one that only this test knows: nothing of the product names it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from jsonschema import Draft202012Validator

from certs.chain import describe_chain
from certs.keys import KeyAlgorithm, generate_key
from issuer_job import names
from issuer_job import vocabulary as v
from issuer_job.attempt.attempt import Attempt, Later, Resolved
from issuer_job.attempt.findings import Finding, MountedIssuer
from issuer_job.cluster.api import CONFIGMAPS
from issuer_job.issue.obtaining.registry import OBTAINING, Obtained, accepted
from issuer_job.issue.solvers import AttemptSolvers
from issuer_job.issuers.load import IssuerError, parse_issuer
from issuer_job.issuers.rules import PathProblem
from issuer_job.issuers.schema import Issuer
from issuer_job.issuers.solvers import Part
from issuer_job.issuers.types import ACME, CA, ISSUER_TYPES, IssuerType, directory_of, lifetime_of
from issuer_job.record import transitions
from issuer_job.record.record import Phase, Problem
from tests import schema
from tests.fakes.certs_ca import FakeCA, pem
from tests.worlds.check import check, credentials, events_of, found, one
from tests.worlds.job import HOST, ISSUER, JobWorld, ingress

SERVER = "https://notary.test"
TOKEN = "notary-token"


class Notary(Part, frozen=True):
    """A mapping of the type's own."""

    path: str
    tries: int = 3


class NotaryIssuer(Issuer, frozen=True, kw_only=True):
    notary: Notary


def notary_of(issuer: Issuer) -> Notary:
    assert isinstance(issuer, NotaryIssuer)
    return issuer.notary


def rules(issuer: Issuer) -> Iterator[PathProblem]:
    if notary_of(issuer).path.startswith("v1/"):
        yield "leave out v1/", "$.notary.path"


NOTARY = IssuerType(
    name="notary",
    description="a server that signs requests",
    document=NotaryIssuer,
    fields=frozenset({"server"}),
    required={"server": "the https URL of the notary"},
    rules=rules,
    directory=lambda issuer: f"{issuer.server}/v1/{notary_of(issuer).path}",
    private_names=True,
    lifetime=timedelta(days=7),
)


class NotarySigning:
    """Signs with a CA of the test's; `asked` are the tokens that it was shown."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []

    def obtain(self, attempt: Attempt, resolved: Resolved, solvers: AttemptSolvers) -> Obtained:
        attempt.advance(transitions.signing, directory=directory_of(resolved.issuer))
        mounted = MountedIssuer(attempt, resolved.name, resolved.issuer)
        token = mounted.credential(TOKEN)
        if token is None:
            raise Later(Problem(type="notaryLogin", detail=f"no key {TOKEN} in {mounted.secret}", step="sign"))
        self.asked.append(token)
        key, now = generate_key(KeyAlgorithm(resolved.settings.key_algorithm)), attempt.clock()
        end = now + lifetime_of(resolved.issuer)
        root = FakeCA.root("Notary", now=now)
        leaf = root.issue(attempt.record.intent.hosts, key, not_before=now, not_after=end)
        return accepted(attempt, key, pem(leaf, root.certificate), attempt.record.intent.hosts)

    def examine(self, mounted: MountedIssuer) -> Iterator[Finding]:
        if mounted.credential(TOKEN) is None:
            what = f"no key {TOKEN} in {mounted.secret_or_none}"
            yield Finding(reason="NotaryLogin", message=what, path="$.notary.path")


@pytest.fixture
def notary(monkeypatch: pytest.MonkeyPatch) -> NotarySigning:
    """The further type, registered: one row in each of the two tables."""
    signing = NotarySigning()
    monkeypatch.setitem(ISSUER_TYPES, NOTARY.name, NOTARY)
    monkeypatch.setitem(OBTAINING, NOTARY.name, lambda: signing)
    return signing


def set_notary(world: JobWorld, **fields: Any) -> None:
    world.set_issuer(**{"type": "notary", "server": SERVER, "notary": {"path": "sign/web"}} | fields)


def test_every_type_obtains_certificates_in_one_way() -> None:
    assert set(OBTAINING) == set(ISSUER_TYPES) == {kind.name for kind in ISSUER_TYPES.values()}


def test_a_further_type_obtains_a_certificate_through_the_whole_job(world: JobWorld, notary: NotarySigning) -> None:
    set_notary(world)
    credentials(world, {TOKEN: b"hush"})
    hosts = (HOST, "db.shop.svc.cluster.local")
    world.apply(ingress(hosts=hosts))
    assert world.run() is v.ExitCode.DONE
    leaf = x509.load_pem_x509_certificate(world.secret()["data"]["tls.crt"])
    assert leaf.issuer.rfc4514_string() == "CN=Notary"
    assert leaf.not_valid_after_utc - world.clock.read() == pytest.approx(timedelta(days=7), abs=timedelta(hours=1))
    record = world.record()
    assert record.issued is not None
    assert (record.phase, record.issued.directory) == (Phase.ISSUED, f"{SERVER}/v1/sign/web")
    assert set(record.issued.hosts) == set(hosts)
    assert notary.asked == [b"hush"]
    assert world.ca.requests == []
    assert world.left_over() == []


def test_what_stops_it_is_told_like_anything_else(world: JobWorld, notary: NotarySigning) -> None:
    set_notary(world)
    world.apply(ingress())
    assert world.run() is v.ExitCode.LATER
    retry = world.record().retry
    assert retry is not None
    assert (retry.problem.type, notary.asked) == ("notaryLogin", [])


def test_its_own_job_asks_what_the_type_asks_and_what_is_asked_of_all(world: JobWorld, notary: NotarySigning) -> None:
    set_notary(world)
    finding = one(world)
    assert (finding.reason, finding.path) == ("NotaryLogin", "$.notary.path")
    assert "is not there or is empty" in finding.message
    credentials(world, {TOKEN: b"hush"})
    assert check(world) is v.ExitCode.DONE
    assert world.api.stored(CONFIGMAPS, v.NAMESPACE, names.issuer_state(ISSUER, f"{SERVER}/v1/sign/web")) is not None
    set_notary(world, fallback={"issuer": "gone"})
    assert [finding.path for finding in [*found(world), one(world)]] == ["$.fallback.issuer"]
    assert [event["reason"] for event in events_of(world)].count("IssuerReady") == 1
    assert world.ca.requests == []


WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"server": ""}, "$.server", "server is missing: the https URL of the notary"),
    ({"notary": None}, "$.notary", "Expected `object`"),
    ({"notary": {}}, "$.notary", "missing required field `path`"),
    ({"notary": {"path": "x", "tries": "3"}}, "$.notary.tries", "Expected `int`"),
    ({"notary": {"pth": "x"}}, "$.notary.pth", "perhaps `path`"),
    ({"notary": {"path": "v1/x"}}, "$.notary.path", "leave out v1/"),
    ({"profile": "short"}, "$.profile", "only for type acme, and this is type notary"),
    ({"solvers": []}, "$.solvers", "only for type acme"),
    ({"lifetime": "soon"}, "$.lifetime", "duration"),
    ({"type": "acme"}, "$.notary", "notary is only for type notary, and this is type acme"),
    ({"type": "ca"}, "$.server", "server is only for type acme or notary, and this is type ca"),
    ({"type": "notry"}, "$.type", "notry"),
]


def document(**fields: Any) -> dict[str, Any]:
    return {"type": "notary", "server": SERVER, "notary": {"path": "sign/web"}} | fields


def read(fields: dict[str, Any]) -> Issuer:
    return parse_issuer({"metadata": {"name": "n"}, "data": {v.ISSUER_KEY: json.dumps(fields)}})


@pytest.mark.usefixtures("notary")
@pytest.mark.parametrize(("fields", "path", "words"), WRONG, ids=[words for _, _, words in WRONG])
def test_what_is_wrong_in_its_configuration_is_named(fields: dict[str, Any], path: str, words: str) -> None:
    with pytest.raises(IssuerError) as told:
        read(document(**fields))
    assert f"at `{path}`" in str(told.value)
    assert words in str(told.value)


@pytest.mark.usefixtures("notary")
def test_the_json_schema_follows_from_the_table() -> None:
    validator = Draft202012Validator(schema.issuer_schema())
    assert validator.is_valid(document())
    assert read(document()) == NotaryIssuer(type="notary", server=SERVER, notary=Notary(path="sign/web"))
    for fields, _, words in WRONG:
        assert validator.is_valid(document(**fields)) is (words == "leave out v1/"), words
    assert not validator.is_valid({"type": "notary", "server": SERVER})
    assert validator.is_valid({"server": SERVER})


def test_without_it_nobody_knows_it() -> None:
    with pytest.raises(IssuerError, match=r"notary.*at `\$\.type`"):
        read(document())
    assert "notary" not in json.dumps(schema.issuer_schema())


@pytest.mark.parametrize("kind", ISSUER_TYPES.values(), ids=lambda kind: kind.name)
def test_only_acme_has_what_comes_with_orders(kind: IssuerType) -> None:
    capabilities = {kind.has_account, kind.proves_hosts, kind.counts_orders, kind.suggests_renewals}
    assert capabilities == {kind is ACME}
    assert kind.private_names is not kind.has_account
    assert bool(kind.own_fields) is (kind is ACME)
    assert not CA.required


def test_the_key_of_what_was_obtained_is_in_no_repr() -> None:
    key, root = generate_key(KeyAlgorithm.ECDSA_P256), FakeCA.root("Notary")
    chain = pem(root.issue(("shop.certjob.dev",), key))
    assert "the-key" not in repr(Obtained(b"the-key", chain, describe_chain(chain)))
