"""A new key for an issuer's account, which stays (RFC 8555, section 7.3.5). A step of the issuer's own Job.

The order of the writes makes it resumable: the new key is stored before the CA is told, and that it is being told is
in the issuer's state, so that other Jobs do not take the account for dead. Whether the CA knows already, it is asked
with the new key.
"""

from __future__ import annotations

from issuer_job import names
from issuer_job import vocabulary as v
from issuer_job.account import account
from issuer_job.account.asked import rollover_is_due
from issuer_job.account.connection import account_of
from issuer_job.account.keys import NEXT, change_in_use, hold_key, stored_key
from issuer_job.acme_client import UNUSABLE, AcmeClient, AcmeError
from issuer_job.attempt.attempt import Later, OtherPod
from issuer_job.attempt.findings import MountedIssuer
from issuer_job.issuers.state import (
    ACCOUNT_NUMBER,
    ROLLED_OVER_FOR,
    ROLLING_OVER,
)

NOT_SUPPORTED = frozenset({404, 405, 501})
"""HTTP status of a CA that does not have what it is asked for, though it may name it."""


class KeyKept(Exception):
    """The CA does not change the account's key, which goes on as it is. The message says why."""


def roll_over_key(mounted: MountedIssuer, request: str) -> None:
    """Give the account the next key, unless that was done for this request, or the CA cannot do it.

    One that was begun is ended, even if nobody asks for it any more.
    Raises KeyKept, Later, OtherPod when the key was stored and the next pod has it mounted, AcmeError, KubeError.
    """
    attempt, state = mounted.attempt, mounted.state
    if not rollover_is_due(state, request):
        return
    number = state.number + 1
    resumed = state.data.get(ROLLING_OVER) == str(number)
    new = _next_key(mounted, number)
    if not (resumed and account_of(mounted, new) == state.account_url):
        _tell(mounted, number, new, request)
    change = {ACCOUNT_NUMBER: str(number), ROLLING_OVER: "", ROLLED_OVER_FOR: request}
    state = change_in_use(mounted, number - 1, change)
    hold_key(attempt, new, number)
    attempt.step("account-rolled-over", issuer=mounted.name, number=number, account=state.account_url)


def _next_key(mounted: MountedIssuer, number: int) -> bytes:
    """The key with this number: mounted, or made and stored now."""
    attempt = mounted.attempt
    held, named = attempt.mounted(NEXT, v.ACCOUNT_KEY), attempt.mounted(NEXT, v.ACCOUNT_NUMBER)
    if held is not None and named == str(number).encode():
        return held
    key = stored_key(mounted, number)
    if key is None:
        raise OtherPod("the next account key was made meanwhile: the next pod has it")
    return key


def _tell(mounted: MountedIssuer, number: int, new: bytes, request: str) -> None:
    """The CA, once it is written down that it is being told.

    What a refusal means is seen from whose the new key is: two Jobs may tell at once, and CAs that cannot change keys
    say so in many ways. Raises KeyKept, Later, AcmeError.
    """
    with account.connected(mounted) as client:
        ours = change_in_use(mounted, number - 1, {ROLLING_OVER: str(number)}).account_url
        try:
            client.change_key(new)
            return
        except AcmeError as error:
            refusal = error
        status, offered = refusal.problem.status, client.directory.key_change is not None
        unable = (status in NOT_SUPPORTED or not offered) and _works(client)
    holder = account_of(mounted, new)
    if holder == ours:
        return  # the answer was lost, or another Job has told the CA meanwhile
    if refusal.problem.type == UNUSABLE and not (unable or 400 <= status < 500):
        raise refusal  # it may still be at it
    # The key in use stays: others need not wait for another.
    done = {ROLLED_OVER_FOR: request} if unable and request else {}
    change_in_use(mounted, number - 1, {ROLLING_OVER: "", **done})
    if holder is not None:
        raise _has_another(mounted, number, holder, ours)
    what = "this CA cannot change account keys" if unable else "the CA does not change the account's key"
    raise KeyKept(f"{what} ({refusal.problem}): account key {number - 1} stays in use")


def _works(client: AcmeClient) -> bool:
    """Whether the account is good with the key that it had."""
    try:
        return client.account().status == "valid"
    except AcmeError:
        return False


def _has_another(mounted: MountedIssuer, number: int, holder: str, ours: str) -> Later:
    """Which account is wanted only a person knows; the key may be the only one that its account has."""
    name, server = mounted.name, mounted.issuer.server
    detail = (
        f"the key in Secret {names.account(name, server, number)} belongs to another account, {holder}: keep it. The "
        f"issuer goes on with {ours}; for the other one, set accountNumber to {number} and accountUrl to nothing "
        f"in ConfigMap {names.issuer_state(name, server)}"
    )
    return mounted.broken(detail, step="keyChange")
