"""The issuer's ACME account: its key, and what is known of it in the issuer's state."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

from issuer_job import names, objects, transitions
from issuer_job import vocabulary as v
from issuer_job.acme_client import AcmeClient, AcmeError, EabKey, ExternalAccountRefused, new_account_key
from issuer_job.attempt import Attempt, Later, OtherPod, Resolved
from issuer_job.backoff import LONGEST_ASKED
from issuer_job.issuers import IssuerError
from issuer_job.kube import CONFIGMAPS, SECRETS, AlreadyExists, Conflict, Json
from issuer_job.record import Problem

USER_AGENT = "certjob"
EAB_HMAC_KEY = "eab-hmac-key"
ROUNDS = 3
"""Connections, when other Jobs change the issuer's state at the same time."""
ONCE_IN = timedelta(days=1)
"""A deactivated account is replaced once in this time."""
_DEAD = frozenset({"accountDoesNotExist", "unauthorized"})
_REPLACED_AT = "accountReplacedAt"
_MADE_NUMBER = "account-number"
"""Beside the key that this pod made: its number."""


@contextmanager
def connected(attempt: Attempt, resolved: Resolved) -> Iterator[AcmeClient]:
    """A connection to the CA with a live account. Raises Later, OtherPod, AcmeError.

    An account that the CA has deactivated is replaced: a new key, and a new account for it.
    """
    for _ in range(ROUNDS):
        state = attempt.cluster.find(CONFIGMAPS, v.NAMESPACE, _state_name(resolved))
        _not_blocked(state, attempt.clock())
        with _client(attempt, resolved, state) as client:
            try:
                _ensure_account(attempt, resolved, client, state)
            except AcmeError as refusal:
                if not _is_deactivated(client, refusal):
                    raise
                _replace_account(attempt, resolved, state, refusal)
                continue
            yield client
            return
    raise Later(_superseded_key(resolved), wait=timedelta(0))


def _client(attempt: Attempt, resolved: Resolved, state: Json | None) -> AcmeClient:
    issuer = resolved.issuer
    key = account_key(attempt, resolved, number=_number(state))
    try:
        return AcmeClient.connect(
            issuer.server,
            ca_bundle_pem=issuer.ca_bundle.encode() or None,
            account_key_pem=key,
            account_url=(_data(state).get("accountUrl") or None),
            user_agent=USER_AGENT,
            deadline=attempt.deadline,
            now=attempt.clock,
            sleep=attempt.sleep,
        )
    except ValueError as problem:
        raise Later(Problem(type="brokenIssuer", detail=str(problem), step="account")) from None


def _ensure_account(attempt: Attempt, resolved: Resolved, client: AcmeClient, state: Json | None) -> None:
    known = client.account_url
    try:
        account = client.ensure_account(
            contact=resolved.issuer.contacts, terms_agreed=True, eab=_eab(attempt, resolved)
        )
    except ValueError as problem:
        raise Later(Problem(type="brokenIssuer", detail=str(problem), step="account")) from None
    if account.url != known:
        remember(attempt, resolved, state, {"accountUrl": account.url})
        attempt.step("account", account=account.url, issuer=resolved.name)


def account_key(attempt: Attempt, resolved: Resolved, *, number: int) -> bytes:
    """The account key with this number: mounted, or made now if none is mounted.

    Raises Later if another one is mounted, and OtherPod when another Job made it just now.
    """
    held = attempt.mounted("account", v.ACCOUNT_KEY)
    if held is None:
        return _make_key(attempt, resolved, number)
    if _number_held(attempt) != number:
        raise Later(_superseded_key(resolved), wait=timedelta(0))
    return held


def _make_key(attempt: Attempt, resolved: Resolved, number: int) -> bytes:
    """Store a new account key. Used by this pod at once; the next ones find it mounted. Raises Later, OtherPod."""
    key = new_account_key(resolved.issuer.account_key_algorithm.value)
    secret = objects.account_secret(resolved.name, resolved.issuer.server, number, key)
    try:
        attempt.cluster.create(SECRETS, v.NAMESPACE, secret)
    except AlreadyExists:
        if number > 1:  # which number this Job's pods have mounted was settled at launch
            raise Later(_superseded_key(resolved), wait=timedelta(0)) from None
        raise OtherPod("the account key was made meanwhile: the next pod has it") from None
    attempt.made["account"] = key
    attempt.made[_MADE_NUMBER] = str(number).encode()
    attempt.step("account-key", secret=secret["metadata"]["name"])
    return key


def _number_held(attempt: Attempt) -> int:
    """The number of the key that this pod has. One that was stored without a number is the first."""
    text = attempt.made.get(_MADE_NUMBER) or (
        b"" if "account" in attempt.made else attempt.mounted("account", v.ACCOUNT_NUMBER) or b""
    )
    return int(text) if text.isdigit() else 1


def _superseded_key(resolved: Resolved) -> Problem:
    detail = f"issuer {resolved.name} has a new account key: the next Job has it"
    return Problem(type="accountReplaced", detail=detail, step="account")


# Accounts that the CA no longer takes


def is_dead(error: AcmeError) -> bool:
    """Whether the CA may no longer know the account that the issuer's state names."""
    return error.problem.type in _DEAD and error.step != "newAccount"


def forget(attempt: Attempt, resolved: Resolved) -> bool:
    """Drop the URL of the account that turned out dead, so that the next connection asks newAccount for it.

    newAccount finds or makes the account of a CA that has merely forgotten it, and refuses a deactivated one.
    Of several Jobs that find out at once one drops it. False if there was none to drop.
    """
    used = transitions.attempt_of(attempt.record).account
    state = attempt.cluster.find(CONFIGMAPS, v.NAMESPACE, _state_name(resolved))
    if _data(state).get("accountUrl", "") != used:
        return True  # another Job was faster
    if used:
        remember(attempt, resolved, state, {"accountUrl": ""})
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


def _replace_account(attempt: Attempt, resolved: Resolved, state: Json | None, refusal: AcmeError) -> None:
    """Take the next number, at most once a day, and make its key. Of several Jobs one succeeds. Raises Later."""
    _not_replaced_lately(attempt, resolved, state, refusal)
    number = _number(state) + 1
    change = {"accountNumber": str(number), "accountUrl": "", _REPLACED_AT: attempt.clock().isoformat()}
    if remember(attempt, resolved, state, change):
        attempt.step("account-replaced", issuer=resolved.name, number=number, problem=str(refusal.problem))
        _make_key(attempt, resolved, number)


def _not_replaced_lately(attempt: Attempt, resolved: Resolved, state: Json | None, refusal: AcmeError) -> None:
    """A CA that deactivates account after account has a reason, which more accounts only make worse. Raises Later."""
    replaced, now = _moment(state, _REPLACED_AT), attempt.clock()
    if replaced is None or abs(now - replaced) >= ONCE_IN:  # a future one comes from a clock that was wrong
        return
    wait = max(replaced, now) + ONCE_IN - now
    detail = (
        f"the CA has deactivated account {_number(state)} of issuer {resolved.name}, too ({refusal.problem.detail}); "
        f"the one before was replaced at {replaced:%Y-%m-%d %H:%M} UTC. Ask the CA why. To make a new account before "
        f"{now + wait:%Y-%m-%d %H:%M} UTC, remove {_REPLACED_AT} and blockedUntil from ConfigMap "
        f"{_state_name(resolved)}"
    )
    block(attempt, resolved, wait=wait, reason=detail)
    raise Later(Problem(type="accountDeactivated", detail=detail, step="account"), wait=wait)


# The issuer's state


def block(attempt: Attempt, resolved: Resolved, *, wait: timedelta, reason: str) -> None:
    """Hold back all Jobs of the issuer for a while."""
    state = attempt.cluster.find(CONFIGMAPS, v.NAMESPACE, _state_name(resolved))
    until = attempt.clock() + wait
    remember(attempt, resolved, state, {"blockedUntil": until.isoformat(), "blockedReason": reason[:800]})


def remember(attempt: Attempt, resolved: Resolved, state: Json | None, change: dict[str, str]) -> bool:
    """Write the issuer's state by compare-and-swap; who loses the race leaves the winner's word: False."""
    body = objects.issuer_state(resolved.name, resolved.issuer.server, _data(state) | change)
    try:
        if state is None:
            attempt.cluster.create(CONFIGMAPS, v.NAMESPACE, body)
        else:
            body["metadata"] |= {key: state["metadata"][key] for key in ("uid", "resourceVersion")}
            attempt.cluster.update(CONFIGMAPS, v.NAMESPACE, body)
    except (AlreadyExists, Conflict):
        return False
    return True


def _state_name(resolved: Resolved) -> str:
    return names.issuer_state(resolved.name, resolved.issuer.server)


def _not_blocked(state: Json | None, now: datetime) -> None:
    until = _moment(state, "blockedUntil")
    if until is None:
        return
    wait = until - now
    if timedelta(0) < wait <= LONGEST_ASKED:  # longer ones come from a clock that was wrong
        reason = _data(state).get("blockedReason", "")
        detail = f"the issuer is held back until {until:%Y-%m-%d %H:%M:%S} UTC: {reason}"
        raise Later(Problem(type="issuerBlocked", detail=detail, step="account"), wait=wait)


def _eab(attempt: Attempt, resolved: Resolved) -> EabKey | None:
    binding = resolved.issuer.external_account
    if binding is None:
        return None
    hmac_key = attempt.mounted("credentials", EAB_HMAC_KEY)
    if hmac_key is None:
        detail = f"Secret {names.credentials(resolved.name)} has no key {EAB_HMAC_KEY}"
        raise Later(Problem(type="brokenIssuer", detail=detail, step="account"))
    try:
        return EabKey(binding.key_id, hmac_key.decode("ascii").strip())
    except UnicodeDecodeError:
        raise IssuerError(f"{EAB_HMAC_KEY} is not base64url text") from None


def _number(state: Json | None) -> int:
    text = _data(state).get("accountNumber", "")
    return int(text) if text.isdigit() else 1


def _moment(state: Json | None, key: str) -> datetime | None:
    """A stored time; one that people have edited beyond recognition is none."""
    try:
        moment = datetime.fromisoformat(_data(state).get(key, ""))
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else None


def _data(state: Json | None) -> dict[str, str]:
    return (state or {}).get("data") or {}
