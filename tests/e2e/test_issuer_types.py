"""What issuers can say about certificates, on the real cluster: types, keys, profile, chain, lifetime, fallback."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from msgspec.structs import replace

from certs.chain import check_issued
from certs.keys import CertifiedKey, key_from_pem, key_to_pem
from issuer_job import names
from issuer_job import vocabulary as v
from issuer_job.cluster.api import CONFIGMAPS, SECRETS, Conflict
from issuer_job.record.record import Record
from issuer_job.record.store import from_config_map, to_config_map
from tests.e2e import world
from tests.e2e.observe import cluster
from tests.e2e.own_issuer import own_issuer, stored_issuer
from tests.e2e.own_pebble import OwnPebble, own_pebble
from tests.e2e.sweeps import run_sweep
from tests.fakes.certs_ca import FakeCA, handshake, pem

DAY = timedelta(days=1)


@contextmanager
def credentials(name: str, **data: bytes) -> Iterator[None]:
    """What the operator gives the issuer's Jobs."""
    encoded = {key: b64encode(value).decode() for key, value in data.items()}
    metadata = {"name": names.credentials(name), "namespace": v.NAMESPACE}
    cluster().create(
        SECRETS, v.NAMESPACE, {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": encoded}
    )
    try:
        yield
    finally:
        cluster().delete(SECRETS, v.NAMESPACE, names.credentials(name))


def stored(namespace: str, secret: str) -> CertifiedKey:
    data = cluster().get(SECRETS, namespace, secret)["data"]
    return CertifiedKey(b64decode(data["tls.key"]), b64decode(data["tls.crt"]))


def left(made: CertifiedKey) -> timedelta:
    return x509.load_pem_x509_certificate(made.cert_chain_pems).not_valid_after_utc - datetime.now(UTC)


def test_a_private_ca_signs_in_one_job(namespace: str) -> None:
    root = FakeCA.root("Private Root", now=datetime.now(UTC))
    below = root.intermediate("Private Intermediate")
    name, hosts = f"ca-{namespace}", [f"db.{namespace}.internal", f"*.{namespace}.internal"]
    chain = pem(below.certificate, root.certificate)
    with (
        stored_issuer(name, type="ca", lifetime="30d"),
        credentials(name, **{"tls.crt": chain, "tls.key": key_to_pem(below.key)}),
    ):
        world.create(namespace, world.manifest("db", hosts, issuer=name))
        record = world.wait_issued(namespace, "db-tls", hosts)
        made = stored(namespace, "db-tls")
    assert record.issued is not None
    assert record.issued.directory == "ca"
    assert made.cert_chain_pems.endswith(chain)
    check_issued(made.cert_chain_pems, key=key_from_pem(made.key_pem), hosts=hosts, now=datetime.now(UTC))
    assert left(made) == pytest.approx(30 * DAY, abs=timedelta(minutes=5))
    handshake(made, trusted=pem(root.certificate), host=f"db.{namespace}.internal", strict=False)
    handshake(made, trusted=pem(root.certificate), host=f"x.{namespace}.internal", strict=False)


def test_a_private_ca_without_its_key_says_what_is_missing(namespace: str) -> None:
    with stored_issuer(name := f"nokey-{namespace}", type="ca"):
        world.create(namespace, world.manifest("db", [f"db.{namespace}.internal"], issuer=name))
        event = world.wait_event(namespace, "db", "CertificateFailed")
    assert f"Secret credentials-{name} in namespace certjob has no key tls.crt" in event
    assert world.holds_placeholder(namespace, "db-tls")


def test_self_signed_is_long_lived(namespace: str) -> None:
    with stored_issuer(name := f"self-{namespace}", type="selfsigned"):
        world.create(namespace, world.manifest("web", [f"web.{namespace}.lan"], issuer=name))
        world.wait_issued(namespace, "web-tls", [f"web.{namespace}.lan"])
    made = stored(namespace, "web-tls")
    assert left(made) > 3000 * DAY
    handshake(made, trusted=made.cert_chain_pems, host=f"web.{namespace}.lan", strict=False)


@pytest.mark.parametrize(
    ("algorithm", "kind", "size"),
    [
        ("ecdsa-p384", ec.EllipticCurvePublicKey, 384),
        ("rsa-2048", rsa.RSAPublicKey, 2048),
        ("rsa-3072", rsa.RSAPublicKey, 3072),
        ("rsa-4096", rsa.RSAPublicKey, 4096),
    ],
)
def test_every_key_algorithm(namespace: str, algorithm: str, kind: type[Any], size: int) -> None:
    with own_issuer(name := f"key-{namespace}", keyAlgorithm=algorithm):
        host = f"key.{namespace}.test"
        world.create(namespace, world.manifest("key", [host], issuer=name))
        world.wait_issued(namespace, "key-tls", [host])
        certificate = world.leaf(namespace, "key-tls")
    assert certificate is not None
    key = certificate.public_key()
    assert isinstance(key, kind)
    assert key.key_size == size


def test_the_lifetime_is_asked_of_the_ca(namespace: str) -> None:
    with own_issuer(name := f"life-{namespace}", lifetime="50h"):
        host = f"life.{namespace}.test"
        world.create(namespace, world.manifest("life", [host], issuer=name))
        world.wait_issued(namespace, "life-tls", [host])
    assert left(stored(namespace, "life-tls")) == pytest.approx(timedelta(hours=50), abs=timedelta(minutes=5))


def test_a_profile_that_the_ca_does_not_offer_is_refused_with_those_it_does(namespace: str) -> None:
    with own_issuer(name := f"prof-{namespace}", profile="fancy"):
        world.create(namespace, world.manifest("prof", [f"prof.{namespace}.test"], issuer=name))
        event = world.wait_event(namespace, "prof", "CertificateFailed")
        assert "the CA offers no profile fancy; it offers: default, shortlived, ten-minutes" in event


@pytest.fixture(scope="module")
def many_chains(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnPebble]:
    """A Pebble with three chains, each of a root and two intermediates."""
    env = {"PEBBLE_ALTERNATE_ROOTS": "2", "PEBBLE_CHAIN_LENGTH": "2"}
    with own_pebble(tmp_path_factory.mktemp("pebble"), port=14011, env=env) as made:
        yield made


def names_above(made: CertifiedKey) -> list[str]:
    """Common names of the issuers, from the leaf up."""
    chain = x509.load_pem_x509_certificates(made.cert_chain_pems)
    return [str(each.issuer.get_attributes_for_oid(x509.NameOID.COMMON_NAME)[0].value) for each in chain]


@pytest.mark.parametrize("number", [0, 1, 2])
def test_the_preferred_chain_by_its_root(namespace: str, many_chains: OwnPebble, number: int) -> None:
    root = x509.load_pem_x509_certificate(many_chains.get(f"/roots/{number}"))
    wanted = str(root.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)[0].value)
    with own_issuer(name := f"chain-{namespace}", server=many_chains.directory, preferredChain=wanted):
        host = f"chain.{namespace}.test"
        world.create(namespace, world.manifest("chain", [host], issuer=name))
        world.wait_issued(namespace, "chain-tls", [host])
    assert names_above(stored(namespace, "chain-tls"))[-1] == wanted


def test_the_preferred_chain_by_an_intermediate(namespace: str, many_chains: OwnPebble) -> None:
    intermediate = x509.load_pem_x509_certificate(many_chains.get("/intermediates/1"))
    wanted = str(intermediate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)[0].value)
    with own_issuer(name := f"inter-{namespace}", server=many_chains.directory, preferredChain=wanted):
        host = f"inter.{namespace}.test"
        world.create(namespace, world.manifest("inter", [host], issuer=name))
        world.wait_issued(namespace, "inter-tls", [host])
    assert wanted in names_above(stored(namespace, "inter-tls"))


def age_failures(namespace: str, secret: str, by: timedelta) -> Record:
    """As administrator, let the record have been failing for longer."""
    while True:
        found = from_config_map(cluster().get(CONFIGMAPS, v.NAMESPACE, names.record(namespace, secret)))
        assert found.retry is not None
        assert found.retry.since is not None
        aged = replace(found, retry=replace(found.retry, since=found.retry.since - by))
        try:
            return from_config_map(cluster().update(CONFIGMAPS, v.NAMESPACE, to_config_map(aged)))
        except Conflict:
            continue


def test_the_fallback_takes_over_from_a_ca_that_is_away(namespace: str) -> None:
    host, name = f"spare.{namespace}.test", f"away-{namespace}"
    away = "https://pebble.certjob.test:14099/dir"  # nothing listens there
    with own_issuer(name, server=away, fallback={"issuer": "pebble", "after": "3h"}):
        world.create(namespace, world.manifest("spare", [host], issuer=name))
        waiting = world.wait_phase(namespace, "spare-tls", "Waiting")
        assert waiting.issuer == name
        age_failures(namespace, "spare-tls", timedelta(hours=3))
        run_sweep()
        issued = world.wait_issued(namespace, "spare-tls", [host])
    assert issued.issuer == "pebble"
    assert "from issuer pebble" in world.wait_event(namespace, "spare", "CertificateIssued")
    notes = cluster().get(SECRETS, namespace, "spare-tls")["metadata"]["annotations"]
    assert notes[v.ISSUER] == "pebble"
