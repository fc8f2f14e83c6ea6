"""Who may have a host: the operator's list, claims and live objects, and which of those goes first. Pure.

A wildcard and the names directly below it overlap: a certificate for the one is good for the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum

from issuer_job import vocabulary as v
from issuer_job.cluster.api import Json
from issuer_job.demand.askers import Asker
from issuer_job.demand.common import is_being_deleted
from issuer_job.issuers import host_rules
from issuer_job.issuers.options import HostPolicy, Options


class Denial(StrEnum):
    """Why a namespace may not have a host: types of problems."""

    CLAIMED = "hostClaimed"
    NOT_ALLOWED = "hostNotAllowed"


@dataclass(frozen=True)
class Denied:
    """The first host that the namespace may not have."""

    host: str
    reason: Denial


def not_allowed(options: Options, hosts: Iterable[str], namespace: str) -> Denied | None:
    """What the operator's list does not give the namespace, None if the policy is another one. Pure."""
    if options.host_policy is not HostPolicy.ALLOW_LIST:
        return None
    refused = (host for host in hosts if not host_rules.allow(options.allowed_hosts, namespace, host))
    return next((Denied(host, Denial.NOT_ALLOWED) for host in refused), None)


def wildcard_of(host: str) -> str | None:
    """The wildcard that covers the host, `*.example.com` of `www.example.com`; None if there can be none."""
    label, _, parent = host.partition(".")
    return f"*.{parent}" if label != "*" and "." in parent else None


def overlap(one: str, other: str) -> bool:
    """Whether a certificate for one of the hosts is good for the other."""
    return one == other or wildcard_of(one) == other or wildcard_of(other) == one


@dataclass(frozen=True)
class Claim:
    """A namespace's word that a host is its own.

    `checked` is when a Job found that nobody else was there first, or when an operator gave the host away; from
    then on the claim holds until it is given up. None: it may still have to yield.
    """

    host: str
    namespace: str
    created: datetime
    checked: datetime | None = None
    name: str = ""
    uid: str = ""
    resource_version: str = ""

    @classmethod
    def from_config_map(cls, config_map: Json) -> Claim:
        """Read a claim; what an operator wrote by hand is read as far as it goes."""
        metadata, data = config_map["metadata"], config_map.get("data") or {}
        created = datetime.fromisoformat(metadata["creationTimestamp"])
        word = (metadata.get("annotations") or {}).get(v.CHECKED)
        return cls(
            host=str(data.get("host", "")),
            namespace=str(data.get("namespace", "")),
            created=created,
            checked=None if word is None else _moment(word, created),
            name=metadata["name"],
            uid=metadata["uid"],
            resource_version=metadata["resourceVersion"],
        )

    @property
    def since(self) -> datetime:
        """When it was last made or confirmed."""
        return max(self.created, self.checked or self.created)


@dataclass
class _Naming:
    """By one namespace: when the oldest of its objects was made, and since when one provably names the host."""

    oldest: datetime
    shown: datetime | None


@dataclass
class Namers:
    """Which namespaces name which hosts in live objects that may ask, opted in or not, and since when.

    `only` bounds what is kept to what overlaps these hosts; None keeps all.

    What one names may have been changed at any time, except while its generation is 1 (Kubernetes counts
    the changes of spec there, and nobody else can). So its age speaks against others who come later, but for itself
    only as long as it was not changed: otherwise whoever has an old one could write anybody's host into it.
    """

    only: frozenset[str] | None = None
    _by_host: dict[str, dict[str, _Naming]] = field(default_factory=dict)
    _below: dict[str, set[str]] = field(default_factory=dict)
    """By wildcard: the names directly below it that are named anywhere."""

    def __contains__(self, key: tuple[str, str]) -> bool:
        """Whether the namespace names exactly that host."""
        namespace, host = key
        return namespace in self._by_host.get(host, {})

    def add(self, asker: Asker) -> None:
        """What is being deleted wants nothing; what is in certjob's own namespace are its challenge routes."""
        metadata, namespace = asker.object["metadata"], asker.namespace
        if is_being_deleted(asker.object) or namespace == v.NAMESPACE:
            return
        created = _moment(metadata.get("creationTimestamp", ""), datetime.max.replace(tzinfo=UTC))
        shown = created if metadata.get("generation") == 1 else None
        for host in filter(self._counts, asker.reader.named_hosts(asker.object)):
            known = self._by_host.setdefault(host, {}).setdefault(namespace, _Naming(created, shown))
            known.oldest = min(known.oldest, created)
            known.shown = min(filter(None, (known.shown, shown)), default=None)
            if (wildcard := wildcard_of(host)) is not None:
                self._below.setdefault(wildcard, set()).add(host)

    def since(self, namespace: str, host: str, *, claimed: datetime) -> datetime:
        """Since when the namespace provably names the host that it claimed at `claimed`."""
        naming = self._by_host.get(host, {}).get(namespace)
        return min(claimed, naming.shown) if naming is not None and naming.shown is not None else claimed

    def somebody_was_there(self, namespace: str, host: str, *, claimed: datetime, provably: bool = False) -> bool:
        """Whether another namespace has an older live object that names the host, or one that overlaps it.

        `provably`: only if that one is shown to have named it all the time.
        """
        since = self.since(namespace, host, claimed=claimed)
        others = (naming for other, naming in self._near(host) if other != namespace)
        moments = (naming.shown if provably else naming.oldest for naming in others)
        return any(moment is not None and moment < since for moment in moments)

    def _near(self, host: str) -> Iterator[tuple[str, _Naming]]:
        wildcard = wildcard_of(host)
        for near in (host, *([wildcard] if wildcard else self._below.get(host, ()))):
            yield from self._by_host.get(near, {}).items()

    def _counts(self, host: str) -> bool:
        if self.only is None or host in self.only or wildcard_of(host) in self.only:
            return True
        return host.startswith("*.") and any(wildcard_of(wanted) == host for wanted in self.only)


@dataclass(frozen=True)
class Judgement:
    """Whether a claim that was not checked yet may stand. `yielding` are those that must go for it."""

    stands: bool
    yielding: tuple[Claim, ...] = ()


def judge_claim(mine: Claim, rivals: Iterable[Claim], namers: Namers) -> Judgement:
    """Whether `mine` stands against whoever named the host earlier, and against others' claims that overlap it.

    A rival that was checked stands. Of two that were not, the one that is provably older does; a tie goes by the
    names of the claims, so that everybody who sees both comes to the same end.
    """
    if namers.somebody_was_there(mine.namespace, mine.host, claimed=mine.created):
        return Judgement(False)
    others = [rival for rival in rivals if is_rival(mine, rival)]
    if any(rival.checked or _order(rival, namers) < _order(mine, namers) for rival in others):
        return Judgement(False)
    return Judgement(True, tuple(others))


def is_rival(mine: Claim, other: Claim) -> bool:
    """Whether the other claim is another namespace's and overlaps."""
    return other.namespace != mine.namespace and overlap(mine.host, other.host)


def _order(claim: Claim, namers: Namers) -> tuple[datetime, str]:
    return namers.since(claim.namespace, claim.host, claimed=claim.created), claim.name


def _moment(text: str, otherwise: datetime) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return otherwise
    return moment if moment.tzinfo is not None else otherwise
