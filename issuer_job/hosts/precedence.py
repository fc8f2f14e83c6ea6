"""Who may have a host: the operator's list, claims and live objects, and which of those goes first. Pure.

A wildcard and the names directly below it overlap: a certificate for the one is good for the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
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
    CONTESTED = "hostContested"
    """Another namespace names it in an older object that was changed since: nobody can tell who was first."""
    NOT_ALLOWED = "hostNotAllowed"


@dataclass(frozen=True)
class Denied:
    """The first host that the namespace may not have; `until` when at least, as far as anybody can tell."""

    host: str
    reason: Denial
    until: datetime | None = None


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


CLOCKS = timedelta(minutes=1)
"""How far apart the clocks of several API servers may be."""


@dataclass(frozen=True)
class Claim:
    """A namespace's word that a host is its own.

    `checked` is when a Job found that nobody else was there first, or when an operator gave the host away; from
    then on the claim holds until it is given up. None: it may still have to yield. `former` is the namespace that an
    operator took the host from. `unnamed_since` is when a sweep first found that nothing of the namespace names the
    host, `unnamed_seen` when one last did; None while something does. `labelled`: it has the label by which wildcards
    find it.
    """

    host: str
    namespace: str
    created: datetime
    checked: datetime | None = None
    name: str = ""
    uid: str = ""
    resource_version: str = ""
    former: str = ""
    unnamed_since: datetime | None = None
    unnamed_seen: datetime | None = None
    labelled: bool = True

    @classmethod
    def from_config_map(cls, config_map: Json) -> Claim:
        """Read a claim; what an operator wrote by hand is read as far as it goes."""
        metadata, data = config_map["metadata"], config_map.get("data") or {}
        created = datetime.fromisoformat(metadata["creationTimestamp"])
        notes: dict[str, str] = metadata.get("annotations") or {}
        checked = _moment(notes[v.CHECKED], created) if v.CHECKED in notes else None
        never = datetime.min.replace(tzinfo=UTC)
        since, seen = (_moment(notes.get(key, ""), never) for key in (v.UNNAMED_SINCE, v.UNNAMED_SEEN))
        namespace, former = str(data.get("namespace", "")), notes.get(v.FORMER, "")
        unnamed = since >= (checked or created)  # else it is about the time before an operator gave it away
        return cls(
            host=str(data.get("host", "")),
            namespace=namespace,
            created=created,
            checked=checked,
            former="" if former == namespace else former,  # an operator has confirmed what it had
            unnamed_since=since if unnamed else None,
            unnamed_seen=max(since, seen) if unnamed else None,
            name=metadata["name"],
            uid=metadata["uid"],
            resource_version=metadata["resourceVersion"],
            labelled=v.CLAIM_PARENT in (metadata.get("labels") or {}),
        )

    @property
    def since(self) -> datetime:
        """When it was last made or confirmed."""
        return max(self.created, self.checked or self.created)

    def is_of(self, namespace: str, made: datetime | None) -> bool:
        """Whether it is that namespace's, which was `made` then; None if that is not known.

        One of an earlier namespace of the same name is not: it may have been somebody else's.
        """
        return self.namespace == namespace and (made is None or self.since >= made - CLOCKS)

    @property
    def annotations(self) -> dict[str, str]:
        """All that is stored beside host and namespace."""
        moments = {v.CHECKED: self.checked, v.UNNAMED_SINCE: self.unnamed_since, v.UNNAMED_SEEN: self.unnamed_seen}
        notes = {key: moment.isoformat(timespec="seconds") for key, moment in moments.items() if moment is not None}
        return notes | ({v.FORMER: self.former} if self.former else {})


@dataclass(slots=True)
class _Naming:
    """By one namespace: when the oldest of its objects was made, and since when one provably names the host."""

    oldest: datetime
    shown: datetime | None


@dataclass
class Namers:
    """Which namespaces name which hosts in live objects that may ask, opted in or not, and since when.

    `only` bounds what is kept to what overlaps these hosts, however much is named besides; None keeps all.

    What one names may have been changed at any time, except while its generation is 1 (Kubernetes counts
    the changes of spec there, and nobody else can). So its age speaks against others who come later, but for itself
    only as long as it was not changed: otherwise whoever has an old one could write anybody's host into it.
    """

    only: frozenset[str] | None = None
    _by_host: dict[str, dict[str, _Naming]] = field(default_factory=dict)
    _below: dict[str, dict[str, _Naming]] = field(default_factory=dict)
    """By wildcard: who names anything directly below it."""
    _leaving: set[tuple[str, str]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._above = frozenset(filter(None, map(wildcard_of, self.only or ())))

    def __contains__(self, key: tuple[str, str]) -> bool:
        """Whether the namespace names exactly that host; what is being deleted still does: it may be made anew."""
        namespace, host = key
        return namespace in self._by_host.get(host, {}) or key in self._leaving

    def add(self, asker: Asker) -> None:
        """What is being deleted is older than nobody; what is in certjob's own namespace are its challenge routes."""
        metadata, namespace = asker.object["metadata"], asker.namespace
        if namespace == v.NAMESPACE:
            return
        if is_being_deleted(asker.object):
            hosts = asker.reader.named_hosts(asker.object)
            self._leaving.update((namespace, host) for host in hosts if self._counts(host))
            return
        created = _moment(metadata.get("creationTimestamp", ""), datetime.max.replace(tzinfo=UTC))
        shown = created if metadata.get("generation") == 1 else None
        for host in asker.reader.named_hosts(asker.object):
            above = wildcard_of(host)
            below = above is not None and (self.only is None or above in self.only)
            named = [self._by_host.setdefault(host, {})] if self._counts(host) else []
            for by_namespace in [*named, self._below.setdefault(above, {})] if above and below else named:
                known = by_namespace.setdefault(namespace, _Naming(created, shown))
                known.oldest = min(known.oldest, created)
                known.shown = min(filter(None, (known.shown, shown)), default=None)

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
        overlapping = self._below.get(host, {}) if wildcard is None else self._by_host.get(wildcard, {})
        yield from (*self._by_host.get(host, {}).items(), *overlapping.items())

    def _counts(self, host: str) -> bool:
        return self.only is None or host in self.only or host in self._above


@dataclass(frozen=True)
class Judgement:
    """Whether a claim that was not checked yet may stand. `yielding` are those that must go for it; `contested`: it
    falls for nothing but what cannot be shown.
    """

    stands: bool
    yielding: tuple[Claim, ...] = ()
    contested: bool = False


def judge_claim(mine: Claim, rivals: Iterable[Claim], namers: Namers, *, made: datetime | None = None) -> Judgement:
    """Whether `mine` stands against whoever named the host earlier, and against others' claims that overlap it.

    `made` is when its namespace was made, if that is known.
    A rival that was checked stands. Of two that were not, the one that is provably older does; a tie goes by the
    names of the claims, so that everybody who sees both comes to the same end.
    """
    others = [rival for rival in rivals if is_rival(mine, rival, made=made)]
    if any(rival.checked or _order(rival, namers) < _order(mine, namers) for rival in others):
        return Judgement(False)
    if namers.somebody_was_there(mine.namespace, mine.host, claimed=mine.created):
        shown = namers.somebody_was_there(mine.namespace, mine.host, claimed=mine.created, provably=True)
        return Judgement(False, contested=not shown)
    return Judgement(True, tuple(others))


def is_rival(mine: Claim, other: Claim, *, made: datetime | None = None) -> bool:
    """Whether the other claim overlaps and is another namespace's: of one of the same name before `made`, too."""
    return overlap(mine.host, other.host) and not other.is_of(mine.namespace, made)


def _order(claim: Claim, namers: Namers) -> tuple[datetime, str]:
    return namers.since(claim.namespace, claim.host, claimed=claim.created), claim.name


def _moment(text: str, otherwise: datetime) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return otherwise
    return moment if moment.tzinfo is not None else otherwise
