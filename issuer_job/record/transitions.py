"""The record's life: one small pure function for each arrow, which phases are allowed says `phases`."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from msgspec.structs import replace

from issuer_job.record.intents import NO_ORDER, bounded, intended, joined, union
from issuer_job.record.ledger_entries import with_certificate, with_failure, with_order, worn_out
from issuer_job.record.phases import ACTIVE, ARROWS, Bearing, HistoryEvent, LaunchReason
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
    Revoked,
    Source,
)

P = Phase
E = HistoryEvent

MOST_FORMER = 4
"""Certificates that are remembered after the next one was issued."""
MOST_REVOKED = 20
FAILED_HASHES = 4
"""Intents that failed before the last one and are remembered: some tools flap between two."""

HELD_BACK = "heldBack"
"""Type of the problem when an order would exceed a limit that is the issuer's own, not yet the CA's answer."""

BLAMELESS = frozenset({"accountReplaced", "keyOutdated"})
"""Types of problems that are no failures: the next attempt has what the last one lacked."""


class IllegalTransition(RuntimeError):
    """A bug: the record cannot go from this phase to that one."""


def wanted(*, namespace: str, secret_name: str, sources: tuple[Source, ...], now: datetime) -> Record:
    """A new record; nothing is launched yet."""
    sources = bounded(sources)
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
        changed_at=None,
        looks_again=False,
        retry_asked=False,
        renews=old.renews or reason.bearing is Bearing.REPLACES,
        ordered=old.ordered and record.phase in ACTIVE,  # one that could say how it ended knows all its orders
        interval=interval or old.interval,
    )
    if reason is LaunchReason.REVOKED:
        attempt = replace(attempt, **NO_ORDER)  # it may be what led to the certificate, with its key
    retry = None if reason.bearing is Bearing.AFRESH and not _asked_for_again(record, reason) else record.retry
    return _move(replace(record, attempt=attempt, retry=retry), P.LAUNCHED, now, E.LAUNCHED, str(reason))


def _asked_for_again(record: Record, reason: LaunchReason) -> bool:
    """Whether its owner asks for it after a failed validation: it is tried, and if it fails again it waits longer."""
    failed = record.retry is not None and record.retry.problem.step == "authorization"
    return failed and reason is LaunchReason.RETRY_ASKED


def relaunched(record: Record, now: datetime) -> Record:
    """The same epoch once more: its Job never came to be."""
    tries = attempt_of(record).tries + 1
    return _move(with_attempt(record, launched_at=now, tries=tries), P.LAUNCHED, now)


def changed_before_order(record: Record, now: datetime) -> Record:
    """What is wanted has changed, and its Job has not ordered yet: it looks again before it does."""
    return with_attempt(record, generation=record.generation, changed_at=now)


def claimed(record: Record, now: datetime, *, holder: str, stretch: float = 0.0) -> Record:
    """A pod takes the attempt, also from another pod of the same epoch whose node was lost."""
    claimed = {"holder": holder, "generation": record.generation, "looks_again": True, "stretch": stretch}
    return _move(with_attempt(record, **claimed), P.CLAIMED, now)


def confirmed(record: Record, now: datetime, *, sources: tuple[Source, ...], known: tuple[Source, ...]) -> Record:
    """What is live is the intent now. Who has joined since a look, when the sources were those `known`, stays."""
    for source in record.sources:
        if source not in known and source.gone_since is None:
            sources = joined(sources, source)
    record = intended(record, sources=sources)
    return _move(with_attempt(record, generation=record.generation), record.phase, now)


def unconfirmed(record: Record, now: datetime) -> Record:
    """The Ingress never appeared: its admission was refused later, or it is gone."""
    return _move(record, P.UNCONFIRMED, now, E.UNCONFIRMED, "no live Ingress wants this Secret")


def inherits(attempt: AttemptState, *, directory: str, account: str, terms: str) -> bool:
    """Whether an order that it has, or may have, is this account's, on these terms. Pure."""
    return (attempt.directory, attempt.account) == (directory, account) and attempt.terms in ("", terms)


def ordering(record: Record, now: datetime, *, directory: str, account: str, terms: str = "") -> Record:
    """From here on newOrder may have happened. An order of another account or directory, or on other terms, is
    forgotten.
    """
    place = {"directory": directory, "account": account, "terms": terms}
    if not inherits(attempt_of(record), **place):
        record = with_attempt(record, order_url="", order_expires=None, replaces="")
    return _move(with_attempt(record, ordered=True, **place), P.ORDERING, now)


def signing(record: Record, now: datetime, *, directory: str) -> Record:
    """The certificate comes from an issuer that takes no orders."""
    return _move(with_attempt(record, **NO_ORDER, directory=directory, account=""), P.CLAIMED, now)


def order_dropped(record: Record, now: datetime, *, reason: str) -> Record:
    """The order is of no use (invalid, expired, another's): forget it and order again."""
    dropped = attempt_of(record).orders_dropped + 1
    record = with_attempt(record, order_url="", order_expires=None, replaces="", orders_dropped=dropped)
    return _move(record, P.ORDERING, now, E.ORDER_DROPPED, reason)


def authorizing(
    record: Record, now: datetime, *, order_url: str, expires: datetime | None, replaces: str | None = None
) -> Record:
    """The order's URL is known. `replaces` is the CertID that it names, None if it is one that was known before."""
    known = attempt_of(record).order_url == order_url
    record = with_attempt(record, order_url=order_url, order_expires=expires)
    if replaces is not None:
        record = with_attempt(record, replaces=replaces)
    if not known:
        exempt = bool(attempt_of(record).replaces) and record.issued is not None and record.issued.is_suggested(now)
        record = with_order(record, now=now, exempt=exempt)
    return _move(record, P.AUTHORIZING, now, None if known else E.ORDERED, order_url)


def finalizing(record: Record, now: datetime, *, pending_key: str) -> Record:
    """The pending key is stored; from here on finalize may have happened."""
    return _move(with_attempt(record, pending_key=pending_key), P.FINALIZING, now)


def installing(record: Record, now: datetime, *, secret_uid: str, secret_version: str) -> Record:
    """From here on the Secret write may have happened; empty uid and version mean that it is to be created."""
    former = record.issued and replace(record.issued, secret_uid="", secret_version="")
    record = with_attempt(replace(record, issued=former), secret_uid=secret_uid, secret_version=secret_version)
    return _move(record, P.INSTALLING, now)


def issued(record: Record, now: datetime, *, issued: Issued) -> Record:
    """The Secret holds the certificate."""
    if attempt_of(record).order_url:
        record = with_certificate(record, issued.hosts, now=now)
    record = with_attempt(record, **NO_ORDER, orders_dropped=0, crashes=0, renews=False)
    return _move(_holding(replace(record, retry=None), issued, now), P.ISSUED, now, E.ISSUED, str(issued))


def adopted(record: Record, now: datetime, *, issued: Issued) -> Record:
    """The Secret holds another good certificate than the record says: put there by its owner, it stays until it is
    due; or the one that was issued, of which the record says something else.
    """
    record = _holding(replace(record, retry=None), issued, now)
    why = "as the Secret has it" if issued.directory else "put there by hand"
    return _move(record, P.ISSUED, now, E.ADOPTED, f"{why}, {issued}")


def renewal_suggested(record: Record, now: datetime, *, renewal: Renewal) -> Record:
    """What the CA says about renewing what is issued."""
    if record.issued is None:
        raise IllegalTransition(f"{record.name} has no certificate")
    return replace(record, issued=replace(record.issued, renewal=renewal))


def forfeited(record: Record, now: datetime, *, host: str, cause: str, lost: bool = True) -> Record:
    """What is good for the host is so without a right of its namespace's, see `hosts.loss`; not `lost`: has it."""

    def marked(one: Issued) -> Issued:
        hit, others = lost and one.directory and host in one.hosts, [h for h in one.forfeited if h != host]
        return replace(one, forfeited=(*others, host) if hit else tuple(others))

    issued, former = record.issued and marked(record.issued), tuple(map(marked, record.former))
    event = E.HOST_LOST if lost else E.HOST_REGAINED
    return _noted(replace(record, issued=issued, former=former), now, event, f"{host}: {cause}")


def revoked(record: Record, now: datetime, *, certificate: Revoked) -> Record:
    """The certificate is about to be revoked: it is not to be found good anywhere, and its key is of no more use."""
    if certificate in record.revoked:
        return record
    kept = [one for one in record.revoked if one.not_after > now and one.serial != certificate.serial]
    record = replace(record, revoked=(*kept[-MOST_REVOKED + 1 :], certificate))
    return _noted(record, now, E.TO_BE_REVOKED, f"serial {certificate.serial}, {certificate.reason}")


def key_dropped(record: Record, now: datetime) -> Record:
    """The order's key is one that may not be used any more: the next attempt makes another, and another order."""
    return _move(with_attempt(record, **NO_ORDER), P.ORDERING, now, E.KEY_DROPPED, "its certificate was revoked")


def retry_asked(record: Record) -> Record:
    """Its owner wants another attempt while this one is at work."""
    return with_attempt(record, retry_asked=True)


def waiting(
    record: Record, now: datetime, *, problem: Problem, wait: timedelta, asked: bool = False, issuer: str = ""
) -> Record:
    """Something that passes stands in the way; try again after `wait`, or at once if that was asked for meanwhile."""
    record = with_failure(record, problem, now=now)
    wait = timedelta(0) if _follows_at_once(record, now) and not asked else wait
    record = _retrying(record, problem, now, now + wait, asked=asked, issuer=issuer)
    return _move(record, P.WAITING, now, E.WAITING, str(problem), problem.type)


def failed(record: Record, now: datetime, *, problem: Problem, issuer: str = "") -> Record:
    """Only a change helps; one that somebody says to have made meanwhile is tried."""
    record = with_failure(record, problem, now=now)
    again = _follows_at_once(record, now)
    record = _retrying(record, problem, now, now if again else None, issuer=issuer)
    phase, event = (P.WAITING, E.WAITING) if again else (P.FAILED, E.FAILED)
    return _move(record, phase, now, event, str(problem), problem.type)


def _follows_at_once(record: Record, now: datetime) -> bool:
    return record.attempt is not None and record.attempt.retry_asked and worn_out(record, now) is None


def held_back(
    record: Record, now: datetime, *, problem: Problem, until: datetime, issuer: str = "", renews: bool = False
) -> Record:
    """An order now would exceed a limit of the issuer. That is no failure. What was to be replaced then, because it
    `renews`, is to be replaced once there is room.
    """
    if renews and record.attempt is not None:
        record = with_attempt(record, renews=True)
    record = _retrying(record, problem, now, until, asked=True, issuer=issuer, counts=False)
    return _move(record, P.WAITING, now, E.HELD_BACK, str(problem), problem.type)


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
    if problem is None:
        return _move(record, P.ORPHANED, now, E.ORPHANED, "no live Ingress wants this Secret")
    return _move(_retrying(record, problem, now, now + wait), P.ORPHANED, now, E.ORPHANED, problem.detail)


def retired(record: Record, now: datetime) -> Record:
    """Nobody came back for it. Epoch and history stay for a week: names do not restart, limits are not forgotten."""
    attempt = record.attempt and replace(record.attempt, **NO_ORDER, orders_dropped=0)
    return _move(replace(record, attempt=attempt), P.RETIRED, now, E.RETIRED)


def attempt_of(record: Record) -> AttemptState:
    """The attempt of a record that has been launched."""
    if record.attempt is None:
        raise IllegalTransition(f"{record.name} has no attempt")
    return record.attempt


def with_attempt(record: Record, **changes: Any) -> Record:
    """The record with other values of these fields of its attempt."""
    return replace(record, attempt=replace(attempt_of(record), **changes))


def failures_of(record: Record) -> int:
    """Failures in a row. Another intent starts anew, unless it is one of the last that failed."""
    retry = record.retry
    return retry.failures if retry is not None and record.intent.hash in retry.hashes else 0


def _retrying(
    record: Record,
    problem: Problem,
    now: datetime,
    not_before: datetime | None,
    *,
    asked: bool = False,
    issuer: str = "",
    counts: bool = True,
) -> Record:
    """With the problem in its way; `counts`: that is one more failure."""
    former, before = record.retry, failures_of(record)
    # One that was written down without it has been failing since now.
    since = (former.since if former and before else None) or now
    retry = Retry(
        problem=problem,
        failures=before + counts,
        intent_hash=record.intent.hash,
        since=since if before or counts else None,
        earlier=tuple(h for h in (former.hashes if former else ()) if h != record.intent.hash)[:FAILED_HASHES],
        not_before=not_before,
        asked=asked,
        issuer=issuer,
    )
    return replace(record, retry=retry)


def _move(
    record: Record, phase: Phase, now: datetime, event: E | None = None, detail: str = "", problem: str = ""
) -> Record:
    """The record in that phase, with a line of its story if there is an event."""
    if phase not in ARROWS[record.phase]:
        raise IllegalTransition(f"{record.name}: {record.phase} -> {phase}")
    noted = _noted(record, now, event, detail, problem) if event else record
    return replace(noted, phase=phase, since=record.since if phase is record.phase else now)


def _holding(record: Record, issued: Issued, now: datetime) -> Record:
    """With what is in the Secret now. What was there before stays known as long as it is valid."""
    before = [one for one in record.certificates[::-1] if one.serial != issued.serial and one.not_after > now]
    return replace(record, issued=issued, former=tuple(before[-MOST_FORMER:]))


def _noted(record: Record, now: datetime, event: E, detail: str, problem: str = "") -> Record:
    entry = HistoryEntry(at=now, epoch=record.epoch, event=str(event), detail=detail[:300], type=problem)
    return replace(record, history=(*record.history, entry)[-HISTORY_LENGTH:])
