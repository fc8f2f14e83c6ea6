"""Further forms of a certificate and its key, for programs that do not read the two PEM files of a TLS Secret."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import StrEnum

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    pkcs12,
)

from certs import jks
from certs.chain import has_key, parse_chain
from certs.errors import CertError
from certs.keys import PrivateKey, key_from_pem

ALIAS = "certificate"
"""Of the key in a key store; its CA is `ca` in a trust store."""
_CA_ALIAS = "ca"
_KDF_ROUNDS = 50_000


class Format(StrEnum):
    """The key of the Secret that each is stored under, in the order in which they are listed."""

    CA = "ca.crt"
    """The topmost certificate of the chain that is known, PEM."""
    COMBINED = "tls-combined.pem"
    """Key and chain in one file, PEM."""
    KEYSTORE_P12 = "keystore.p12"
    TRUSTSTORE_P12 = "truststore.p12"
    KEYSTORE_JKS = "keystore.jks"
    TRUSTSTORE_JKS = "truststore.jks"

    @property
    def password_key(self) -> str:
        """Which password it is locked with: `pkcs12-password`, `jks-password`, or none."""
        return {"p12": "pkcs12-password", "jks": "jks-password"}.get(self.rpartition(".")[2], "")


def known(names: Iterable[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Those of `names` that are formats, each once and in order, and the others as they came."""
    given = list(dict.fromkeys(names))
    return tuple(f for f in Format if f in given), tuple(name for name in given if name not in set(Format))


def passwords_needed(formats: Iterable[str]) -> tuple[str, ...]:
    """The password keys of these formats, each once."""
    return tuple(dict.fromkeys(key for name in formats if (key := Format(name).password_key)))


def make(
    formats: Iterable[str], *, chain_pem: bytes, key_pem: bytes, passwords: Mapping[str, str], now: datetime
) -> dict[str, bytes]:
    """Each format by its name. `passwords` by their password keys: what lacks its password is left out.

    `now` becomes the creation time of entries in JKS stores. Raises CertError if chain or key are unreadable,
    or do not belong together where both go into one store.
    """
    made: dict[str, bytes] = {}
    for name in formats:
        lock = Format(name).password_key
        password = passwords.get(lock, "")
        if password or not lock:
            made[name] = _one(Format(name), chain_pem, key_pem, password, now)
    return made


def stale(formats: Iterable[str], stored: Mapping[str, bytes], *, chain_pem: bytes, key_pem: bytes) -> list[str]:
    """Which formats are missing among what a Secret holds, or not of this certificate; never raises.

    Stores are locked and different each time they are made, so that they are there is all that can be seen.
    """

    def is_current(name: str) -> bool:
        found = stored.get(name)
        if not found or Format(name).password_key:
            return bool(found)
        try:
            return found == _one(Format(name), chain_pem, key_pem, "", datetime.min)
        except CertError:
            return False

    return [name for name in formats if not is_current(name)]


def _one(form: Format, chain_pem: bytes, key_pem: bytes, password: str, now: datetime) -> bytes:
    chain = parse_chain(chain_pem)
    match form:
        case Format.CA:
            return chain[-1].public_bytes(Encoding.PEM)
        case Format.COMBINED:
            return key_pem.rstrip(b"\n") + b"\n" + chain_pem
        case Format.KEYSTORE_P12:
            key = _key_of(chain[0], key_pem)
            return pkcs12.serialize_key_and_certificates(
                ALIAS.encode(), key, chain[0], list(chain[1:]) or None, _p12_lock(password)
            )
        case Format.TRUSTSTORE_P12:
            entry = pkcs12.PKCS12Certificate(chain[-1], _CA_ALIAS.encode())
            return pkcs12.serialize_java_truststore([entry], _p12_lock(password))
        case Format.KEYSTORE_JKS:
            key_der = _key_of(chain[0], key_pem).private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
            chain_der = [_der(certificate) for certificate in chain]
            return jks.key_store(alias=ALIAS, key_der=key_der, chain_der=chain_der, password=password, now=now)
        case Format.TRUSTSTORE_JKS:
            return jks.trust_store(certificates=[(_CA_ALIAS, _der(chain[-1]))], password=password, now=now)


def _key_of(certificate: x509.Certificate, key_pem: bytes) -> PrivateKey:
    key = key_from_pem(key_pem)
    if not has_key(certificate, key):
        raise CertError("The certificate is for another key.")
    return key


def _der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.DER)


def _p12_lock(password: str) -> KeySerializationEncryption:
    """PBES2 with AES-256 (RFC 8018): what OpenSSL 3 and Java since 8u301 read without further settings."""
    return (
        PrivateFormat.PKCS12.encryption_builder()
        .kdf_rounds(_KDF_ROUNDS)
        .key_cert_algorithm(pkcs12.PBES.PBESv2SHA256AndAES256CBC)
        .hmac_hash(SHA256())
        .build(password.encode())
    )
