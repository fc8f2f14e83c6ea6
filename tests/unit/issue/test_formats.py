"""Further keys of a Secret: PEM files and key stores, with the certificate and later."""

from __future__ import annotations

from datetime import timedelta

from cryptography import x509
from cryptography.hazmat.primitives.serialization import pkcs12

from issuer_job import vocabulary as v
from issuer_job.cluster.api import SECRETS
from issuer_job.launch.outcome import OutcomeReason
from issuer_job.record.record import Phase
from tests.worlds.job import JobWorld, ingress
from tests.worlds.request import (
    NAME,
    ask,
    asking,
    issue_asked,
    leaf,
    passwords,
)
from tests.worlds.sweep import jobs, orders, passes

OTHER = "db.certjob.dev"


def test_formats_are_written_with_the_certificate(world: JobWorld) -> None:
    passwords(world, pkcs12_password="p12-pass\n", jks_password="jks-pass")
    wanted = "ca.crt,tls-combined.pem,keystore.p12,truststore.p12,keystore.jks,truststore.jks"
    issue_asked(world, asking(formats=wanted))
    data = world.secret()["data"]
    assert set(data) == {"tls.crt", "tls.key", *wanted.split(",")}
    store = pkcs12.load_pkcs12(data["keystore.p12"], b"p12-pass")
    assert store.cert is not None
    assert store.cert.certificate == leaf(world)
    assert data["keystore.jks"].startswith(bytes.fromhex("feedfeed00000002"))
    assert data["tls-combined.pem"] == data["tls.key"] + data["tls.crt"]


def test_formats_are_written_for_an_ingress_too(world: JobWorld) -> None:
    world.apply(ingress(annotations={v.FORMATS: "ca.crt"}))
    assert set(world.secret()["data"]) == {"tls.crt", "tls.key", "ca.crt"}
    assert world.run() is v.ExitCode.DONE
    data = world.secret()["data"]
    assert x509.load_pem_x509_certificate(data["ca.crt"]) == x509.load_pem_x509_certificates(data["tls.crt"])[-1]


def test_without_the_password_nothing_is_ordered_nor_written(world: JobWorld) -> None:
    passwords(world, jks_password="jks-pass")
    ask(world, asking(formats="ca.crt,keystore.p12,keystore.jks"))
    before = world.secret()
    assert world.run() is v.ExitCode.LATER
    record = world.record()
    assert record.retry is not None
    assert record.retry.problem.type == "passwordMissing"
    assert (
        "keystore.p12: the key pkcs12-password is missing in Secret credentials-test-ca"
        in record.retry.problem.detail
    )
    assert world.secret() == before
    assert orders(world) == 0


def test_formats_that_are_asked_for_later_take_no_order(world: JobWorld) -> None:
    issue_asked(world)
    before = world.secret()["data"]
    world.clock.ahead += timedelta(seconds=5)
    (outcome,) = ask(world, asking(formats="tls-combined.pem"))
    assert outcome.reason is OutcomeReason.LAUNCHED
    assert world.run() is v.ExitCode.DONE
    data = world.secret()["data"]
    assert data == before | {"tls-combined.pem": before["tls.key"] + before["tls.crt"]}
    assert orders(world) == 1
    record = world.record()
    assert record.issued is not None
    assert record.issued.intent_hash == record.intent.hash


def test_a_format_that_went_missing_is_put_back_without_an_order(swept: JobWorld) -> None:
    issue_asked(swept, asking(formats="ca.crt"))
    before = swept.secret()["data"]
    stored = swept.api.stored(SECRETS, "shop", NAME)
    assert stored is not None
    stored["data"].pop("ca.crt")
    swept.api.add(SECRETS, "shop", stored)
    passes(swept, 12, until=lambda: swept.record().phase is Phase.LAUNCHED)
    assert swept.run() is v.ExitCode.DONE
    assert swept.secret()["data"] == before
    assert orders(swept) == 1
    passes(swept, 13)
    assert jobs(swept) == 2
