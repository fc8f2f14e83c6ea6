"""Events on the users' Ingresses: what `kubectl describe ingress` shows."""

from __future__ import annotations

from issuer_job import objects
from issuer_job.attempt import Attempt
from issuer_job.kube import EVENTS, INGRESSES, AlreadyExists, Json, KubeError


def tell(attempt: Attempt, reason: str, note: str, *, warning: bool = False) -> None:
    """Put one Event for this attempt and reason on every Ingress that wants the Secret.

    An Event is a courtesy: that it cannot be written is logged, and stops nothing.
    """
    try:
        _tell(attempt, reason, note, warning)
    except KubeError as problem:
        attempt.step("event-failed", problem=str(problem))


def _tell(attempt: Attempt, reason: str, note: str, warning: bool) -> None:
    record = attempt.record
    for ingress in attempt.ingresses or _named(attempt):
        event = objects.ingress_event(
            ingress,
            reason=reason,
            note=f"Secret {record.secret_name}: {note}",
            warning=warning,
            now=attempt.clock(),
            unique=(record.uid, str(record.epoch)),
        )
        try:
            attempt.cluster.create(EVENTS, record.namespace, event)
        except AlreadyExists:
            continue


def _named(attempt: Attempt) -> list[Json]:
    """The Ingresses that the record knows by name, for an attempt that ends before they were confirmed."""
    record = attempt.record
    found = [
        attempt.cluster.find(INGRESSES, record.namespace, source.name) for source in record.sources if source.name
    ]
    return [ingress for ingress in found if ingress is not None]
