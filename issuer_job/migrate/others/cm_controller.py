"""cert-manager itself: its Deployment, its flags, and which Ingresses are its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from issuer_job import vocabulary as v
from issuer_job.cluster.api import Json
from issuer_job.demand.aliases.cert_manager import CLUSTER_ISSUER, GROUP, ISSUER, PREFIXES
from issuer_job.issuers.yaml_document import DocumentError, read_yaml
from issuer_job.migrate.others.cert_manager import NOBODY, IssuerRef

_TRUE = frozenset({"1", "t", "true"})
"""What Go's strconv.ParseBool takes for true, in lower case."""


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
    return any("cert-manager-controller" in str(each.get("image", "")) for each in containers_of(deployment))


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


def containers_of(deployment: Json) -> list[Json]:
    """Of its pods."""
    pod = deployment.get("spec", {}).get("template", {}).get("spec", {})
    return [each for each in pod.get("containers") or () if isinstance(each, dict)]


def _flags(deployment: Json) -> dict[str, str]:
    """Flags of the form --name=value; one without a value is true, the last one counts."""
    words = [str(word) for each in containers_of(deployment) for word in (each.get("args") or ())]
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
