"""First claim: which namespace holds a host. One ConfigMap per host, created atomically, given up by the sweep."""

from __future__ import annotations

import logging
from collections.abc import Set
from datetime import datetime, timedelta

from certs import hostnames
from issuer_job import names, objects
from issuer_job import vocabulary as v
from issuer_job.kube import CONFIGMAPS, INGRESSES, AlreadyExists, Cluster, Conflict, Gone, Json
from issuer_job.wants import rule_hosts

logger = logging.getLogger(__name__)

GRACE = timedelta(minutes=10)
"""How long a claim may stand before the Ingress that it was made for is stored."""


def take(cluster: Cluster, host: str, namespace: str, *, timeout: float | None = None) -> str:
    """The namespace that holds the host: `namespace` if nobody had it. Raises KubeError."""
    try:
        cluster.create(CONFIGMAPS, v.NAMESPACE, objects.claim(host, namespace), timeout=timeout)
    except AlreadyExists:
        return _holder(cluster.get(CONFIGMAPS, v.NAMESPACE, names.claim(host), timeout=timeout))
    return namespace


def holder(cluster: Cluster, host: str) -> str | None:
    """The namespace that holds the host, None if nobody does. Raises KubeError."""
    held = cluster.find(CONFIGMAPS, v.NAMESPACE, names.claim(host))
    return None if held is None else _holder(held)


def release_unused(cluster: Cluster, named: Set[tuple[str, str]], *, now: datetime) -> int:
    """Give up the claims of namespaces in which no Ingress names the host any more, opted in or not; how many.

    `named` are namespace and host of everything that all Ingresses name, see `named_hosts`. A claim younger than
    ten minutes stays: its Ingress may be on its way. Raises KubeError.
    """
    released = 0
    try:
        for claim in cluster.items(CONFIGMAPS, v.NAMESPACE, labels=f"{v.CLAIM}=true"):
            released += _release_if_unused(cluster, claim, named, now)
    except Gone:
        logger.info("claims-put-off")  # the list expired on the way: the rest is the next pass's
    return released


def named_hosts(ingress: Json) -> set[str]:
    """Every host that an Ingress names in its rules and in spec.tls, as `hostnames.normalize` gives it."""
    tls = (ingress.get("spec") or {}).get("tls") or []
    return {hostnames.normalize(host) for entry in tls for host in entry.get("hosts") or []} | set(
        rule_hosts(ingress)
    )


def _release_if_unused(cluster: Cluster, claim: Json, named: Set[tuple[str, str]], now: datetime) -> bool:
    metadata, host = claim["metadata"], (claim.get("data") or {}).get("host", "")
    age = now - datetime.fromisoformat(metadata["creationTimestamp"])
    if (_holder(claim), host) in named or age < GRACE:
        return False
    if any(host in named_hosts(ingress) for ingress in cluster.items(INGRESSES, _holder(claim))):
        return False  # made while the pass was under way
    try:
        version = metadata["resourceVersion"]
        cluster.delete(CONFIGMAPS, v.NAMESPACE, metadata["name"], uid=metadata["uid"], resource_version=version)
    except Conflict:
        return False
    logger.info("claim-released", extra={"fields": {"host": host, "namespace": _holder(claim)}})
    return True


def _holder(claim: Json) -> str:
    return str((claim.get("data") or {}).get("namespace", ""))
