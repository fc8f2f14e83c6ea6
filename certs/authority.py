"""The webhook's own CA: it signs the serving certificate that the API server checks against the caBundle."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from certs.chain import has_key, is_issued_by, parse_chain
from certs.errors import CertError
from certs.extensions import SIGNS_CERTIFICATES
from certs.keys import CertifiedKey, KeyAlgorithm, generate_key, key_from_pem, key_to_pem
from certs.leaf import BACKDATED, PrivateAuthority, build_leaf, common_name

AUTHORITY_LIFETIME = timedelta(days=365)
LEAF_LIFETIME = timedelta(days=30)


def make_authority(*, now: datetime, lifetime: timedelta = AUTHORITY_LIFETIME) -> CertifiedKey:
    """A new self-signed CA (ECDSA P-256) that may sign server certificates only directly."""
    key = generate_key(KeyAlgorithm.ECDSA_P256)
    name = common_name("certjob webhook CA")
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + lifetime)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(SIGNS_CERTIFICATES, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, SHA256())
    )
    return CertifiedKey(key_pem=key_to_pem(key), cert_chain_pems=certificate.public_bytes(Encoding.PEM))


def make_leaf(
    authority: CertifiedKey, *, dns_names: Sequence[str], now: datetime, lifetime: timedelta = LEAF_LIFETIME
) -> CertifiedKey:
    """A server certificate for the names, signed by the authority, that never outlives it.

    The chain holds the leaf only: the API server has the CA in the caBundle. Raises CertError if the authority
    cannot be read, does not hold together or has expired, or without names.
    """
    issuer = parse_chain(authority.cert_chain_pems)[0]
    issuer_key = key_from_pem(authority.key_pem)
    if not has_key(issuer, issuer_key):
        raise CertError("The webhook CA's certificate and key do not belong together.")
    if now >= issuer.not_valid_after_utc:
        raise CertError("The webhook CA has expired.")
    return build_leaf(
        dns_names,
        subject=common_name("certjob webhook"),
        key=generate_key(KeyAlgorithm.ECDSA_P256),
        now=now,
        lifetime=lifetime,
        signer=PrivateAuthority(issuer, issuer_key),
    )


def leaf_due(cert_pem: bytes, *, now: datetime) -> bool:
    """Whether the serving certificate should be made anew: half its life is over, or it cannot be read."""
    return _is_over(cert_pem, part=1 / 2, now=now)


def authority_due(cert_pem: bytes, *, now: datetime) -> bool:
    """Whether the CA should be made anew: two thirds of its life are over, or it cannot be read."""
    return _is_over(cert_pem, part=2 / 3, now=now)


def is_signed_by(cert_pem: bytes, ca_pem: bytes) -> bool:
    """Whether this CA made the certificate; False if one of them cannot be read."""
    try:
        return is_issued_by(parse_chain(cert_pem)[0], parse_chain(ca_pem)[0])
    except CertError:
        return False


def bundle(*ca_pems: bytes, now: datetime) -> bytes:
    """The caBundle (PEM): every certificate of the parts that has not expired, once, in the order given.

    Empty parts are passed over. Raises CertError if a part cannot be read or nothing is left.
    """
    found = (certificate for pem in ca_pems if pem.strip() for certificate in parse_chain(pem))
    valid = dict.fromkeys(
        certificate.public_bytes(Encoding.PEM) for certificate in found if now < certificate.not_valid_after_utc
    )
    if not valid:
        raise CertError("No CA certificate is left that has not expired.")
    return b"".join(valid)


def _is_over(cert_pem: bytes, *, part: float, now: datetime) -> bool:
    try:
        certificate = parse_chain(cert_pem)[0]
    except CertError:
        return True
    start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return not start <= now < start + (end - start) * part  # one from the future was made by a clock that was ahead
