"""The kinds of sources, and where their objects are: the one place that lists and finds what asks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Protocol

from msgspec.structs import replace

from issuer_job import vocabulary as v
from issuer_job.cluster.api import NAMESPACES, ApiError, Cluster, Json, Read
from issuer_job.demand import ingress, secret
from issuer_job.demand.common import Entry, Wants, is_being_deleted
from issuer_job.issuers.load import Issuers
from issuer_job.issuers.schema import Issuer
from issuer_job.record.record import Record, Source, SourceKind


class SourceReader(Protocol):
    """A kind of source: a module of this package that reads what one object asks for. Pure; never raises for what a
    user wrote.

    `asker` is the object, of a kind that is not listed at least its metadata. `namespace_enabled` says that its
    namespace opts in for everything in it, which a kind need not heed.
    """

    def aliased(self, asker: Json, /) -> Json:
        """With what other tools' annotations on it say, where an operator has them read; itself if there are none."""

    def opts_in(self, asker: Json, /, *, namespace_enabled: bool = False) -> bool:
        """Whether it asks for certificates."""

    def named_secrets(self, asker: Json, /, *, namespace_enabled: bool = False) -> frozenset[str]:
        """The Secrets that it names if it asks and is not being deleted, whatever is wrong with issuer or hosts."""

    def served_secrets(self, asker: Json, /) -> frozenset[str]:
        """The Secrets that it has certificates served from, whether or not it asks."""

    def named_hosts(self, asker: Json, /) -> Iterable[str]:
        """Every host it names, whether or not it asks, as `hostnames.normalize` gives it; maybe more than once."""

    def wants(self, asker: Json, /, *, issuers: Issuers, namespace_enabled: bool = False) -> Wants:
        """What certificates it wants, and what is wrong with it."""

    def serves(self, issuer: Issuer, source: Source, /) -> bool:
        """Whether an issuer that `source` names is for its class."""


READERS: Mapping[SourceKind, SourceReader] = {SourceKind.INGRESS: ingress, SourceKind.SECRET: secret}
"""How each kind is read, in the order in which a record's objects are looked for."""

_FROM_LIST: Mapping[SourceKind, Read] = {SourceKind.INGRESS: ingress.from_list}
"""What is kept of an object of a kind that can be listed: the rest may be a hundred times as much."""


@dataclass(frozen=True)
class Asker:
    """What is read of a live object that may ask for certificates; of one that is not listed, its metadata."""

    kind: SourceKind
    object: Json

    @classmethod
    def of(cls, source: Source, namespace: str) -> Asker:
        """The object of a record's source, if that has a uid; bare."""
        return cls(source.kind, {"metadata": {"namespace": namespace, "name": source.name, "uid": source.uid}})

    @property
    def reader(self) -> SourceReader:
        """Reads what it asks for."""
        return READERS[self.kind]

    @property
    def namespace(self) -> str:
        """Where it is."""
        return str(self.object["metadata"]["namespace"])

    @property
    def name(self) -> str:
        """The object's name."""
        return str(self.object["metadata"]["name"])

    @property
    def aliased(self) -> Asker:
        """See `SourceReader`."""
        found = self.reader.aliased(self.object)
        return self if found is self.object else Asker(self.kind, found)

    @property
    def bare(self) -> Asker:
        """Nothing but which object it is: thousands may have to be remembered."""
        known = {field: self.object["metadata"][field] for field in ("namespace", "name", "uid")}
        return Asker(self.kind, {"metadata": known})

    @property
    def reference(self) -> Json:
        """What an Event on it is about."""
        return self.kind.reference(namespace=self.namespace, name=self.name, uid=self.object["metadata"]["uid"])


def list_askers(cluster: Cluster, namespace: str | None = None, *, aliases: bool = False) -> Iterator[Asker]:
    """All objects of all kinds that can be listed, whether or not they ask. `aliases`: see `Issuers`.

    Raises KubeError, Gone.
    """
    for kind in READERS:
        if kind.listed:
            found = _listed(cluster, kind, namespace)
            yield from (asker.aliased for asker in found) if aliases else found


def find_askers(cluster: Cluster, record: Record, *, look: Callable[[], Json | None]) -> Iterator[Asker]:
    """What the record knows to ask, as it is now; `look` shows the Secret's metadata, None if it is gone.

    With generateName the name is only known now: all of the namespace. Raises KubeError, and what `look` does.
    """
    for kind in READERS:
        names = [source.name for source in record.sources if source.kind is kind]
        if not kind.listed:
            found = look() if names else None
            yield from () if found is None else (Asker(kind, {"metadata": found}),)
        elif all(names):
            read = _FROM_LIST[kind]
            objects = (cluster.find(kind.resource, record.namespace, name, read=read) for name in names)
            yield from (Asker(kind, found) for found in objects if found is not None)
        else:
            yield from _listed(cluster, kind, record.namespace)


def _listed(cluster: Cluster, kind: SourceKind, namespace: str | None) -> Iterator[Asker]:
    return (Asker(kind, found) for found in cluster.items(kind.resource, namespace, read=_FROM_LIST[kind]))


def _found(cluster: Cluster, source: Source, namespace: str) -> Json | None:
    """The object of a source that can be listed, by its name."""
    return cluster.find(source.kind.resource, namespace, source.name, read=_FROM_LIST[source.kind])


def wanting(cluster: Cluster, record: Record, issuers: Issuers) -> Entry | None:
    """What a live object that the record knows wants of its Secret; None if there is none, or it is to be corrected
    first. Only what can be read by its name is asked for. Raises KubeError.
    """
    for source in record.sources:
        if not source.kind.listed or not source.name:
            continue
        found = _found(cluster, source, record.namespace)
        # That its namespace opts in for it the record has seen, and the Job will see.
        if found is not None:
            reader = READERS[source.kind]
            found = reader.aliased(found) if issuers.aliases else found
            wanted = reader.wants(found, issuers=issuers, namespace_enabled=True)
            if (entry := wanted.of(record.secret_name)) is not None:
                return entry
    return None


def is_there(cluster: Cluster, source: Source, namespace: str) -> bool:
    """Whether the source's object is stored and not being deleted; True, too, if it cannot be looked for by its name.

    Raises KubeError.
    """
    if not source.kind.listed or not source.name:
        return True
    try:
        found = _found(cluster, source, namespace)
    except ApiError as problem:
        if problem.status != HTTPStatus.FORBIDDEN:  # an operator may do without the webhook's right to read them
            raise
        return True
    return found is not None and not is_being_deleted(found)


def with_uids(cluster: Cluster, record: Record) -> list[Source]:
    """The record's sources that are there under their names; of what cannot be read, those it knows the uid of.

    At its admission an object has no uid yet. Raises KubeError.
    """
    there = []
    for source in record.sources:
        uid = source.uid
        if source.kind.listed:
            found = _found(cluster, source, record.namespace) if source.name else None
            uid = found["metadata"]["uid"] if found else ""
        if uid:
            there.append(replace(source, uid=uid))
    return there


def is_enabled(cluster: Cluster, namespace: str) -> bool:
    """Whether the namespace's label opts in for what is in it. Raises KubeError."""
    found = cluster.find(NAMESPACES, None, namespace) or {"metadata": {}}
    return bool((found["metadata"].get("labels") or {}).get(v.NAMESPACE_ENABLED) == "true")
