"""A private CA as files, for servers that are given theirs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from certs.extensions import SIGNS_CERTIFICATES
from certs.keys import KeyAlgorithm, PrivateKey, generate_key, key_to_pem
from certs.leaf import PrivateAuthority, build_leaf, common_name
from tests.e2e.peers.server import Server

LIFETIME = timedelta(days=365)


class Authority:
    """root.pem, intermediate.pem with intermediate.key, and a server's chain server.pem with server.key."""

    def __init__(self, directory: Path, *, host: str) -> None:
        directory.mkdir(exist_ok=True)
        self.root, self.intermediate, self.key = (
            directory / name for name in ("root.pem", "intermediate.pem", "intermediate.key")
        )
        self.server, self.server_key = directory / "server.pem", directory / "server.key"
        root_key, key, server_key = (generate_key(KeyAlgorithm.ECDSA_P256) for _ in range(3))
        root = _authority("Peer Root", root_key, signer="Peer Root", signing=root_key)
        intermediate = _authority("Peer Intermediate", key, signer="Peer Root", signing=root_key)
        chain = intermediate.public_bytes(Encoding.PEM)
        server = build_leaf(
            [host],
            subject=common_name(host),
            key=server_key,
            now=datetime.now(UTC),
            lifetime=LIFETIME,
            signer=PrivateAuthority(intermediate, key, chain),
        )
        self.root.write_bytes(root.public_bytes(Encoding.PEM))
        self.intermediate.write_bytes(chain)
        self.server.write_bytes(server.cert_chain_pems)
        for path, pem in ((self.key, key_to_pem(key)), (self.server_key, server.key_pem)):
            path.touch(mode=0o600)
            path.write_bytes(pem)


class WithAuthority(Server):
    """A server whose CA and own certificate are an `Authority`, made anew when the CA is replaced."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.new_authority()

    def new_authority(self) -> None:
        self.authority = Authority(self.directory / "ca", host=self.host)

    def root_pem(self) -> bytes:
        return self.authority.root.read_bytes()


def _authority(name: str, key: PrivateKey, *, signer: str, signing: PrivateKey) -> x509.Certificate:
    now = datetime.now(UTC)
    above = x509.AuthorityKeyIdentifier.from_issuer_public_key(signing.public_key())
    return (
        x509.CertificateBuilder()
        .subject_name(common_name(name))
        .issuer_name(common_name(signer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(SIGNS_CERTIFICATES, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(above, critical=False)
        .sign(signing, SHA256())
    )
