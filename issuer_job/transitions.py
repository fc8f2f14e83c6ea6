"""The record's life: which phase may follow which, and one small pure function for each arrow."""

from __future__ import annotations

from datetime import datetime, timedelta

from msgspec.structs import replace

from issuer_job.record import (
    HISTORY_LENGTH,
    Attempt,
    HistoryEntry,
    Intent,
    Issued,
    Phase,
    Problem,
    Record,
    Retry,
    Source,
)

P = Phase

FAILED_HASHES = 4
"""Intents that failed before the last one and are remembered: some tools flap between two."""

ARROWS: dict[Phase, frozenset[Phase]] = {
    P.WANTED: frozenset({P.LAUNCHED, P.WAITING, P.ORPHANED}),
    P.LAUNCHED: frozenset({P.LAUNCHED, P.CLAIMED, P.WAITING, P.ORPHANED}),
    P.CLAIMED: frozenset(
        {P.CLAIMED, P.LAUNCHED, P.ISSUED, P.UNCONFIRMED, P.FAILED, P.WAITING, P.ORDERING, P.ORPHANED}
    ),
    P.UNCONFIRMED: frozenset({P.LAUNCHED, P.RETIRED}),
    P.ORDERING: frozenset({P.ORDERING, P.CLAIMED, P.LAUNCHED, P.AUTHORIZING, P.WAITING, P.FAILED, P.ORPHANED}),
    P.AUTHORIZING: frozenset({P.CLAIMED, P.LAUNCHED, P.FINALIZING, P.ORDERING, P.WAITING, P.FAILED, P.ORPHANED}),
    P.FINALIZING: frozenset({P.CLAIMED, P.LAUNCHED, P.INSTALLING, P.ORDERING, P.WAITING, P.FAILED, P.ORPHANED}),
    P.INSTALLING: frozenset({P.CLAIMED, P.LAUNCHED, P.INSTALLING, P.ISSUED, P.WAITING, P.FAILED, P.ORPHANED}),
    P.ISSUED: frozenset({P.LAUNCHED, P.ORPHANED}),
    P.WAITING: frozenset({P.LAUNCHED, P.ORPHANED}),
    P.FAILED: frozenset({P.LAUNCHED, P.ORPHANED}),
    P.ORPHANED: frozenset({P.LAUNCHED, P.ISSUED, P.RETIRED}),
    P.RETIRED: frozenset({P.LAUNCHED}),
}


class IllegalTransition(RuntimeError):
    """A bug: the record cannot go from this phase to that one."""


def union(sources: tuple[Source, ...]) -> Intent:
    """What several Ingresses on one Secret want together: all hosts, and the oldest one's settings.

    A source that is just being created has no creation time and counts as the youngest.
    """
    hosts = sorted({host for source in sources for host in source.hosts})
    oldest = min(sources, key=lambda s: (s.created is None, s.created.timestamp() if s.created else 0.0))
    return Intent(hosts=tuple(hosts), settings=oldest.settings)


def joined(sources: tuple[Source, ...], source: Source) -> tuple[Source, ...]:
    """`sources` with `source` in the place of its former self; what is known of uid and age is kept."""
    former = next((s for s in sources if s.key == source.key), None)
    if former is None:
        return (*sources, source)
    source = replace(source, uid=source.uid or former.uid, created=source.created or former.created)
    return tuple(source if s.key == source.key else s for s in sources)


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


def launched(record: Record, *, now: datetime, reason: str) -> Record:
    """Take a new epoch: at least the current second, so that it rises even when a record is made anew."""
    epoch = max(record.epoch + 1, int(now.timestamp()))
    attempt = Attempt(epoch=epoch, launched_at=now, tries=1, generation=record.generation)
    if record.attempt is not None:
        attempt = inherited(record.attempt, attempt)
    return _move(record, P.LAUNCHED, now=now, attempt=attempt, event="launched", detail=reason)


def inherited(old: Attempt, new: Attempt) -> Attempt:
    """The new attempt with the old one's order and pending key; the Job drops them if they do not fit."""
    return replace(
        new,
        directory=old.directory,
        account=old.account,
        ordered=old.ordered,
        order_url=old.order_url,
        order_expires=old.order_expires,
        pending_key=old.pending_key,
    )


def relaunched(record: Record, *, now: datetime) -> Record:
    """The same epoch once more: its Job never came to be."""
    attempt = attempt_of(record)
    return _move(record, P.LAUNCHED, now=now, attempt=replace(attempt, launched_at=now, tries=attempt.tries + 1))


def intended(record: Record, *, sources: tuple[Source, ...], keep_order: bool = False) -> Record:
    """Other sources. A changed intent raises the generation and, unless it still fits, forgets the order."""
    intent = union(sources)
    if intent.hash == record.intent.hash:
        return replace(record, sources=sources, intent=intent)
    attempt = record.attempt
    if attempt is not None and not keep_order:
        attempt = replace(attempt, ordered=False, order_url="", order_expires=None, pending_key="", orders_dropped=0)
    return replace(record, sources=sources, intent=intent, generation=record.generation + 1, attempt=attempt)


def claimed(record: Record, *, holder: str, now: datetime) -> Record:
    """A pod takes the attempt, also from another pod of the same epoch whose node was lost."""
    attempt = replace(attempt_of(record), holder=holder, generation=record.generation)
    return _move(record, P.CLAIMED, now=now, attempt=attempt)


def confirmed(record: Record, *, sources: tuple[Source, ...], now: datetime) -> Record:
    """The live Ingresses' word is the intent now."""
    record = intended(record, sources=sources)
    return _move(record, record.phase, now=now, attempt=replace(attempt_of(record), generation=record.generation))


def unconfirmed(record: Record, *, now: datetime) -> Record:
    """The Ingress never appeared: its admission was refused later, or it is gone."""
    return _move(record, P.UNCONFIRMED, now=now, event="unconfirmed", detail="no live Ingress wants this Secret")


def ordering(record: Record, *, directory: str, account: str, now: datetime) -> Record:
    """From here on newOrder may have happened. An order of another account or directory is forgotten."""
    attempt = attempt_of(record)
    if (attempt.directory, attempt.account) != (directory, account):
        attempt = replace(attempt, ordered=False, order_url="", order_expires=None)
    return _move(
        record, P.ORDERING, now=now, attempt=replace(attempt, ordered=True, directory=directory, account=account)
    )


def order_dropped(record: Record, *, now: datetime, reason: str) -> Record:
    """The order is of no use (invalid, expired, another's): forget it and order again."""
    attempt = attempt_of(record)
    attempt = replace(attempt, order_url="", order_expires=None, orders_dropped=attempt.orders_dropped + 1)
    return _move(record, P.ORDERING, now=now, attempt=attempt, event="order dropped", detail=reason)


def authorizing(record: Record, *, order_url: str, expires: datetime | None, now: datetime) -> Record:
    """The order's URL is known."""
    known = attempt_of(record).order_url == order_url
    attempt = replace(attempt_of(record), order_url=order_url, order_expires=expires)
    event = "" if known else "ordered"
    return _move(record, P.AUTHORIZING, now=now, attempt=attempt, event=event, detail=order_url)


def finalizing(record: Record, *, pending_key: str, now: datetime) -> Record:
    """The pending key is stored; from here on finalize may have happened."""
    return _move(record, P.FINALIZING, now=now, attempt=replace(attempt_of(record), pending_key=pending_key))


def installing(record: Record, *, secret_uid: str, secret_version: str, now: datetime) -> Record:
    """From here on the Secret write may have happened; empty uid and version mean that it is to be created."""
    attempt = replace(attempt_of(record), secret_uid=secret_uid, secret_version=secret_version)
    return _move(record, P.INSTALLING, now=now, attempt=attempt)


def issued(record: Record, *, issued: Issued, now: datetime) -> Record:
    """The Secret holds the certificate."""
    attempt = replace(
        attempt_of(record), ordered=False, order_url="", order_expires=None, pending_key="", orders_dropped=0
    )
    detail = f"until {issued.not_after:%Y-%m-%d %H:%M:%SZ}, serial {issued.serial}"
    return _move(record, P.ISSUED, now=now, attempt=attempt, issued=issued, retry=None, event="issued", detail=detail)


def waiting(record: Record, *, problem: Problem, now: datetime, wait: timedelta) -> Record:
    """Something that passes stands in the way; try again after `wait`."""
    retry = _retry(record, problem, not_before=now + wait)
    return _move(record, P.WAITING, now=now, retry=retry, event="waiting", detail=f"{problem.type}: {problem.detail}")


def failed(record: Record, *, problem: Problem, now: datetime) -> Record:
    """Only a change helps."""
    retry = _retry(record, problem)
    return _move(record, P.FAILED, now=now, retry=retry, event="failed", detail=f"{problem.type}: {problem.detail}")


def attempt_of(record: Record) -> Attempt:
    """The attempt of a record that has been launched."""
    if record.attempt is None:
        raise IllegalTransition(f"{record.name} has no attempt")
    return record.attempt


def failures_of(record: Record) -> int:
    """Failures in a row. Another intent starts anew, unless it is one of the last that failed."""
    retry = record.retry
    return retry.failures if retry is not None and record.intent.hash in retry.hashes else 0


def _retry(record: Record, problem: Problem, not_before: datetime | None = None) -> Retry:
    intent_hash = record.intent.hash
    former = record.retry.hashes if record.retry else ()
    return Retry(
        problem=problem,
        failures=failures_of(record) + 1,
        intent_hash=intent_hash,
        earlier=tuple(h for h in former if h != intent_hash)[:FAILED_HASHES],
        not_before=not_before,
    )


def _move(
    record: Record,
    phase: Phase,
    *,
    now: datetime,
    attempt: Attempt | None = None,
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
