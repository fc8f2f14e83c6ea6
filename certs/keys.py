"""Private keys: make, write, read, name."""

from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256
from math import lcm
from typing import TYPE_CHECKING, TypeAlias

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from certs.errors import CertError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

PrivateKey: TypeAlias = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

MAX_KEY_PEM = 8 * 1024
"""Bytes; an RSA key of 8192 bits fits."""


class KeyAlgorithm(StrEnum):
    """The keys that public CAs certify."""

    ECDSA_P256 = "ecdsa-p256"
    ECDSA_P384 = "ecdsa-p384"
    RSA_2048 = "rsa-2048"
    RSA_3072 = "rsa-3072"
    RSA_4096 = "rsa-4096"


@dataclass(frozen=True)
class CertifiedKey:
    """A private key (PKCS#8 PEM) and its certificate chain (PEM, leaf first). The key never shows in a repr."""

    key_pem: bytes = field(repr=False)
    cert_chain_pems: bytes


def generate_key(algorithm: KeyAlgorithm) -> PrivateKey:
    """A new key. ECDSA takes well under a millisecond, RSA up to seconds."""
    match algorithm:
        case KeyAlgorithm.ECDSA_P256:
            return ec.generate_private_key(ec.SECP256R1())
        case KeyAlgorithm.ECDSA_P384:
            return ec.generate_private_key(ec.SECP384R1())
        case _:
            return rsa.generate_private_key(public_exponent=65537, key_size=int(algorithm.removeprefix("rsa-")))


def is_of(key: PrivateKey, algorithm: KeyAlgorithm) -> bool:
    """Whether the key is one that `generate_key` makes for this algorithm."""
    if isinstance(key, rsa.RSAPrivateKey):
        return algorithm == f"rsa-{key.key_size}"
    return algorithm == {"secp256r1": "ecdsa-p256", "secp384r1": "ecdsa-p384"}.get(key.curve.name)


def key_to_pem(key: PrivateKey) -> bytes:
    """The key as unencrypted PKCS#8 PEM."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def key_from_pem(pem: bytes) -> PrivateKey:
    """Read an unencrypted PKCS#8, SEC 1 or PKCS#1 PEM key; anything but ECDSA and RSA is a CertError.

    The error says nothing about the content and carries no cause: a key must not reach a log.
    """
    if len(pem) > MAX_KEY_PEM:
        raise CertError(f"The private key is larger than {MAX_KEY_PEM} bytes.")
    try:
        # The library would test the primes for 0.3 s (4096 bits) to 4 s (8192); a tenant chooses the size.
        key = load_pem_private_key(pem, password=None, unsafe_skip_rsa_key_validation=True)
    except TypeError:
        raise CertError("The private key is encrypted.") from None
    except (ValueError, UnsupportedAlgorithm):
        raise CertError("The private key is not a readable PEM key.") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise CertError("The private key is neither ECDSA nor RSA.")
    if isinstance(key, rsa.RSAPrivateKey) and not _holds_together(key.private_numbers()):
        raise CertError("The private key is damaged.")
    return key


def _holds_together(key: rsa.RSAPrivateNumbers) -> bool:
    """Whether the numbers of an RSA key fit each other (RFC 8017, section 3.2); p and q are taken for primes."""
    p, q = key.p, key.q
    return (
        min(p, q) > 1
        and p * q == key.public_numbers.n
        and (key.d * key.public_numbers.e - 1) % lcm(p - 1, q - 1) == 0
        and (key.dmp1, key.dmq1) == (key.d % (p - 1), key.d % (q - 1))
        and (key.iqmp * q - 1) % p == 0
    )


def key_id(key: "PrivateKey | PublicKeyTypes") -> str:
    """The first 20 hex digits of the SHA-256 of the public key's DER SubjectPublicKeyInfo."""
    public = key.public_key() if isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) else key
    return sha256(public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()[:20]
