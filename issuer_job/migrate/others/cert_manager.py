"""cert-manager's objects, as far as they say who has which certificate: read leniently, and never written whole.

Names, kinds and defaults are those of `cert-manager.io/v1` and of its controller's flags, as of its version 1.21.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from certs.keys import KeyAlgorithm
from issuer_job.cluster.api import Json, Resource
from issuer_job.demand.aliases.cert_manager import GROUP, KINDS, key_algorithm

CERTIFICATES = Resource("/apis/cert-manager.io/v1", "certificates")
ISSUERS = Resource("/apis/cert-manager.io/v1", "issuers")
CLUSTER_ISSUERS = Resource("/apis/cert-manager.io/v1", "clusterissuers")
ISSUER_NAME = f"{GROUP}/issuer-name"
"""On a Secret, besides `ISSUER_KIND` and `ISSUER_GROUP`: who has issued what is in it."""


class ForeignPart(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A part of an object: what is not named here is not read."""


class IssuerRef(ForeignPart, frozen=True):
    """Which issuer a Certificate is from; empty fields have cert-manager's defaults."""

    name: str = ""
    kind: str = ""
    group: str = ""

    def __str__(self) -> str:
        return f"{self.kind or 'Issuer'} {self.name}"

    @property
    def is_foreign(self) -> bool:
        """Whether another project's controller issues for it."""
        return self.group not in {"", GROUP} or self.kind not in KINDS

    def key(self, namespace: str) -> IssuerKey:
        """Where it is, for a Certificate in the namespace."""
        return ("" if self.kind == "ClusterIssuer" else namespace), self.name


NOBODY = IssuerRef()
IssuerKey = tuple[str, str]
"""Namespace and name of an Issuer; of a ClusterIssuer the namespace is empty."""


class ForeignKey(ForeignPart, frozen=True):
    """What its private key shall be."""

    algorithm: str = ""
    size: int = 0
    rotation_policy: str = ""
    encoding: str = ""


class ForeignSpec(ForeignPart, frozen=True):
    """What is asked for."""

    secret_name: str = ""
    issuer_ref: IssuerRef = IssuerRef()
    dns_names: tuple[str, ...] = ()
    common_name: str = ""
    private_key: ForeignKey | None = None
    duration: str | None = None
    renew_before: str | None = None
    renew_before_percentage: int | None = None
    renewal: Any = None
    is_ca: bool = msgspec.field(name="isCA", default=False)
    usages: tuple[str, ...] = ()
    ip_addresses: tuple[str, ...] = ()
    uris: tuple[str, ...] = ()
    email_addresses: tuple[str, ...] = ()
    other_names: Any = None
    subject: Any = None
    literal_subject: str = ""
    name_constraints: Any = None
    keystores: Any = None
    additional_output_formats: tuple[dict[str, str], ...] = ()


class ForeignCondition(ForeignPart, frozen=True):
    """One of the status."""

    type: str = ""
    status: str = ""


class ForeignStatus(ForeignPart, frozen=True):
    """What cert-manager says of what is in the Secret."""

    not_before: datetime | None = None
    not_after: datetime | None = None
    renewal_time: datetime | None = None
    conditions: tuple[ForeignCondition, ...] = ()


class _Owner(ForeignPart, frozen=True):
    kind: str = ""
    name: str = ""


class _Metadata(ForeignPart, frozen=True):
    name: str = ""
    namespace: str = ""
    annotations: dict[str, str] | None = None
    owner_references: tuple[_Owner, ...] = ()
    deletion_timestamp: str | None = None


class ForeignCertificate(ForeignPart, frozen=True):
    """One Certificate."""

    metadata: _Metadata = _Metadata()
    spec: ForeignSpec = ForeignSpec()
    status: ForeignStatus = ForeignStatus()

    @property
    def key(self) -> tuple[str, str]:
        """Namespace and name of its Secret."""
        return self.metadata.namespace, self.spec.secret_name

    @property
    def name(self) -> str:
        """Its own."""
        return self.metadata.name

    @property
    def key_algorithm(self) -> KeyAlgorithm | None:
        """certjob's word for its key; None if certjob makes none such."""
        key = self.spec.private_key or ForeignKey()
        return key_algorithm(key.algorithm, key.size)

    @property
    def owner(self) -> tuple[str, str]:
        """Kind and name of the object that it was made for, an Ingress or a Gateway; empty if people wrote it."""
        found = next(iter(self.metadata.owner_references), _Owner())
        return found.kind, found.name

    @property
    def is_ready(self) -> bool:
        """Whether its Secret holds what it asks for, as cert-manager says."""
        return self._is("Ready")

    @property
    def is_issuing(self) -> bool:
        """Whether cert-manager has an order for it under way."""
        return self._is("Issuing")

    def _is(self, condition: str) -> bool:
        return any(each.type == condition and each.status == "True" for each in self.status.conditions)


def read_certificate(found: Json) -> ForeignCertificate | None:
    """A Certificate as the API server has it; None if it is no such object, which its schema keeps from being."""
    try:
        return msgspec.convert(found, ForeignCertificate, strict=False)
    except msgspec.ValidationError:
        return None
