"""What is known of an issuer at one directory: ConfigMap `issuer-state-ISSUER-<hash>`, written by compare-and-swap.

The account's Jobs, checks and the sweep each write keys of their own; nobody drops those of others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from issuer_job import names
from issuer_job import vocabulary as v
from issuer_job.cluster import bodies, changes
from issuer_job.cluster.api import CONFIGMAPS, Cluster, Json

ACCOUNT_NUMBER = "accountNumber"
ACCOUNT_URL = "accountUrl"
CONTACTS = "contacts"
"""A hash of the addresses that the account has."""
TAKEN_OVER = "takenOver"
"""Thumbprint (RFC 7638) of the key of an earlier installation that was taken over."""
ROLLING_OVER = "rollingOver"
"""The number of the key that the CA is being told; the one in use may be dead already."""
ROLLED_OVER_FOR = "rolledOverFor"
"""The value of the annotation that the last rollover was made for."""


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
    def number(self) -> int:
        """Which of the issuer's account keys is in use."""
        return names.number(self.data.get(ACCOUNT_NUMBER, ""), default=1)

    @property
    def account_url(self) -> str:
        """Of the account, empty if the CA has to be asked."""
        return self.data.get(ACCOUNT_URL, "")

    def moment(self, key: str) -> datetime | None:
        """A stored time; one that people have edited beyond recognition is none."""
        try:
            moment = datetime.fromisoformat(self.data.get(key, ""))
        except ValueError:
            return None
        return moment if moment.tzinfo is not None else None


def load_state(cluster: Cluster, issuer: str, directory: str) -> IssuerState:
    """The state as it is stored now; empty if there is none. Raises KubeError."""
    return IssuerState(
        issuer, directory, cluster.find(CONFIGMAPS, v.NAMESPACE, names.issuer_state(issuer, directory))
    )


def write_state(cluster: Cluster, state: IssuerState, change: Mapping[str, str]) -> bool:
    """Write the state with a change, if nobody changed it meanwhile; who loses leaves the winner's word: False."""
    body = state_body(state.issuer, state.directory, {**state.data, **change})
    return changes.swap(cluster, CONFIGMAPS, v.NAMESPACE, state.held, body) is not None


def state_body(issuer: str, server: str, data: dict[str, str]) -> Json:
    """What is known of an issuer's account at one directory."""
    metadata = bodies.own_metadata(names.issuer_state(issuer, server), {v.ISSUER_STATE: "true"})
    return bodies.config_map(metadata, data)


def note_in_state(cluster: Cluster, issuer: str, directory: str, change: Mapping[str, str]) -> None:
    """Write keys that nobody else writes, whatever else changes meanwhile. Raises KubeError."""
    change_state(cluster, issuer, directory, lambda state: change)


def change_state(
    cluster: Cluster, issuer: str, directory: str, change: Callable[[IssuerState], Mapping[str, str]]
) -> IssuerState:
    """Write what `change` says of the state as it is stored, which is returned. Raises KubeError."""

    def changed(held: Json | None) -> Json:
        state = IssuerState(issuer, directory, held)
        return state_body(issuer, directory, {**state.data, **change(state)})

    name, what = names.issuer_state(issuer, directory), f"the state of issuer {issuer}"
    return IssuerState(
        issuer, directory, changes.change(cluster, CONFIGMAPS, v.NAMESPACE, name, changed, what=what).before
    )
