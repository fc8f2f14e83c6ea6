"""cert-manager's objects, as far as they say who has which certificate: read leniently, and never written whole.

Names, kinds and defaults are those of `cert-manager.io/v1` and of its controller's flags, as of its version 1.21.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec

from issuer_job import vocabulary as v
from issuer_job.cluster.api import Json, Resource
from issuer_job.issuers.yaml_document import DocumentError, read_yaml

CERTIFICATES = Resource("/apis/cert-manager.io/v1", "certificates")
ISSUERS = Resource("/apis/cert-manager.io/v1", "issuers")
CLUSTER_ISSUERS = Resource("/apis/cert-manager.io/v1", "clusterissuers")
GROUP = "cert-manager.io"
PREFIXES = ("cert-manager.io/", "acme.cert-manager.io/")
"""Of its annotations."""
ISSUER, CLUSTER_ISSUER = f"{GROUP}/issuer", f"{GROUP}/cluster-issuer"
"""Its annotations on Ingresses that name an issuer."""
ISSUER_NAME, ISSUER_KIND, ISSUER_GROUP = (f"{GROUP}/issuer-{part}" for part in ("name", "kind", "group"))
"""On a Secret: who has issued what is in it. On an Ingress the last two say more of the issuer that it names."""
CONTROLLER_NAMES = frozenset({"cert-manager", "cert-manager-controller"})
_TRUE = frozenset({"1", "t", "true"})
"""What Go's strconv.ParseBool takes for true, in lower case."""


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
        return self.group not in {"", GROUP} or self.kind not in {"", "Issuer", "ClusterIssuer"}

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
    def owner(self) -> tuple[str, str]:
        """Kind and name of the object that it was made for, an Ingress or a Gateway; empty if people wrote it."""
        found = next(iter(self.metadata.owner_references), _Owner())
        return found.kind, found.name

    @property
    def is_ready(self) -> bool:
        """Whether its Secret holds what it asks for, as cert-manager says."""
        return any(each.type == "Ready" and each.status == "True" for each in self.status.conditions)


def read_certificate(found: Json) -> ForeignCertificate | None:
    """A Certificate as the API server has it; None if it is no such object, which its schema keeps from being."""
    try:
        return msgspec.convert(found, ForeignCertificate, strict=False)
    except msgspec.ValidationError:
        return None


@dataclass(frozen=True)
class Controller:
    """The Deployment that is cert-manager, and what its flags say.

    `replicas` are those that shall run; `auto_annotations` and `default_issuer` say which Ingresses without an issuer
    are its own; `owner_refs`: a Certificate that is deleted takes its Secret along.
    """

    namespace: str
    name: str
    replicas: int = 1
    annotations: Mapping[str, str] = field(default_factory=dict)
    owner_refs: bool = False
    auto_annotations: tuple[str, ...] = (v.TLS_ACME,)
    default_issuer: IssuerRef = NOBODY
    cluster_namespace: str = ""
    """Where the Secrets of ClusterIssuers are; empty: in its own namespace."""

    @property
    def runs(self) -> bool:
        """Whether it does anything."""
        return self.replicas > 0

    @property
    def secrets_of_cluster_issuers(self) -> str:
        """The namespace of ClusterIssuers' Secrets."""
        return self.cluster_namespace or self.namespace


def is_controller(deployment: Json) -> bool:
    """Whether the Deployment is cert-manager's controller, and not its webhook, its CA injector or a solver."""
    return any("cert-manager-controller" in str(each.get("image", "")) for each in _containers(deployment))


def controller_of(deployment: Json, configurations: Mapping[str, str] = {}) -> Controller:
    """What the Deployment says; `configurations` are the texts of its namespace's ConfigMaps with a key
    `config.yaml`, by name. Flags count before them, as they do for cert-manager.
    """
    metadata, flags = deployment["metadata"], _flags(deployment)
    config = _configuration(deployment, configurations)
    shim = config.get("ingressShimConfig")
    shim = shim if isinstance(shim, dict) else {}
    autos = flags.get("auto-certificate-annotations")
    configured = shim.get("defaultAutoCertificateAnnotations")
    listed = autos.split(",") if autos is not None else configured if isinstance(configured, list) else [v.TLS_ACME]

    def said(flag: str, key: str, where: Mapping[str, object], otherwise: str = "") -> str:
        return flags.get(flag, str(where.get(key, otherwise)))

    return Controller(
        namespace=metadata["namespace"],
        name=metadata["name"],
        replicas=_number(deployment.get("spec", {}).get("replicas"), 1),
        annotations=metadata.get("annotations") or {},
        owner_refs=said("enable-certificate-owner-ref", "enableCertificateOwnerRef", config).lower() in _TRUE,
        auto_annotations=tuple(text for each in listed if (text := str(each).strip())),
        default_issuer=IssuerRef(
            name=said("default-issuer-name", "defaultIssuerName", shim),
            kind=said("default-issuer-kind", "defaultIssuerKind", shim, "Issuer"),
            group=said("default-issuer-group", "defaultIssuerGroup", shim, GROUP),
        ),
        cluster_namespace=said("cluster-resource-namespace", "clusterResourceNamespace", config),
    )


def asks_cert_manager(annotations: Mapping[str, str], controller: Controller | None = None) -> bool:
    """Whether an Ingress with these annotations is cert-manager's: it names an issuer, or has one of the annotations
    for which the controller takes its default issuer, if it has one.
    """
    if ISSUER in annotations or CLUSTER_ISSUER in annotations:
        return True
    if controller is None or not controller.default_issuer.name:
        return False
    return any(annotations.get(name, "").lower() in _TRUE for name in controller.auto_annotations)


def own_annotations(annotations: Iterable[str]) -> list[str]:
    """Those of the names that are cert-manager's."""
    return sorted(name for name in annotations if name.startswith(PREFIXES))


def _containers(deployment: Json) -> list[Json]:
    pod = deployment.get("spec", {}).get("template", {}).get("spec", {})
    return [each for each in pod.get("containers") or () if isinstance(each, dict)]


def _flags(deployment: Json) -> dict[str, str]:
    """Flags of the form --name=value; one without a value is true, the last one counts."""
    words = [str(word) for each in _containers(deployment) for word in (each.get("args") or ())]
    parts = (word.removeprefix("--").partition("=") for word in words if word.startswith("--"))
    return {name: value if equals else "true" for name, equals, value in parts}


def _configuration(deployment: Json, texts: Mapping[str, str]) -> dict[str, object]:
    """Its configuration file, if that is mounted from a ConfigMap."""
    if "config" not in _flags(deployment):
        return {}
    pod = deployment.get("spec", {}).get("template", {}).get("spec", {})
    names = [str((volume.get("configMap") or {}).get("name", "")) for volume in pod.get("volumes") or ()]
    text = next((texts[name] for name in names if name in texts), "")
    try:
        found = read_yaml(text)
    except DocumentError:
        return _UNKNOWN
    return found if isinstance(found, dict) else _UNKNOWN


_UNKNOWN: dict[str, object] = {"enableCertificateOwnerRef": True}
"""What cannot be read may say that; to take it for said costs nothing but a stop of the controller."""


def _number(value: object, otherwise: int) -> int:
    return value if isinstance(value, int) else otherwise
