"""The issuer's ACME account as a Job uses it: made or found, taken over, replaced once the CA has given it up."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from issuer_job import names
from issuer_job.account.keys import (
    HeldKey,
    current_key,
    existing_place,
    state_of,
    superseded,
    thumbprint,
)
from issuer_job.account.replacement import is_deactivated, replace_account, require_not_blocked
from issuer_job.acme_client import AcmeClient, AcmeError, EabKey
from issuer_job.attempt.attempt import Attempt, Later, Resolved
from issuer_job.issuers.schema import Issuer
from issuer_job.issuers.state import (
    ACCOUNT_URL,
    TAKEN_OVER,
    IssuerState,
    write_state,
)
from issuer_job.record.record import Problem

USER_AGENT = "certjob"
EAB_HMAC_KEY = "eab-hmac-key"
ROUNDS = 4
"""Connections, when other Jobs change the issuer's state at the same time."""


@contextmanager
def connected(attempt: Attempt, resolved: Resolved) -> Iterator[AcmeClient]:
    """A connection to the CA with a live account. Raises Later, OtherPod, AcmeError.

    An account that the CA has deactivated is replaced: a new key, and a new account for it.
    """
    for _ in range(ROUNDS):
        state = state_of(attempt, resolved)
        require_not_blocked(state, attempt.issuer_version, attempt.clock())
        key = current_key(attempt, resolved, state)
        if key is None:
            continue
        with connect(attempt, resolved, key.pem, "" if key.takes_over else state.account_url) as client:
            try:
                _ensure_account(attempt, resolved, client, state, key)
            except AcmeError as refusal:
                if key.takes_over or not is_deactivated(client, refusal):
                    raise
                replace_account(attempt, resolved, state, refusal)
                continue
            yield client
            return
    raise Later(superseded(resolved), wait=timedelta(0))


def connect(attempt: Attempt, resolved: Resolved, key: bytes, account_url: str) -> AcmeClient:
    """A connection with this key; without an account's URL the CA has to be asked for it. Raises Later, AcmeError."""
    issuer = resolved.issuer
    try:
        return AcmeClient.connect(
            issuer.server,
            ca_bundle_pem=issuer.ca_bundle.encode() or None,
            account_key_pem=key,
            account_url=account_url or None,
            user_agent=USER_AGENT,
            deadline=attempt.deadline,
            now=attempt.clock,
            sleep=attempt.sleep,
        )
    except ValueError as problem:
        raise _broken(str(problem)) from None


def _ensure_account(
    attempt: Attempt, resolved: Resolved, client: AcmeClient, state: IssuerState, key: HeldKey
) -> None:
    change = {}
    if key.takes_over:
        url = _existing_account(client, resolved)
        change = {TAKEN_OVER: thumbprint(key.pem)}
    elif client.account_url is not None:
        return  # an external account, too, was needed only to make it
    else:
        contact = resolved.issuer.contacts
        try:
            url = client.ensure_account(contact=contact, terms_agreed=True, eab=_eab(attempt, resolved)).url
        except ValueError as problem:
            raise _broken(str(problem)) from None
    write_state(attempt.cluster, state, {ACCOUNT_URL: url, **change})
    attempt.step("account", account=url, issuer=resolved.name)


def _existing_account(client: AcmeClient, resolved: Resolved) -> str:
    """URL of the account of an earlier installation, which goes on with its orders. Raises Later, AcmeError.

    No account is made: a key that has none is another CA's, or another environment's.
    """
    where = existing_place(resolved.name, resolved.issuer.existing_account_key)
    try:
        account = client.find_account()
    except AcmeError as error:
        if error.problem.type != "unauthorized":
            raise
        raise _broken(f"the CA has given up the account of {where}: {error.problem.detail}") from None
    if account is None:
        hint = "is it of this CA? Without that field a new account is made"
        raise _broken(f"the CA knows no account with {where}; {hint}")
    if account.status != "valid":
        raise _broken(f"the account of {where} is {account.status}")
    return account.url


def _eab(attempt: Attempt, resolved: Resolved) -> EabKey | None:
    try:
        return read_eab(resolved.issuer, resolved.name, attempt.mounted("credentials", EAB_HMAC_KEY))
    except ValueError as problem:
        raise _broken(str(problem)) from None


def read_eab(issuer: Issuer, name: str, hmac_key: bytes | None) -> EabKey | None:
    """The external account binding, None if the issuer has none. Raises ValueError, with a message for people."""
    if issuer.external_account is None:
        return None
    where = f"key {EAB_HMAC_KEY} of Secret {names.credentials(name)}"
    if hmac_key is None:
        raise ValueError(f"there is no {where}")
    try:
        return EabKey(issuer.external_account.key_id.strip(), hmac_key.decode("ascii").strip())
    except UnicodeDecodeError:
        raise ValueError(f"{where} is not base64url text") from None


def _broken(detail: str) -> Later:
    return Later(Problem(type="brokenIssuer", detail=detail, step="account"))
