"""Java key stores of the type JKS, written only: for programs that take nothing else.

The format is that of the JDK's sun.security.provider.JavaKeyStore and KeyProtector: big-endian numbers, modified
UTF-8, a SHA-1 digest over password and content at the end, keys masked with a stream of SHA-1 digests. By today's
measure that protects little; whoever reads the Secret has the key beside it anyway.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import datetime
from hashlib import sha1

from certs.errors import CertError

_MAGIC = 0xFEEDFEED
_VERSION = 2
_KEY_ENTRY, _CERTIFICATE_ENTRY = 1, 2
_WHITENER = b"Mighty Aphrodite"
_SALT_LENGTH = 20
_KEY_PROTECTOR = bytes.fromhex("300e060a2b060104012a021101010500")
"""AlgorithmIdentifier 1.3.6.1.4.1.42.2.17.1.1 with NULL parameters, in DER."""


def key_store(*, alias: str, key_der: bytes, chain_der: Sequence[bytes], password: str, now: datetime) -> bytes:
    """A key (PKCS#8 DER) with its chain (DER, leaf first); the key's password is the store's. Raises CertError."""
    secret = _password(password)
    entry = _number(_KEY_ENTRY, 4) + _text(alias) + _time(now) + _block(_protected(key_der, secret))
    entry += _number(len(chain_der), 4) + b"".join(_certificate(der) for der in chain_der)
    return _sealed([entry], secret)


def trust_store(*, certificates: Sequence[tuple[str, bytes]], password: str, now: datetime) -> bytes:
    """Trusted certificates (DER), each with its alias. Raises CertError."""
    entries = [
        _number(_CERTIFICATE_ENTRY, 4) + _text(alias) + _time(now) + _certificate(der) for alias, der in certificates
    ]
    return _sealed(entries, _password(password))


def _sealed(entries: Sequence[bytes], secret: bytes) -> bytes:
    content = _number(_MAGIC, 4) + _number(_VERSION, 4) + _number(len(entries), 4) + b"".join(entries)
    return content + _digest(secret, _WHITENER, content)


def _protected(key_der: bytes, secret: bytes) -> bytes:
    """EncryptedPrivateKeyInfo (RFC 5208, section 6): salt, the key under a stream of digests, a check."""
    salt = block = os.urandom(_SALT_LENGTH)
    stream = b""
    while len(stream) < len(key_der):
        block = _digest(secret, block)
        stream += block
    masked = bytes(a ^ b for a, b in zip(key_der, stream, strict=False))
    octets = salt + masked + _digest(secret, key_der)
    return _der(0x30, _KEY_PROTECTOR + _der(0x04, octets))


def _certificate(der: bytes) -> bytes:
    return _text("X.509") + _block(der)


def _password(password: str) -> bytes:
    if not password:
        raise CertError("A key store needs a password.")
    return password.encode("utf-16-be")


def _digest(*parts: bytes) -> bytes:
    return sha1(b"".join(parts), usedforsecurity=False).digest()


def _text(text: str) -> bytes:
    """ASCII alone, whose modified UTF-8 is the same."""
    encoded = text.encode("ascii")
    return _number(len(encoded), 2) + encoded


def _time(moment: datetime) -> bytes:
    return _number(int(moment.timestamp() * 1000), 8)


def _block(data: bytes) -> bytes:
    return _number(len(data), 4) + data


def _number(value: int, length: int) -> bytes:
    return value.to_bytes(length, "big")


def _der(tag: int, content: bytes) -> bytes:
    """Tag, length, content (X.690, section 8.1)."""
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + content
