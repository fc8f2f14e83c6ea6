"""The directory of a CA (RFC 8555 7.1.1; RFC 9773 4.1 and the profiles extension), and what needs no account."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Self, Unpack

import msgspec

from issuer_job.acme_client.answers import origin_of
from issuer_job.acme_client.keys import AccountKey
from issuer_job.acme_client.orders import RenewalInfo, read_renewal_info
from issuer_job.acme_client.problems import AcmeError, AcmeProblem, clean_text
from issuer_job.acme_client.transport import AcmeTransport, Connection
from issuer_job.polling import clamp_wait

ARI_DEFAULT = timedelta(hours=6)  # RFC 9773 4.3
ARI_SHORTEST, ARI_LONGEST = timedelta(minutes=1), timedelta(days=1)


class Demands(msgspec.Struct, frozen=True, rename="camel"):
    """The directory's `meta`. `profiles`: name and description."""

    external_account_required: bool = False
    profiles: dict[str, Any] | list[str] = {}


class Directory(msgspec.Struct, frozen=True, rename="camel"):
    """Where a CA takes requests, and what it demands."""

    new_nonce: str
    new_account: str
    new_order: str
    key_change: str | None = None
    revoke_cert: str | None = None
    renewal_info: str | None = None
    meta: Demands = Demands()

    @property
    def urls(self) -> tuple[str, ...]:
        """All that it names."""
        named = (
            self.new_nonce,
            self.new_account,
            self.new_order,
            self.key_change,
            self.revoke_cert,
            self.renewal_info,
        )
        return tuple(filter(None, named))

    def require_profile(self, profile: str) -> None:
        """Raise the CA's own kind of error for a profile it does not offer: older CAs would ignore it."""
        if profile not in self.meta.profiles:
            offered = ", ".join(sorted(self.meta.profiles)[:20]) or "none"
            detail = clean_text(f"the CA offers no profile {profile[:100]}; it offers: {offered}", limit=600)
            raise AcmeError(AcmeProblem("invalidProfile", detail), step="newOrder")


class RenewalClient:
    """A CA's renewal information (RFC 9773), for which no account is needed."""

    def __init__(self, server_url: str, *, key: AccountKey | None = None, **connection: Unpack[Connection]) -> None:
        """Fetch the directory at `server_url` (https). Raises AcmeError, ValueError for a bad bundle."""
        self._transport = AcmeTransport(key, **connection)
        try:
            answer = self._transport.get(server_url, step="directory")
            self.directory = answer.read(msgspec.convert, Directory)
        except BaseException:
            self.close()
            raise
        self._transport.new_nonce_url = self.directory.new_nonce
        named = map(origin_of, (server_url, answer.url, *self.directory.urls))
        self._transport.origins = frozenset(filter(None, named))

    def close(self) -> None:
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def renewal_info(self, cert_id: str) -> RenewalInfo | None:
        """The suggested window of a certificate, None if the CA has none to tell."""
        if self.directory.renewal_info is None:
            return None
        answer = self._transport.get(f"{self.directory.renewal_info.rstrip('/')}/{cert_id}", step="renewalInfo")
        asked = ARI_DEFAULT if answer.retry_after is None else answer.retry_after
        wait = clamp_wait(asked, shortest=ARI_SHORTEST, longest=ARI_LONGEST)
        return answer.read(read_renewal_info, retry_after=wait)
