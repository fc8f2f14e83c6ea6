"""Certificate chains: read them within bounds, choose one, and check what a CA has issued before it is used."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding

from certs.errors import CertError
from certs.hostnames import first_few, normalize
from certs.keys import PrivateKey, key_id

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes

MAX_CHAIN_PEM = 64 * 1024
MAX_CHAIN_LENGTH = 10
CLOCK_SKEW = timedelta(hours=1)
"""How far the CA's clock may be ahead of ours."""

_Extension = TypeVar("_Extension", bound=x509.ExtensionType)

_MALFORMED = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)


@dataclass(frozen=True)
class IssuedCertificate:
    """What is worth knowing of a certificate. Times are aware UTC, `serial` is lower-case hex."""

    leaf: x509.Certificate
    not_before: datetime
    not_after: datetime
    serial: str
    names: tuple[str, ...]
    key_id: str
    ari_cert_id: str | None
    issuer_name: str

    @property
    def leaf_pem(self) -> str:
        """The certificate alone."""
        return self.leaf.public_bytes(Encoding.PEM).decode("ascii")


def parse_chain(pem: bytes) -> tuple[x509.Certificate, ...]:
    """The certificates of a PEM chain, leaf first; CertError if unreadable, over 64 KiB or more than 10."""
    if len(pem) > MAX_CHAIN_PEM:
        raise CertError(f"The certificate chain is larger than {MAX_CHAIN_PEM} bytes.")
    try:
        chain = tuple(x509.load_pem_x509_certificates(pem))
    except _MALFORMED:
        raise CertError("The certificate chain is not readable PEM.") from None
    if len(chain) > MAX_CHAIN_LENGTH:
        raise CertError(f"The certificate chain has more than {MAX_CHAIN_LENGTH} certificates.")
    return chain


def choose_chain(pems: Sequence[bytes], preferred: str | None) -> bytes:
    """Of the chains that a CA offers (RFC 8555, 7.4.2) the first whose topmost issuer has common name `preferred`.

    Else one with any such issuer, else the first, which is the CA's default. `pems` must not be empty.
    """
    if preferred:
        names = [issuer_names(pem) for pem in pems]
        for matches in ([issuers[-1:] for issuers in names], names):
            for pem, issuers in zip(pems, matches, strict=True):
                if preferred in issuers:
                    return pem
    return pems[0]


def leads_to(pem: bytes, name: str) -> bool:
    """Whether the topmost issuer of the chain has this common name."""
    return name in issuer_names(pem)[-1:]


def issuer_names(pem: bytes) -> list[str]:
    """Names of the issuers from leaf to top; none if the chain cannot be read."""
    try:
        return [_issuer_name(certificate) for certificate in parse_chain(pem)]
    except CertError:
        return []


def dns_names(certificate: x509.Certificate) -> tuple[str, ...]:
    """The normalized DNS names of the subjectAltName, empty without one; CertError if it cannot be read."""
    return tuple(normalize(name.value) for name in _alternative_names(certificate) if isinstance(name, x509.DNSName))


def has_key(certificate: x509.Certificate, key: PrivateKey) -> bool:
    """Whether the certificate is for this key; CertError if its public key cannot be read."""
    return _public_key(certificate) == key.public_key()


def check_issued(
    chain_pem: bytes,
    *,
    key: PrivateKey,
    hosts: Collection[str],
    now: datetime,
    clock_skew: timedelta = CLOCK_SKEW,
) -> IssuedCertificate:
    """Check a chain (PEM, leaf first) that a CA answered with: for our key, exactly our hosts, whole, and in time.

    Whether a client trusts its root is not checked. Raises CertError.
    """
    chain = parse_chain(chain_pem)
    leaf = chain[0]
    if not has_key(leaf, key):
        raise CertError("The issued certificate is for another key.")
    _check_names(leaf, hosts)
    for certificate, issuer in pairwise(chain):
        _check_link(certificate, issuer)
    for certificate in chain:
        _check_time(certificate, now, clock_skew)
    return describe_chain(chain_pem)


def describe_chain(chain_pem: bytes) -> IssuedCertificate:
    """What a chain (PEM, leaf first) says of itself, unchecked. Raises CertError if it is unreadable."""
    leaf = parse_chain(chain_pem)[0]
    return IssuedCertificate(
        leaf=leaf,
        not_before=leaf.not_valid_before_utc,
        not_after=leaf.not_valid_after_utc,
        serial=f"{leaf.serial_number:x}",
        names=dns_names(leaf),
        key_id=key_id(_public_key(leaf)),
        ari_cert_id=ari_cert_id(leaf),
        issuer_name=_issuer_name(leaf),
    )


def ari_cert_id(certificate: x509.Certificate) -> str | None:
    """The CertID of RFC 9773, section 4.1; None without an authorityKeyIdentifier or a positive serial number."""
    extension = _extension(certificate, x509.AuthorityKeyIdentifier)
    if extension is None or not extension.key_identifier or certificate.serial_number <= 0:
        return None
    serial = certificate.serial_number
    # The content of the DER INTEGER: a leading zero byte where the first bit is set.
    content = serial.to_bytes(serial.bit_length() // 8 + 1, "big")
    return f"{_base64url(extension.key_identifier)}.{_base64url(content)}"


def _check_names(leaf: x509.Certificate, hosts: Collection[str]) -> None:
    wanted = {normalize(host) for host in hosts}
    names = set(dns_names(leaf))
    if missing := wanted - names:
        raise CertError(f"The issued certificate lacks {first_few(sorted(missing))}.")
    if extra := names - wanted:
        raise CertError(f"The issued certificate also names {first_few(sorted(extra))}.")
    if any(not isinstance(name, x509.DNSName) for name in _alternative_names(leaf)):
        raise CertError("The issued certificate names something other than hosts.")


def is_issued_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Whether the issuer's name and key stand behind the certificate; False if that cannot be told."""
    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, *_MALFORMED):
        return False
    return True


def _check_link(certificate: x509.Certificate, issuer: x509.Certificate) -> None:
    try:
        certificate.verify_directly_issued_by(issuer)
    except InvalidSignature:
        raise CertError("A certificate of the chain has a signature that the next one did not make.") from None
    except _MALFORMED:
        raise CertError("A certificate of the chain is not issued by the next one.") from None
    constraints = _extension(issuer, x509.BasicConstraints)
    if constraints is None or not constraints.ca:
        raise CertError("An issuer in the certificate chain is not a CA.")


def _check_time(certificate: x509.Certificate, now: datetime, clock_skew: timedelta) -> None:
    if now >= (end := certificate.not_valid_after_utc):
        raise CertError(f"A certificate of the chain expired at {end.isoformat()}.")
    if now + clock_skew < (start := certificate.not_valid_before_utc):
        raise CertError(f"A certificate of the chain is not valid before {start.isoformat()}.")


def _alternative_names(certificate: x509.Certificate) -> tuple[x509.GeneralName, ...]:
    extension = _extension(certificate, x509.SubjectAlternativeName)
    return tuple(extension) if extension is not None else ()


def _public_key(certificate: x509.Certificate) -> CertificatePublicKeyTypes:
    try:
        return certificate.public_key()
    except _MALFORMED:
        raise CertError("The certificate's public key is not readable.") from None


def _extension(certificate: x509.Certificate, kind: type[_Extension]) -> _Extension | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None
    except _MALFORMED:
        raise CertError("The certificate's extensions are not readable.") from None


def _issuer_name(certificate: x509.Certificate) -> str:
    """The issuer's commonName, else its whole name (RFC 4514), for people to read; empty if it cannot be read."""
    try:
        names = certificate.issuer.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
        return str(names[0].value) if names else certificate.issuer.rfc4514_string()
    except _MALFORMED:
        return ""


def _base64url(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode("ascii")
