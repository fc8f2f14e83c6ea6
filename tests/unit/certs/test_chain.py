"""Chains: bounded reading, and the checks of what a CA answered with."""

import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from certs.chain import IssuedCertificate, ari_cert_id, check_issued, choose_chain, dns_names, parse_chain
from certs.errors import CertError
from certs.keys import CertifiedKey, key_id, key_to_pem
from tests.fakes import acme_ca
from tests.fakes.certs_ca import DAY, NOW, FakeCA, handshake, new_key, pem

HOSTS = ("shop.acme.io", "www.acme.io")


@dataclass(frozen=True)
class World:
    root: FakeCA
    intermediate: FakeCA
    key: ec.EllipticCurvePrivateKey


@pytest.fixture(scope="module")
def world() -> World:
    root = FakeCA.root()
    return World(root, root.intermediate(), new_key())


def check(world: World, chain: Sequence[x509.Certificate], hosts: Sequence[str] = HOSTS) -> IssuedCertificate:
    return check_issued(pem(*chain), key=world.key, hosts=hosts, now=NOW)


def test_good_chain_is_described(world: World) -> None:
    leaf = world.intermediate.issue(HOSTS, world.key, serial=0xABC, authority_key_id=b"\x01\x02")
    issued = check(world, [leaf, world.intermediate.certificate])
    assert issued == IssuedCertificate(
        leaf=leaf,
        not_before=NOW - timedelta(hours=1),
        not_after=NOW + 90 * DAY,
        serial="abc",
        names=HOSTS,
        key_id=key_id(world.key),
        ari_cert_id="AQI.Crw",
        issuer_name="Fake Intermediate",
    )


def test_good_chain_is_trusted_in_a_handshake() -> None:
    now = datetime.now(UTC)
    # OpenSSL's strict mode wants more of a CA than the fake has; the webhook's CA proves that elsewhere.
    root = FakeCA.root(now=now)
    leaf_key = new_key()
    leaf = root.issue(HOSTS, leaf_key, not_before=now - DAY, not_after=now + DAY)
    check_issued(pem(leaf), key=leaf_key, hosts=HOSTS, now=now)
    served = CertifiedKey(key_pem=key_to_pem(leaf_key), cert_chain_pems=pem(leaf))
    handshake(served, trusted=pem(root.certificate), host=HOSTS[0], strict=False)
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(served, trusted=pem(FakeCA.root(now=now).certificate), host=HOSTS[0], strict=False)


def test_order_case_and_repetition_of_hosts_do_not_matter(world: World) -> None:
    leaf = world.root.issue(HOSTS, world.key)
    check(world, [leaf], ["WWW.acme.io.", "shop.acme.io", "shop.acme.io"])


def test_chain_with_its_root_is_good(world: World) -> None:
    leaf = world.intermediate.issue(HOSTS, world.key)
    check(world, [leaf, world.intermediate.certificate, world.root.certificate])


def test_other_key_is_refused(world: World) -> None:
    with pytest.raises(CertError, match="for another key"):
        check(world, [world.root.issue(HOSTS, new_key())])


def test_missing_host_is_refused(world: World) -> None:
    with pytest.raises(CertError, match=r"lacks www\.acme\.io\."):
        check(world, [world.root.issue(HOSTS[:1], world.key)])


def test_wildcard_does_not_stand_for_an_ordered_host(world: World) -> None:
    with pytest.raises(CertError, match="lacks"):
        check(world, [world.root.issue(["*.acme.io"], world.key)])


def test_certificate_without_names_is_refused(world: World) -> None:
    with pytest.raises(CertError, match="lacks"):
        check(world, [world.root.issue([], world.key)])


def test_extra_host_is_refused(world: World) -> None:
    with pytest.raises(CertError, match=r"also names bank\.io\."):
        check(world, [world.root.issue([*HOSTS, "bank.io"], world.key)])


def test_name_that_is_no_host_is_refused(world: World) -> None:
    address = x509.IPAddress(ip_address("10.0.0.1"))
    with pytest.raises(CertError, match="other than hosts"):
        check(world, [world.root.issue([*HOSTS, address], world.key)])


def test_many_missing_hosts_are_cut_short(world: World) -> None:
    wanted = [f"{letter}.acme.io" for letter in "abcdef"]
    with pytest.raises(CertError, match=r"lacks a\.acme\.io, b\.acme\.io, c\.acme\.io and 3 more\."):
        check(world, [world.root.issue(HOSTS, world.key)], wanted)


def test_chain_in_the_wrong_order_is_refused(world: World) -> None:
    leaf = world.intermediate.issue(HOSTS, world.key)
    with pytest.raises(CertError, match="not issued by the next"):
        check(world, [leaf, world.root.certificate, world.intermediate.certificate])


def test_forged_signature_is_refused(world: World) -> None:
    impostor = world.root.intermediate(world.intermediate.name)
    leaf = impostor.issue(HOSTS, world.key)
    with pytest.raises(CertError, match="signature"):
        check(world, [leaf, world.intermediate.certificate])


def test_issuer_that_is_no_ca_is_refused(world: World) -> None:
    tenant = world.root.intermediate("Tenant", ca=False)
    with pytest.raises(CertError, match="not a CA"):
        check(world, [tenant.issue(HOSTS, world.key), tenant.certificate])


def test_expired_leaf_is_refused_from_the_second_it_ends(world: World) -> None:
    leaf = world.root.issue(HOSTS, world.key, not_after=NOW)
    with pytest.raises(CertError, match=r"expired at 2026-06-01T12:00:00\+00:00\."):
        check(world, [leaf])
    check(world, [world.root.issue(HOSTS, world.key, not_after=NOW + timedelta(seconds=1))])


def test_expired_intermediate_is_refused(world: World) -> None:
    old = world.root.intermediate("Old", not_after=NOW)
    with pytest.raises(CertError, match="expired"):
        check(world, [old.issue(HOSTS, world.key), old.certificate])


def test_clock_of_the_ca_may_be_ahead_by_an_hour(world: World) -> None:
    check(world, [world.root.issue(HOSTS, world.key, not_before=NOW + timedelta(hours=1))])
    late = world.root.issue(HOSTS, world.key, not_before=NOW + timedelta(hours=1, seconds=1))
    with pytest.raises(CertError, match="not valid before"):
        check(world, [late])


def test_ari_cert_id_is_the_one_of_rfc_9773(world: World) -> None:
    """Section 4.1: the serial number's first bit is set, so its DER has a leading zero byte."""
    identifier = bytes.fromhex("69885B6B87464041E1B37B847BA0AE2CDE01C8D4")
    leaf = world.root.issue(HOSTS, world.key, serial=0x87654321, authority_key_id=identifier)
    assert ari_cert_id(leaf) == "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE"


def test_no_ari_cert_id_without_authority_key_identifier(world: World) -> None:
    assert ari_cert_id(world.root.issue(HOSTS, world.key)) is None


def test_parse_chain_takes_ten_certificates_and_no_more(world: World) -> None:
    one = pem(world.root.certificate)
    assert len(parse_chain(one * 10)) == 10
    with pytest.raises(CertError, match="more than 10"):
        parse_chain(one * 11)


def test_parse_chain_takes_64_kib_and_no_more(world: World) -> None:
    one = pem(world.root.certificate)
    assert parse_chain(one + b"\n" * (65536 - len(one)))
    with pytest.raises(CertError, match="larger than"):
        parse_chain(one + b"\n" * (65537 - len(one)))


_PEM = pem(FakeCA.root().issue(HOSTS, new_key(), serial=7))
_DER_HEAD = 27  # past the BEGIN line


@given(
    st.one_of(
        st.binary(max_size=300),
        st.binary(max_size=300).map(lambda body: b"-----BEGIN CERTIFICATE-----\n" + body),
        st.tuples(st.integers(_DER_HEAD, len(_PEM) - 1), st.sampled_from(b"ABCZabcz0189+/=\n")),
    )
)
@pytest.mark.filterwarnings("default")  # cryptography warns of certificates that it still reads
def test_hostile_pem_gives_a_chain_or_one_sentence(data: bytes | tuple[int, int]) -> None:
    if isinstance(data, tuple):
        place, byte = data
        data = _PEM[:place] + bytes([byte]) + _PEM[place + 1 :]
    error = _error_of(data)
    assert error is None or error.endswith(".")


def _error_of(data: bytes) -> str | None:
    try:
        for certificate in parse_chain(data):
            dns_names(certificate)
            ari_cert_id(certificate)
    except CertError as error:
        return str(error)
    return None


def issued_by(*names: str) -> bytes:
    """Certificates issued by these names, leaf first."""
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    return b"".join(acme_ca.FakeCA(name).issue(key, ["x.example.org"]) for name in names)


def test_the_topmost_issuer_beats_one_further_down() -> None:
    default, down, top = issued_by("R1", "Root"), issued_by("R1", "Mine", "Old"), issued_by("R2", "Mine")
    pems = [default, b"nonsense", down, top]
    assert choose_chain(pems, "Mine") == top
    assert choose_chain(pems[:3], "Mine") == down
    assert choose_chain(pems, "R1") == default
    assert choose_chain(pems, "None Such") == default
    assert choose_chain(pems, None) == default
