"""The one builder of server certificates: the placeholder's, the webhook's own, and a private issuer's."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from certs.csr import subject_alt_name
from certs.errors import CertError
from certs.extensions import SERVER_AUTH, SIGNS_HANDSHAKES
from certs.keys import CertifiedKey, PrivateKey, key_to_pem

BACKDATED = timedelta(hours=1)
"""For clients whose clock is behind."""


@dataclass(frozen=True)
class PrivateAuthority:
    """A CA that signs here: its certificate, its key, and the chain (PEM) that goes behind what it signs."""

    certificate: x509.Certificate
    key: PrivateKey = field(repr=False)
    chain_pem: bytes = b""

    @property
    def not_after(self) -> datetime:
        """When it ends, aware."""
        return self.certificate.not_valid_after_utc


def build_leaf(
    hosts: Sequence[str],
    *,
    subject: x509.Name,
    key: PrivateKey,
    now: datetime,
    lifetime: timedelta,
    signer: PrivateAuthority | None = None,
) -> CertifiedKey:
    """A server certificate (RFC 5280) for the hosts and the key, valid from an hour before `now` on.

    Without a signer it signs itself; a signer it never outlives. Raises CertError without hosts, or if the signer's
    name cannot be read.
    """
    start, end = now - BACKDATED, now + lifetime
    issuer_name, signing_key, above = subject, key, b""
    if signer is not None:
        start = max(start, signer.certificate.not_valid_before_utc)
        end = min(end, signer.not_after)
        issuer_name, signing_key, above = _subject(signer.certificate), signer.key, signer.chain_pem
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer_name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(SIGNS_HANDSHAKES, critical=True)
        .add_extension(SERVER_AUTH, critical=False)
        # RFC 5280, section 4.2.1.6: critical where the subject is empty.
        .add_extension(subject_alt_name(hosts), critical=not list(subject))
    )
    if signer is not None:
        builder = builder.add_extension(
            x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
        ).add_extension(_authority_key_identifier(signer), critical=False)
    made = builder.sign(signing_key, SHA256())
    return CertifiedKey(key_pem=key_to_pem(key), cert_chain_pems=made.public_bytes(Encoding.PEM) + above)


def common_name(name: str) -> x509.Name:
    """A name of nothing but a commonName."""
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])


def _authority_key_identifier(signer: PrivateAuthority) -> x509.AuthorityKeyIdentifier:
    """As the signer's own certificate has it, which need not be the key's hash (RFC 5280, section 4.2.1.1)."""
    try:
        own = signer.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except (x509.ExtensionNotFound, ValueError):
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.key.public_key())
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own)


def _subject(certificate: x509.Certificate) -> x509.Name:
    try:
        return certificate.subject
    except (ValueError, TypeError):
        raise CertError("The CA's name is not readable.") from None
