"""A new key for an issuer's account, which stays (RFC 8555, section 7.3.5). A step of the issuer's own Job.

The order of the writes makes it resumable: the new key is stored before the CA is told, and that it is being told is
in the issuer's state, so that other Jobs do not take the account for dead. Whether the CA knows already, it is asked
with the new key.
"""

from __future__ import annotations

from datetime import timedelta

from issuer_job import account, account_keys, account_state, names, objects
from issuer_job import vocabulary as v
from issuer_job.account_state import ACCOUNT_NUMBER, ROLLED_OVER_FOR, ROLLING_OVER, IssuerState
from issuer_job.acme_client import AcmeError, AcmeUnavailable, new_account_key
from issuer_job.attempt import Attempt, Later, OtherPod, Resolved
from issuer_job.kube import SECRETS, AlreadyExists
from issuer_job.record import Problem

NEXT = "next"
"""The Secret volume in which an issuer's own Job has the key after the one in use, if there is one."""


def roll_over(attempt: Attempt, resolved: Resolved, request: str) -> bool:
    """Give the account the next key, unless that was done for this request; whether it was done now.

    One that was begun is ended, even if nobody asks for it any more.
    Raises Later, OtherPod when the key was stored and the next pod has it mounted, AcmeError.
    """
    state = _load(attempt, resolved)
    if not is_due(state, request):
        return False
    number = state.number + 1
    resumed = state.data.get(ROLLING_OVER) == str(number)
    new = _next_key(attempt, resolved, number)
    if not (resumed and _is_told(attempt, resolved, state, new)):
        _tell(attempt, resolved, number, new)
    state = _load(attempt, resolved)
    change = {ACCOUNT_NUMBER: str(number), ROLLING_OVER: "", ROLLED_OVER_FOR: request}
    if state.number != number - 1 or not account_state.write(attempt.cluster, state, change):
        raise Later(account_keys.superseded(resolved), wait=timedelta(0))
    account_keys.hold(attempt, new, number)
    attempt.step("account-rolled-over", issuer=resolved.name, number=number, account=state.account_url)
    return True


def is_due(state: IssuerState, request: str) -> bool:
    """Whether a rollover was begun, or is asked for by a value of the annotation that none was made for. Pure."""
    return bool(state.data.get(ROLLING_OVER)) or request not in ("", state.data.get(ROLLED_OVER_FOR))


def _next_key(attempt: Attempt, resolved: Resolved, number: int) -> bytes:
    """The key with this number: mounted, or made and stored now."""
    held, named = attempt.mounted(NEXT, v.ACCOUNT_KEY), attempt.mounted(NEXT, v.ACCOUNT_NUMBER)
    if held is not None and named == str(number).encode():
        return held
    key = new_account_key(resolved.issuer.account_key_algorithm.value)
    secret = objects.account_secret(resolved.name, resolved.issuer.server, number, key)
    try:
        attempt.cluster.create(SECRETS, v.NAMESPACE, secret)
    except AlreadyExists:
        raise OtherPod("the next account key was made meanwhile: the next pod has it") from None
    attempt.step("account-key", secret=secret["metadata"]["name"])
    return key


def _tell(attempt: Attempt, resolved: Resolved, number: int, new: bytes) -> None:
    """The CA, once it is written down that it is being told."""
    with account.connected(attempt, resolved) as client:
        state = _load(attempt, resolved)
        if state.number != number - 1:
            raise Later(account_keys.superseded(resolved), wait=timedelta(0))
        if state.data.get(ROLLING_OVER) != str(number) and not account_state.write(
            attempt.cluster, state, {ROLLING_OVER: str(number)}
        ):
            raise Later(account_keys.superseded(resolved), wait=timedelta(0))
        try:
            client.change_key(new)
        except AcmeUnavailable:
            if not _is_told(attempt, resolved, state, new):
                raise
        except AcmeError as refusal:
            _not_told(attempt, resolved)
            if refusal.problem.status != 409:
                raise
            secret = names.account(resolved.name, resolved.issuer.server, number)
            detail = f"the key in Secret {secret} belongs to another account: delete it ({refusal.problem.detail})"
            raise Later(Problem(type="brokenIssuer", detail=detail, step="keyChange")) from None


def _is_told(attempt: Attempt, resolved: Resolved, state: IssuerState, new: bytes) -> bool:
    """Whether the account has the new key already."""
    with account.connect(attempt, resolved, new, "") as client:
        found = client.find_account()
    return found is not None and found.url == state.account_url


def _not_told(attempt: Attempt, resolved: Resolved) -> None:
    """The CA refused: the key in use stays, and other Jobs need not wait for another."""
    account_state.write(attempt.cluster, _load(attempt, resolved), {ROLLING_OVER: ""})


def _load(attempt: Attempt, resolved: Resolved) -> IssuerState:
    return account_state.load(attempt.cluster, resolved.name, resolved.issuer.server)
