"""The issuer's ACME account as a Job uses it: made or found, taken over, replaced once the CA has given it up."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from issuer_job import names
from issuer_job.account.connection import connect
from issuer_job.account.keys import (
    HeldKey,
    current_key,
    existing_place,
    superseded,
    thumbprint,
)
from issuer_job.account.replacement import is_deactivated, replace_account, require_not_blocked
from issuer_job.acme_client import AcmeClient, AcmeError, AcmeUnavailable, EabKey
from issuer_job.attempt.findings import MountedIssuer
from issuer_job.issuers.state import (
    ACCOUNT_URL,
    CREDENTIALS,
    CREDENTIALS_SINCE,
    TAKEN_OVER,
    IssuerState,
)

EAB_HMAC_KEY = "eab-hmac-key"
ROUNDS = 4
"""Connections, when other Jobs change the issuer's state at the same time."""


@contextmanager
def connected(mounted: MountedIssuer) -> Iterator[AcmeClient]:
    """A connection to the CA with a live account. Raises Later, OtherPod, AcmeError.

    An account that the CA has deactivated is replaced: a new key, and a new account for it.
    """
    for _ in range(ROUNDS):
        state = mounted.state
        require_not_blocked(mounted, state)
        key = current_key(mounted, state)
        if key is None or _noted(mounted, state, key):
            continue
        with connect(mounted, key.pem, "" if key.takes_over else state.account_url) as client:
            try:
                _ensure_account(mounted, client, state, key)
            except AcmeError as refusal:
                if key.takes_over or not is_deactivated(client, refusal):
                    raise
                replace_account(mounted, state, refusal)
                continue
            yield client
            return
    raise superseded(mounted)


def _noted(mounted: MountedIssuer, state: IssuerState, key: HeldKey) -> bool:
    """Write down that the issuer has other credentials than a Job saw before; whether that was to be done.

    No configuration shows that they were put right, but what failed with the former ones is to be tried again.
    """
    issuer = mounted.issuer
    if issuer.external_account is None and not any(solver.dns01 for solver in issuer.solvers):
        return False
    seen, before = mounted.fingerprint(key.pem), state.data.get(CREDENTIALS)
    if seen == before:
        return False
    since = {CREDENTIALS_SINCE: mounted.now.isoformat()} if before else {}
    mounted.write(state, {CREDENTIALS: seen, **since})
    return True


def _ensure_account(mounted: MountedIssuer, client: AcmeClient, state: IssuerState, key: HeldKey) -> None:
    change = {}
    if key.takes_over:
        url = _existing_account(client, mounted)
        change = {TAKEN_OVER: thumbprint(key.pem)}
    elif client.account_url is not None:
        return  # an external account, too, was needed only to make it
    else:
        url = account_for(mounted, client)
    mounted.write(state, {ACCOUNT_URL: url, **change})
    mounted.attempt.step("account", account=url, issuer=mounted.name)


def account_for(mounted: MountedIssuer, client: AcmeClient) -> str:
    """URL of the account that the connection's key has at the CA, made if there is none. Raises Later, AcmeError."""
    contact = mounted.issuer.contacts
    try:
        return (
            _bound_account(mounted, client)
            or client.ensure_account(contact=contact, terms_agreed=True, eab=external_account(mounted)).url
        )
    except ValueError as problem:
        raise mounted.broken(str(problem)) from None


def _bound_account(mounted: MountedIssuer, client: AcmeClient) -> str:
    """URL of the account that this key has at a CA with external accounts, empty if it has none.

    It is asked for first (RFC 8555, section 7.3.1): the binding is needed, and good, for making it only once.
    """
    if mounted.issuer.external_account is None and not client.directory.meta.external_account_required:
        return ""
    try:
        found = client.find_account()
    except AcmeUnavailable:
        raise
    except AcmeError:  # one that answers this to nobody says it better to newAccount
        return ""
    return found.url if found is not None and found.status == "valid" else ""


def _existing_account(client: AcmeClient, mounted: MountedIssuer) -> str:
    """URL of the account of an earlier installation, which goes on with its orders. Raises Later, AcmeError.

    No account is made: a key that has none is another CA's, or another environment's.
    """
    where = existing_place(mounted)
    try:
        account = client.find_account()
    except AcmeError as error:
        if error.problem.type != "unauthorized":
            raise
        raise mounted.broken(f"the CA has given up the account of {where}: {error.problem.detail}") from None
    if account is None:
        hint = "is it of this CA? Without that field a new account is made"
        raise mounted.broken(f"the CA knows no account with {where}; {hint}")
    if account.status != "valid":
        raise mounted.broken(f"the account of {where} is {account.status}")
    return account.url


def external_account(mounted: MountedIssuer) -> EabKey | None:
    """The external account binding, None if the issuer has none. Raises ValueError, with a message for people."""
    binding, hmac_key = mounted.issuer.external_account, mounted.credential(EAB_HMAC_KEY)
    if binding is None:
        return None
    where = f"key {EAB_HMAC_KEY} of Secret {names.credentials(mounted.name)}"
    if hmac_key is None:
        raise ValueError(f"there is no {where}")
    try:
        return EabKey(binding.key_id.strip(), hmac_key.decode("ascii").strip())
    except UnicodeDecodeError:
        raise ValueError(f"{where} is not base64url text") from None
