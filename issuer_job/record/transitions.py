"""The record's life: one small pure function for each arrow, which phases are allowed says `phases`."""

from __future__ import annotations

from datetime import datetime, timedelta

from msgspec.structs import replace

from issuer_job.record.intents import NO_ORDER, intended, joined, union
from issuer_job.record.ledger_entries import with_certificate, with_failure, with_order
from issuer_job.record.phases import ARROWS, Bearing, LaunchReason
from issuer_job.record.record import (
    HISTORY_LENGTH,
    AttemptState,
    HistoryEntry,
    Issued,
    Phase,
    Problem,
    Record,
    Renewal,
    Retry,
    Source,
)

P = Phase

FAILED_HASHES = 4
"""Intents that failed before the last one and are remembered: some tools flap between two."""

HELD_BACK = "heldBack"
"""Type of the problem when an order would exceed a limit that is the issuer's own, not yet the CA's answer."""


class IllegalTransition(RuntimeError):
    """A bug: the record cannot go from this phase to that one."""


def wanted(*, namespace: str, secret_name: str, sources: tuple[Source, ...], now: datetime) -> Record:
    """A new record; nothing is launched yet."""
    return Record(
        namespace=namespace,
        secret_name=secret_name,
        phase=P.WANTED,
        intent=union(sources),
        sources=sources,
        since=now,
    )


def launched(
    record: Record, now: datetime, *, reason: LaunchReason, issuer: str = "", interval: timedelta | None = None
) -> Record:
    """Take a new epoch: at least the current second, so that it rises even when a record is made anew.

    What the attempt before left undone is this one's: why it was launched, and its order and pending key, which the
    Job drops if they do not fit. `issuer` is set if it is not to be the intent's. Sweeps, who know it, tell the
    `interval` at which they come by.
    """
    old = record.attempt or AttemptState(epoch=0, launched_at=now)
    attempt = replace(
        old,
        epoch=max(record.epoch + 1, int(now.timestamp())),
        launched_at=now,
        reason=str(reason),
        issuer=issuer,
        crashes=old.crashes + (reason.bearing is Bearing.CRASH),
        tries=1,
        holder="",
        generation=record.generation,
        orders_dropped=0,
        secret_uid="",
        secret_version="",
        renews=old.renews or reason.bearing is Bearing.REPLACES,
        interval=interval or old.interval,
    )
    if reason.bearing is Bearing.AFRESH:
        record = replace(record, retry=None)
    return _move(record, P.LAUNCHED, now, attempt=attempt, event="launched", detail=str(reason))


def relaunched(record: Record, now: datetime) -> Record:
    """The same epoch once more: its Job never came to be."""
    attempt = attempt_of(record)
    return _move(record, P.LAUNCHED, now, attempt=replace(attempt, launched_at=now, tries=attempt.tries + 1))


def claimed(record: Record, now: datetime, *, holder: str) -> Record:
    """A pod takes the attempt, also from another pod of the same epoch whose node was lost."""
    attempt = replace(attempt_of(record), holder=holder, generation=record.generation)
    return _move(record, P.CLAIMED, now, attempt=attempt)


def confirmed(record: Record, now: datetime, *, sources: tuple[Source, ...], known: tuple[Source, ...]) -> Record:
    """What is live is the intent now. Who has joined since a look, when the sources were those `known`, stays."""
    for source in record.sources:
        if source not in known and source.gone_since is None:
            sources = joined(sources, source)
    record = intended(record, sources=sources)
    return _move(record, record.phase, now, attempt=replace(attempt_of(record), generation=record.generation))


def unconfirmed(record: Record, now: datetime) -> Record:
    """The Ingress never appeared: its admission was refused later, or it is gone."""
    return _move(record, P.UNCONFIRMED, now, event="unconfirmed", detail="no live Ingress wants this Secret")


def ordering(record: Record, now: datetime, *, directory: str, account: str) -> Record:
    """From here on newOrder may have happened. An order of another account or directory is forgotten."""
    attempt = attempt_of(record)
    if (attempt.directory, attempt.account) != (directory, account):
        attempt = replace(attempt, ordered=False, order_url="", order_expires=None, replaces="")
    attempt = replace(attempt, ordered=True, directory=directory, account=account)
    return _move(record, P.ORDERING, now, attempt=attempt)


def signing(record: Record, now: datetime, *, directory: str) -> Record:
    """The certificate comes from an issuer that takes no orders."""
    attempt = replace(attempt_of(record), **NO_ORDER, directory=directory, account="")
    return _move(record, P.CLAIMED, now, attempt=attempt)


def order_dropped(record: Record, now: datetime, *, reason: str) -> Record:
    """The order is of no use (invalid, expired, another's): forget it and order again."""
    attempt = attempt_of(record)
    attempt = replace(
        attempt, order_url="", order_expires=None, replaces="", orders_dropped=attempt.orders_dropped + 1
    )
    return _move(record, P.ORDERING, now, attempt=attempt, event="order dropped", detail=reason)


def authorizing(
    record: Record, now: datetime, *, order_url: str, expires: datetime | None, replaces: str | None = None
) -> Record:
    """The order's URL is known. `replaces` is the CertID that it names, None if it is one that was known before."""
    attempt = attempt_of(record)
    known = attempt.order_url == order_url
    attempt = replace(attempt, order_url=order_url, order_expires=expires)
    if replaces is not None:
        attempt = replace(attempt, replaces=replaces)
    if not known:
        exempt = bool(attempt.replaces) and record.issued is not None and record.issued.is_suggested(now)
        record = with_order(record, now=now, exempt=exempt)
    event = "" if known else "ordered"
    return _move(record, P.AUTHORIZING, now, attempt=attempt, event=event, detail=order_url)


def finalizing(record: Record, now: datetime, *, pending_key: str) -> Record:
    """The pending key is stored; from here on finalize may have happened."""
    return _move(record, P.FINALIZING, now, attempt=replace(attempt_of(record), pending_key=pending_key))


def installing(record: Record, now: datetime, *, secret_uid: str, secret_version: str) -> Record:
    """From here on the Secret write may have happened; empty uid and version mean that it is to be created."""
    attempt = replace(attempt_of(record), secret_uid=secret_uid, secret_version=secret_version)
    former = record.issued and replace(record.issued, secret_uid="", secret_version="")
    return _move(record, P.INSTALLING, now, attempt=attempt, issued=former)


def issued(record: Record, now: datetime, *, issued: Issued) -> Record:
    """The Secret holds the certificate."""
    attempt = attempt_of(record)
    if attempt.order_url:
        record = with_certificate(record, issued.hosts, now=now)
    attempt = replace(attempt, **NO_ORDER, orders_dropped=0, crashes=0, renews=False)
    detail = f"until {issued.not_after:%Y-%m-%d %H:%M:%SZ}, serial {issued.serial}"
    return _move(record, P.ISSUED, now, attempt=attempt, issued=issued, event="issued", detail=detail)


def adopted(record: Record, now: datetime, *, issued: Issued) -> Record:
    """The Secret's owner put a good certificate there: it stays until it is due."""
    detail = f"put there by hand, until {issued.not_after:%Y-%m-%d %H:%M:%SZ}, serial {issued.serial}"
    return _move(record, P.ISSUED, now, issued=issued, event="adopted", detail=detail)


def renewal_suggested(record: Record, now: datetime, *, renewal: Renewal) -> Record:
    """What the CA says about renewing what is issued."""
    if record.issued is None:
        raise IllegalTransition(f"{record.name} has no certificate")
    return replace(record, issued=replace(record.issued, renewal=renewal))


def waiting(
    record: Record, now: datetime, *, problem: Problem, wait: timedelta, asked: bool = False, issuer: str = ""
) -> Record:
    """Something that passes stands in the way; try again after `wait`."""
    record = with_failure(record, problem, now=now)
    retry = _retry(record, problem, now, not_before=now + wait, asked=asked, issuer=issuer)
    return _move(record, P.WAITING, now, retry=retry, event="waiting", detail=str(problem))


def failed(record: Record, now: datetime, *, problem: Problem, issuer: str = "") -> Record:
    """Only a change helps."""
    record = with_failure(record, problem, now=now)
    retry = _retry(record, problem, now, issuer=issuer)
    return _move(record, P.FAILED, now, retry=retry, event="failed", detail=str(problem))


def held_back(record: Record, now: datetime, *, problem: Problem, until: datetime, issuer: str = "") -> Record:
    """An order now would exceed a limit of the issuer. That is no failure."""
    retry = _retry(record, problem, now, not_before=until, asked=True, issuer=issuer)
    failures = failures_of(record)
    retry = replace(retry, failures=failures, since=retry.since if failures else None)
    return _move(record, P.WAITING, now, retry=retry, event="held back", detail=str(problem))


def kept_waiting(record: Record, now: datetime) -> Record:
    """Wanted again while its back-off goes on: making an Ingress anew does not end it."""
    if record.retry is None:
        raise IllegalTransition(f"{record.name} has nothing to wait for")
    return _move(record, P.FAILED if record.retry.not_before is None else P.WAITING, now)


def orphaned(
    record: Record, now: datetime, *, problem: Problem | None = None, wait: timedelta = timedelta(0)
) -> Record:
    """No live Ingress wants the Secret any more; or its namespace is going, as `problem` says, and if it stays after
    all the next attempt has to wait.
    """
    retry = None if problem is None else _retry(record, problem, now, not_before=now + wait)
    detail = problem.detail if problem else "no live Ingress wants this Secret"
    return _move(record, P.ORPHANED, now, retry=retry, event="orphaned", detail=detail)


def retired(record: Record, now: datetime) -> Record:
    """Nobody came back for it. Epoch and history stay for a week: names do not restart, limits are not forgotten."""
    attempt = record.attempt and replace(record.attempt, **NO_ORDER, orders_dropped=0)
    return _move(record, P.RETIRED, now, attempt=attempt, event="retired")


def attempt_of(record: Record) -> AttemptState:
    """The attempt of a record that has been launched."""
    if record.attempt is None:
        raise IllegalTransition(f"{record.name} has no attempt")
    return record.attempt


def failures_of(record: Record) -> int:
    """Failures in a row. Another intent starts anew, unless it is one of the last that failed."""
    retry = record.retry
    return retry.failures if retry is not None and record.intent.hash in retry.hashes else 0


def _retry(
    record: Record,
    problem: Problem,
    now: datetime,
    not_before: datetime | None = None,
    *,
    asked: bool = False,
    issuer: str = "",
) -> Retry:
    intent_hash = record.intent.hash
    former = record.retry.hashes if record.retry else ()
    failures = failures_of(record)
    return Retry(
        problem=problem,
        failures=failures + 1,
        intent_hash=intent_hash,
        # One that was written down without it has been failing since now.
        since=(record.retry.since if record.retry and failures else None) or now,
        earlier=tuple(h for h in former if h != intent_hash)[:FAILED_HASHES],
        not_before=not_before,
        asked=asked,
        issuer=issuer,
    )


def _move(
    record: Record,
    phase: Phase,
    now: datetime,
    *,
    attempt: AttemptState | None = None,
    issued: Issued | None = None,
    retry: Retry | None = None,
    event: str = "",
    detail: str = "",
) -> Record:
    if phase not in ARROWS[record.phase]:
        raise IllegalTransition(f"{record.name}: {record.phase} -> {phase}")
    attempt = attempt or record.attempt
    history = record.history
    if event:
        entry = HistoryEntry(at=now, epoch=attempt.epoch if attempt else 0, event=event, detail=detail[:300])
        history = (*history, entry)[-HISTORY_LENGTH:]
    return replace(
        record,
        phase=phase,
        since=record.since if phase is record.phase else now,
        attempt=attempt,
        issued=issued or record.issued,
        retry=None if phase is P.ISSUED else (retry or record.retry),
        history=history,
    )
