"""Which key an issuer's account has: the mounted one, a new one, or that of an earlier installation.

Each is an immutable, numbered Secret; the number in use is in the issuer's state. A Job cannot read Secrets: what is
not mounted in its pod it has made itself, or the next pod has it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from issuer_job import names
from issuer_job import vocabulary as v
from issuer_job.acme_client import AccountKey, new_account_key, normal_account_key
from issuer_job.attempt.attempt import Attempt, Later, OtherPod
from issuer_job.attempt.findings import MountedIssuer
from issuer_job.cluster import bodies, changes
from issuer_job.cluster.api import SECRETS, Json
from issuer_job.issuers.state import ACCOUNT_NUMBER, ACCOUNT_URL, TAKEN_OVER, IssuerState, change_state
from issuer_job.record.record import Problem

NEXT = "next"
"""The Secret volume in which an issuer's own Job has the key after the one in use, if there is one."""
MADE_NUMBER = "account-number"
"""Beside the key that this pod made: its number."""


@dataclass(frozen=True)
class HeldKey:
    """The key to be used now. `takes_over`: the account that it has at the CA is to be found and kept."""

    pem: bytes = field(repr=False)
    takes_over: bool = False


def current_key(mounted: MountedIssuer, state: IssuerState) -> HeldKey | None:
    """The account key in use: mounted, or made now if none is. None if it was just decided that the next is in use.

    Raises Later if another one is mounted or the one to be taken over cannot be used, OtherPod when another Job made
    it just now.
    """
    attempt = mounted.attempt
    try:
        existing = existing_key(mounted, state)
    except ValueError as problem:
        raise mounted.broken(str(problem)) from None
    held = attempt.mounted("account", v.ACCOUNT_KEY)
    if held is None:
        return HeldKey(make_key(mounted, state.number, existing), existing is not None)
    if number_held(attempt) != state.number:
        raise superseded(mounted)
    if existing is None or thumbprint(held) == thumbprint(existing):
        return HeldKey(held, existing is not None)
    change = {ACCOUNT_NUMBER: str(state.number + 1), ACCOUNT_URL: ""}
    if mounted.write(state, change):
        attempt.step("account-key-taken-over", issuer=mounted.name, number=state.number + 1)
        make_key(mounted, state.number + 1, existing)
    return None


def make_key(mounted: MountedIssuer, number: int, existing: bytes | None = None) -> bytes:
    """Store an account key: a new one, or the existing one.

    Used by this pod at once; the next ones find it mounted. Raises Later, OtherPod.
    """
    key = stored_key(mounted, number, existing)
    if key is None:
        if number > 1:  # which number this Job's pods have mounted was settled at launch
            raise superseded(mounted)
        raise OtherPod("the account key was made meanwhile: the next pod has it")
    hold_key(mounted.attempt, key, number)
    return key


def stored_key(mounted: MountedIssuer, number: int, existing: bytes | None = None) -> bytes | None:
    """An account key, stored now: a new one, or the existing one. None if there is one with this number."""
    key = existing or new_account_key(mounted.issuer.account_key_algorithm.value)
    secret = account_secret(mounted.name, mounted.issuer.server, number, key)
    if changes.swap(mounted.attempt.cluster, SECRETS, v.NAMESPACE, None, secret) is None:
        return None
    mounted.attempt.step("account-key", secret=secret["metadata"]["name"])
    return key


def hold_key(attempt: Attempt, key: bytes, number: int) -> None:
    """From now on this pod uses the key."""
    attempt.made["account"] = key
    attempt.made[MADE_NUMBER] = str(number).encode()


def number_held(attempt: Attempt) -> int:
    """The number of the key that this pod has. One that was stored without a number is the first."""
    text = attempt.made.get(MADE_NUMBER) or (
        b"" if "account" in attempt.made else attempt.mounted("account", v.ACCOUNT_NUMBER) or b""
    )
    return names.number(text.decode(errors="replace"), default=1)


def change_in_use(mounted: MountedIssuer, number: int, change: Mapping[str, str]) -> IssuerState:
    """Change the issuer's state, whoever else does, while the key of that number is in use; what it was before.

    Raises Later once it is not.
    """

    def in_use(state: IssuerState) -> Mapping[str, str]:
        if state.number != number:
            raise superseded(mounted)
        return change

    return change_state(mounted.attempt.cluster, mounted.name, mounted.issuer.server, in_use)


def superseded(mounted: MountedIssuer) -> Later:
    """How a Job ends whose key is not the one in use any more: the next one can go on at once."""
    detail = f"issuer {mounted.name} has a new account key, or is being given one: the next Job has it"
    return Later(Problem(type="accountReplaced", detail=detail, step="account"), wait=timedelta(0))


def existing_key(mounted: MountedIssuer, state: IssuerState) -> bytes | None:
    """The key of an earlier installation, as PKCS#8, unless there is none or its turn is over.

    After it was taken over it may be removed, and a rollover may have made it worthless.
    Raises ValueError, with a message for people.
    """
    name, taken = mounted.issuer.existing_account_key, state.data.get(TAKEN_OVER)
    found = mounted.credential(name) if name else None
    if not name or (found is None and taken):
        return None
    if found is None:
        raise ValueError(f"there is no {existing_place(mounted)}")
    try:
        key = normal_account_key(found)
    except ValueError as problem:
        raise ValueError(f"{existing_place(mounted)}: {problem}") from None
    return None if thumbprint(key) == taken else key


def existing_place(mounted: MountedIssuer) -> str:
    """For messages: where the operator has put the key to be taken over."""
    key, secret = mounted.issuer.existing_account_key, names.credentials(mounted.name)
    return f"key {key} of Secret {secret} (existingAccountKey)"


def thumbprint(key_pem: bytes) -> str:
    """Of a key's public part (RFC 7638)."""
    return AccountKey(key_pem).thumbprint


def account_secret(issuer: str, server: str, number: int, key_pem: bytes) -> Json:
    """An issuer's account key: made once, never changed. Its number lies beside it: a mount shows no name."""
    metadata = bodies.own_metadata(names.account(issuer, server, number), {v.ACCOUNT: "true"})
    data = {v.ACCOUNT_KEY: key_pem, v.ACCOUNT_NUMBER: str(number).encode()}
    return bodies.secret(metadata, "Opaque", data) | {"immutable": True}
