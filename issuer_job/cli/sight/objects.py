"""Certificates as a tenant's own rights show them: Ingresses, Secrets' metadata, Events, and what hosts serve."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cache, partial
from typing import Any

from issuer_job import vocabulary as v
from issuer_job.cli.base.endings import if_allowed, is_forbidden
from issuer_job.cli.base.session import Session
from issuer_job.cli.sight.from_here import HostView, look_at
from issuer_job.cluster.api import EVENTS, INGRESSES, SECRETS, Json, KubeError, Read, Resource
from issuer_job.demand import ingress, secret
from issuer_job.demand.askers import is_enabled
from issuer_job.demand.common import annotations_of, is_being_deleted
from issuer_job.demand.ingress_spec import hosts_by_secret
from issuer_job.status.outside import Handshake, Outside, status_from_outside
from issuer_job.status.shown import AskedBy, CertificateStatus, Evidence
from issuer_job.status.words import UNKNOWN

Key = tuple[str, str]
"""Namespace and name of a Secret."""
MOST_GETS = 100
"""Secrets that are asked for one by one, in one look: of more nothing is known."""
POLL = 5.0
"""Seconds between two looks where nothing may be watched."""


@dataclass
class _Wanted:
    """What asks for one certificate."""

    hosts: dict[str, None] = field(default_factory=dict)
    askers: list[AskedBy] = field(default_factory=list)
    issuer: str = ""
    since: datetime | None = None

    def add(self, asker: Json, kind: str, hosts: Iterable[str], ingress_class: str = "") -> None:
        self.hosts |= dict.fromkeys(hosts)
        metadata = asker["metadata"]
        self.askers.append(AskedBy(kind=kind, name=metadata["name"], ingress_class=ingress_class, gone=False))
        self.issuer = self.issuer or annotations_of(asker).get(v.ISSUER, "")
        created = metadata.get("creationTimestamp")
        since = datetime.fromisoformat(created) if created else None
        self.since = min(filter(None, (self.since, since)), default=None)


@dataclass
class _Seen:
    """What could be read; None: it may not be."""

    ingresses: list[Json] | None
    secrets: dict[Key, Mapping[str, Any]] | None
    events: dict[Key, list[Json]] | None

    @property
    def keys(self) -> set[Key]:
        return {*(self.secrets or ()), *(self.events or ())}


@dataclass
class ObjectSight:
    """See `sight.Sight`."""

    session: Session
    evidence: Evidence = Evidence.OBJECTS
    version: str = ""
    """Of the Events when they were listed."""
    _gets_left: int = 0

    def every(self) -> Iterator[CertificateStatus]:
        """See Sight. Raises the refusal if nothing at all may be read."""
        seen = self._read()
        if seen.ingresses is None and seen.secrets is None and seen.events is None:
            next(self.session.cluster.pages(INGRESSES, self.session.namespace, limit=1), None)  # says which right
        wanted = self._wanted(seen)
        yield from self._told(seen, wanted, sorted({*wanted, *seen.keys}))

    def one(self, secret_name: str) -> CertificateStatus | None:
        """See Sight. Also of a Secret that is not certjob's."""
        seen, key = self._read(), (self.session.namespace or "", secret_name)
        wanted = self._wanted(seen)
        if key not in wanted and key not in seen.keys:
            found = if_allowed(partial(self.session.cluster.find, SECRETS, *key))
            if found is not None:
                seen.secrets = {**(seen.secrets or {}), key: found["metadata"]}
            elif seen.ingresses is not None or seen.secrets is not None or "." in secret_name:
                return None  # nobody asks for it, or it is a host
        return next(self._told(seen, wanted, [key]))

    def host(self, host: str) -> CertificateStatus | None:
        """See Sight: what it serves, of a Secret whose name is not known."""
        namespace = self.session.namespace or UNKNOWN
        shake = _handshake(look_at([host]).get(host))
        seen = Outside(namespace, UNKNOWN, hosts=(host,), asked_by=None, handshake=shake)
        return status_from_outside(seen, now=self.session.now)

    def changes(self, *, seconds: int) -> Iterator[CertificateStatus | None]:
        """See Sight: whatever happens, certjob tells by an Event."""
        cluster, namespace = self.session.cluster, self.session.namespace
        try:
            for event in cluster.watch(
                EVENTS, namespace, labels=f"{v.MANAGED}=true", resource_version=self.version, seconds=seconds
            ):
                if event["type"] != "BOOKMARK":
                    yield None
        except KubeError as problem:
            if not is_forbidden(problem):
                raise
            self.session.surroundings.sleep(POLL)
            yield None

    def _read(self) -> _Seen:
        self._gets_left = MOST_GETS
        ingresses = self._listed(INGRESSES, read=ingress.from_list)
        managed, asking = (self._listed(SECRETS, labels=label) for label in (v.MANAGED, v.REQUEST))
        secrets = None if managed is None or asking is None else [*managed, *asking]
        events = self._events()
        for what, found in (("Ingresses", ingresses), ("Secrets", secrets), ("Events", events)):
            if found is None:
                where = self.session.namespace or "all namespaces"
                self.session.terminal.note_once(f"(you may not list {what} in {where})")
        by_key = None if secrets is None else {_key(one): one["metadata"] for one in secrets}
        return _Seen(ingresses, by_key, events)

    def _events(self) -> dict[Key, list[Json]] | None:
        """certjob's, by the Secret that they are about."""
        found: dict[Key, list[Json]] = defaultdict(list)

        def read() -> dict[Key, list[Json]]:
            self.version = ""
            pages = self.session.cluster.pages(EVENTS, self.session.namespace, labels=f"{v.MANAGED}=true")
            for page in pages:
                self.version = self.version or page.version
                for event in page.objects():
                    if event.get("reportingController") == v.CONTROLLER and (about := _about(event)):
                        found[event["metadata"]["namespace"], about].append(event)
            return found

        return if_allowed(read)

    def _wanted(self, seen: _Seen) -> dict[Key, _Wanted]:
        found: dict[Key, _Wanted] = defaultdict(_Wanted)
        enabled = cache(lambda namespace: bool(if_allowed(partial(is_enabled, self.session.cluster, namespace))))
        for one in seen.ingresses or ():
            namespace, wants = one["metadata"]["namespace"], hosts_by_secret(one)
            held = any((namespace, name) in seen.keys for name in wants)
            says_no = not ingress.opts_in(one, namespace_enabled=True)
            asks = not says_no and (ingress.opts_in(one) or held or enabled(namespace))
            if asks and not is_being_deleted(one):
                for name, hosts in wants.items():
                    found[namespace, name].add(one, "Ingress", hosts, ingress.ingress_class(one).name or "")
        for key, metadata in (seen.secrets or {}).items():
            one = {"metadata": metadata}
            if secret.opts_in(one):
                found[key].add(one, "Secret", sorted(secret.named_hosts(one)))
        return found

    def _told(self, seen: _Seen, wanted: Mapping[Key, _Wanted], keys: Iterable[Key]) -> Iterator[CertificateStatus]:
        known = [self._outside(seen, wanted.get(key), key) for key in keys]
        hosts = {one.hosts[0]: None for one in known if one.secret is None and one.hosts}
        views = look_at(hosts)
        for one in known:
            view = views.get(one.hosts[0]) if one.secret is None and one.hosts else None
            yield status_from_outside(replace(one, handshake=_handshake(view)), now=self.session.now)

    def _outside(self, seen: _Seen, wanted: _Wanted | None, key: Key) -> Outside:
        metadata = None if seen.secrets is None else seen.secrets.get(key, {})
        missing = seen.secrets is None or (not metadata and wanted is not None)
        if missing and self._gets_left:  # it is not certjob's, or may be got and not listed
            self._gets_left -= 1
            found = if_allowed(lambda: self.session.cluster.find(SECRETS, *key) or {"metadata": {}})
            metadata = metadata if found is None else found["metadata"]
        elif missing:
            metadata = None
        unasked = () if seen.ingresses is not None and seen.secrets is not None else None
        return Outside(
            namespace=key[0],
            name=key[1],
            hosts=tuple(wanted.hosts) if wanted else (),
            asked_by=tuple(wanted.askers) if wanted else unasked,
            asked_since=wanted.since if wanted else None,
            issuer=wanted.issuer if wanted else "",
            secret=metadata,
            events=None if seen.events is None else tuple(seen.events.get(key, ())),
        )

    def _listed(self, resource: Resource, *, labels: str = "", read: Read | None = None) -> list[Json] | None:
        namespace = self.session.namespace
        return if_allowed(lambda: list(self.session.cluster.items(resource, namespace, labels=labels, read=read)))


def _key(found: Json) -> Key:
    return found["metadata"]["namespace"], found["metadata"]["name"]


def _about(event: Json) -> str:
    """The Secret that it is about; those of 0.1.0 say it in words alone."""
    noted = (event["metadata"].get("annotations") or {}).get(v.EVENT_SECRET, "")
    begin, colon, _ = str(event.get("note") or "").partition(": ")
    return str(noted) or (begin.removeprefix("Secret ") if colon and begin.startswith("Secret ") else "")


def _handshake(view: HostView | None) -> Handshake | None:
    served = view.served if view is not None else None
    return Handshake(served.not_after, served.trusted, served.placeholder) if served is not None else None
