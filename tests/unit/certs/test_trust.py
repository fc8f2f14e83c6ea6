"""Whose a certificate is, by who has signed it: an issuer's own, a trusted one's, or nobody's that is known."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from certs.errors import CertError
from certs.signing import self_sign
from certs.trust import MOST_SIGNERS, IssuerTrust, Origin, certificates, with_signers, without_staging
from tests.fakes.certs_ca import DAY, NOW, FakeCA, new_key, pem

ROOT = FakeCA.root()
BETWEEN = ROOT.intermediate()
KEY = new_key()
HOSTS = ("www.example.com", "*.example.org")
LEAF = BETWEEN.issue(HOSTS, KEY)
CHAIN = pem(LEAF, BETWEEN.certificate)
STRANGE = FakeCA.root("Fake Root")
"""It calls itself as the other root does."""


def trusting(*roots: FakeCA, signers: bytes = b"", signs_itself: bool = False) -> IssuerTrust:
    anchors = [pem(each.certificate) for each in roots]
    return IssuerTrust(
        "le", "https://ca/dir", signers=lambda: signers, roots=lambda: anchors, signs_itself=signs_itself
    )


@pytest.mark.parametrize(
    ("chain", "trust", "origin"),
    [
        (CHAIN, trusting(ROOT), Origin.TRUSTED),
        (CHAIN, trusting(STRANGE, ROOT), Origin.TRUSTED),
        (CHAIN, trusting(STRANGE), Origin.UNKNOWN),
        (CHAIN, trusting(), Origin.UNKNOWN),
        (pem(LEAF), trusting(ROOT), Origin.UNKNOWN),  # the intermediate is missing: clients cannot verify it either
        (CHAIN, trusting(signers=pem(BETWEEN.certificate)), Origin.ISSUER),
        (pem(LEAF), trusting(signers=pem(BETWEEN.certificate)), Origin.ISSUER),
        (CHAIN, trusting(signers=pem(ROOT.certificate)), Origin.ISSUER),
        (CHAIN, trusting(ROOT, signers=pem(ROOT.certificate)), Origin.ISSUER),
        (CHAIN, trusting(signers=pem(STRANGE.certificate)), Origin.UNKNOWN),
        (pem(BETWEEN.issue(HOSTS[1:], KEY), BETWEEN.certificate), trusting(ROOT), Origin.TRUSTED),
        (pem(BETWEEN.issue((), KEY), BETWEEN.certificate), trusting(ROOT), Origin.UNKNOWN),
        (
            pem(BETWEEN.issue(HOSTS, KEY, not_before=NOW - 2 * DAY, not_after=NOW - DAY), BETWEEN.certificate),
            trusting(ROOT),
            Origin.UNKNOWN,
        ),
        (b"", trusting(ROOT), Origin.UNKNOWN),
        (b"-----BEGIN CERTIFICATE-----", trusting(ROOT), Origin.UNKNOWN),
    ],
)
def test_whose_a_certificate_is(chain: bytes, trust: IssuerTrust, origin: Origin) -> None:
    assert trust.origin(chain, now=NOW) is origin


def test_who_is_no_ca_vouches_for_nobody() -> None:
    leaf_as_ca = ROOT.intermediate("Leaf", ca=False)
    chain = pem(leaf_as_ca.issue(HOSTS, KEY), leaf_as_ca.certificate)
    assert trusting(ROOT).origin(chain, now=NOW) is Origin.UNKNOWN


def test_a_self_signed_one_is_of_an_issuer_that_has_its_certificates_sign_themselves() -> None:
    made = self_sign(HOSTS, key=new_key(), now=NOW, lifetime=90 * DAY).cert_chain_pems
    assert trusting(signs_itself=True).origin(made, now=NOW) is Origin.ISSUER
    assert trusting(ROOT).origin(made, now=NOW) is Origin.UNKNOWN
    assert trusting(signs_itself=True).origin(CHAIN, now=NOW) is Origin.UNKNOWN
    forged = made.replace(made[200:204], b"AAAA" if made[200:204] != b"AAAA" else b"BBBB")
    assert trusting(signs_itself=True).origin(forged, now=NOW) is Origin.UNKNOWN


def test_those_that_sign_are_kept_a_few_at_a_time() -> None:
    known = with_signers(b"", CHAIN, now=NOW)
    assert known == pem(BETWEEN.certificate).strip()
    assert with_signers(known, CHAIN, now=NOW) is None
    assert with_signers(known, pem(LEAF), now=NOW) is None
    for number in range(MOST_SIGNERS):
        other = ROOT.intermediate(f"R{number}")
        known = with_signers(known or b"", pem(other.issue(HOSTS, KEY), other.certificate), now=NOW)
    assert known is not None
    assert [each.subject.rfc4514_string() for each in certificates(known)] == [
        f"CN=R{n}" for n in range(MOST_SIGNERS)
    ]
    with pytest.raises(CertError):
        with_signers(b"", b"garbage", now=NOW)


def test_those_that_have_ended_are_forgotten() -> None:
    old = ROOT.intermediate("Old", not_after=NOW + DAY)
    known = with_signers(b"", pem(old.issue(HOSTS, KEY), old.certificate), now=NOW)
    assert known is not None
    later = with_signers(known, CHAIN, now=NOW + 2 * DAY)
    assert later == pem(BETWEEN.certificate).strip()


def test_of_a_bundle_what_cannot_be_read_is_left_out_and_test_environments_count_for_nothing() -> None:
    staging = FakeCA.root("(STAGING) Pretend Pear X1")
    broken = pem(ROOT.certificate).replace(b"MII", b"AAA", 1)
    found = certificates(broken + b"# comment\n" + pem(ROOT.certificate, staging.certificate))
    assert found == [ROOT.certificate, staging.certificate]
    assert without_staging(found) == [ROOT.certificate]


def test_public_roots_are_read_without_a_word() -> None:
    from issuer_job.attempt.vouching import public_roots

    roots = certificates(public_roots())
    assert len(roots) > 50
    assert all(root.public_bytes(Encoding.DER) for root in roots)


def test_a_test_environment_in_a_bundle_vouches_for_nothing() -> None:
    staging = FakeCA.root("(STAGING) Pretend Pear X1")
    assert trusting(staging).origin(pem(staging.issue(HOSTS, KEY)), now=NOW) is Origin.UNKNOWN
