"""The issuer's ACME account as a Job uses it: made or found, taken over, replaced once the CA has given it up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta

from issuer_job import names
from issuer_job.account.keys import (
    HeldKey,
    current_key,
    existing_place,
    make_key,
    number_held,
    superseded,
    thumbprint,
)
from issuer_job.acme_client import AcmeClient, AcmeError, EabKey, ExternalAccountRefused
from issuer_job.attempt.attempt import Attempt, Later, Resolved
from issuer_job.backoff import LONGEST_ASKED
from issuer_job.issuers.schema import Issuer
from issuer_job.issuers.state import (
    ACCOUNT_NUMBER,
    ACCOUNT_URL,
    CONTACTS,
    ROLLING_OVER,
    TAKEN_OVER,
    IssuerState,
    load_state,
    write_state,
)
from issuer_job.record import transitions
from issuer_job.record.record import Problem

USER_AGENT = "certjob"
EAB_HMAC_KEY = "eab-hmac-key"
ROUNDS = 4
"""Connections, when other Jobs change the issuer's state at the same time."""
ONCE_IN = timedelta(days=1)
"""A deactivated account is replaced once in this time."""
_DEAD = frozenset({"accountDoesNotExist", "unauthorized"})
_BAD_SIGNATURE = "malformed"
"""What CAs say, among many other things, of a request signed with a key that the account has no more."""
_REPLACED_AT = "accountReplacedAt"
_BLOCKED_VERSION = "blockedVersion"
"""Stands for the configuration that the issuer had then."""


@contextmanager
def connected(attempt: Attempt, resolved: Resolved) -> Iterator[AcmeClient]:
    """A connection to the CA with a live account. Raises Later, OtherPod, AcmeError.

    An account that the CA has deactivated is replaced: a new key, and a new account for it.
    """
    for _ in range(ROUNDS):
        state = load_state(attempt.cluster, resolved.name, resolved.issuer.server)
        _not_blocked(state, attempt.issuer_version, attempt.clock())
        key = current_key(attempt, resolved, state)
        if key is None:
            continue
        with connect(attempt, resolved, key.pem, "" if key.takes_over else state.account_url) as client:
            try:
                _ensure_account(attempt, resolved, client, state, key)
            except AcmeError as refusal:
                if key.takes_over or not _is_deactivated(client, refusal):
                    raise
                _replace_account(attempt, resolved, state, refusal)
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
    _remember(attempt, state, {ACCOUNT_URL: url, **change})
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


# Accounts that the CA no longer takes


def is_dead(error: AcmeError) -> bool:
    """Whether the CA may no longer know the account that the issuer's state names, or not by this key."""
    return is_gone(error) or (error.problem.type == _BAD_SIGNATURE and error.step != "newAccount")


def is_gone(error: AcmeError) -> bool:
    """Whether the CA may no longer know the account that the issuer's state names."""
    return error.problem.type in _DEAD and error.step != "newAccount"


def forget_dead(attempt: Attempt, resolved: Resolved, error: AcmeError) -> bool:
    """Drop the URL of the account that turned out dead, so that the next connection asks newAccount for it.

    newAccount finds or makes the account of a CA that has merely forgotten it, and refuses a deactivated one.
    Of several Jobs that find out at once one drops it. False if there was none to drop.
    Raises Later if the account is getting, or has got, another key meanwhile.
    """
    used = transitions.attempt_of(attempt.record).account
    state = load_state(attempt.cluster, resolved.name, resolved.issuer.server)
    require_current_key(attempt, resolved, state)
    if error.problem.type == _BAD_SIGNATURE:
        return False
    attempt.step("account-gone", problem=str(error.problem))
    return drop_url(attempt, state, used)


def require_current_key(attempt: Attempt, resolved: Resolved, state: IssuerState) -> None:
    """Raises Later if the account is getting, or has got, another key: with ours it only looks gone."""
    if state.number != number_held(attempt) or state.data.get(ROLLING_OVER):
        raise Later(superseded(resolved), wait=timedelta(0))


def drop_url(attempt: Attempt, state: IssuerState, used: str) -> bool:
    """Forget where the account is, if that still is what was used; False if there was nothing to forget."""
    if state.account_url != used:
        return True  # another Job was faster
    if used:
        _remember(attempt, state, {ACCOUNT_URL: ""})
    return bool(used)


def _is_deactivated(client: AcmeClient, refusal: AcmeError) -> bool:
    """Whether newAccount was refused because this key's account was given up (RFC 8555, section 7.3.6).

    CAs say `unauthorized` for other reasons, too, which a new key would not take away: so ask for the account.
    """
    if refusal.problem.type != "unauthorized" or isinstance(refusal, ExternalAccountRefused):
        return False
    try:
        account = client.find_account()
    except AcmeError as error:
        return error.problem.type == "unauthorized"
    return account is not None and account.status in ("deactivated", "revoked")


def _replace_account(attempt: Attempt, resolved: Resolved, state: IssuerState, refusal: AcmeError) -> None:
    """Take the next number, at most once a day, and make its key. Of several Jobs one succeeds. Raises Later."""
    _not_replaced_lately(attempt, resolved, state, refusal)
    number = state.number + 1
    change = {
        ACCOUNT_NUMBER: str(number),
        ACCOUNT_URL: "",
        CONTACTS: "",
        _REPLACED_AT: attempt.clock().isoformat(),
    }
    if _remember(attempt, state, change):
        attempt.step("account-replaced", issuer=resolved.name, number=number, problem=str(refusal.problem))
        make_key(attempt, resolved, number)


def _not_replaced_lately(attempt: Attempt, resolved: Resolved, state: IssuerState, refusal: AcmeError) -> None:
    """A CA that deactivates account after account has a reason, which more accounts only make worse. Raises Later."""
    replaced, now = state.moment(_REPLACED_AT), attempt.clock()
    if replaced is None or abs(now - replaced) >= ONCE_IN:  # a future one comes from a clock that was wrong
        return
    wait = max(replaced, now) + ONCE_IN - now
    detail = (
        f"the CA has deactivated account {state.number} of issuer {resolved.name}, too ({refusal.problem.detail}); "
        f"the one before was replaced at {replaced:%Y-%m-%d %H:%M} UTC. Ask the CA why. To make a new account before "
        f"{now + wait:%Y-%m-%d %H:%M} UTC, remove {_REPLACED_AT} and blockedUntil from ConfigMap "
        f"{names.issuer_state(resolved.name, resolved.issuer.server)}"
    )
    block(attempt, resolved, wait=wait, reason=detail)
    raise Later(Problem(type="accountDeactivated", detail=detail, step="account"), wait=wait)


# The issuer's state


def block(attempt: Attempt, resolved: Resolved, *, wait: timedelta, reason: str) -> None:
    """Hold back all Jobs of the issuer, as it is configured now, for a while."""
    state = load_state(attempt.cluster, resolved.name, resolved.issuer.server)
    until = attempt.clock() + wait
    change = {
        "blockedUntil": until.isoformat(),
        "blockedReason": reason[:800],
        _BLOCKED_VERSION: attempt.issuer_version,
    }
    _remember(attempt, state, change)


def _remember(attempt: Attempt, state: IssuerState, change: Mapping[str, str]) -> bool:
    return write_state(attempt.cluster, state, change)


def _not_blocked(state: IssuerState, version: str, now: datetime) -> None:
    """An edit of the issuer may be what the CA wants, or name another account: it counts at once. Raises Later."""
    until = state.moment("blockedUntil")
    if until is None or state.data.get(_BLOCKED_VERSION, version) != version:
        return
    wait = until - now
    if timedelta(0) < wait <= LONGEST_ASKED:  # longer ones come from a clock that was wrong
        reason = state.data.get("blockedReason", "")
        detail = f"the issuer is held back until {until:%Y-%m-%d %H:%M:%S} UTC: {reason}"
        raise Later(Problem(type="issuerBlocked", detail=detail, step="account"), wait=wait)


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
