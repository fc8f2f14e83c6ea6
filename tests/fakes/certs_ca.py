"""A small public CA in memory (root, intermediate, leaves), and TLS handshakes over memory buffers."""

import ssl
import tempfile
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from certs.keys import CertifiedKey, PrivateKey

NOW = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def pem(*certificates: x509.Certificate) -> bytes:
    return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates)


def pem_of(der: bytes) -> bytes:
    """A PEM certificate with this content, whatever it is."""
    body = b64encode(der)
    return b"-----BEGIN CERTIFICATE-----\n" + body + b"\n-----END CERTIFICATE-----\n"


@dataclass(frozen=True)
class FakeCA:
    """A CA certificate with its key; `issue` signs what it is asked to, however wrong."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey = field(repr=False)

    @classmethod
    def root(cls, name: str = "Fake Root", *, now: datetime = NOW) -> Self:
        key = new_key()
        return cls(_certificate(name, name, key, key, now - DAY, now + 3650 * DAY, ca=True), key)

    def intermediate(
        self, name: str = "Fake Intermediate", *, ca: bool = True, not_after: datetime | None = None
    ) -> "FakeCA":
        key = new_key()
        start = self.certificate.not_valid_before_utc
        end = not_after or start + 1000 * DAY
        return FakeCA(_certificate(name, self.name, key, self.key, start, end, ca=ca), key)

    @property
    def name(self) -> str:
        return str(self.certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)

    def issue(
        self,
        names: Sequence[str | x509.GeneralName],
        key: PrivateKey,
        *,
        not_before: datetime = NOW - timedelta(hours=1),
        not_after: datetime = NOW + 90 * DAY,
        serial: int | None = None,
        authority_key_id: bytes | None = None,
        subject: str = "leaf",
    ) -> x509.Certificate:
        extensions: list[x509.ExtensionType] = []
        if names:
            general = [x509.DNSName(name) if isinstance(name, str) else name for name in names]
            extensions.append(x509.SubjectAlternativeName(general))
        if authority_key_id is not None:
            extensions.append(x509.AuthorityKeyIdentifier(authority_key_id, None, None))
        return _certificate(
            subject, self.name, key, self.key, not_before, not_after, serial=serial, extensions=extensions
        )


def _certificate(
    subject: str,
    issuer: str,
    key: PrivateKey,
    signer: ec.EllipticCurvePrivateKey,
    not_before: datetime,
    not_after: datetime,
    *,
    ca: bool = False,
    serial: int | None = None,
    extensions: Sequence[x509.ExtensionType] = (),
) -> x509.Certificate:
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(serial or x509.random_serial_number())
        .not_valid_before(not_before)
        .not_valid_after(not_after)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(signer, SHA256())


def handshake(served: CertifiedKey, *, trusted: bytes, host: str, strict: bool = True) -> bytes:
    """One TLS handshake in memory, the client checking chain and host name; the DER of the leaf it saw.

    Raises ssl.SSLCertVerificationError as a client would. The clock is the real one.
    """
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "served.pem")
        path.write_bytes(served.key_pem + served.cert_chain_pems)
        server_context.load_cert_chain(path)
    client_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if strict:
        client_context.verify_flags |= ssl.VERIFY_X509_STRICT
    client_context.load_verify_locations(cadata=trusted.decode("ascii"))
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context.wrap_bio(to_client, to_server, server_hostname=host)
    server = server_context.wrap_bio(to_server, to_client, server_side=True)
    waiting = [client, server]
    for _ in range(10):
        waiting = [side for side in waiting if not _advance(side)]
        if not waiting:
            seen = client.getpeercert(binary_form=True)
            assert seen is not None
            return seen
    raise AssertionError("the handshake does not end")


def _advance(side: ssl.SSLObject) -> bool:
    try:
        side.do_handshake()
    except ssl.SSLWantReadError:
        return False
    return True
