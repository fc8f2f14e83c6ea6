"""Certificates that no public CA issues: self-signed ones, and those of a private CA whose key the operator has."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from certs.chain import has_key, parse_chain
from certs.errors import CertError
from certs.keys import CertifiedKey, PrivateKey, key_from_pem
from certs.leaf import PrivateAuthority, build_leaf, common_name

SELF_SIGNED_NAME = "certjob self-signed"


def read_authority(cert_chain_pem: bytes, key_pem: bytes, *, now: datetime) -> PrivateAuthority:
    """The CA of a kubernetes.io/tls Secret's `tls.crt` and `tls.key`, fit to sign now, with its whole chain.

    Raises CertError.
    """
    chain = parse_chain(cert_chain_pem)
    certificate, key = chain[0], key_from_pem(key_pem)
    if not has_key(certificate, key):
        raise CertError("The CA's certificate and key do not belong together.")
    if not _may_sign(certificate):
        raise CertError("The first certificate of the CA is not a CA's (RFC 5280, 4.2.1.9 and 4.2.1.3).")
    if now >= certificate.not_valid_after_utc:
        raise CertError(f"The CA's certificate expired at {certificate.not_valid_after_utc.isoformat()}.")
    if now < certificate.not_valid_before_utc:
        raise CertError(f"The CA's certificate is not valid before {certificate.not_valid_before_utc.isoformat()}.")
    pem = b"".join(each.public_bytes(Encoding.PEM) for each in chain)
    return PrivateAuthority(certificate, key, pem)


def sign(
    authority: PrivateAuthority, hosts: Sequence[str], *, key: PrivateKey, now: datetime, lifetime: timedelta
) -> CertifiedKey:
    """A certificate from the CA, with the CA's chain behind it. Its subject is empty: the hosts are its names."""
    return build_leaf(hosts, subject=x509.Name([]), key=key, now=now, lifetime=lifetime, signer=authority)


def self_sign(hosts: Sequence[str], *, key: PrivateKey, now: datetime, lifetime: timedelta) -> CertifiedKey:
    """A certificate that is signed with its own key."""
    return build_leaf(hosts, subject=common_name(SELF_SIGNED_NAME), key=key, now=now, lifetime=lifetime)


def _may_sign(certificate: x509.Certificate) -> bool:
    try:
        extensions = certificate.extensions
        if not extensions.get_extension_for_class(x509.BasicConstraints).value.ca:
            return False
        return extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
    except x509.ExtensionNotFound as missing:
        return missing.oid == x509.KeyUsage.oid  # every usage is allowed then
    except ValueError:
        return False
