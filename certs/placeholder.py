"""The self-signed certificate that an Ingress serves until the real one is there."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from cryptography import x509

from certs.keys import CertifiedKey, KeyAlgorithm, PrivateKey, generate_key
from certs.leaf import build_leaf, common_name

PLACEHOLDER_NAME = "certjob placeholder"
PLACEHOLDER_LIFETIME = timedelta(days=90)

_NAME = common_name(PLACEHOLDER_NAME)


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
    return build_leaf(hosts, subject=_NAME, key=key, now=now, lifetime=lifetime)


def is_placeholder(certificate: x509.Certificate) -> bool:
    """Whether the certificate calls itself a placeholder; one whose names cannot be read does not."""
    try:
        return certificate.subject == _NAME and certificate.issuer == _NAME
    except (ValueError, TypeError):  # TypeError: a name part of a string type that it may not have
        return False
