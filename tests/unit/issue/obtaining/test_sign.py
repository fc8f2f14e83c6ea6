"""Issuers of the types `selfsigned` and `ca`: one Job all the same, without any order."""

from __future__ import annotations

from base64 import b64encode
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509

from certs.keys import key_to_pem
from certs.validity import StoredCertificate, judge_stored
from issuer_job import names
from issuer_job import vocabulary as v
from issuer_job.cluster.api import SECRETS
from issuer_job.record.record import Phase
from tests.fakes.certs_ca import FakeCA, handshake, pem
from tests.worlds.job import HOST, ISSUER, JobWorld, ingress
from tests.worlds.sweep import run as sweep

DAY = timedelta(days=1)
ROOT = FakeCA.root("Private Root", now=datetime.now(UTC))


def give_key_pair(world: JobWorld, **data: bytes) -> None:
    pair = {"tls.crt": pem(ROOT.certificate), "tls.key": key_to_pem(ROOT.key)} | data
    encoded = {key: b64encode(value).decode() for key, value in pair.items() if value}
    body = {"metadata": {"name": names.credentials(ISSUER)}, "type": "kubernetes.io/tls", "data": encoded}
    world.api.add(SECRETS, v.NAMESPACE, body)


def leaf(world: JobWorld) -> x509.Certificate:
    return x509.load_pem_x509_certificate(world.secret()["data"]["tls.crt"])


def test_a_private_ca_signs_with_its_chain(world: JobWorld) -> None:
    world.set_issuer(type="ca", keyAlgorithm="ecdsa-p384")
    give_key_pair(world)
    world.apply(ingress())
    assert world.run() is v.ExitCode.DONE
    data = world.secret()["data"]
    assert world.secret()["metadata"]["labels"][v.STATE] == "issued"
    assert data["tls.crt"].count(b"BEGIN CERTIFICATE") == 2
    assert leaf(world).not_valid_after_utc - world.clock.read() == pytest.approx(90 * DAY, abs=DAY)
    record = world.record()
    assert record.issued is not None
    assert (record.phase, record.issued.directory, record.issued.account) == (Phase.ISSUED, "ca", "")
    assert world.ca.ordered == []
    assert world.left_over() == []


def test_self_signed_lives_long_and_is_no_placeholder(world: JobWorld) -> None:
    world.set_issuer(type="selfsigned")
    world.apply(ingress(hosts=(HOST, "*.certjob.dev", "db.shop.svc.cluster.local")))
    assert world.run() is v.ExitCode.DONE
    data = world.secret()["data"]
    stored = StoredCertificate(data["tls.crt"], data["tls.key"])
    assert judge_stored(stored, hosts=(HOST,), now=world.clock.read() + 1000 * DAY).ok
    handshake_with(world)


def handshake_with(world: JobWorld) -> None:
    from certs.keys import CertifiedKey

    data = world.secret()["data"]
    handshake(CertifiedKey(data["tls.key"], data["tls.crt"]), trusted=data["tls.crt"], host=HOST, strict=False)


@pytest.mark.parametrize("kind", ["selfsigned", "ca"])
def test_the_lifetime_is_the_issuers(world: JobWorld, kind: str) -> None:
    world.set_issuer(type=kind, lifetime="36h")
    give_key_pair(world)
    world.apply(ingress())
    assert world.run() is v.ExitCode.DONE
    assert leaf(world).not_valid_after_utc - world.clock.read() == pytest.approx(1.5 * DAY, abs=DAY / 24)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        ({"tls.crt": b""}, "has no key tls.crt"),
        ({"tls.key": b""}, "has no key tls.key"),
        ({"tls.crt": b"text"}, "certificate"),
        ({"tls.key": key_to_pem(FakeCA.root().key)}, "do not belong together"),
    ],
)
def test_a_key_pair_that_cannot_sign_is_named(world: JobWorld, data: dict[str, bytes], why: str) -> None:
    world.set_issuer(type="ca")
    give_key_pair(world, **data)
    world.apply(ingress())
    assert world.run() is v.ExitCode.LATER
    retry = world.record().retry
    assert retry is not None
    assert retry.problem.type == "brokenIssuer"
    assert why in retry.problem.detail
    assert ISSUER in retry.problem.detail
    assert world.secret()["metadata"]["labels"][v.STATE] == "placeholder"


def test_it_is_renewed_by_the_sweep(swept: JobWorld) -> None:
    swept.set_issuer(type="ca", lifetime="9d")
    give_key_pair(swept)
    swept.apply(ingress())
    assert swept.run() is v.ExitCode.DONE
    first = leaf(swept).serial_number
    swept.clock.ahead += 7 * DAY
    sweep(swept)
    assert swept.record().phase is Phase.LAUNCHED
    assert swept.run() is v.ExitCode.DONE
    assert leaf(swept).serial_number != first


def test_another_type_is_another_certificate(swept: JobWorld) -> None:
    """From the CA's to a private one's, and back: nothing of the old order is taken along."""
    swept.apply(ingress())
    assert swept.run() is v.ExitCode.DONE
    swept.set_issuer("private", default=False, type="selfsigned")
    swept.apply(ingress(annotations={v.ISSUER: "private"}))
    assert swept.run() is v.ExitCode.DONE
    assert leaf(swept).issuer == leaf(swept).subject
    swept.clock.ahead += timedelta(seconds=2)
    swept.apply(ingress())
    assert swept.run() is v.ExitCode.DONE
    assert leaf(swept).issuer != leaf(swept).subject


def test_no_route_is_made(world: JobWorld) -> None:
    world.set_issuer(type="selfsigned")
    world.apply(ingress())
    assert world.left_over() == []
