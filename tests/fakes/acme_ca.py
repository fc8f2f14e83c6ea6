"""A CA that issues from a common name, for the fake ACME server's chains and for TLS on loopback."""

from __future__ import annotations

import ipaddress
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID


def csr_for(hosts: list[str]) -> bytes:
    """A request (DER) with a new key."""
    names = x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts])
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    key = ec.generate_private_key(ec.SECP256R1())
    return builder.add_extension(names, critical=False).sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


class FakeCA:
    """Issues from a common name; one for the server's own TLS, others for chains."""

    def __init__(self, name: str) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.pem = self._sign(self.name, self.key.public_key(), ca=True).public_bytes(Encoding.PEM)

    def issue(self, public_key: Any, hosts: list[str]) -> bytes:
        addresses = [x509.IPAddress(ipaddress.ip_address(address)) for address in ("127.0.0.1", "::1")]
        names: list[x509.GeneralName] = [*(x509.DNSName(host) for host in hosts), *addresses]
        leaf = self._sign(x509.Name([]), public_key, ca=False, names=names)
        return leaf.public_bytes(Encoding.PEM)

    def server_files(self, directory: Path, host: str = "localhost") -> tuple[Path, Path]:
        """Write a certificate for the host, 127.0.0.1 and ::1, and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate, key_file = directory / "server.crt", directory / "server.key"
        certificate.write_bytes(self.issue(key.public_key(), [host]))
        key_file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return certificate, key_file

    def server_context(self, host: str = "localhost") -> ssl.SSLContext:
        """Of a server on loopback, with such a certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        with TemporaryDirectory() as directory:
            context.load_cert_chain(*self.server_files(Path(directory), host))
        return context

    def _sign(
        self,
        subject: x509.Name,
        public_key: Any,
        *,
        ca: bool,
        names: list[x509.GeneralName] | None = None,
        now: datetime | None = None,
        life: timedelta | None = None,
    ) -> x509.Certificate:
        now = now or datetime.now(UTC)
        start, end = now - timedelta(hours=1), now + timedelta(days=365 if ca else 1)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(start if life is None else now)
            .not_valid_after(end if life is None else now + life)
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(self.key, hashes.SHA256())
