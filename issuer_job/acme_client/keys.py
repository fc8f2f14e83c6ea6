"""Account keys and the JWS made with them (RFC 8555 6.2, 7.3.4, 8.1). PEM in, JSON out."""

from __future__ import annotations

import base64
import binascii
import json
import re
from dataclasses import dataclass, field
from typing import Literal

from acme import jws
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from josepy.errors import DeserializationError
from josepy.json_util import decode_b64jose, encode_b64jose
from josepy.jwa import ES256, ES384, HS256, RS256, JWASignature
from josepy.jwk import JWK, JWKEC, JWKRSA, JWKOct

from certs.keys import KeyAlgorithm, PrivateKey, generate_key, key_to_pem

AccountKeyAlgorithm = Literal["ES256", "ES384", "RS256"]
TOKEN = re.compile(r"[A-Za-z0-9_-]{22,128}")  # 128 bits of base64url at least (RFC 8555 8.3)
MIN_RSA_BITS, MAX_RSA_BITS = 2048, 4096

_ALGORITHMS = {"ES256": KeyAlgorithm.ECDSA_P256, "ES384": KeyAlgorithm.ECDSA_P384, "RS256": KeyAlgorithm.RSA_2048}
_EC_SIGNATURES = {"secp256r1": ES256, "secp384r1": ES384}


@dataclass(frozen=True, slots=True)
class EabKey:
    """External account binding: the key id, and the MAC key in base64url as CAs give it out."""

    key_id: str
    hmac_key: str = field(repr=False)


def new_account_key(algorithm: AccountKeyAlgorithm = "ES256") -> bytes:
    """Make an account key: unencrypted PKCS#8 PEM."""
    if algorithm not in _ALGORITHMS:
        raise ValueError(f"account keys are ES256, ES384 or RS256, not {algorithm}")
    return key_to_pem(generate_key(_ALGORITHMS[algorithm]))


class AccountKey:
    """Signs requests. The JWS algorithm follows from the key: the library's default suits only RSA."""

    def __init__(self, pem: bytes) -> None:
        """Load a PEM private key: RSA, P-256 or P-384. Raises ValueError, without the key's contents."""
        try:
            key = load_pem_private_key(pem, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise ValueError("the account key is not an unencrypted PEM private key") from None
        self._jwk: JWK
        self._alg: JWASignature
        if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name in _EC_SIGNATURES:
            self._jwk, self._alg = JWKEC(key=key), _EC_SIGNATURES[key.curve.name]
        elif isinstance(key, rsa.RSAPrivateKey):
            self._jwk, self._alg = JWKRSA(key=key), RS256
        else:
            raise ValueError("the account key must be RSA, P-256 or P-384")
        self.private: PrivateKey = key
        self.thumbprint = encode_b64jose(self._jwk.thumbprint(hash_function=hashes.SHA256))

    def sign(self, payload: bytes, *, url: str, nonce: bytes, kid: str | None) -> bytes:
        """The flattened JWS of a request; `kid` is the account URL, None puts the public key in (newAccount)."""
        signed = jws.JWS.sign(payload, key=self._jwk, alg=self._alg, nonce=nonce, url=url, kid=kid)
        return str(signed.json_dumps()).encode()

    def key_authorization(self, token: str) -> str:
        """RFC 8555 8.1. Raises ValueError for a token outside base64url or of the wrong length."""
        if not TOKEN.fullmatch(token):
            raise ValueError("the challenge's token is malformed")
        return f"{token}.{self.thumbprint}"

    def external_binding(self, eab: EabKey, *, url: str) -> dict[str, object]:
        """The `externalAccountBinding` of a newAccount at `url` (RFC 8555 7.3.4). ValueError: bad MAC key."""
        mac_key = JWKOct(key=decode_hmac_key(eab.hmac_key))
        payload = json.dumps(self._jwk.public_key().to_partial_json()).encode()
        signed = jws.JWS.sign(payload, key=mac_key, alg=HS256, nonce=None, url=url, kid=eab.key_id)
        binding: dict[str, object] = json.loads(signed.json_dumps())
        return binding

    def change_request(self, old: AccountKey, *, url: str, account_url: str) -> bytes:
        """The inner JWS of a keyChange at `url`, signed by this key, the new one (RFC 8555 7.3.5)."""
        payload = {"account": account_url, "oldKey": old._jwk.public_key().to_partial_json()}
        signed = jws.JWS.sign(json.dumps(payload).encode(), key=self._jwk, alg=self._alg, nonce=None, url=url)
        return str(signed.json_dumps()).encode()


def normal_account_key(pem: bytes) -> bytes:
    """A PEM key made by another program (PKCS#1, SEC 1 or PKCS#8) as unencrypted PKCS#8.

    Raises ValueError, without the key's contents, for what CAs take no account with.
    """
    key = AccountKey(pem).private
    if isinstance(key, rsa.RSAPrivateKey) and not MIN_RSA_BITS <= key.key_size <= MAX_RSA_BITS:
        raise ValueError(f"the account key has {key.key_size} bits; CAs take {MIN_RSA_BITS} to {MAX_RSA_BITS}")
    return key_to_pem(key)


def decode_nonce(value: str) -> bytes | None:
    """The bytes of a `Replay-Nonce`; None if it would not survive the library's decoding (RFC 8555 6.5.1)."""
    if not value or len(value) > 1024:
        return None
    try:
        nonce: bytes = decode_b64jose(value)
    except DeserializationError:
        return None
    return nonce if encode_b64jose(nonce) == value else None


def decode_hmac_key(text: str) -> bytes:
    """Accepts base64url and plain base64, padded or not. Raises ValueError without the key's contents."""
    plain = text.strip().replace("-", "+").replace("_", "/").rstrip("=")
    try:
        decoded = base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except binascii.Error:
        decoded = b""
    if not decoded:
        raise ValueError("the EAB key is not base64url")
    return decoded
