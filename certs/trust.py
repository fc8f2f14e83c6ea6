"""Whether a certificate that was found somewhere is what an issuer would give: who has signed it."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import lru_cache

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import verification

from certs.chain import dns_names, is_issued_by, parse_chain
from certs.errors import CertError

MOST_SIGNERS = 12
"""CA certificates that are kept of those that have signed: CAs sign with a few at a time, and change them."""
MAX_SIGNERS_PEM = 48 * 1024
_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----")
_STAGING = "(STAGING)"
"""So Let's Encrypt calls the CAs that nobody is to trust, whatever they sign, and whoever has them in a bundle."""


class Origin(StrEnum):
    """Whose a certificate is, as far as its chain shows."""

    ISSUER = "issuer"
    """What has signed it has signed for the issuer before."""
    TRUSTED = "trusted"
    """It leads to a public root, or to one that the issuer's configuration names."""
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class IssuerTrust:
    """By what a certificate is known for one that the issuer `name` gave, or would give. Without a name no issuer's.

    `directory` stands for its CA in records; `knows` says whether another one is its fallback's. `signers` are the CA
    certificates (PEM) that have signed for it before, `roots` bundles (PEM) of those that public or its own clients
    trust, of which those of test environments do not count: read only when a chain has to be verified.
    `signs_itself`: its certificates are signed with their own keys.
    """

    name: str = ""
    directory: str = ""
    knows: Callable[[str], bool] = lambda directory: True
    signers: Callable[[], bytes] = bytes
    roots: Callable[[], Iterable[bytes]] = tuple
    signs_itself: bool = False

    def origin(self, chain_pem: bytes, *, now: datetime) -> Origin:
        """Whose the chain (PEM, leaf first) is; nothing in it makes it raise."""
        try:
            chain = parse_chain(chain_pem)
            host = dns_names(chain[0])[:1]
        except CertError:
            return Origin.UNKNOWN
        if not host:
            return Origin.UNKNOWN
        if self.signs_itself and is_issued_by(chain[0], chain[0]):
            return Origin.ISSUER
        if _leads_to(chain, certificates(self.signers()), host[0], now):
            return Origin.ISSUER
        roots = without_staging(root for bundle in self.roots() for root in _roots(bundle))
        return Origin.TRUSTED if _leads_to(chain, roots, host[0], now) else Origin.UNKNOWN


def certificates(pem: bytes) -> list[x509.Certificate]:
    """Those of a PEM bundle that can be read: of some hundred roots one may be odd."""
    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about oddities of roots that nobody here can mend
        for block in _PEM.findall(pem):
            try:
                found.append(x509.load_pem_x509_certificate(block))
            except (ValueError, UnsupportedAlgorithm):
                continue
    return found


@lru_cache(maxsize=16)
def _roots(bundle: bytes) -> tuple[x509.Certificate, ...]:
    return tuple(certificates(bundle))


def with_signers(known: bytes, chain_pem: bytes, *, now: datetime) -> bytes | None:
    """The CA certificates (PEM) that are known to have signed, and those of this chain; None if they are known.

    Those that have ended go, and the oldest if they are many. Raises CertError if the chain cannot be read.
    """
    blocks = _PEM.findall(known)
    new = [block for each in parse_chain(chain_pem)[1:] if (block := _block(each)) not in blocks]
    if not new:
        return None
    kept = [block for block in blocks if any(now < old.not_valid_after_utc for old in certificates(block))]
    kept = [*kept, *new][-MOST_SIGNERS:]
    while sum(map(len, kept)) > MAX_SIGNERS_PEM:
        kept = kept[1:]
    return b"\n".join(kept)


def without_staging(bundle: Iterable[x509.Certificate]) -> list[x509.Certificate]:
    """The certificates but for those of a CA's test environment."""
    return [each for each in bundle if _STAGING not in _named(each)]


def _leads_to(
    chain: tuple[x509.Certificate, ...], anchors: Iterable[x509.Certificate], host: str, now: datetime
) -> bool:
    """Whether a path (RFC 5280, section 6) leads from the leaf to an anchor. Private CAs leave things out."""
    anchors = list(anchors)
    if not anchors:
        return False
    anything = verification.ExtensionPolicy.permit_all()
    any_case = verification.Criticality.AGNOSTIC
    try:
        policy = verification.PolicyBuilder().store(verification.Store(anchors)).time(now)
        policy = policy.extension_policies(
            ca_policy=anything.require_present(x509.BasicConstraints, any_case, _is_a_ca),
            ee_policy=anything.require_present(x509.SubjectAlternativeName, any_case, None),
        )
        subject = x509.DNSName(host.replace("*", "any", 1))
        policy.build_server_verifier(subject).verify(chain[0], list(chain[1:]))
    except (verification.VerificationError, ValueError, TypeError, UnsupportedAlgorithm, x509.DuplicateExtension):
        return False
    return True


def _is_a_ca(policy: verification.Policy, certificate: x509.Certificate, constraints: x509.BasicConstraints) -> None:
    if not constraints.ca:
        raise ValueError("it is no CA")


def _named(certificate: x509.Certificate) -> str:
    try:
        return certificate.subject.rfc4514_string()
    except (ValueError, TypeError):
        return ""


def _block(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.PEM).strip()
