"""What is to be checked: Ingresses and Secrets that ask, as they are stored or as a file has them."""

from __future__ import annotations

from collections.abc import Iterator

from certs.hostnames import normalize
from issuer_job import vocabulary as v
from issuer_job.cli.base.endings import CommandError, Exit, is_forbidden
from issuer_job.cli.checking.admission import Tried, try_document, try_stored
from issuer_job.cli.sight.names import Name, NameKind
from issuer_job.cli.way.hearing import Hearing
from issuer_job.cluster.api import INGRESSES, SECRETS, Cluster, Json, KubeError
from issuer_job.demand import ingress, secret
from issuer_job.record.record import SourceKind

_KINDS = {("networking.k8s.io/v1", "Ingress"): SourceKind.INGRESS, ("v1", "Secret"): SourceKind.SECRET}


def stored_targets(cluster: Cluster, hearing: Hearing, name: Name, namespace: str) -> Iterator[Tried]:
    """What asks for what the name means. Raises CommandError if nothing does, KubeError."""
    found = list(_found(cluster, name, namespace))
    if not found:
        raise CommandError(f"there is nothing in namespace {namespace} that asks for {name.given}", Exit.NO)
    for kind, stored in found:
        yield try_stored(cluster, hearing, kind, stored)


def _found(cluster: Cluster, name: Name, namespace: str) -> Iterator[tuple[SourceKind, Json]]:
    if name.kind is NameKind.INGRESS:
        one = cluster.find(INGRESSES, namespace, name.name)
        yield from [(SourceKind.INGRESS, one)] if one is not None else []
        return
    if (asking := _secret(cluster, name.name, namespace)) is not None:
        yield SourceKind.SECRET, asking
    host = normalize(name.name) if name.may_be_host else ""
    for one in cluster.items(INGRESSES, namespace):
        if name.name in ingress.served_secrets(one) or (host and host in set(ingress.named_hosts(one))):
            yield SourceKind.INGRESS, one | {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress"}


def _secret(cluster: Cluster, name: str, namespace: str) -> Json | None:
    """Its metadata, if it asks for its own certificate, as far as that may be known."""
    try:
        found = cluster.find(SECRETS, namespace, name)
    except KubeError as problem:
        if not is_forbidden(problem):
            raise
        return None
    return found if found is not None and secret.opts_in(found) else None


def file_targets(cluster: Cluster, hearing: Hearing, path: str, namespace: str) -> Iterator[Tried]:
    """What asks in files, in its own namespace or else in this one. Raises CommandError, KubeError."""
    from issuer_job.cli.telling.manifests import read_manifests

    found = 0
    for document in read_manifests([path]):
        kind = _KINDS.get((str(document.get("apiVersion")), str(document.get("kind"))))
        if kind is None or (kind is SourceKind.SECRET and not secret.opts_in(document)):
            continue
        found += 1
        where = str(document["metadata"].get("namespace") or namespace)
        yield try_document(cluster, hearing, kind, document, where)
    if not found:
        raise CommandError(f"{path}: no Ingress in it, and no Secret with the label {v.REQUEST}=true", Exit.USAGE)
