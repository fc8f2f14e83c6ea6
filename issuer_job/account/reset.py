"""Another account for an issuer, whose former one is of no more use to it. A step of the issuer's own Job.

The former account stays the issuer's until the CA has made the other one, and its key is never deleted. The order of
the writes makes it resumable: the key is stored before the CA is asked, and that it is asked, in the issuer's state.
"""

from __future__ import annotations

from issuer_job import names
from issuer_job import vocabulary as v
from issuer_job.account.account import account_for
from issuer_job.account.asked import reset_is_due
from issuer_job.account.connection import account_of, connect
from issuer_job.account.keys import NEXT, change_in_use, existing_key, hold_key, stored_key, thumbprint
from issuer_job.account.replacement import OF_FORMER_ACCOUNT
from issuer_job.acme_client import AcmeError, AcmeUnavailable
from issuer_job.attempt.attempt import Later
from issuer_job.attempt.findings import MountedIssuer
from issuer_job.issuers.state import (
    ACCOUNT_NUMBER,
    ACCOUNT_URL,
    CONTACTS,
    RESET_AT,
    RESET_FOR,
    RESETTING,
    ROLLING_OVER,
    TAKEN_OVER,
    IssuerState,
)

MOST_KEYS = 10
"""Numbers that are tried, each twice as far ahead, if there are keys of the next ones already: a rollover may have
left one, and where the issuer's state was lost there are those of all numbers that were in use.
"""


def reset_account(mounted: MountedIssuer, request: str) -> bool:
    """Give the issuer another account, unless that was done for this request; whether it was done now.

    One that was begun is ended, even if nobody asks for it any more: the CA may have made the account. If it refuses,
    the former one stays.
    Raises Later, AcmeError, KubeError.
    """
    attempt, state = mounted.attempt, mounted.state
    if not reset_is_due(state, request):
        return False
    number, key = _fresh_key(mounted, state)
    change_in_use(mounted, state.number, {RESETTING: str(number)})
    try:
        with connect(mounted, key, "") as client:
            url = account_for(mounted, client)
    except (AcmeError, Later):
        if not _may_have_account(mounted, key):
            change_in_use(mounted, state.number, {RESETTING: ""})
        raise
    contacts, existing = mounted.issuer.contacts, existing_key(mounted, state)
    change = {
        ACCOUNT_NUMBER: str(number),
        ACCOUNT_URL: url,
        CONTACTS: names.digest(*contacts) if contacts else "",
        RESETTING: "",
        RESET_FOR: request or state.data.get(RESET_FOR, ""),
        RESET_AT: mounted.now.isoformat(),
        ROLLING_OVER: "",
    }
    taken = {} if existing is None else {TAKEN_OVER: thumbprint(existing)}
    change_in_use(mounted, state.number, change | taken | OF_FORMER_ACCOUNT)
    hold_key(attempt, key, number)
    attempt.step("account-reset", issuer=mounted.name, number=number, account=url, former=state.account_url)
    return True


def _fresh_key(mounted: MountedIssuer, state: IssuerState) -> tuple[int, bytes]:
    """A key that has no account but the one that a Job killed on the way has made for it, and its number."""
    attempt, after = mounted.attempt, state.number + 1
    held, named = attempt.mounted(NEXT, v.ACCOUNT_KEY), attempt.mounted(NEXT, v.ACCOUNT_NUMBER)
    if held is not None and named == str(after).encode():
        ours = state.data.get(RESETTING) == str(after)
        if ours or not _has_account(mounted, held):
            return after, held
    for tries in range(MOST_KEYS):
        number = after + (1 << tries) - 1
        key = stored_key(mounted, number)
        if key is not None:
            return number, key
    raise mounted.broken(f"there are account keys with the next numbers already, up to {number}")


def _has_account(mounted: MountedIssuer, key: bytes) -> bool:
    """Whether the CA knows an account with this key, also one that it has given up (RFC 8555, section 7.3.6)."""
    try:
        return account_of(mounted, key) is not None
    except AcmeUnavailable:
        raise
    except AcmeError as error:
        return error.problem.type == "unauthorized"  # who answers this to nobody says it better to newAccount


def _may_have_account(mounted: MountedIssuer, key: bytes) -> bool:
    """Whether the CA may have made one, whatever it answered."""
    try:
        return _has_account(mounted, key)
    except AcmeError:
        return True
