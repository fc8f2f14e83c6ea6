"""The issuer's ACME account: its key, and what is known of it in the issuer's state."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

from issuer_job import names, objects, transitions
from issuer_job import vocabulary as v
from issuer_job.acme_client import AcmeClient, AcmeError, EabKey, new_account_key
from issuer_job.attempt import Attempt, Later, OtherPod, Resolved
from issuer_job.backoff import LONGEST_ASKED
from issuer_job.issuers import IssuerError
from issuer_job.kube import CONFIGMAPS, SECRETS, AlreadyExists, Conflict, Json
from issuer_job.record import Problem

USER_AGENT = "certjob"
EAB_HMAC_KEY = "eab-hmac-key"
_DEAD = frozenset({"accountDoesNotExist", "unauthorized"})


@contextmanager
def connected(attempt: Attempt, resolved: Resolved) -> Iterator[AcmeClient]:
    """A connection to the CA with a live account. Raises Later, OtherPod, AcmeError."""
    issuer = resolved.issuer
    state = attempt.cluster.find(CONFIGMAPS, v.NAMESPACE, names.issuer_state(resolved.name, issuer.server))
    _not_blocked(state, attempt.clock())
    key = account_key(attempt, resolved, number=_number(state))
    try:
        client = AcmeClient.connect(
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
    with client:
        known = client.account_url
        try:
            account = client.ensure_account(contact=issuer.contacts, terms_agreed=True, eab=_eab(attempt, resolved))
        except ValueError as problem:
            raise Later(Problem(type="brokenIssuer", detail=str(problem), step="account")) from None
        if account.url != known:
            remember(attempt, resolved, state, {"accountUrl": account.url})
            attempt.step("account", account=account.url, issuer=resolved.name)
        yield client


def account_key(attempt: Attempt, resolved: Resolved, *, number: int) -> bytes:
    """The mounted account key; without one, make it. Raises OtherPod when another Job made it just now."""
    mounted = attempt.mounted("account", v.ACCOUNT_KEY)
    if mounted is not None:
        return mounted
    key = new_account_key(resolved.issuer.account_key_algorithm.value)
    secret = objects.account_secret(resolved.name, resolved.issuer.server, number, key)
    try:
        attempt.cluster.create(SECRETS, v.NAMESPACE, secret)
    except AlreadyExists:
        raise OtherPod("the account key was made meanwhile: the next pod has it") from None
    attempt.made["account"] = key
    attempt.step("account-key", secret=secret["metadata"]["name"])
    return key


def is_dead(error: AcmeError) -> bool:
    """Whether the CA no longer knows the account that the issuer's state names."""
    return error.problem.type in _DEAD


def forget(attempt: Attempt, resolved: Resolved) -> bool:
    """Drop the URL of the account that turned out dead, so that the next connection asks newAccount for it.

    Of several Jobs that find out at once one drops it. False if there was none to drop.
    """
    used = transitions.attempt_of(attempt.record).account
    state = attempt.cluster.find(CONFIGMAPS, v.NAMESPACE, names.issuer_state(resolved.name, resolved.issuer.server))
    if _data(state).get("accountUrl", "") != used:
        return True  # another Job was faster
    if used:
        remember(attempt, resolved, state, {"accountUrl": ""})
    return bool(used)


def block(attempt: Attempt, resolved: Resolved, *, wait: timedelta, reason: str) -> None:
    """Hold back all Jobs of the issuer for a while."""
    state = attempt.cluster.find(CONFIGMAPS, v.NAMESPACE, names.issuer_state(resolved.name, resolved.issuer.server))
    until = attempt.clock() + wait
    remember(attempt, resolved, state, {"blockedUntil": until.isoformat(), "blockedReason": reason[:500]})


def remember(attempt: Attempt, resolved: Resolved, state: Json | None, change: dict[str, str]) -> None:
    """Write the issuer's state by compare-and-swap; who loses the race leaves the winner's word."""
    body = objects.issuer_state(resolved.name, resolved.issuer.server, _data(state) | change)
    try:
        if state is None:
            attempt.cluster.create(CONFIGMAPS, v.NAMESPACE, body)
        else:
            body["metadata"] |= {key: state["metadata"][key] for key in ("uid", "resourceVersion")}
            attempt.cluster.update(CONFIGMAPS, v.NAMESPACE, body)
    except (AlreadyExists, Conflict):
        return


def _not_blocked(state: Json | None, now: datetime) -> None:
    data = _data(state)
    until = data.get("blockedUntil")
    if not until:
        return
    wait = datetime.fromisoformat(until) - now
    if timedelta(0) < wait <= LONGEST_ASKED:  # longer ones come from a clock that was wrong
        detail = f"the issuer is held back until {until}: {data.get('blockedReason', '')}"
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


def _data(state: Json | None) -> dict[str, str]:
    return (state or {}).get("data") or {}
