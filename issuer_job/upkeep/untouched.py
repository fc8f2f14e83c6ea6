"""Ingresses that the webhook never saw and whose spec.tls is empty: tell their owner, or complete them if allowed."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import datetime

from issuer_job import vocabulary as v
from issuer_job.attempt import events
from issuer_job.cluster import changes
from issuer_job.cluster.api import INGRESSES, Cluster, Json, KubeError
from issuer_job.demand.ingress import TlsEntry, wants
from issuer_job.issuers.load import Issuers
from issuer_job.issuers.options import Options

logger = logging.getLogger(__name__)

MISSED = "spec.tls is empty and was not completed: touch the Ingress (kubectl annotate), or write a spec.tls entry"


def complete_or_tell(
    cluster: Cluster, ingresses: Iterable[Json], issuers: Issuers, options: Options, *, now: datetime
) -> int:
    """Add certjob's entry to spec.tls if the options let the sweep do it, else tell; how many were completed.

    The webhook sees the update, if it is there again, and launches; otherwise the next pass does.
    """
    completed = 0
    for ingress in ingresses:
        if options.complete_tls and _complete(cluster, ingress, issuers):
            completed += 1
            continue
        unique = (ingress["metadata"]["uid"],)
        events.tell_one(cluster, ingress, "CertificateMissed", MISSED, warning=True, now=now, unique=unique)
    return completed


def _complete(cluster: Cluster, listed: Json, issuers: Issuers) -> bool:
    namespace, name = listed["metadata"]["namespace"], listed["metadata"]["name"]

    def completed(ingress: Json | None) -> Json | None:
        # Listed because it opts in, itself or by its namespace.
        added = ingress and wants(ingress, issuers=issuers, namespace_enabled=True).added
        if not ingress or not added or (ingress["spec"].get("tls") or []):
            return ingress  # gone, or no more bare
        return _with_entry(ingress, added)

    try:
        changes.change(cluster, INGRESSES, namespace, name, completed, held=listed)
    except KubeError as problem:
        fields = {"namespace": namespace, "ingress": name, "problem": str(problem)}
        logger.warning("complete-tls-failed", extra={"fields": fields})
        return False
    return True


def _with_entry(ingress: Json, added: TlsEntry) -> Json:
    metadata = ingress["metadata"]
    annotations = (metadata.get("annotations") or {}) | {v.TLS_ENTRY: added.marker}
    entry = {"secretName": added.secret_name, "hosts": list(added.hosts)}
    return ingress | {
        "metadata": metadata | {"annotations": annotations},
        "spec": ingress["spec"] | {"tls": [entry]},
    }
