"""Events on the users' Ingresses and Secrets: what `kubectl describe` shows.

An Event is a courtesy: that it cannot be written is logged, and stops nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from issuer_job import log, names
from issuer_job import vocabulary as v
from issuer_job.attempt.attempt import Attempt
from issuer_job.cluster import changes
from issuer_job.cluster.api import EVENTS, Cluster, Json, KubeError
from issuer_job.demand.askers import with_uids
from issuer_job.record.record import Source


def tell(attempt: Attempt, reason: str, note: str, *, warning: bool = False) -> None:
    """Put one Event for this attempt and reason on everything that asks for the certificate."""
    record, cluster = attempt.record, attempt.cluster
    secret, unique = (record.namespace, record.secret_name), (record.uid, str(record.epoch))
    try:
        sources = attempt.confirmed or with_uids(cluster, record)
    except KubeError as problem:
        attempt.step("event-failed", problem=str(problem))
        return
    tell_sources(cluster, secret, sources, reason, note, now=attempt.clock(), unique=unique, warning=warning)


def tell_sources(
    cluster: Cluster,
    secret: tuple[str, str],
    sources: Iterable[Source],
    reason: str,
    note: str,
    *,
    now: datetime,
    unique: tuple[str, ...],
    warning: bool = True,
) -> None:
    """One Event on each object that asks for the Secret (namespace, name), if it is known which: at its CREATE an
    object has no uid.
    """
    namespace, secret_name = secret
    for source in sources:
        if source.name and source.uid:
            about = source.kind.reference(namespace=namespace, name=source.name, uid=source.uid)
            text = f"Secret {secret_name}: {note}"
            tell_one(cluster, about, reason, text, warning=warning, now=now, unique=unique)


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
    """One Event on the object of an ObjectReference; the same `unique` again writes nothing."""
    event = event_body(about, reason=reason, note=note, warning=warning, now=now, unique=unique)
    try:
        changes.swap(cluster, EVENTS, about["namespace"], None, event)
    except KubeError as problem:
        log.warning("event-failed", problem=str(problem))


def event_body(about: Json, *, reason: str, note: str, warning: bool, now: datetime, unique: tuple[str, ...]) -> Json:
    """An Event on what the ObjectReference `about` names. `unique` names the occasion: writing the same one twice is
    a 409.
    """
    time = f"{now:%Y-%m-%dT%H:%M:%S.%fZ}"
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": names.event(about["name"], reason, *unique), "namespace": about["namespace"]},
        "eventTime": time,
        "reportingController": v.CONTROLLER,
        "reportingInstance": "certjob",
        "action": "Issue",
        "reason": reason,
        "type": "Warning" if warning else "Normal",
        "note": note[:1000],
        "regarding": about,
    }
