"""What is known of an issuer at one directory: ConfigMap `issuer-state-ISSUER-<hash>`, written by compare-and-swap.

The account's Jobs, checks and the sweep each write keys of their own; nobody drops those of others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec

from certs.trust import IssuerTrust as IssuerTrust  # handed on: it is made of what is known here
from certs.trust import with_signers
from issuer_job import names
from issuer_job import vocabulary as v
from issuer_job.cluster import bodies, changes
from issuer_job.cluster.api import CONFIGMAPS, Cluster, Json
from issuer_job.cluster.changes import UNREAD
from issuer_job.issuers.schema import Issuer
from issuer_job.issuers.types import lifetime_of, type_of

ACCOUNT_NUMBER = "accountNumber"
ACCOUNT_URL = "accountUrl"
CONTACTS = "contacts"
"""A hash of the addresses that the account has."""
TAKEN_OVER = "takenOver"
"""Thumbprint (RFC 7638) of the key of an earlier installation that was taken over."""
SIGNERS = "signers"
"""The CA certificates (PEM) that have signed for the issuer."""
ROLLING_OVER = "rollingOver"
"""The number of the key that the CA is being told; the one in use may be dead already."""
ROLLED_OVER_FOR = "rolledOverFor"
"""The value of the annotation that the last rollover was made for."""

CREDENTIALS = "credentials"
"""Stands for the content of the issuer's credentials, see `attempt.findings`."""
CREDENTIALS_SINCE = "credentialsSince"
"""When a Job first saw that it had changed."""
RESETTING = "resetting"
"""The number of the key that another account is being made for."""
RESET_FOR = "resetFor"
"""The value of the annotation that the last other account was made for."""
RESET_AT = "resetAt"
"""When that was."""
INTERVAL = "sweepInterval"
"""Seconds from one sweep to the next, as the last one had it; the manifests' if there is none."""
SHORT_LIVES = "shortLives"
"""What certificates live that are too short for the sweeps, in seconds: see `with_life`."""
MOST_LIVES = 20

CHECKED_VERSION = "checkedVersion"
CHECKED_AT = "checkedAt"
CHECK_RESULT = "checkResult"
CHECK_FINDINGS = "checkFindings"
READY, NOT_READY = "ready", "notReady"
"""What the last test of the issuer found, by its own Job."""
CHECKED_EPOCH = "checkedEpoch"
"""Of the Job that wrote the rest."""
CHECKED_FOR = "checkedFor"
"""The value of the annotation that asks for a check."""
LAUNCHED_FOR = "checkLaunchedFor"
"""Stands for what the last Job was launched to test; empty if it has to be launched again."""
STOPPED, STOPPED_EPOCH = "checkStopped", "checkStoppedEpoch"
"""Why a Job could not test it just now, and the epoch of that Job."""
CLEANING_EPOCH, CLEANED_EPOCH = "cleanLaunchedEpoch", "cleanedEpoch"
"""Of the last Job that was launched only to remove TXT records, and of the last one of those that removed any."""
BLOCKED_UNTIL = "blockedUntil"
BLOCKED_REASON = "blockedReason"
"""The CA refuses the account for a while."""

ORDERS = "orders"
"""The book of the account's orders: see `hosts.order_book`."""


class Finding(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing that is wrong, and the path of the field. A `warning` keeps no issuer from working."""

    reason: str
    message: str
    path: str = "$"
    warning: bool = False


def read_findings(data: Mapping[str, str]) -> list[Finding]:
    """The findings in an issuer's state; none if there are none that can be read."""
    try:
        return msgspec.json.decode(data.get(CHECK_FINDINGS, "[]"), type=list[Finding])
    except (msgspec.DecodeError, RecursionError):
        return []


@dataclass(frozen=True)
class IssuerState:
    """As it was read: `held` is its ConfigMap, None if there was none."""

    issuer: str
    directory: str
    held: Json | None = None

    @property
    def data(self) -> dict[str, str]:
        """What is stored."""
        return (self.held or {}).get("data") or {}

    @property
    def known(self) -> dict[str, str]:
        """All but its orders."""
        return {key: text for key, text in self.data.items() if key != ORDERS}

    @property
    def number(self) -> int:
        """Which of the issuer's account keys is in use."""
        return names.number(self.data.get(ACCOUNT_NUMBER, ""), default=1)

    @property
    def account_url(self) -> str:
        """Of the account, empty if the CA has to be asked."""
        return self.data.get(ACCOUNT_URL, "")

    @property
    def signers(self) -> bytes:
        """The CA certificates (PEM) that have signed for it, see `certs.trust`."""
        return self.data.get(SIGNERS, "").encode()

    @property
    def interval(self) -> timedelta:
        """From one sweep to the next."""
        return timedelta(seconds=names.number(self.data.get(INTERVAL, ""), default=300) or 300)

    @property
    def short_lives(self) -> dict[str, int]:
        """Seconds that certificates were seen to live, by what was asked for; only what is too short."""
        try:
            return msgspec.json.decode(self.data.get(SHORT_LIVES, "{}"), type=dict[str, int])
        except (msgspec.DecodeError, RecursionError):
            return {}

    def life_of(self, issuer: Issuer, profile: str) -> timedelta | None:
        """What certificates of this profile will live, as far as that is known before they are there."""
        if not type_of(issuer).has_account:
            return lifetime_of(issuer)
        seen = self.short_lives.get(_wish(issuer, profile))
        return issuer.wanted_lifetime if seen is None else timedelta(seconds=seen)

    def with_life(self, issuer: Issuer, profile: str, life: timedelta | None) -> Mapping[str, str]:
        """What is to be written of a certificate that has come, and lives too short: so long; or None, if it does
        not. Nothing if that is known already.
        """
        lives, wish = self.short_lives, _wish(issuer, profile)
        kept = {key: seconds for key, seconds in lives.items() if key != wish}
        if life is not None:
            kept[wish] = 60 * round(life.total_seconds() / 60)  # it comes some seconds old
        kept = dict(list(kept.items())[-MOST_LIVES:])
        return {} if kept == lives else {SHORT_LIVES: msgspec.json.encode(kept).decode()}

    def moment(self, key: str) -> datetime | None:
        """A stored time; one that people have edited beyond recognition is none."""
        try:
            moment = datetime.fromisoformat(self.data.get(key, ""))
        except ValueError:
            return None
        return moment if moment.tzinfo is not None else None


def _wish(issuer: Issuer, profile: str) -> str:
    """Stands for what decides how long certificates live, as far as certjob has a say in it."""
    return f"{profile} {issuer.lifetime}".strip()


def load_state(cluster: Cluster, issuer: str, directory: str) -> IssuerState:
    """The state as it is stored now; empty if there is none. Raises KubeError."""
    return IssuerState(
        issuer, directory, cluster.find(CONFIGMAPS, v.NAMESPACE, names.issuer_state(issuer, directory))
    )


def write_state(cluster: Cluster, state: IssuerState, change: Mapping[str, str]) -> bool:
    """Write the state with a change, if nobody changed it meanwhile; who loses leaves the winner's word: False.

    An order that was entered is no change of what is known of the issuer. Raises KubeError.
    """
    lost = False

    def changed(held: Json | None) -> Json | None:
        nonlocal lost
        now = IssuerState(state.issuer, state.directory, held)
        lost = (held is None) is not (state.held is None) or now.known != state.known
        return held if lost else state_body(state.issuer, state.directory, {**now.data, **change})

    name, what = names.issuer_state(state.issuer, state.directory), f"the state of issuer {state.issuer}"
    changes.change(cluster, CONFIGMAPS, v.NAMESPACE, name, changed, held=state.held, what=what)
    return not lost


def state_body(issuer: str, server: str, data: dict[str, str]) -> Json:
    """What is known of an issuer's account at one directory."""
    metadata = bodies.own_metadata(names.issuer_state(issuer, server), {v.ISSUER_STATE: "true"})
    return bodies.config_map(metadata, data)


def note_in_state(cluster: Cluster, issuer: str, directory: str, change: Mapping[str, str]) -> None:
    """Write keys that nobody else writes, whatever else changes meanwhile. Raises KubeError."""
    change_state(cluster, issuer, directory, lambda state: change)


def note_signers(
    cluster: Cluster, issuer: str, directory: str, chain_pem: bytes, *, known: bytes, now: datetime
) -> bytes:
    """Write down who has signed the chain, unless all of them are `known`; who is known then. Raises KubeError,
    CertError.
    """
    noted = with_signers(known, chain_pem, now=now)
    if noted is None:
        return known

    def change(state: IssuerState) -> Mapping[str, str]:
        signers = with_signers(state.signers, chain_pem, now=now)
        return {} if signers is None else {SIGNERS: signers.decode()}

    change_state(cluster, issuer, directory, change)
    return noted


def change_state(
    cluster: Cluster,
    issuer: str,
    directory: str,
    change: Callable[[IssuerState], Mapping[str, str]],
    *,
    held: IssuerState | None = None,
) -> IssuerState:
    """Write what `change` says of the state as it is stored, which is returned; nothing if it says nothing.

    `held` is the state as it was read before, which saves a request. Raises KubeError.
    """

    def changed(stored: Json | None) -> Json | None:
        state = IssuerState(issuer, directory, stored)
        edit = change(state)
        return state_body(issuer, directory, {**state.data, **edit}) if edit else stored

    name, what = names.issuer_state(issuer, directory), f"the state of issuer {issuer}"
    first = UNREAD if held is None else held.held
    done = changes.change(cluster, CONFIGMAPS, v.NAMESPACE, name, changed, held=first, what=what)
    return IssuerState(issuer, directory, done.before)
