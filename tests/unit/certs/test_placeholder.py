"""The placeholder certificate."""

import ssl
import time
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from certs.chain import dns_names, has_key, parse_chain
from certs.errors import CertError
from certs.keys import key_from_pem
from certs.placeholder import is_placeholder, make_placeholder
from tests.fakes.certs_ca import NOW, FakeCA, handshake, new_key


def test_placeholder_is_served_and_names_its_hosts() -> None:
    made = make_placeholder(["shop.acme.io", "*.acme.dev"], now=datetime.now(UTC))
    for host in ("shop.acme.io", "a.acme.dev"):
        assert handshake(made, trusted=made.cert_chain_pems, host=host)
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        handshake(made, trusted=made.cert_chain_pems, host="other.io")


def test_placeholder_is_a_self_signed_server_certificate() -> None:
    made = make_placeholder(["Shop.acme.io", "shop.acme.io"], now=NOW)
    (leaf,) = parse_chain(made.cert_chain_pems)
    leaf.verify_directly_issued_by(leaf)
    constraints = leaf.extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.critical
    assert not constraints.value.ca
    usage = leaf.extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.digital_signature
    assert not usage.key_cert_sign
    purposes = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(purposes) == [ExtendedKeyUsageOID.SERVER_AUTH]
    assert dns_names(leaf) == ("shop.acme.io",)
    assert leaf.subject.rfc4514_string() == "CN=certjob placeholder"


def test_placeholder_is_valid_from_an_hour_ago_for_its_lifetime() -> None:
    made = make_placeholder(["shop.acme.io"], now=NOW, lifetime=timedelta(days=3))
    (leaf,) = parse_chain(made.cert_chain_pems)
    assert leaf.not_valid_before_utc == NOW - timedelta(hours=1)
    assert leaf.not_valid_after_utc == NOW + timedelta(days=3)


def test_key_is_p256_unless_given() -> None:
    made = key_from_pem(make_placeholder(["shop.acme.io"], now=NOW).key_pem)
    assert isinstance(made, ec.EllipticCurvePrivateKey)
    assert made.curve.name == "secp256r1"
    key = new_key()
    given = make_placeholder(["shop.acme.io"], now=NOW, key=key)
    assert has_key(parse_chain(given.cert_chain_pems)[0], key)
    assert has_key(parse_chain(given.cert_chain_pems)[0], key_from_pem(given.key_pem))


def test_placeholder_is_recognised_and_others_are_not() -> None:
    key = new_key()
    assert is_placeholder(parse_chain(make_placeholder(["shop.acme.io"], now=NOW).cert_chain_pems)[0])
    assert not is_placeholder(FakeCA.root().issue(["shop.acme.io"], key))
    assert not is_placeholder(FakeCA.root().intermediate("certjob placeholder", ca=False).certificate)
    assert not is_placeholder(FakeCA.root("certjob placeholder").issue(["shop.acme.io"], key))


def test_no_hosts_is_an_error() -> None:
    with pytest.raises(CertError, match="at least one host"):
        make_placeholder([], now=NOW)


def test_placeholder_costs_under_two_milliseconds() -> None:
    hosts = [f"host-{number}.acme.io" for number in range(20)]
    make_placeholder(hosts, now=NOW)
    best = min(_seconds_for(hosts) for _ in range(50))
    assert best < 0.002


def _seconds_for(hosts: list[str]) -> float:
    start = time.perf_counter()
    make_placeholder(hosts, now=NOW)
    return time.perf_counter() - start
