"""kube-lego: its Deployment, and what its environment says, with its defaults (kube-lego 0.1.7)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from issuer_job import vocabulary as v
from issuer_job.cluster.api import Json
from issuer_job.migrate.others.cm_controller import containers_of

CHALLENGES = "kubernetes.io/tls-acme-challenge-endpoints"
"""Annotation of the Ingress that leads challenges to it."""
USUAL_VALIDITY = "720h"
_STAGING = "https://acme-staging.api.letsencrypt.org/directory"
_DEFAULTS = {
    "LEGO_URL": _STAGING,
    "LEGO_SECRET_NAME": "kube-lego-account",
    "LEGO_INGRESS_NAME_NGINX": "kube-lego-nginx",
    "LEGO_KUBE_ANNOTATION": v.TLS_ACME,
    "LEGO_MINIMUM_VALIDITY": USUAL_VALIDITY,
    "LEGO_RSA_KEYSIZE": "2048",
}
_VERSION_2 = {"acme-v01.api": "acme-v02.api", "acme-staging.api": "acme-staging-v02.api"}
"""Let's Encrypt has switched version 1 of ACME off, and has the accounts in version 2."""


@dataclass(frozen=True)
class KubeLego:
    """The Deployment, and its variables as far as they can be read; `unread` are those that a Secret holds."""

    deployment: str
    namespace: str
    replicas: int = 1
    annotations: Mapping[str, str] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)
    unread: tuple[str, ...] = ()

    def says(self, name: str) -> str:
        """A variable, or its default."""
        return self.variables.get(name) or _DEFAULTS.get(name, "")

    @property
    def home(self) -> str:
        """The namespace of its account, its challenges and its Service."""
        return self.variables.get("LEGO_NAMESPACE") or "default"

    @property
    def server(self) -> str:
        """Its ACME server, in version 2."""
        server = self.says("LEGO_URL")
        for old, new in _VERSION_2.items():
            server = server.replace(f"//{old}.letsencrypt.org/", f"//{new}.letsencrypt.org/")
        return server

    def is_asked(self, annotations: Mapping[str, str]) -> bool:
        """Whether an Ingress, or a Secret that it has written, has its annotation."""
        return annotations.get(self.says("LEGO_KUBE_ANNOTATION")) == "true"


def is_kube_lego(deployment: Json) -> bool:
    """Whether the Deployment is it, by its image."""
    images = (str(each.get("image", "")).rpartition("/")[2] for each in containers_of(deployment))
    return any(image.partition(":")[0].partition("@")[0] == "kube-lego" for image in images)


def config_maps_of(deployment: Json) -> set[str]:
    """Names of the ConfigMaps that its variables come from."""
    return {name for _, name, _ in _references(deployment, "configMapKeyRef")}


def kube_lego_of(deployment: Json, config_maps: Mapping[str, Mapping[str, str]]) -> KubeLego:
    """What the Deployment says; `config_maps` are the data of those that it names."""
    metadata, variables = deployment["metadata"], dict[str, str]()
    for each in _variables(deployment):
        if isinstance(each.get("value"), str):
            variables[str(each.get("name"))] = each["value"]
        elif ((each.get("valueFrom") or {}).get("fieldRef") or {}).get("fieldPath") == "metadata.namespace":
            variables[str(each.get("name"))] = metadata["namespace"]
    for variable, name, key in _references(deployment, "configMapKeyRef"):
        if key in (data := config_maps.get(name, {})):
            variables[variable] = data[key]
    replicas = deployment.get("spec", {}).get("replicas")
    return KubeLego(
        deployment=metadata["name"],
        namespace=metadata["namespace"],
        replicas=replicas if isinstance(replicas, int) else 1,
        annotations=metadata.get("annotations") or {},
        variables=variables,
        unread=tuple(variable for variable, _, _ in _references(deployment, "secretKeyRef")),
    )


def _variables(deployment: Json) -> Iterator[Json]:
    for container in containers_of(deployment):
        yield from (each for each in container.get("env") or () if isinstance(each, dict))


def _references(deployment: Json, kind: str) -> Iterator[tuple[str, str, str]]:
    """Variable, object and key of each that comes from an object of the kind."""
    for each in _variables(deployment):
        reference = (each.get("valueFrom") or {}).get(kind)
        if isinstance(reference, dict):
            yield str(each.get("name")), str(reference.get("name")), str(reference.get("key"))
