"""The contract of a DNS provider: what has to be known of it, and what can be done with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from issuer_job.issuers.schema import Dns01


class OpenZone(Protocol):
    """A provider, logged in to one zone. It adds and removes TXT records by value: siblings of the name MUST stay.

    Both MUST be repeatable: the answer to an earlier call may be lost. A call SHOULD end within a minute.
    """

    def add(self, name: str, value: str) -> None:
        """Raises ProviderError."""

    def remove(self, name: str, value: str) -> None:
        """Raises ProviderError."""


class Scope(StrEnum):
    """What a provider's code reads, changes and writes back as a whole: two that do so at once would lose values."""

    VALUE = "value"
    """Nothing: it adds and removes single values."""
    NAME = "name"
    ZONE = "zone"


@dataclass(frozen=True)
class DnsProvider:
    """One provider. `open` logs in with a solver's configuration, the zone and the secrets, or raises ProviderError.

    Of its `options` the `secrets` are keys of the issuer's credentials. Without `required` ones it needs any of the
    secrets, unless it is `ambient`: then the pod may bring what it needs. `keeps` says how many values of a name it
    has, if the oldest go by themselves and none is removed; 0 if all stay. `by_name`: it has credentials for single
    names, so that an alias leads to no other. `lacks` says what the image has not.
    """

    name: str
    options: tuple[str, ...]
    secrets: frozenset[str]
    open: Callable[[Dns01, str, Mapping[str, str]], OpenZone]
    required: tuple[str, ...] = ()
    ambient: bool = False
    scope: Scope = Scope.NAME
    keeps: int = 0
    by_name: bool = False
    lacks: Callable[[], str] = lambda: ""
