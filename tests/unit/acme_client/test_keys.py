from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from issuer_job.acme_client.keys import AccountKey, EabKey, decode_hmac_key, decode_nonce, new_account_key


def test_key_kinds() -> None:
    default = load_pem_private_key(new_account_key(), password=None)
    assert isinstance(default, ec.EllipticCurvePrivateKey)
    assert default.curve.name == "secp256r1"
    es384 = load_pem_private_key(new_account_key("ES384"), password=None)
    assert isinstance(es384, ec.EllipticCurvePrivateKey)
    assert es384.curve.name == "secp384r1"
    rs256 = load_pem_private_key(new_account_key("RS256"), password=None)
    assert isinstance(rs256, rsa.RSAPrivateKey)
    assert rs256.key_size == 2048
    with pytest.raises(ValueError, match="not ES512"):
        new_account_key("ES512")  # type: ignore[arg-type]


@pytest.mark.parametrize("algorithm", ["ES256", "ES384", "RS256"])
def test_the_signature_algorithm_follows_from_the_key(algorithm: Any) -> None:
    signed = AccountKey(new_account_key(algorithm)).sign(b"", url="https://x/", nonce=b"n" * 16, kid="https://x/1")
    protected = json.loads(base64.urlsafe_b64decode(json.loads(signed)["protected"] + "=="))
    assert protected["alg"] == algorithm
    assert sorted(protected) == ["alg", "kid", "nonce", "url"]


@pytest.mark.parametrize("key", [ed25519.Ed25519PrivateKey.generate(), ec.generate_private_key(ec.SECP521R1())])
def test_other_keys_are_refused(key: Any) -> None:
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with pytest.raises(ValueError, match="must be RSA, P-256 or P-384"):
        AccountKey(pem)


def test_unreadable_keys_are_refused_without_their_contents() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    locked = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x"))
    for pem in (b"", b"swordfish", locked):
        with pytest.raises(ValueError, match=r"^the account key is not an unencrypted PEM private key$"):
            AccountKey(pem)


def test_secrets_stay_out_of_reprs() -> None:
    assert "swordfish" not in repr(EabKey("kid", "swordfish"))


@pytest.mark.parametrize("text", ["-_-_", "+/+/", "-_-_\n"])
def test_hmac_keys_come_in_both_alphabets(text: str) -> None:
    assert decode_hmac_key(text) == b"\xfb\xff\xbf"


@pytest.mark.parametrize("text", ["", "=", "swordfish!", "a"])
def test_bad_hmac_keys_are_refused_without_their_contents(text: str) -> None:
    with pytest.raises(ValueError, match=r"^the EAB key is not base64url$"):
        decode_hmac_key(text)


@pytest.mark.parametrize("nonce", ["", "not base64 !", "x" * 1025, "AB", "ä"])
def test_nonces_that_would_be_sent_back_changed_are_not_used(nonce: str) -> None:
    assert decode_nonce(nonce) is None


def test_a_nonce() -> None:
    assert decode_nonce("AAAA") == b"\0\0\0"
