"""What one certificate needs now: rules in a chain, the first that applies answers. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

from issuer_job import names
from issuer_job.backoff import LONGEST_ASKED, PERMANENT
from issuer_job.demand.plan import PlanReason
from issuer_job.issuers.load import ABSENT
from issuer_job.record.ledger_entries import TOMBSTONE
from issuer_job.record.phases import ABSENCE_GRACE, Bearing, LaunchReason
from issuer_job.record.record import ACTIVE, Phase, Record
from issuer_job.record.renewal import asked_time, due_at, ends_soon, is_for
from issuer_job.record.transitions import HELD_BACK
from issuer_job.sweep.situation import IN_ORDER, Action, AttemptKey, Priority, Situation, Verdict
from issuer_job.tenant_secrets.access import Refusal

JOB_GRACE = timedelta(seconds=60)
"""From launch until the Job must be there."""
MOST_TRIES = 3
MOST_CRASHES = 3
ATTEMPT_DEADLINE = timedelta(minutes=15)
"""From launch until an attempt without an end counts as crashed: pods may have waited long for a place."""
STANDSTILL = timedelta(minutes=4)
"""In one phase, from when on it is said: with a sweep every five minutes, within ten."""
STORED_WITHIN = timedelta(minutes=1)
"""How long after its admission an Ingress may not be stored yet."""
UNWRITABLE = frozenset(str(refusal) for refusal in Refusal if refusal.is_permanent)
"""Types of problems that the Secret's owner ends."""
TESTED = frozenset({"account", "contact", "directory", "dns", "newAccount", "newNonce", "sign"})
"""Steps of an attempt that a test of its issuer takes, too, or that need the same credentials."""
MOST_LOOKS = 1000
"""At Secrets that seem in order, in one pass: a look is a request, of some 4 ms."""
LOOK_TURNS = 12
"""Five minutes within which each of them is looked at, however many there are: an hour."""


def judge_situation(situation: Situation) -> Verdict:
    """The first rule that applies."""
    if situation.record is None:
        wanted = bool(situation.entries)
        return Verdict(Action.LAUNCH, LaunchReason.MISSED, Priority.MISSED) if wanted else IN_ORDER
    for rule, verdict in RULES:
        if rule(situation, situation.record):
            return _urgent(verdict, situation.record, situation.now)
    return IN_ORDER


def tombstone_has_stood(s: Situation, record: Record) -> bool:
    """Retired a week ago: no limit looks back further."""
    return record.phase is Phase.RETIRED and not s.entries and s.now - record.since >= TOMBSTONE


def nobody_came_back(s: Situation, record: Record) -> bool:
    """Its Ingress is gone, or was never stored, for longer than the grace."""
    waits = record.phase in {Phase.ORPHANED, Phase.UNCONFIRMED}
    return waits and not s.named_by and s.now - record.since >= ABSENCE_GRACE


def its_secret_may_ask_again(s: Situation, record: Record) -> bool:
    """The same, of a Secret that asked for itself: it may have been stored late, and cannot be listed."""
    return record.secret_is_its_owners and nobody_came_back(s, record)


def no_ingress_names_it(s: Situation, record: Record) -> bool:
    """No live Ingress names the Secret. One whose issuer is broken still does."""
    idle = record.phase in {Phase.WANTED, Phase.ISSUED, Phase.WAITING, Phase.FAILED}
    return idle and not s.named_by and s.now - record.since >= STORED_WITHIN


def ingress_wants_something_else(s: Situation, record: Record) -> bool:
    """Hosts, issuer or settings of an Ingress are not those of the record, or it came back."""
    known = {PlanReason.UNCHANGED, PlanReason.LEFT_OUT, PlanReason.RENEW_ASKED}
    return any(s.plan(entry).reason not in known for entry in s.entries)


def source_is_missing(s: Situation, record: Record) -> bool:
    """One of several Ingresses on the Secret is away, or is back, and the record does not say so yet."""
    return _others_remain(s, record) and any(
        (source.gone_since is None) is not (source.key in s.named_by) for source in record.sources
    )


def source_stayed_away(s: Situation, record: Record) -> bool:
    """It has been away for longer than the grace: its hosts leave the certificate."""
    away = [s.now - source.gone_since for source in record.sources if source.gone_since is not None]
    left = len(away) < len(record.sources)
    return left and _others_remain(s, record) and any(since >= ABSENCE_GRACE for since in away)


def never_launched(s: Situation, record: Record) -> bool:
    """Written down at admission, and left to the sweep."""
    return record.phase is Phase.WANTED


def job_never_came(s: Situation, record: Record) -> bool:
    """Launched, and a minute later there is no such Job: the launcher died in between."""
    return (
        record.phase is Phase.LAUNCHED
        and record.attempt is not None
        and s.now - record.attempt.launched_at > JOB_GRACE
        and record.attempt.tries < MOST_TRIES
        and not job_is_there(s, record)
    )


def attempt_has_crashed(s: Situation, record: Record) -> bool:
    """Active although its Job has ended or is gone, or long after every deadline has passed."""
    if record.phase not in ACTIVE or record.attempt is None:
        return False
    age = s.now - record.attempt.launched_at
    if age > ATTEMPT_DEADLINE:
        return True
    lost = not job_is_there(s, record) and record.phase is not Phase.LAUNCHED and age > JOB_GRACE
    return lost or s.jobs.get(_job(record), False)


def stands_still(s: Situation, record: Record) -> bool:
    """Active, and for minutes there was no step: no pod starts, or the node of the one that did is lost."""
    return record.phase in ACTIVE and s.now - record.since >= STANDSTILL


def was_held_back_lately(s: Situation, record: Record) -> bool:
    """It waits for a limit of its issuer, and has not done so for longer than two sweeps."""
    retry = record.retry
    if record.phase is not Phase.WAITING or retry is None or retry.not_before is None:
        return False
    limit = (retry.problem.type, retry.problem.step) == (HELD_BACK, "limits")
    return limit and s.now - record.since <= 2 * s.interval


def job_is_there(s: Situation, record: Record) -> bool:
    """Whether there is a Job of the attempt, at work or not."""
    return _job(record) in s.jobs


def attempt_crashes_again(s: Situation, record: Record) -> bool:
    """The third crash in a row."""
    again = record.attempt is not None and record.attempt.crashes + 1 >= MOST_CRASHES
    return again and attempt_has_crashed(s, record)


def issuer_was_edited(s: Situation, record: Record) -> bool:
    """It failed with another configuration of its issuer. What the CA asked for is waited for all the same, but not
    what the issuer's own limits did: they may be what was edited.
    """
    retry = record.retry
    if retry is None or not retry.issuer or record.phase not in {Phase.WAITING, Phase.FAILED}:
        return False
    by_ca = retry.asked and retry.problem.type != HELD_BACK
    bound = by_ca and retry.not_before is not None and s.now < retry.not_before
    return not bound and retry.issuer != s.issuers.get(record.issuer, ABSENT)


def issuer_was_put_right(s: Situation, record: Record) -> bool:
    """It failed for what a test of the issuer tries, too, and since then one has found nothing, or somebody's attempt
    other credentials: they were put right, which no edit of the issuer shows.
    """
    retry, ready = record.retry, s.issuer_ready
    if retry is None or ready is None or retry.asked or record.phase not in {Phase.WAITING, Phase.FAILED}:
        return False
    return retry.problem.step in TESTED and ready > record.since


def account_was_reset(s: Situation, record: Record) -> bool:
    """It failed with an account that an operator has replaced since. What the issuer's own limits hold back waits all
    the same, not what the CA has asked of the former account.
    """
    retry, reset = record.retry, s.account_reset
    if retry is None or reset is None or record.phase not in {Phase.WAITING, Phase.FAILED}:
        return False
    return retry.problem.type != HELD_BACK and reset > record.since


def retry_is_due(s: Situation, record: Record) -> bool:
    """Waiting, and the time has come; or it is only held back by a limit, and its certificate ends soon."""
    if record.phase is not Phase.WAITING or record.retry is None or record.retry.not_before is None:
        return False
    if record.retry.problem.type == HELD_BACK and ends_soon(record, now=s.now, interval=s.interval):
        return True
    # A wait that nobody would have stored comes from a clock that was wrong.
    return s.now >= record.retry.not_before or record.retry.not_before - s.now > LONGEST_ASKED


def fallback_takes_over(s: Situation, record: Record) -> bool:
    """Its issuer has been failing for as long as the operator has patience."""
    return bool(s.fallback)


def hosts_are_free(s: Situation, record: Record) -> bool:
    """It failed because its namespace might not have a host, and that has changed."""
    return record.phase in {Phase.FAILED, Phase.WAITING} and s.hosts_free


def daily_retry_is_due(s: Situation, record: Record) -> bool:
    """Failed for good as far as we can tell: once a day somebody may have put it right."""
    return record.phase is Phase.FAILED and s.now - record.since >= PERMANENT


def secret_may_be_handed_over(s: Situation, record: Record) -> bool:
    """Failed because the Secret was not certjob's to write: its owner may have labelled it meanwhile."""
    foreign = record.retry is not None and record.retry.problem.type in UNWRITABLE
    return record.phase is Phase.FAILED and foreign


def something_else_was_issued(s: Situation, record: Record) -> bool:
    """The certificate in the Secret is not for what is wanted now."""
    return record.phase is Phase.ISSUED and record.issued is not None and not is_for(record.issued, record.intent)


def certificate_was_revoked(s: Situation, record: Record) -> bool:
    """It was revoked, or is about to be, or is a copy of one: another key and another certificate take its place."""
    return record.phase is Phase.ISSUED and (record.is_revoked or s.key_revoked)


def key_is_shared(s: Situation, record: Record) -> bool:
    """Another Secret has the private key that certjob made for this one; unless a new key has been shared as well:
    whoever copies Secrets all the time shall not have orders made all the time.
    """
    made = record.issued is not None and record.issued.directory
    again = record.attempt is not None and record.attempt.reason == LaunchReason.SHARED_KEY
    return record.phase is Phase.ISSUED and s.shares_key and bool(made) and not again


def issuer_has_another_server(s: Situation, record: Record) -> bool:
    """Its issuer was pointed at another CA since: from a test environment to the real one, perhaps."""
    return record.phase is Phase.ISSUED and s.other_server


def issuer_renews_all(s: Situation, record: Record) -> bool:
    """An operator has all replaced that its issuer gave before some time."""
    if record.phase is not Phase.ISSUED or record.issued is None or s.wish is None:
        return False
    return s.now >= asked_time(record.issued, s.wish)


def renewal_is_asked_for(s: Situation, record: Record) -> bool:
    """It is older than what asks for it says that it must not be, or an operator on its record."""
    return any(s.plan(entry).reason is PlanReason.RENEW_ASKED for entry in s.entries)


def renewal_is_due(s: Situation, record: Record) -> bool:
    """The time has come that the CA suggested, that its owner asked for, or that its lifetime gives."""
    return record.phase is Phase.ISSUED and record.issued is not None and s.now >= due_at(record, interval=s.interval)


def look_is_due(s: Situation, record: Record) -> bool:
    """Whether it is this Secret's turn: in every pass while there are few, else spread over an hour."""
    turns = min(-(-s.certificates // MOST_LOOKS), LOOK_TURNS) or 1
    turn = int(names.digest(record.uid), 16) % turns  # by what nobody chooses, so that none can crowd one turn
    seconds = int(s.now.timestamp())
    # From one sweep to the next, so that a slower schedule skips nobody's turn.
    missed = range(0, max(1, min(int(s.interval.total_seconds()), 3600)), 300)
    return record.phase is Phase.ISSUED and any((seconds + back) // 300 % turns == turn for back in missed)


def after_look(situation: Situation, verdict: Verdict, *, good: bool) -> Verdict:
    """What follows when a look has shown the Secret: `good` to stay, or not."""
    record = situation.record
    if record is None or (good and verdict.action is not Action.KNOCK):
        return IN_ORDER
    found = Verdict(Action.NEW_EPOCH, LaunchReason.SECRET_NOT_GOOD, Priority.MISSED)
    if verdict.action is Action.KNOCK or verdict.reason.bearing is Bearing.REPLACES:
        found = replace(verdict, action=Action.NEW_EPOCH)
    return _urgent(found, record, situation.now)


RULES: tuple[tuple[Callable[[Situation, Record], bool], Verdict], ...] = (
    (tombstone_has_stood, Verdict(Action.FORGET, LaunchReason.NOT_WANTED)),
    (its_secret_may_ask_again, Verdict(Action.LOOK, LaunchReason.NOT_WANTED)),
    (nobody_came_back, Verdict(Action.RETIRE, LaunchReason.NOT_WANTED)),
    (no_ingress_names_it, Verdict(Action.ORPHAN, LaunchReason.NOT_WANTED)),
    (ingress_wants_something_else, Verdict(Action.LAUNCH, LaunchReason.CHANGED, Priority.MISSED)),
    # Before the next one: what has come back since it was marked must not be dropped.
    (source_is_missing, Verdict(Action.MARK_SOURCES, LaunchReason.SOURCE_GONE)),
    (source_stayed_away, Verdict(Action.DROP_SOURCES, LaunchReason.SOURCE_GONE, Priority.MISSED)),
    (never_launched, Verdict(Action.NEW_EPOCH, LaunchReason.MISSED, Priority.MISSED)),
    (job_never_came, Verdict(Action.SAME_EPOCH, LaunchReason.JOB_NEVER_CAME, Priority.MISSED)),
    (attempt_crashes_again, Verdict(Action.GIVE_UP, LaunchReason.CRASHES_AGAIN)),
    (attempt_has_crashed, Verdict(Action.NEW_EPOCH, LaunchReason.CRASHED, Priority.RETRY)),
    (issuer_was_edited, Verdict(Action.NEW_EPOCH, LaunchReason.ISSUER_EDITED, Priority.RETRY)),
    (issuer_was_put_right, Verdict(Action.NEW_EPOCH, LaunchReason.ISSUER_EDITED, Priority.RETRY)),
    (account_was_reset, Verdict(Action.NEW_EPOCH, LaunchReason.ISSUER_EDITED, Priority.RETRY)),
    (fallback_takes_over, Verdict(Action.NEW_EPOCH, LaunchReason.FALLBACK, Priority.RETRY)),
    (retry_is_due, Verdict(Action.NEW_EPOCH, LaunchReason.RETRY_DUE, Priority.RETRY)),
    (hosts_are_free, Verdict(Action.NEW_EPOCH, LaunchReason.HOSTS_FREE, Priority.RETRY)),
    (daily_retry_is_due, Verdict(Action.NEW_EPOCH, LaunchReason.DAILY_RETRY, Priority.RETRY)),
    (secret_may_be_handed_over, Verdict(Action.KNOCK, LaunchReason.HANDED_OVER, Priority.RETRY)),
    (certificate_was_revoked, Verdict(Action.NEW_EPOCH, LaunchReason.REVOKED, Priority.URGENT)),
    (something_else_was_issued, Verdict(Action.NEW_EPOCH, LaunchReason.CHANGED, Priority.MISSED)),
    (key_is_shared, Verdict(Action.LOOK, LaunchReason.SHARED_KEY, Priority.MISSED)),
    (issuer_has_another_server, Verdict(Action.NEW_EPOCH, LaunchReason.OTHER_SERVER)),
    (issuer_renews_all, Verdict(Action.NEW_EPOCH, LaunchReason.RENEW_ASKED)),
    # What is missed goes before it: there may be thousands of these at once.
    (renewal_is_asked_for, Verdict(Action.LAUNCH, LaunchReason.RENEW_ASKED)),
    (renewal_is_due, Verdict(Action.LOOK, LaunchReason.RENEWAL_DUE)),
    (look_is_due, Verdict(Action.LOOK, LaunchReason.LOOK_DUE)),
)


def _others_remain(s: Situation, record: Record) -> bool:
    return bool(s.named_by) and record.phase in {Phase.ISSUED, Phase.WAITING, Phase.FAILED}


def _job(record: Record) -> AttemptKey:
    return record.uid, record.epoch


def _urgent(verdict: Verdict, record: Record, now: datetime) -> Verdict:
    issued = record.issued
    if issued is None or issued.not_after - now >= issued.lifetime / 10:
        return verdict
    return replace(verdict, priority=Priority.URGENT)
