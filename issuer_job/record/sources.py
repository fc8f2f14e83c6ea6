"""Who asks for a certificate, and what they want: the first half of what a record stores."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Self

import msgspec

from certs.hostnames import without_redundant
from issuer_job import names
from issuer_job.cluster.api import INGRESSES, SECRETS, Json, Resource
from issuer_job.record.annotations import Settings, Stored

Moment = Annotated[datetime, msgspec.Meta(tz=True)]
"""Aware: one without a zone cannot be compared with the clock."""


class IngressClass(Stored, frozen=True):
    """The Ingress class exactly as the user wrote it: `spec.ingressClassName` or the old annotation."""

    field: str | None = None
    annotation: str | None = None

    @property
    def identity(self) -> str:
        """Distinguishes classes in the names of routes."""
        return f"field:{self.field}" if self.field is not None else f"annotation:{self.annotation}"

    @property
    def name(self) -> str | None:
        """The class's name, wherever it was written; None: the cluster's default."""
        return self.field or self.annotation


RoutePlace = tuple[str, IngressClass]
"""Where a challenge route is: host and class."""


class SourceKind(StrEnum):
    """A kind of object that asks for certificates: its name, as records store it, and what follows from what it is.

    `listed`: it can be read, so that whoever missed one finds it. One that cannot is known by its record alone, which
    keeps it alive until a look. `makes_secret`: its owner makes the Secret, so that certjob neither creates nor
    deletes it. How to read what it asks for is in `demand.askers.READERS`.
    """

    resource: Resource
    listed: bool
    makes_secret: bool

    def __new__(cls, kind: str, resource: Resource, listed: bool, makes_secret: bool) -> Self:
        member = str.__new__(cls, kind)
        member._value_ = kind
        member.resource, member.listed, member.makes_secret = resource, listed, makes_secret
        return member

    INGRESS = "Ingress", INGRESSES, True, False
    SECRET = "Secret", SECRETS, False, True
    """A Secret with the label `certjob.io/request=true`."""

    def key(self, name: str) -> str:
        """Tells the object apart from all others of its namespace."""
        return f"{self}/{name}"

    def reference(self, *, namespace: str, name: str, uid: str) -> Json:
        """The object as an ObjectReference (core/v1): what an Event is about."""
        api_version = self.resource.api_version
        return {"apiVersion": api_version, "kind": str(self), "namespace": namespace, "name": name, "uid": uid}


class Source(Stored, frozen=True):
    """One object that wants the Secret. A CREATE has no uid yet and, with generateName, no name.

    `retry` is the value of its annotation `certjob.io/retry`; the certificate must not be older than `renew`;
    `gone_since` is when a sweep first missed it while
    others still want the Secret.
    """

    hosts: tuple[str, ...]
    settings: Settings
    ingress_class: IngressClass = IngressClass()
    kind: SourceKind = SourceKind.INGRESS
    name: str = ""
    generate_name: str = ""
    uid: str = ""
    created: Moment | None = None
    retry: str = ""
    renew: Moment | None = None
    gone_since: Moment | None = None

    @property
    def key(self) -> str:
        """Tells the sources of one record apart."""
        return self.kind.key(self.name or f"~{self.generate_name}")


class Intent(Stored, frozen=True):
    """What the record's certificate shall be: the union of the sources' hosts, the oldest source's settings."""

    hosts: tuple[str, ...]
    settings: Settings

    @property
    def identifiers(self) -> tuple[str, ...]:
        """What is ordered (RFC 8555, section 7.1.3): the hosts but for those that a wildcard among them covers."""
        return without_redundant(self.hosts)

    @property
    def hash(self) -> str:
        """Changes when another certificate is wanted."""
        return names.digest(*self.hosts, "", *self.settings.identity, length=16)
