"""Events on the users' Ingresses: what `kubectl describe ingress` shows.

An Event is a courtesy: that it cannot be written is logged, and stops nothing.
"""

from __future__ import annotations

import logging
from datetime import datetime

from issuer_job import objects
from issuer_job.attempt import Attempt
from issuer_job.kube import EVENTS, INGRESSES, AlreadyExists, Cluster, Json, KubeError
from issuer_job.record import Record

logger = logging.getLogger(__name__)


def tell(attempt: Attempt, reason: str, note: str, *, warning: bool = False) -> None:
    """Put one Event for this attempt and reason on every Ingress that wants the Secret."""
    record = attempt.record
    unique = (record.uid, str(record.epoch))
    try:
        ingresses = attempt.ingresses or _named(attempt)
    except KubeError as problem:
        attempt.step("event-failed", problem=str(problem))
        return
    for ingress in ingresses:
        text = f"Secret {record.secret_name}: {note}"
        tell_one(attempt.cluster, ingress, reason, text, warning=warning, now=attempt.clock(), unique=unique)


def tell_sources(
    cluster: Cluster, record: Record, reason: str, note: str, *, now: datetime, unique: tuple[str, ...]
) -> None:
    """A warning on every Ingress that the record knows, once for each occasion that `unique` names."""
    for source in record.sources:
        if source.name and source.uid:
            metadata = {"name": source.name, "namespace": record.namespace, "uid": source.uid}
            text = f"Secret {record.secret_name}: {note}"
            tell_one(cluster, {"metadata": metadata}, reason, text, warning=True, now=now, unique=unique)


def tell_one(
    cluster: Cluster,
    ingress: Json,
    reason: str,
    note: str,
    *,
    warning: bool,
    now: datetime,
    unique: tuple[str, ...],
) -> None:
    """One Event on one Ingress; the same `unique` again writes nothing."""
    event = objects.ingress_event(ingress, reason=reason, note=note, warning=warning, now=now, unique=unique)
    try:
        cluster.create(EVENTS, ingress["metadata"]["namespace"], event)
    except AlreadyExists:
        return
    except KubeError as problem:
        logger.warning("event-failed", extra={"fields": {"problem": str(problem)}})


def _named(attempt: Attempt) -> list[Json]:
    """The Ingresses that the record knows by name, for an attempt that ends before they were confirmed."""
    record = attempt.record
    found = [
        attempt.cluster.find(INGRESSES, record.namespace, source.name) for source in record.sources if source.name
    ]
    return [ingress for ingress in found if ingress is not None]
