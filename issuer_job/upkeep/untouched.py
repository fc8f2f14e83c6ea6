"""What the webhook never saw and names no Secret: tell its owner, or complete it if allowed."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from issuer_job import log
from issuer_job.attempt import events
from issuer_job.cluster import changes
from issuer_job.cluster.api import Cluster, Json, KubeError
from issuer_job.demand.askers import Asker
from issuer_job.issuers.load import Issuers
from issuer_job.issuers.options import Options

MISSED = "it names no Secret, and the webhook, which adds one, missed it: touch it (kubectl annotate), or name one"


def complete_or_tell(
    cluster: Cluster, bare: Iterable[Asker], issuers: Issuers, options: Options, *, now: datetime
) -> int:
    """Add what they lack if the options let the sweep do it, else tell; how many were completed.

    The webhook sees the update, if it is there again, and launches; otherwise the next pass does.
    """
    completed = 0
    for asker in bare:
        if options.complete_tls and _complete(cluster, asker, issuers):
            completed += 1
            continue
        about = asker.reference
        events.tell_one(cluster, about, events.News("CertificateMissed", MISSED, now, (about["uid"],)))
    return completed


def _complete(cluster: Cluster, asker: Asker, issuers: Issuers) -> bool:
    namespace, name, resource = asker.namespace, asker.name, asker.kind.resource

    def completed(listed: Json | None) -> Json | None:
        # What is gone, or not bare any more, stays as it is.
        # Listed because it opts in, itself or by its namespace.
        return listed and (asker.reader.wants(listed, issuers=issuers, namespace_enabled=True).completed or listed)

    try:
        changes.change(cluster, resource, namespace, name, completed, held=asker.object)
    except KubeError as problem:
        log.warning("complete-tls-failed", namespace=namespace, ingress=asker.name, problem=str(problem))
        return False
    return True
