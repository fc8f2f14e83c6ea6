"""Which attempts the sweep starts again."""

from __future__ import annotations

from datetime import timedelta

import pytest
from msgspec.structs import replace

from issuer_job import names
from issuer_job import sweep_rules as rules
from issuer_job.backoff import LONGEST_ASKED
from issuer_job.record import ACTIVE, Phase, Record, Retry
from issuer_job.sweep_rules import Action, Reason, Verdict, judge
from tests.samples import NOW, PROBLEM, attempt, issued, record

JOB = frozenset({names.job("shop", "web-tls", record().epoch)})
IN_ORDER = Verdict(Action.NOTHING, Reason.IN_ORDER)
SECOND = timedelta(seconds=1)


def waiting(not_before: object) -> Record:
    return record(Phase.WAITING, retry=Retry(problem=PROBLEM, failures=1, intent_hash="x", not_before=not_before))  # type: ignore[arg-type]


def test_the_order_of_the_rules() -> None:
    assert [rule.__name__ for rule, _ in rules.RULES] == [
        "job_never_came",
        "attempt_has_crashed",
        "retry_is_due",
        "daily_retry_is_due",
        "renewal_is_due",
    ]
    assert [verdict.action for _, verdict in rules.RULES] == [Action.SAME_EPOCH] + [Action.NEW_EPOCH] * 4


@pytest.mark.parametrize("phase", Phase)
def test_a_fresh_record_is_left_alone(phase: Phase) -> None:
    assert judge(record(phase), jobs=frozenset(), now=NOW + rules.JOB_GRACE) == IN_ORDER


def test_the_job_never_came() -> None:
    late = NOW + rules.JOB_GRACE + SECOND
    assert judge(record(), jobs=frozenset(), now=late) == Verdict(Action.SAME_EPOCH, Reason.JOB_NEVER_CAME)
    assert judge(record(), jobs=JOB, now=late) == IN_ORDER
    assert judge(record(Phase.CLAIMED), jobs=frozenset(), now=late) == IN_ORDER


def test_the_same_epoch_at_most_three_times() -> None:
    tried = record(attempt=attempt(tries=rules.MOST_TRIES))
    assert judge(tried, jobs=frozenset(), now=NOW + rules.JOB_GRACE + SECOND) == IN_ORDER
    over = NOW + rules.ATTEMPT_DEADLINE + SECOND
    assert judge(tried, jobs=frozenset(), now=over) == Verdict(Action.NEW_EPOCH, Reason.CRASHED)


def test_a_job_that_never_came_comes_before_the_crash() -> None:
    over = NOW + rules.ATTEMPT_DEADLINE + SECOND
    assert judge(record(), jobs=frozenset(), now=over).reason is Reason.JOB_NEVER_CAME


@pytest.mark.parametrize("phase", Phase)
def test_only_an_active_attempt_can_crash(phase: Phase) -> None:
    over = NOW + rules.ATTEMPT_DEADLINE + SECOND
    expected = Reason.CRASHED if phase in ACTIVE else Reason.IN_ORDER
    assert judge(record(phase), jobs=JOB, now=over).reason is expected
    assert judge(record(phase), jobs=JOB, now=over - 2 * SECOND).reason is Reason.IN_ORDER


def test_a_retry_is_due() -> None:
    due = NOW + timedelta(minutes=1)
    assert judge(waiting(due), jobs=JOB, now=due) == Verdict(Action.NEW_EPOCH, Reason.RETRY_DUE)
    assert judge(waiting(due), jobs=JOB, now=due - SECOND) == IN_ORDER
    assert judge(waiting(None), jobs=JOB, now=due) == IN_ORDER
    assert judge(record(Phase.WAITING), jobs=JOB, now=due) == IN_ORDER


def test_a_wait_that_a_wrong_clock_wrote_is_over() -> None:
    far = NOW + timedelta(days=4000)
    assert judge(waiting(far), jobs=JOB, now=NOW).reason is Reason.RETRY_DUE
    assert judge(waiting(NOW + LONGEST_ASKED), jobs=JOB, now=NOW) == IN_ORDER


def test_what_failed_is_tried_once_a_day() -> None:
    failed = record(Phase.FAILED)
    day = NOW + timedelta(days=1)
    assert judge(failed, jobs=JOB, now=day) == Verdict(Action.NEW_EPOCH, Reason.DAILY_RETRY)
    assert judge(failed, jobs=JOB, now=day - SECOND) == IN_ORDER
    assert judge(replace(failed, since=day), jobs=JOB, now=day) == IN_ORDER


@pytest.mark.parametrize(("life", "part"), [(timedelta(days=90), 2 / 3), (timedelta(days=6), 1 / 2)])
def test_a_renewal_is_due_late_in_a_certificates_life(life: timedelta, part: float) -> None:
    good = record(Phase.ISSUED, issued=issued(not_before=NOW, not_after=NOW + life))
    assert judge(good, jobs=frozenset(), now=NOW + life * (part - 0.04)) == IN_ORDER
    due = judge(good, jobs=frozenset(), now=NOW + life * part)
    assert due == Verdict(Action.NEW_EPOCH, Reason.RENEWAL_DUE)


@pytest.mark.parametrize("phase", sorted(set(Phase) - {Phase.ISSUED}))
def test_only_what_is_issued_and_rests_is_renewed(phase: Phase) -> None:
    old = record(phase, issued=issued(not_before=NOW - timedelta(days=80), not_after=NOW + timedelta(days=10)))
    assert not rules.renewal_is_due(old, frozenset(), NOW)


def test_each_issued_secret_is_looked_at_once_an_hour() -> None:
    good = record(Phase.ISSUED, issued=issued())
    passes = [NOW.replace(minute=0) + timedelta(minutes=5 * number) for number in range(12)]
    assert sum(rules.look_is_due(good, moment) for moment in passes) == 1
    assert not any(rules.look_is_due(record(Phase.WAITING), moment) for moment in passes)
