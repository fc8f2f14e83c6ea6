"""Does a record's attempt have to be started again? Rules in a chain; the first that applies answers. Pure."""

from __future__ import annotations

from collections.abc import Callable, Set
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from certs.renewal import renewal_time
from issuer_job import names
from issuer_job.backoff import LONGEST_ASKED
from issuer_job.record import ACTIVE, Phase, Record

JOB_GRACE = timedelta(seconds=60)
"""From launch until the Job must be there."""
MOST_TRIES = 3
ATTEMPT_DEADLINE = timedelta(minutes=15)
"""From launch until an attempt without an end counts as crashed: pods may have waited long for a place."""
PERMANENT_RETRY = timedelta(days=1)
LOOK_MINUTES = 5
"""From one pass to the next."""
LOOK_TURNS = 60 // LOOK_MINUTES


class Action(StrEnum):
    """What to do with a record."""

    NOTHING = "nothing"
    SAME_EPOCH = "same epoch"
    NEW_EPOCH = "new epoch"


class Reason(StrEnum):
    """Why."""

    JOB_NEVER_CAME = "JobNeverCame"
    CRASHED = "Crashed"
    RETRY_DUE = "RetryDue"
    DAILY_RETRY = "DailyRetry"
    RENEWAL_DUE = "RenewalDue"
    SECRET_NOT_GOOD = "SecretNotGood"  # noqa: S105 - a word, not a secret
    IN_ORDER = "InOrder"


@dataclass(frozen=True)
class Verdict:
    """What follows for one record."""

    action: Action
    reason: Reason


def judge(record: Record, *, jobs: Set[str], now: datetime) -> Verdict:
    """The first rule that applies. `jobs` are the names of all Jobs in certjob's namespace."""
    for rule, verdict in RULES:
        if rule(record, jobs, now):
            return verdict
    return Verdict(Action.NOTHING, Reason.IN_ORDER)


def job_never_came(record: Record, jobs: Set[str], now: datetime) -> bool:
    """Launched, and a minute later there is no such Job: the launcher died in between."""
    return (
        record.phase is Phase.LAUNCHED
        and record.attempt is not None
        and now - record.attempt.launched_at > JOB_GRACE
        and record.attempt.tries < MOST_TRIES
        and names.job(record.namespace, record.secret_name, record.epoch) not in jobs
    )


def attempt_has_crashed(record: Record, jobs: Set[str], now: datetime) -> bool:
    """Active long after every deadline has passed: no pod will end it."""
    return (
        record.phase in ACTIVE and record.attempt is not None and now - record.attempt.launched_at > ATTEMPT_DEADLINE
    )


def retry_is_due(record: Record, jobs: Set[str], now: datetime) -> bool:
    """Waiting, and the time has come."""
    if record.phase is not Phase.WAITING or record.retry is None or record.retry.not_before is None:
        return False
    # A wait that nobody would have stored comes from a clock that was wrong.
    return now >= record.retry.not_before or record.retry.not_before - now > LONGEST_ASKED


def daily_retry_is_due(record: Record, jobs: Set[str], now: datetime) -> bool:
    """Failed for good as far as we can tell: once a day somebody may have put it right."""
    return record.phase is Phase.FAILED and now - record.since >= PERMANENT_RETRY


def renewal_is_due(record: Record, jobs: Set[str], now: datetime) -> bool:
    """Two thirds of the certificate's life are over, half of a life under ten days; spread by the record's name."""
    issued = record.issued
    return (
        record.phase is Phase.ISSUED
        and issued is not None
        and now
        >= renewal_time(
            not_before=issued.not_before, not_after=issued.not_after, renew_before=None, spread_key=record.name
        )
    )


def look_is_due(record: Record, now: datetime) -> bool:
    """Whether it is this Secret's turn to be looked at: once an hour each, spread over the passes by name."""
    turn = int(names.digest(record.name), 16) % LOOK_TURNS
    return record.phase is Phase.ISSUED and now.minute // LOOK_MINUTES == turn


RULES: tuple[tuple[Callable[[Record, Set[str], datetime], bool], Verdict], ...] = (
    (job_never_came, Verdict(Action.SAME_EPOCH, Reason.JOB_NEVER_CAME)),
    (attempt_has_crashed, Verdict(Action.NEW_EPOCH, Reason.CRASHED)),
    (retry_is_due, Verdict(Action.NEW_EPOCH, Reason.RETRY_DUE)),
    (daily_retry_is_due, Verdict(Action.NEW_EPOCH, Reason.DAILY_RETRY)),
    (renewal_is_due, Verdict(Action.NEW_EPOCH, Reason.RENEWAL_DUE)),
)
