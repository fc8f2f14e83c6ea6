"""Which of the chains that a CA offers (RFC 8555 7.4.2, `alternate` links). PEM; pure."""

from __future__ import annotations

from collections.abc import Sequence

from cryptography import x509
from cryptography.x509.oid import NameOID


def choose_chain(pems: Sequence[bytes], preferred: str | None) -> bytes:
    """The first chain whose topmost issuer has the common name `preferred`, else one with any such issuer.

    Else, and without a preference, the first, which is the CA's default. `pems` must not be empty.
    """
    if preferred:
        names = [_issuer_names(pem) for pem in pems]
        for matches in ([issuers[-1:] for issuers in names], names):
            for pem, issuers in zip(pems, matches, strict=True):
                if preferred in issuers:
                    return pem
    return pems[0]


def leads_to(pem: bytes, name: str) -> bool:
    """Whether the topmost issuer of the chain has this common name."""
    return name in _issuer_names(pem)[-1:]


def _issuer_names(pem: bytes) -> list[str]:
    """Common names of the issuers from leaf to top; none if the chain cannot be read."""
    try:
        certificates = x509.load_pem_x509_certificates(pem)
        found = [certificate.issuer.get_attributes_for_oid(NameOID.COMMON_NAME) for certificate in certificates]
    except ValueError:
        return []
    return [str(names[0].value) if names else "" for names in found]
