"""The webhook's own CA, its serving certificate, and their rotation."""

import ssl
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from certs.authority import authority_due, bundle, leaf_due, make_authority, make_leaf
from certs.chain import dns_names, has_key, parse_chain
from certs.errors import CertError
from certs.keys import CertifiedKey, key_from_pem
from tests.fakes.certs_ca import DAY, NOW, handshake

NAMES = ("certjob-webhook.certjob.svc", "certjob-webhook.certjob.svc.cluster.local")


def only(made: CertifiedKey) -> x509.Certificate:
    (certificate,) = parse_chain(made.cert_chain_pems)
    return certificate


def test_client_with_the_bundle_trusts_the_leaf_for_its_names() -> None:
    authority = make_authority(now=datetime.now(UTC))
    leaf = make_leaf(authority, dns_names=NAMES, now=datetime.now(UTC))
    for name in NAMES:
        seen = handshake(leaf, trusted=authority.cert_chain_pems, host=name)
        assert x509.load_der_x509_certificate(seen) == only(leaf)
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        handshake(leaf, trusted=authority.cert_chain_pems, host="kubernetes.default.svc")


def test_rotation_is_trusted_in_both_orders() -> None:
    now = datetime.now(UTC)
    old, new = make_authority(now=now - 240 * DAY), make_authority(now=now)
    both = bundle(new.cert_chain_pems, old.cert_chain_pems, now=now)
    for authority in (old, new):
        handshake(make_leaf(authority, dns_names=NAMES, now=now), trusted=both, host=NAMES[0])
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(make_leaf(new, dns_names=NAMES, now=now), trusted=old.cert_chain_pems, host=NAMES[0])


def test_authority_may_sign_certificates_directly_and_nothing_else() -> None:
    made = make_authority(now=NOW)
    ca = only(made)
    ca.verify_directly_issued_by(ca)
    constraints = ca.extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.critical
    assert constraints.value == x509.BasicConstraints(ca=True, path_length=0)
    usage = ca.extensions.get_extension_for_class(x509.KeyUsage)
    assert usage.critical
    assert usage.value.key_cert_sign
    assert usage.value.crl_sign
    assert not usage.value.digital_signature
    assert ca.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    assert ca.not_valid_before_utc == NOW - timedelta(hours=1)
    assert ca.not_valid_after_utc == NOW + 365 * DAY
    assert has_key(ca, key_from_pem(made.key_pem))


def test_leaf_is_a_server_certificate_that_points_to_its_authority() -> None:
    authority = make_authority(now=NOW)
    made = make_leaf(authority, dns_names=NAMES, now=NOW)
    leaf = only(made)
    leaf.verify_directly_issued_by(only(authority))
    assert dns_names(leaf) == NAMES
    assert list(leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [
        ExtendedKeyUsageOID.SERVER_AUTH
    ]
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    above = only(authority).extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    pointer = leaf.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    assert pointer.key_identifier == above.digest
    assert leaf.not_valid_after_utc == NOW + 30 * DAY
    assert has_key(leaf, key_from_pem(made.key_pem))
    assert made.key_pem != authority.key_pem


def test_leaf_does_not_outlive_its_authority() -> None:
    authority = make_authority(now=NOW, lifetime=10 * DAY)
    leaf = only(make_leaf(authority, dns_names=NAMES, now=NOW))
    assert leaf.not_valid_after_utc == NOW + 10 * DAY
    assert leaf.not_valid_before_utc >= only(authority).not_valid_before_utc


def test_expired_authority_signs_nothing() -> None:
    authority = make_authority(now=NOW, lifetime=DAY)
    with pytest.raises(CertError, match="has expired"):
        make_leaf(authority, dns_names=NAMES, now=NOW + DAY)


def test_authority_with_another_key_signs_nothing() -> None:
    mixed = CertifiedKey(
        key_pem=make_authority(now=NOW).key_pem, cert_chain_pems=make_authority(now=NOW).cert_chain_pems
    )
    with pytest.raises(CertError, match="do not belong together"):
        make_leaf(mixed, dns_names=NAMES, now=NOW)


def test_leaf_is_due_at_half_its_life() -> None:
    leaf = make_leaf(make_authority(now=NOW - DAY), dns_names=NAMES, now=NOW).cert_chain_pems
    half = NOW - timedelta(hours=1) + (30 * DAY + timedelta(hours=1)) / 2
    assert not leaf_due(leaf, now=half - timedelta(seconds=1))
    assert leaf_due(leaf, now=half)


def test_authority_is_due_at_two_thirds_of_its_life() -> None:
    authority = make_authority(now=NOW, lifetime=300 * DAY - timedelta(hours=1)).cert_chain_pems
    due = NOW - timedelta(hours=1) + 200 * DAY
    assert not authority_due(authority, now=due - timedelta(seconds=1))
    assert authority_due(authority, now=due + timedelta(seconds=1))


@pytest.mark.parametrize("content", [b"", b"nonsense"])
def test_what_cannot_be_read_is_due(content: bytes) -> None:
    assert leaf_due(content, now=NOW)
    assert authority_due(content, now=NOW)


def test_bundle_drops_expired_and_repeated_certificates_and_keeps_the_order() -> None:
    ended = make_authority(now=NOW - 400 * DAY).cert_chain_pems
    old = make_authority(now=NOW - 300 * DAY).cert_chain_pems
    new = make_authority(now=NOW).cert_chain_pems
    assert bundle(new, b"\n", ended + old + new, now=NOW) == new + old


def test_bundle_with_nothing_left_is_an_error() -> None:
    with pytest.raises(CertError, match="No CA certificate is left"):
        bundle(make_authority(now=NOW - 400 * DAY).cert_chain_pems, now=NOW)
    with pytest.raises(CertError, match="not readable"):
        bundle(b"nonsense", now=NOW)
