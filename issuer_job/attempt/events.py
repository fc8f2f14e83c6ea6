"""Events on the users' Ingresses and Secrets: what `kubectl describe` shows.

An Event is a courtesy: that it cannot be written is logged, and stops nothing.
"""

from __future__ import annotations

import logging
from datetime import datetime

from issuer_job import names
from issuer_job import vocabulary as v
from issuer_job.attempt.attempt import Attempt
from issuer_job.cluster.api import EVENTS, INGRESSES, AlreadyExists, Cluster, Json, KubeError
from issuer_job.record.record import Record, Source, SourceKind

logger = logging.getLogger(__name__)

_API_VERSIONS = {"Ingress": "networking.k8s.io/v1"}
"""Of what an Event is about; the others are of the core API."""


def tell(attempt: Attempt, reason: str, note: str, *, warning: bool = False) -> None:
    """Put one Event for this attempt and reason on everything that asks for the certificate."""
    record = attempt.record
    unique = (record.uid, str(record.epoch))
    try:
        askers = attempt.ingresses or _named(attempt)
    except KubeError as problem:
        attempt.step("event-failed", problem=str(problem))
        return
    for asker in askers:
        text = f"Secret {record.secret_name}: {note}"
        tell_one(attempt.cluster, asker, reason, text, warning=warning, now=attempt.clock(), unique=unique)


def tell_sources(
    cluster: Cluster, record: Record, reason: str, note: str, *, now: datetime, unique: tuple[str, ...]
) -> None:
    """A warning on everything that the record knows to ask, once for each occasion that `unique` names."""
    for source in record.sources:
        if source.name and source.uid:
            text = f"Secret {record.secret_name}: {note}"
            tell_one(cluster, asker(source, record.namespace), reason, text, warning=True, now=now, unique=unique)


def asker(source: Source, namespace: str) -> Json:
    """As much of the Ingress or Secret as an Event needs."""
    return {
        "kind": str(source.kind),
        "metadata": {"name": source.name, "namespace": namespace, "uid": source.uid},
    }


def tell_one(
    cluster: Cluster,
    about: Json,
    reason: str,
    note: str,
    *,
    warning: bool,
    now: datetime,
    unique: tuple[str, ...],
) -> None:
    """One Event on one object, an Ingress unless it says its kind; the same `unique` again writes nothing."""
    event = event_body(about, reason=reason, note=note, warning=warning, now=now, unique=unique)
    try:
        cluster.create(EVENTS, about["metadata"]["namespace"], event)
    except AlreadyExists:
        return
    except KubeError as problem:
        logger.warning("event-failed", extra={"fields": {"problem": str(problem)}})


def event_body(about: Json, *, reason: str, note: str, warning: bool, now: datetime, unique: tuple[str, ...]) -> Json:
    """An Event on a user's Ingress, or on what `about` says of its kind. `unique` names the occasion: writing the
    same one twice is a 409.
    """
    metadata, kind = about["metadata"], about.get("kind", "Ingress")
    time = f"{now:%Y-%m-%dT%H:%M:%S.%fZ}"
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": names.event(metadata["name"], reason, *unique), "namespace": metadata["namespace"]},
        "eventTime": time,
        "reportingController": v.CONTROLLER,
        "reportingInstance": "certjob",
        "action": "Issue",
        "reason": reason,
        "type": "Warning" if warning else "Normal",
        "note": note[:1000],
        "regarding": {
            "apiVersion": _API_VERSIONS.get(kind, "v1"),
            "kind": kind,
            "namespace": metadata["namespace"],
            "name": metadata["name"],
            "uid": metadata.get("uid", ""),
        },
    }


def _named(attempt: Attempt) -> list[Json]:
    """What the record knows to ask, for an attempt that ends before that was confirmed."""
    record = attempt.record
    ingresses = [s for s in record.sources if s.kind is SourceKind.INGRESS and s.name]
    found = [attempt.cluster.find(INGRESSES, record.namespace, source.name) for source in ingresses]
    secrets = [s for s in record.sources if s.kind is SourceKind.SECRET and s.uid]
    return [i for i in found if i is not None] + [asker(source, record.namespace) for source in secrets]
