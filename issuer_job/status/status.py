"""A certificate's status, derived from its record. Pure: whoever shows it adds nothing."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from certs.hostnames import covers
from issuer_job.backoff import PERMANENT
from issuer_job.cluster.api import Json
from issuer_job.issuers.load import Issuers
from issuer_job.record.ledger_entries import TOMBSTONE
from issuer_job.record.phases import (
    ABSENCE_GRACE,
    ACTIVE,
    GONE,
    SWEEP_INTERVAL,
    HistoryEvent,
    LaunchReason,
    Phase,
)
from issuer_job.record.record import Issued, Problem, Record, RecordError, Retry
from issuer_job.record.renewal import due_at
from issuer_job.record.store import from_config_map
from issuer_job.record.transitions import HELD_BACK
from issuer_job.status.advice import advice_for, anchor
from issuer_job.status.shown import AskedBy, Certificate, CertificateStatus, Next, NextStep, State, TimelineEntry, Why

UNREADABLE = "recordUnreadable"
"""Type of the problem of a record that this version cannot read."""
_LOST = frozenset({LaunchReason.SECRET_MISSING, LaunchReason.SECRET_NOT_GOOD, LaunchReason.REVOKED})
"""Launched for that, the Secret holds no good certificate until another one is there."""


def status(
    record: Record, *, now: datetime, interval: timedelta, issuers: Issuers | None = None
) -> CertificateStatus:
    """What is to be said of a record where sweeps come every `interval`; `issuers` tells which issuers are usable."""
    attempt = record.attempt
    return CertificateStatus(
        namespace=record.namespace,
        name=record.secret_name,
        ready=is_ready(record, now),
        state=state_of(record),
        phase=str(record.phase),
        hosts=record.intent.hosts,
        issuer=record.issuer,
        asked_by=tuple(_askers(record)),
        asked_since=min((s.created for s in record.sources if s.created), default=record.since),
        why=_why(record, issuers),
        next=next_of(record, now, interval),
        certificate=None if record.issued is None else _certificate(record, record.issued, interval),
        job=record.job_name if attempt is not None else "",
        epoch=record.epoch,
        attempt_at=None if attempt is None else attempt.launched_at,
        reason="" if attempt is None else attempt.reason,
        timeline=tuple(
            TimelineEntry(at=e.at, epoch=e.epoch, event=e.event, detail=e.detail, type=e.type) for e in record.history
        ),
        expires=None if record.issued is None else record.issued.not_after,
    )


def status_of(
    config_map: Json, *, now: datetime, interval: timedelta = SWEEP_INTERVAL, issuers: Issuers | None = None
) -> CertificateStatus:
    """The status of a record as it is stored; of one that cannot be read, that this is so."""
    try:
        return status(from_config_map(config_map), now=now, interval=interval, issuers=issuers)
    except RecordError as problem:
        return unreadable(config_map["metadata"]["name"], str(problem))


def unreadable(name: str, problem: str) -> CertificateStatus:
    """Of a record, by its ConfigMap's name, that this version cannot read: what it has issued goes on."""
    namespace, _, secret = name.partition(".")
    return CertificateStatus(
        namespace=namespace,
        name=secret,
        ready=None,
        state=State.FAILED,
        phase="",
        hosts=(),
        issuer="",
        asked_by=(),
        asked_since=None,
        why=told(Problem(type=UNREADABLE, detail=problem[:300])),
        next=Next(what=NextStep.UNKNOWN),
        certificate=None,
        job="",
        epoch=0,
        attempt_at=None,
        reason="",
        timeline=(),
    )


def is_ready(record: Record, now: datetime) -> bool:
    """Whether the Secret holds a trusted certificate, in date, for all the hosts that are wanted."""
    within = ready_between(record)
    return within is not None and within[0] <= now < within[1]


def ready_between(record: Record) -> tuple[datetime, datetime] | None:
    """From when until when that is so, as things are; None if it is not."""
    issued = record.issued
    if issued is None or record.phase is Phase.RETIRED or record.is_revoked or _is_lost(record):
        return None
    covered = all(covers(issued.hosts, host) for host in record.intent.hosts)
    return (issued.not_before, issued.not_after) if covered else None


def state_of(record: Record) -> State:
    """In a word. An attempt renews if there is a certificate already that is for the same hosts."""
    if record.phase in ACTIVE:
        issued = record.issued
        again = issued is not None and all(covers(issued.hosts, host) for host in record.intent.hosts)
        return State.RENEWING if again else State.ISSUING
    if record.phase in GONE:
        return State.GONE
    return {Phase.ISSUED: State.ISSUED, Phase.FAILED: State.FAILED}.get(record.phase, State.WAITING)


def next_of(record: Record, now: datetime, interval: timedelta) -> Next:
    """What happens by itself."""
    retry, attempt = record.retry, record.attempt
    failures = retry.failures if retry is not None else 0
    if record.phase in ACTIVE and attempt is not None:
        return Next(what=NextStep.UNDER_WAY, at=attempt.launched_at, failures=failures, detail=_under_way(record))
    match record.phase:
        case Phase.ISSUED if record.issued is not None:
            return Next(what=NextStep.RENEWAL, at=due_at(record, interval=interval))
        case Phase.WAITING if retry is not None and retry.not_before is not None:
            what = NextStep.LIMIT if retry.problem.type == HELD_BACK else NextStep.RETRY
            return Next(what=what, at=retry.not_before, failures=failures)
        case Phase.FAILED:
            return Next(what=NextStep.CHANGE, at=record.since + PERMANENT, failures=failures)
        case Phase.UNCONFIRMED | Phase.ORPHANED:
            return Next(what=NextStep.REMOVAL, at=record.since + ABSENCE_GRACE)
        case Phase.RETIRED:
            return Next(what=NextStep.REMOVAL, at=record.since + TOMBSTONE)
    return Next(what=NextStep.LAUNCH, at=now + interval, failures=failures)


def _under_way(record: Record) -> str:
    count = len(record.intent.identifiers)
    proving = f"proving {count} host{'s' * (count != 1)}"
    return proving if record.phase is Phase.AUTHORIZING else record.phase.lower()


def _is_lost(record: Record) -> bool:
    """Whether the Secret was found without its certificate, and no other has come since."""
    for entry in reversed(record.history):
        if entry.event in {HistoryEvent.ISSUED, HistoryEvent.ADOPTED}:
            return False
        if entry.event == HistoryEvent.LAUNCHED and entry.detail in _LOST:
            return True
    return record.phase is not Phase.ISSUED and record.attempt is not None and record.attempt.reason in _LOST


def _why(record: Record, issuers: Issuers | None) -> Why | None:
    retry: Retry | None = record.retry
    if retry is not None and record.phase is not Phase.ISSUED:
        return told(retry.problem)
    if issuers is None or record.phase in GONE:
        return None
    problem = issuer_problem(record.issuer, issuers)
    return None if problem is None else told(problem)


def issuer_problem(name: str, issuers: Issuers) -> Problem | None:
    """Why nothing comes from the issuer of that name, if so."""
    if name in issuers.broken:
        return Problem(type="brokenIssuer", detail=issuers.broken[name])
    if name not in issuers.valid:
        return Problem(type="unknownIssuer", detail=f"there is no issuer {name}")
    return None


def told(problem: Problem) -> Why:
    """A problem with what it means and what to do."""
    means, do = advice_for(problem.type).plain
    return Why(
        type=problem.type,
        means=means,
        detail=problem.detail,
        host=problem.host,
        step=problem.step,
        do=do,
        docs=anchor(problem.type),
    )


def _askers(record: Record) -> Iterator[AskedBy]:
    for source in record.sources:
        yield AskedBy(
            kind=str(source.kind),
            name=source.name or f"{source.generate_name}...",
            ingress_class=source.ingress_class.name or "",
            gone=source.gone_since is not None,
        )


def _certificate(record: Record, issued: Issued, interval: timedelta) -> Certificate:
    return Certificate(
        serial=issued.serial,
        hosts=issued.hosts,
        not_before=issued.not_before,
        not_after=issued.not_after,
        issued_at=issued.at,
        renewal_at=due_at(record, interval=interval),
        by_hand=not issued.directory,
        revoked=record.is_revoked,
    )
