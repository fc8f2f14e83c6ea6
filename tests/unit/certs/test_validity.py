"""The verdict on a stored certificate: each rule, and their order."""

from datetime import datetime, timedelta

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from certs.keys import key_to_pem
from certs.placeholder import PLACEHOLDER_NAME, make_placeholder
from certs.validity import RULES, StoredCertificate, Validity, ValidityReason, judge_stored
from tests.fakes.certs_ca import DAY, NOW, FakeCA, new_key, pem, pem_of

HOSTS = ("shop.acme.io", "www.acme.io")
CA = FakeCA.root()
KEY = new_key()
KEY_PEM = key_to_pem(KEY)
OTHER_KEY_PEM = key_to_pem(new_key())


def stored(*names: str, not_before: datetime = NOW - DAY, not_after: datetime = NOW + 89 * DAY) -> StoredCertificate:
    leaf = CA.issue(names or HOSTS, KEY, not_before=not_before, not_after=not_after)
    return StoredCertificate(pem(leaf, CA.certificate), KEY_PEM)


def verdict(what: StoredCertificate | None, *, now: datetime = NOW) -> Validity:
    return judge_stored(what, hosts=HOSTS, now=now)


def test_good_certificate() -> None:
    assert verdict(stored()) == Validity(
        True, ValidityReason.GOOD, "The certificate is good until 2026-08-29T12:00:00+00:00."
    )


def test_wildcard_certificate_is_good() -> None:
    assert verdict(stored("*.acme.io")).ok


def test_certificate_may_name_more_than_is_wanted() -> None:
    assert verdict(stored(*HOSTS, "old.acme.io")).ok


def test_no_secret() -> None:
    assert verdict(None).reason is ValidityReason.MISSING


@pytest.mark.parametrize(("crt", "key"), [(None, b"k"), (b"c", None), (b"", b"k"), (b"c", b""), (None, None)])
def test_secret_without_certificate_or_key(crt: bytes | None, key: bytes | None) -> None:
    assert verdict(StoredCertificate(crt, key)).reason is ValidityReason.NO_CERTIFICATE


def test_unreadable_certificate_or_key() -> None:
    good = stored()
    certificate = verdict(StoredCertificate(b"nonsense", good.tls_key))
    assert (certificate.reason, certificate.message) == (
        ValidityReason.UNREADABLE,
        "The certificate chain is not readable PEM.",
    )
    key = verdict(StoredCertificate(good.tls_crt, b"nonsense"))
    assert (key.reason, key.message) == (ValidityReason.UNREADABLE, "The private key is not a readable PEM key.")


def test_key_of_another_certificate() -> None:
    assert verdict(StoredCertificate(stored().tls_crt, OTHER_KEY_PEM)).reason is ValidityReason.KEY_DOES_NOT_MATCH


def test_placeholder() -> None:
    made = make_placeholder(HOSTS, now=NOW)
    assert verdict(StoredCertificate(made.cert_chain_pems, made.key_pem)).reason is ValidityReason.PLACEHOLDER


def test_not_yet_valid_beyond_the_tolerance_for_a_new_one() -> None:
    assert verdict(stored(not_before=NOW + timedelta(hours=1))).ok
    late = stored(not_before=NOW + timedelta(hours=1, seconds=1))
    assert verdict(late).reason is ValidityReason.NOT_YET_VALID


def test_expired_from_the_second_it_ends() -> None:
    assert verdict(stored(not_after=NOW)).reason is ValidityReason.EXPIRED
    assert verdict(stored(not_after=NOW + timedelta(seconds=1))).ok


def test_hosts_not_covered_are_counted() -> None:
    found = verdict(stored("other.io"))
    assert found.reason is ValidityReason.HOSTS_NOT_COVERED
    assert found.message == "The certificate does not cover shop.acme.io and 1 more."


def test_renewal_due_when_it_is_said_to_be() -> None:
    assert judge_stored(stored(), hosts=HOSTS, now=NOW, renew_at=NOW).reason is ValidityReason.RENEWAL_DUE
    assert judge_stored(stored(), hosts=HOSTS, now=NOW, renew_at=NOW + timedelta(seconds=1)).ok


def test_rules_stand_in_the_order_of_the_reasons() -> None:
    first = [ValidityReason.MISSING, ValidityReason.NO_CERTIFICATE, ValidityReason.UNREADABLE]
    assert [*first, *(reason for reason, _ in RULES), ValidityReason.GOOD] == list(ValidityReason)


def test_the_first_rule_that_applies_answers() -> None:
    """Each step mends what the one before found; everything later is still wrong."""
    placeholder_ca = FakeCA.root(PLACEHOLDER_NAME)
    wrong = make_placeholder(["other.io"], now=NOW + DAY, key=KEY, lifetime=DAY)
    ended = make_placeholder(["other.io"], now=NOW - 9 * DAY, key=KEY, lifetime=DAY)
    past = NOW - DAY
    steps = [
        StoredCertificate(wrong.cert_chain_pems, b"nonsense"),
        StoredCertificate(wrong.cert_chain_pems, OTHER_KEY_PEM),
        StoredCertificate(wrong.cert_chain_pems, KEY_PEM),
        stored("other.io", not_before=NOW + 2 * DAY),
        stored("other.io", not_before=NOW - 90 * DAY, not_after=past),
        stored("other.io", not_before=NOW - 90 * DAY, not_after=NOW + DAY),
        stored(),
    ]
    found = [judge_stored(step, hosts=HOSTS, now=NOW, renew_at=NOW).reason for step in steps]
    assert [*found, ValidityReason.GOOD] == list(ValidityReason)[2:]
    assert verdict(StoredCertificate(ended.cert_chain_pems, KEY_PEM)).reason is ValidityReason.PLACEHOLDER
    by_name_only = placeholder_ca.issue(HOSTS, KEY)
    assert verdict(StoredCertificate(pem(by_name_only), KEY_PEM)).ok


def test_repr_does_not_show_the_key() -> None:
    assert "the-key" not in repr(StoredCertificate(b"crt", b"the-key"))


@given(st.binary(max_size=200), st.binary(max_size=200), st.booleans(), st.booleans())
def test_any_data_gives_a_verdict(crt: bytes, key: bytes, armour: bool, real_key: bool) -> None:
    data = b"-----BEGIN CERTIFICATE-----\n" + crt + b"\n-----END CERTIFICATE-----\n" if armour else crt
    found = verdict(StoredCertificate(data, KEY_PEM if real_key else key))
    assert found.reason in (ValidityReason.NO_CERTIFICATE, ValidityReason.UNREADABLE)


DER = CA.issue(HOSTS, KEY, serial=7, authority_key_id=b"id").public_bytes(Encoding.DER)


def test_name_of_a_forbidden_string_type_is_no_crash() -> None:
    """The leaf's commonName as a BIT STRING: readable as a certificate, not as a name."""
    damaged = DER.replace(b"\x0c\x04leaf", b"\x03\x04\x00eaf")
    assert damaged != DER
    assert verdict(StoredCertificate(pem_of(damaged), KEY_PEM)).reason is ValidityReason.GOOD


@given(st.lists(st.tuples(st.integers(0, len(DER) - 1), st.integers(0, 255)), min_size=1, max_size=4))
@pytest.mark.filterwarnings("default")  # cryptography warns of certificates that it still reads
def test_damaged_certificate_gives_a_verdict(changes: list[tuple[int, int]]) -> None:
    damaged = bytearray(DER)
    for place, byte in changes:
        damaged[place] = byte
    assert verdict(StoredCertificate(pem_of(bytes(damaged)), KEY_PEM)).message.endswith(".")
