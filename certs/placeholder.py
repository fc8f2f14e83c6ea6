"""The self-signed certificate that an Ingress serves until the real one is there."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from certs.csr import subject_alt_name
from certs.extensions import SERVER_AUTH, SIGNS_HANDSHAKES
from certs.keys import CertifiedKey, KeyAlgorithm, PrivateKey, generate_key, key_to_pem

PLACEHOLDER_NAME = "certjob placeholder"
PLACEHOLDER_LIFETIME = timedelta(days=90)
_BACKDATED = timedelta(hours=1)  # for clients whose clock is behind

_NAME = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, PLACEHOLDER_NAME)])


def make_placeholder(
    hosts: Sequence[str],
    *,
    now: datetime,
    key: PrivateKey | None = None,
    lifetime: timedelta = PLACEHOLDER_LIFETIME,
) -> CertifiedKey:
    """A self-signed server certificate for the hosts, valid from an hour before `now`.

    Without a key it makes an ECDSA P-256 one. Raises CertError without hosts.
    """
    key = key or generate_key(KeyAlgorithm.ECDSA_P256)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(_NAME)
        .issuer_name(_NAME)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + lifetime)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(SIGNS_HANDSHAKES, critical=True)
        .add_extension(SERVER_AUTH, critical=False)
        .add_extension(subject_alt_name(hosts), critical=False)
        .sign(key, SHA256())
    )
    return CertifiedKey(key_pem=key_to_pem(key), cert_chain_pems=certificate.public_bytes(Encoding.PEM))


def is_placeholder(certificate: x509.Certificate) -> bool:
    """Whether the certificate calls itself a placeholder; one whose names cannot be read does not."""
    try:
        return certificate.subject == _NAME and certificate.issuer == _NAME
    except (ValueError, TypeError):  # TypeError: a name part of a string type that it may not have
        return False
