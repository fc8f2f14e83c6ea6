"""Accounts at a CA (RFC 8555 7.3)."""

from __future__ import annotations

import random
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, Self, Unpack

from issuer_job.acme_client.answers import Answer
from issuer_job.acme_client.directory import RenewalClient
from issuer_job.acme_client.keys import AccountKey, EabKey
from issuer_job.acme_client.orders import Account, read_account
from issuer_job.acme_client.problems import (
    NO_TYPE,
    AcmeError,
    AcmeProblem,
    AcmeUnavailable,
    ExternalAccountRefused,
    unavailable,
)
from issuer_job.acme_client.transport import Connection

NEW_ACCOUNT_TRIES = 3
NEW_ACCOUNT_PAUSE = timedelta(milliseconds=150)


class AccountClient(RenewalClient):
    """The account's own requests."""

    def __init__(self, server_url: str, *, key: AccountKey, **connection: Unpack[Connection]) -> None:
        super().__init__(server_url, key=key, **connection)
        self._key = key

    @classmethod
    def connect(
        cls, server_url: str, *, account_key_pem: bytes, account_url: str | None, **connection: Unpack[Connection]
    ) -> Self:
        """Fetch the directory at `server_url` (https). `account_url` saves `ensure_account` its request.

        One that is not the CA's counts as unknown. Raises AcmeError, ValueError for a bad key or bundle.
        """
        client = cls(server_url, key=AccountKey(account_key_pem), **connection)
        with suppress(AcmeError):
            client._transport.require_own(account_url or "", step="account")
            client._transport.kid = account_url
        return client

    @property
    def account_url(self) -> str | None:
        return self._transport.kid

    @property
    def server_time(self) -> datetime | None:
        """The CA's clock: the Date (RFC 9110 6.6.1) of its last answer that had one, aware UTC; None if none had."""
        return self._transport.server_time

    def key_authorization(self, token: str) -> str:
        """RFC 8555 8.1. Secret until published. Raises AcmeUnavailable for a malformed token."""
        try:
            return self._key.key_authorization(token)
        except ValueError as error:
            raise unavailable(str(error), step="authorization") from None

    # Accounts (7.3)

    def ensure_account(
        self, *, contact: Sequence[str] = (), terms_agreed: bool, eab: EabKey | None = None
    ) -> Account:
        """Make this key's account, or find it: newAccount answers the same for a key it knows.

        `contact`: e-mail addresses. With an `account_url` given to `connect` nothing is asked, and a
        dead account shows at the next request (`unauthorized` or `accountDoesNotExist`). Raises
        ExternalAccountRefused if the CA does not take the `eab`, or needs one.
        """
        if self.account_url is not None:
            return Account(url=self.account_url, status="valid")
        if self.directory.meta.external_account_required and eab is None:
            detail = "the CA needs an external account binding (EAB), and the issuer has none"
            raise ExternalAccountRefused(AcmeProblem("externalAccountRequired", detail), step="newAccount")
        payload: dict[str, Any] = {"termsOfServiceAgreed": terms_agreed}
        if contact:
            payload["contact"] = [f"mailto:{address}" for address in contact]
        if eab is not None:
            payload["externalAccountBinding"] = self._key.external_binding(eab, url=self.directory.new_account)
        try:
            return self._new_account(payload)
        except AcmeUnavailable:
            raise
        except AcmeError as error:
            if self._refuses_binding(error, eab=eab):
                raise ExternalAccountRefused(error.problem, step=error.step, retry_after=error.retry_after) from None
            raise

    def find_account(self) -> Account | None:
        """This key's account (`onlyReturnExisting`, 7.3.1), None if it has none."""
        try:
            return self._new_account({"onlyReturnExisting": True})
        except AcmeError as error:
            if error.problem.type == "accountDoesNotExist":
                return None
            raise

    def account(self) -> Account:
        """The account as the CA has it now."""
        url = self._known_account_url(step="account")
        return self._transport.post(url, step="account").read(read_account, url=url)

    def update_contact(self, contact: Sequence[str]) -> Account:
        """Replace the account's e-mail addresses (7.3.2); none if empty."""
        url = self._known_account_url(step="contact")
        payload = {"contact": [f"mailto:{address}" for address in contact]}
        return self._transport.post(url, payload, step="contact").read(read_account, url=url)

    def change_key(self, new_key_pem: bytes) -> None:
        """Give the account another key (7.3.5); from then on this client's key is worth nothing.

        Raises AcmeError: `conflict` if the CA knows another account with the new key, ValueError for a bad key.
        """
        account_url, url = self._known_account_url(step="keyChange"), self.directory.key_change
        if url is None:
            raise AcmeError(
                AcmeProblem(NO_TYPE, "the CA's directory offers no change of account keys"), step="keyChange"
            )
        request = AccountKey(new_key_pem).change_request(self._key, url=url, account_url=account_url)
        self._transport.post(url, request, step="keyChange")

    def deactivate_account(self) -> Account:
        """Give the account up for good (7.3.6)."""
        url = self._known_account_url(step="deactivate")
        return self._transport.post(url, {"status": "deactivated"}, step="deactivate").read(read_account, url=url)

    def _new_account(self, payload: dict[str, Any]) -> Account:
        answer = self._post_new_account(payload)
        account = answer.read(read_account, url=self._transport.own_location(answer))
        self._transport.kid = account.url
        return account

    def _post_new_account(self, payload: dict[str, Any]) -> Answer:
        """The request is idempotent, and some CAs fail when two come at once: a few tries."""
        for _ in range(NEW_ACCOUNT_TRIES - 1):
            try:
                return self._transport.post(self.directory.new_account, payload, step="newAccount", embed_key=True)
            except AcmeUnavailable as error:
                if error.retry_after or error.problem.status != 500:
                    raise
                self._transport.pause(NEW_ACCOUNT_PAUSE * random.uniform(0.5, 1.5))  # noqa: S311
        return self._transport.post(self.directory.new_account, payload, step="newAccount", embed_key=True)

    def _refuses_binding(self, error: AcmeError, *, eab: EabKey | None) -> bool:
        """Whether the binding, and not the account (7.3.6 says `unauthorized`, too), was refused."""
        if error.problem.type == "externalAccountRequired":
            return True
        if eab is None or error.problem.type not in ("unauthorized", "malformed", "badPublicKey"):
            return False
        try:
            return self.find_account() is None
        except AcmeError:
            return False

    def _known_account_url(self, *, step: str) -> str:
        if self.account_url is None:
            raise ValueError(f"{step}: no account yet")
        return self.account_url
