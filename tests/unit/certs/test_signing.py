"""Certificates without a public CA: self-signed, and from a private CA with its chain; real handshakes."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509

from certs.chain import check_issued
from certs.errors import CertError
from certs.keys import KeyAlgorithm, generate_key, key_to_pem
from certs.leaf import PrivateAuthority
from certs.placeholder import is_placeholder
from certs.signing import read_authority, self_sign, sign
from tests.fakes.certs_ca import FakeCA, handshake, pem

HOSTS = ("db.shop.internal", "*.shop.internal")
NOW = datetime.now(UTC).replace(microsecond=0)
DAY = timedelta(days=1)


ROOT = FakeCA.root("Test Root", now=NOW)
BELOW = ROOT.intermediate("Test Intermediate")


def authority(*, now: datetime = NOW) -> PrivateAuthority:
    return read_authority(pem(BELOW.certificate, ROOT.certificate), key_to_pem(BELOW.key), now=now)


@pytest.mark.exhaustive
@pytest.mark.parametrize("algorithm", list(KeyAlgorithm))
def test_a_ca_signs_for_every_key_and_its_chain_is_included(
    algorithm: KeyAlgorithm,
) -> None:
    key = generate_key(algorithm)
    made = sign(authority(), HOSTS, key=key, now=NOW, lifetime=30 * DAY)
    issued = check_issued(made.cert_chain_pems, key=key, hosts=HOSTS, now=NOW)
    assert issued.not_after == NOW + 30 * DAY
    assert len(x509.load_pem_x509_certificates(made.cert_chain_pems)) == 3
    trusted = pem(ROOT.certificate)
    handshake(made, trusted=trusted, host="db.shop.internal", strict=False)
    handshake(made, trusted=trusted, host="other.shop.internal", strict=False)
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(made, trusted=trusted, host="db.elsewhere.internal", strict=False)


def test_a_certificate_never_outlives_its_ca() -> None:
    ca = authority()
    made = sign(ca, HOSTS, key=generate_key(KeyAlgorithm.ECDSA_P256), now=NOW, lifetime=3650 * DAY)
    assert x509.load_pem_x509_certificate(made.cert_chain_pems).not_valid_after_utc == ca.not_after


def test_the_names_are_where_an_empty_subject_has_them() -> None:
    """RFC 5280, section 4.2.1.6: with an empty subject the subjectAltName is critical."""
    made = sign(authority(), HOSTS, key=generate_key(KeyAlgorithm.ECDSA_P256), now=NOW, lifetime=DAY)
    leaf = x509.load_pem_x509_certificate(made.cert_chain_pems)
    assert not list(leaf.subject)
    assert leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).critical


def test_self_signed() -> None:
    key = generate_key(KeyAlgorithm.ECDSA_P256)
    made = self_sign(HOSTS, key=key, now=NOW, lifetime=100 * DAY)
    issued = check_issued(made.cert_chain_pems, key=key, hosts=HOSTS, now=NOW)
    assert issued.not_after == NOW + 100 * DAY
    assert not is_placeholder(issued.leaf)
    handshake(made, trusted=made.cert_chain_pems, host="db.shop.internal", strict=False)


def test_a_ca_that_cannot_sign_is_refused_with_the_reason() -> None:
    other = FakeCA.root("Other")
    leaf = self_sign(HOSTS, key=generate_key(KeyAlgorithm.ECDSA_P256), now=NOW, lifetime=DAY)
    certificate, key = pem(BELOW.certificate), key_to_pem(BELOW.key)
    refused = [
        (certificate, key_to_pem(other.key), NOW, "do not belong together"),
        (leaf.cert_chain_pems, leaf.key_pem, NOW, "is not a CA's"),
        (certificate, key, NOW + 36500 * DAY, "expired"),
        (certificate, key, NOW - 36500 * DAY, "not valid before"),
        (b"text", key, NOW, "certificate"),
        (certificate, b"text", NOW, "key"),
    ]
    for crt, secret, now, why in refused:
        with pytest.raises(CertError, match=why):
            read_authority(crt, secret, now=now)


def test_no_key_in_a_repr() -> None:
    made = authority()
    assert "PrivateKey" not in repr(made)
    assert made.chain_pem == pem(BELOW.certificate, ROOT.certificate)
