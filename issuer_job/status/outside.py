"""A certificate's status without its record: what Ingress, Secret, Events and a handshake tell. Pure.

For those who may read nothing in certjob's namespace. `CertificateStatus.unknown` says what these do not tell.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from certs.hostnames import covers
from issuer_job import vocabulary as v
from issuer_job.cluster.api import Json
from issuer_job.record.record import Problem
from issuer_job.status.shown import AskedBy, CertificateStatus, Next, NextStep, State, TimelineEntry, Why
from issuer_job.status.status import told

UNTOLD = ("certificate", "job", "epoch", "attemptAt", "reason", "phase")
"""What nothing but the record tells."""
SOON = timedelta(minutes=10)
"""How long it may take until anything is heard of an attempt."""
_ISSUED = "CertificateIssued"
_GOES_ON = "CertificateDelayed"
_TELLING = frozenset(
    {_ISSUED, "CertificateFailed", "CertificateHeldBack", "CertificateExpiring", "CertificateExpired", _GOES_ON}
)
"""Events that say where it stands."""


@dataclass(frozen=True)
class Handshake:
    """What one of the hosts serves: until when, and whether that is trusted, or a placeholder."""

    not_after: datetime
    trusted: bool
    placeholder: bool


@dataclass(frozen=True)
class Outside:
    """What is known of a certificate for a Secret. None: it may not be read.

    `secret` is the Secret's metadata, empty if it is not there. `events` are certjob's, about this Secret. `issuer`
    is the one that is asked for by name, else empty.
    """

    namespace: str
    name: str
    hosts: tuple[str, ...] = ()
    asked_by: tuple[AskedBy, ...] | None = ()
    asked_since: datetime | None = None
    issuer: str = ""
    secret: Mapping[str, Any] | None = None
    events: tuple[Json, ...] | None = None
    handshake: Handshake | None = None


def status_from_outside(seen: Outside, *, now: datetime) -> CertificateStatus:
    """What is to be said of it."""
    notes = _notes(seen)
    story = tuple(sorted(_story(seen), key=lambda entry: entry.at))
    last = next((entry for entry in reversed(story) if entry.event in _TELLING), None)
    trouble = last if last is not None and last.event != _ISSUED else None
    ready, expires = _ready(seen, now)
    state, coming = _state(seen, ready, last, now)
    hosts = seen.hosts or tuple(filter(None, notes.get(v.HOSTS, "").split(",")))
    issuer = seen.issuer or notes.get(v.ISSUER, "")
    return CertificateStatus(
        namespace=seen.namespace,
        name=seen.name,
        ready=ready,
        state=state,
        phase="",
        hosts=hosts,
        issuer=issuer,
        asked_by=seen.asked_by or (),
        asked_since=seen.asked_since,
        why=_why(seen, trouble),
        next=coming,
        certificate=None,
        job="",
        epoch=0,
        attempt_at=None,
        reason="",
        timeline=story,
        expires=expires,
        unknown=tuple(_unknown(seen, last, hosts=hosts, issuer=issuer, ready=ready, expires=expires)),
    )


def _unknown(
    seen: Outside,
    last: TimelineEntry | None,
    *,
    hosts: tuple[str, ...],
    issuer: str,
    ready: bool | None,
    expires: datetime | None,
) -> Iterator[str]:
    yield from UNTOLD
    found = {
        "hosts": hosts,
        "issuer": issuer,
        "askedBy": seen.asked_by is not None,
        "expires": expires is not None or ready is False,
        "timeline": seen.events is not None,
        "state": last is not None or ready is not None or seen.secret is not None or seen.asked_by == (),
    }
    yield from (field for field, known in found.items() if not known)


def _notes(seen: Outside) -> Mapping[str, str]:
    return (seen.secret or {}).get("annotations") or {}


def _ready(seen: Outside, now: datetime) -> tuple[bool | None, datetime | None]:
    """Whether it is, and when what is there ends."""
    if seen.secret is not None:
        labels, until = seen.secret.get("labels") or {}, _moment(_notes(seen).get(v.NOT_AFTER, ""))
        match labels.get(v.STATE):
            case v.SecretState.ISSUED if until is not None:
                ordered = _notes(seen).get(v.HOSTS, "").split(",") if v.REQUEST not in labels else seen.hosts
                return now < until and all(covers(ordered, host) for host in seen.hosts), until
            case v.SecretState.PLACEHOLDER:
                return False, until
        if not seen.secret:
            return False, None
    shake = seen.handshake
    if shake is None:
        return None, None
    return (False if shake.placeholder else True if shake.trusted else None), shake.not_after


def _story(seen: Outside) -> Iterator[TimelineEntry]:
    for event in seen.events or ():
        notes = event["metadata"].get("annotations") or {}
        at = _moment(event.get("eventTime") or event["metadata"].get("creationTimestamp") or "")
        if at is not None:
            text = str(event.get("note") or "").removeprefix(f"Secret {seen.name}: ")
            kind, word = notes.get(v.EVENT_PROBLEM, ""), str(event.get("reason") or "")
            yield TimelineEntry(
                at=at, epoch=0, event=word, detail=text, type=kind, until=_moment(notes.get(v.EVENT_NEXT, ""))
            )


def _state(seen: Outside, ready: bool | None, last: TimelineEntry | None, now: datetime) -> tuple[State, Next]:
    """`last`: what went wrong, or that it was issued, whatever was told last."""
    trouble = last if last is not None and last.event != _ISSUED else None
    if trouble is not None and trouble.event != _GOES_ON:
        if trouble.until is not None:
            return State.WAITING, Next(what=NextStep.RETRY, at=trouble.until)
        if trouble.type:
            return State.FAILED, Next(what=NextStep.CHANGE)
        return State.WAITING, Next(what=NextStep.UNKNOWN)
    if _is_foreign(seen):
        return State.FAILED, Next(what=NextStep.CHANGE)
    if seen.asked_by == ():
        return State.GONE, Next(what=NextStep.REMOVAL)
    if ready or (ready is None and last is not None and trouble is None):
        return State.ISSUED, Next(what=NextStep.UNKNOWN)
    began = max(
        filter(None, (seen.asked_since, _moment((seen.secret or {}).get("creationTimestamp", "")))), default=None
    )
    if trouble is not None or (ready is False and began is not None and now - began < SOON):
        return State.ISSUING, Next(what=NextStep.UNDER_WAY, at=began, detail="being ordered")
    return State.WAITING, Next(what=NextStep.UNKNOWN)


def _why(seen: Outside, trouble: TimelineEntry | None) -> Why | None:
    if trouble is not None:
        return told(Problem(type=trouble.type or "about:blank", detail=trouble.detail))
    if _is_foreign(seen):
        return told(Problem(type="foreignSecret", detail=f"it has no label {v.MANAGED}=true"))
    return None


def _is_foreign(seen: Outside) -> bool:
    """Whether there is a Secret, which is none of certjob's."""
    labels = (seen.secret or {}).get("labels") or {}
    return bool(seen.secret) and labels.get(v.MANAGED) != "true" and labels.get(v.REQUEST) != "true"


def _moment(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None
    return moment if moment.tzinfo is not None else None
