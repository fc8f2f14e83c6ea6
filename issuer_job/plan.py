"""Whether an Ingress passing by needs a new attempt: pure, shared by webhook and sweep."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from msgspec.structs import replace

from issuer_job import transitions
from issuer_job.record import Phase, Record, Source


class PlanReason(StrEnum):
    """Why a plan is as it is."""

    NEW = "New"
    UNCHANGED = "Unchanged"
    CHANGED = "Changed"
    CHANGED_BEFORE_CLAIM = "ChangedBeforeClaim"
    HELD_BACK = "HeldBack"
    """Changed to an intent that failed lately: its back-off goes on."""
    JOINED = "Joined"
    SEEN_AGAIN = "SeenAgain"


@dataclass(frozen=True)
class Plan:
    """What to write. `record` None: nothing. `launch`: the record takes an epoch and a Job follows."""

    reason: PlanReason
    record: Record | None = None
    launch: bool = False
    minor: bool = False
    """The intent differs from that source's: other Ingresses on the same Secret decide too."""


def plan(existing: Record | None, source: Source, *, namespace: str, secret_name: str, now: datetime) -> Plan:
    """What follows when `source` wants the Secret `secret_name`."""
    if existing is None:
        record = transitions.wanted(namespace=namespace, secret_name=secret_name, sources=(source,), now=now)
        return Plan(PlanReason.NEW, transitions.launched(record, now=now, reason="new"), launch=True)

    gone = existing.phase in {Phase.UNCONFIRMED, Phase.ORPHANED, Phase.RETIRED}
    sources = (source,) if gone else transitions.joined(existing.sources, source)
    record = transitions.intended(existing, sources=sources)
    minor = record.intent.settings != source.settings

    if record.intent.hash != existing.intent.hash:
        same_issuer = record.intent.settings.issuer == existing.intent.settings.issuer
        if existing.phase is Phase.LAUNCHED and same_issuer:
            # Its Job has not claimed the attempt yet and reads the intent when it does. Another issuer
            # needs a Job of its own: account key and credentials are mounted by the issuer's name.
            record = replace(record, attempt=replace(transitions.attempt_of(record), generation=record.generation))
            return Plan(PlanReason.CHANGED_BEFORE_CLAIM, record, minor=minor)
        if _held_back(record, now):
            return Plan(PlanReason.HELD_BACK, record, minor=minor)
        return Plan(
            PlanReason.CHANGED, transitions.launched(record, now=now, reason="changed"), launch=True, minor=minor
        )
    if gone or existing.phase is Phase.WANTED:
        return Plan(PlanReason.SEEN_AGAIN, transitions.launched(record, now=now, reason="seen again"), launch=True)
    if _new_source(existing, source):
        return Plan(PlanReason.JOINED, record, minor=minor)
    return Plan(PlanReason.UNCHANGED, minor=minor)


def _held_back(record: Record, now: datetime) -> bool:
    retry = record.retry
    if retry is None or record.phase not in {Phase.WAITING, Phase.FAILED} or record.intent.hash not in retry.hashes:
        return False
    return retry.not_before is None or now < retry.not_before


def _new_source(record: Record, source: Source) -> bool:
    """Uids and times alone are no reason to write: the Job takes them from the live Ingress."""
    former = next((s for s in record.sources if s.key == source.key), None)
    return former is None or (former.hosts, former.settings, former.ingress_class) != (
        source.hosts,
        source.settings,
        source.ingress_class,
    )
