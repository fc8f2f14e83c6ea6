"""The directory of a CA (RFC 8555 7.1.1; RFC 9773 4.1 and the profiles extension). Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

from issuer_job.acme_client.problems import AcmeError, AcmeProblem


class _Meta(msgspec.Struct):
    termsOfService: str | None = None
    externalAccountRequired: bool = False
    profiles: dict[str, str] = {}


class _Directory(msgspec.Struct):
    newNonce: str
    newAccount: str
    newOrder: str
    keyChange: str | None = None
    renewalInfo: str | None = None
    meta: _Meta = msgspec.field(default_factory=_Meta)


@dataclass(frozen=True, slots=True)
class Directory:
    """Where a CA takes requests, and what it demands. `profiles`: name and description."""

    new_nonce: str
    new_account: str
    new_order: str
    key_change: str | None = None
    renewal_info: str | None = None
    terms_of_service: str | None = None
    external_account_required: bool = False
    profiles: dict[str, str] = field(default_factory=dict)

    def require_profile(self, profile: str) -> None:
        """Raise the CA's own kind of error for a profile it does not offer: older CAs would ignore it."""
        if profile not in self.profiles:
            offered = ", ".join(sorted(self.profiles)[:20]) or "none"
            detail = f"the CA offers no profile {profile[:100]}; it offers: {offered[:500]}"
            raise AcmeError(AcmeProblem("invalidProfile", detail), step="newOrder")


def read_directory(document: object) -> Directory:
    """Raises msgspec.ValidationError if the document is no directory."""
    body = msgspec.convert(document, _Directory)
    return Directory(
        new_nonce=body.newNonce,
        new_account=body.newAccount,
        new_order=body.newOrder,
        key_change=body.keyChange,
        renewal_info=body.renewalInfo,
        terms_of_service=body.meta.termsOfService,
        external_account_required=body.meta.externalAccountRequired,
        profiles=dict(body.meta.profiles),
    )
