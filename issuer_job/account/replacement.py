"""Accounts that the CA no longer takes: forgotten or replaced, and Jobs held back while more of them do only harm."""

from __future__ import annotations

import re
from datetime import timedelta

from issuer_job import names
from issuer_job import vocabulary as v
from issuer_job.account.connection import connect
from issuer_job.account.keys import make_key, number_held, superseded
from issuer_job.acme_client import AcmeClient, AcmeError, ExternalAccountRefused
from issuer_job.attempt.attempt import Later
from issuer_job.attempt.findings import MountedIssuer
from issuer_job.backoff import LONGEST_ASKED
from issuer_job.issuers.state import (
    ACCOUNT_NUMBER,
    ACCOUNT_URL,
    BLOCKED_REASON,
    BLOCKED_UNTIL,
    CONTACTS,
    ROLLING_OVER,
    IssuerState,
)
from issuer_job.record.record import Problem

ONCE_IN = timedelta(days=1)
"""A deactivated account is replaced once in this time."""
_DEAD = frozenset({"accountDoesNotExist", "unauthorized"})
_TYPE = re.compile(r"[A-Za-z]+")
"""Of the types of RFC 8555, section 6.7."""
_REPLACED_AT = "accountReplacedAt"
_BLOCKED_VERSION = "blockedVersion"
"""Stands for the configuration that the issuer had then."""
OF_FORMER_ACCOUNT = {_REPLACED_AT: "", BLOCKED_UNTIL: ""}
"""What is taken back once an operator has given the issuer another account."""


def is_dead(error: AcmeError) -> bool:
    """Whether the CA may no longer know the account that the issuer's state names, or not by this key: not if it
    speaks of a host.
    """
    about_host = error.problem.identifier or any(part.identifier for part in error.problem.subproblems)
    found = error.problem.type in _DEAD or _may_be_signature(error)
    return found and error.step != "newAccount" and not about_host


def _may_be_signature(error: AcmeError) -> bool:
    """Whether this is what CAs say, among many other things, of a request signed with a key that the account does not
    have: `malformed`, or some text of their own instead of a type.
    """
    kind = error.problem.type
    return kind == "malformed" or (not _TYPE.fullmatch(kind) and 400 <= error.problem.status < 500)


def forget_dead(mounted: MountedIssuer, error: AcmeError, *, used: str) -> bool:
    """Drop the URL of the account that turned out dead, so that the next connection asks newAccount for it.

    newAccount finds or makes the account of a CA that has merely forgotten it, or of a key that was made because the
    former one was lost, and refuses a deactivated one. Of several Jobs that find out at once one drops it. `used`:
    where the account was. False if there was none to drop, or the CA means something else.
    Raises Later if the account is getting, or has got, another key meanwhile.
    """
    attempt, state = mounted.attempt, mounted.state
    require_current_key(mounted, state)
    if _may_be_signature(error) and _is_own(mounted, state.account_url):
        return False
    attempt.step("account-gone", problem=str(error.problem))
    return drop_url(mounted, state, used)


def _is_own(mounted: MountedIssuer, url: str) -> bool:
    """Whether our key's account is this one, by the CA's word; also if that is not to be had."""
    key = mounted.attempt.mounted("account", v.ACCOUNT_KEY)
    if key is None:
        return True
    try:
        with connect(mounted, key, "") as client:
            found = client.find_account()
    except AcmeError:
        return True
    return found is not None and found.url == url


def require_current_key(mounted: MountedIssuer, state: IssuerState) -> None:
    """Raises Later if the account is getting, or has got, another key: with ours it only looks gone."""
    if state.number != number_held(mounted.attempt) or state.data.get(ROLLING_OVER):
        raise superseded(mounted)


def drop_url(mounted: MountedIssuer, state: IssuerState, used: str) -> bool:
    """Forget where the account is, if that still is what was used; False if there was nothing to forget."""
    if state.account_url != used:
        return True  # another Job was faster
    if used:
        mounted.write(state, {ACCOUNT_URL: ""})
    return bool(used)


def is_deactivated(client: AcmeClient, refusal: AcmeError) -> bool:
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


def replace_account(mounted: MountedIssuer, state: IssuerState, refusal: AcmeError) -> None:
    """Take the next number, at most once a day, and make its key. Of several Jobs one succeeds. Raises Later."""
    _not_replaced_lately(mounted, state, refusal)
    number = state.number + 1
    moment = mounted.now.isoformat()
    change = {ACCOUNT_NUMBER: str(number), ACCOUNT_URL: "", CONTACTS: "", _REPLACED_AT: moment}
    if mounted.write(state, change):
        mounted.attempt.step("account-replaced", issuer=mounted.name, number=number, problem=str(refusal.problem))
        make_key(mounted, number)


def _not_replaced_lately(mounted: MountedIssuer, state: IssuerState, refusal: AcmeError) -> None:
    """A CA that deactivates account after account has a reason, which more accounts only make worse. Raises Later."""
    replaced, now = state.moment(_REPLACED_AT), mounted.now
    if replaced is None or abs(now - replaced) >= ONCE_IN:  # a future one comes from a clock that was wrong
        return
    wait = max(replaced, now) + ONCE_IN - now
    detail = (
        f"the CA has deactivated account {state.number} of issuer {mounted.name}, too ({refusal.problem.detail}); "
        f"the one before was replaced at {replaced:%Y-%m-%d %H:%M} UTC. Ask the CA why. To make a new account before "
        f"{now + wait:%Y-%m-%d %H:%M} UTC, remove {_REPLACED_AT} and blockedUntil from ConfigMap "
        f"{names.issuer_state(mounted.name, mounted.issuer.server)}"
    )
    block(mounted, wait=wait, reason=detail)
    raise Later(Problem(type="accountDeactivated", detail=detail, step="account"), wait=wait)


def block(mounted: MountedIssuer, *, wait: timedelta, reason: str) -> None:
    """Hold back all Jobs of the issuer, as it is configured now, for a while."""
    until, version = (mounted.now + wait).isoformat(), mounted.attempt.issuer_version
    change = {BLOCKED_UNTIL: until, BLOCKED_REASON: reason[:800], _BLOCKED_VERSION: version}
    mounted.write(mounted.state, change)


def require_not_blocked(mounted: MountedIssuer, state: IssuerState) -> None:
    """An edit of the issuer may be what the CA wants, or name another account: it counts at once. Raises Later."""
    until, version = state.moment(BLOCKED_UNTIL), mounted.attempt.issuer_version
    if until is None or state.data.get(_BLOCKED_VERSION, version) != version:
        return
    wait = until - mounted.now
    if timedelta(0) < wait <= LONGEST_ASKED:  # longer ones come from a clock that was wrong
        reason = state.data.get(BLOCKED_REASON, "")
        detail = f"the issuer is held back until {until:%Y-%m-%d %H:%M:%S} UTC: {reason}"
        raise Later(Problem(type="issuerBlocked", detail=detail, step="account"), wait=wait)
