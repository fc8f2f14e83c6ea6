"""What one certificate needs: the order of the rules, and each of them on both sides of its boundary."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from datetime import datetime, timedelta

import pytest
from msgspec.structs import replace

from issuer_job.backoff import LONGEST_ASKED
from issuer_job.demand.common import Entry
from issuer_job.issuers.load import ABSENT
from issuer_job.record import transitions
from issuer_job.record.ledger_entries import TOMBSTONE
from issuer_job.record.phases import ABSENCE_GRACE, LaunchReason
from issuer_job.record.record import ACTIVE, Issued, Phase, Record, Retry, Settings, Source
from issuer_job.sweep import rules
from issuer_job.sweep.rules import after_look, judge_situation
from issuer_job.sweep.situation import Action, AttemptKey, Priority, Situation, Verdict
from issuer_job.tenant_secrets.access import Refusal
from tests.worlds.samples import HOSTS, NOW, PROBLEM, attempt, issued, record, source

JOB = record().uid, record().epoch
RUNNING, FINISHED, ABSENT_JOB = {JOB: False}, {JOB: True}, dict[AttemptKey, bool]()
IN_ORDER = Verdict(Action.NOTHING, LaunchReason.IN_ORDER)
SECOND, MINUTE, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(days=1)
IDLE = sorted({Phase.ISSUED, Phase.WAITING, Phase.FAILED})
QUIET = NOW.replace(minute=0)
"""Not the turn of the sample's Secret to be looked at."""


def situation(
    existing: Record | None,
    *,
    now: datetime = NOW,
    sources: tuple[Source, ...] = (source(),),
    named_by: frozenset[str] | None = None,
    jobs: Mapping[AttemptKey, bool] = RUNNING,
    issuers: Mapping[str, str] | None = None,
    interval: timedelta = 5 * MINUTE,
    certificates: int = 12_000,
) -> Situation:
    return Situation(
        namespace="shop",
        secret_name="web-tls",
        record=existing,
        entries=tuple(Entry("web-tls", wanted) for wanted in sources),
        named_by=frozenset(wanted.key for wanted in sources) if named_by is None else named_by,
        jobs=jobs,
        issuers=issuers or {"le": "v1"},
        interval=interval,
        now=now,
        certificates=certificates,
    )


def verdict(existing: Record | None, **about: object) -> Verdict:
    return judge_situation(situation(existing, **about))  # type: ignore[arg-type]


def reason(existing: Record | None, **about: object) -> LaunchReason:
    return verdict(existing, **about).reason


def good(**fields: object) -> Issued:
    """A certificate for the sample's intent with 90 days to live."""
    made = issued(intent_hash=record().intent.hash, not_before=NOW, not_after=NOW + 90 * DAY)
    return replace(made, **fields)


def at_rest(phase: Phase = Phase.ISSUED, **fields: object) -> Record:
    """Nothing is to be done about it."""
    retry = None if phase is Phase.ISSUED else failure(None if phase is Phase.FAILED else NOW + DAY)
    return record(phase, **{"issued": good(), "retry": retry, **fields})


def failure(not_before: datetime | None, **fields: object) -> Retry:
    made = Retry(problem=PROBLEM, failures=1, intent_hash=record().intent.hash, not_before=not_before, issuer="v1")
    return replace(made, **fields)


def unwanted(existing: Record, now: datetime, *, named_by: frozenset[str] = frozenset()) -> Verdict:
    return verdict(existing, now=now, sources=(), named_by=named_by)


def test_the_order_of_the_rules() -> None:
    assert [(rule.__name__, v.action, v.reason, v.priority) for rule, v in rules.RULES] == [
        ("tombstone_has_stood", "forget", "NotWanted", 3),
        ("its_secret_may_ask_again", "look", "NotWanted", 3),
        ("nobody_came_back", "retire", "NotWanted", 3),
        ("no_ingress_names_it", "orphan", "NotWanted", 3),
        ("ingress_wants_something_else", "launch", "Changed", 1),
        ("source_is_missing", "mark sources", "SourceGone", 3),
        ("source_stayed_away", "drop sources", "SourceGone", 1),
        ("never_launched", "new epoch", "Missed", 1),
        ("job_never_came", "same epoch", "JobNeverCame", 1),
        ("attempt_crashes_again", "give up", "CrashesAgain", 3),
        ("attempt_has_crashed", "new epoch", "Crashed", 2),
        ("issuer_was_edited", "new epoch", "IssuerEdited", 2),
        ("issuer_was_put_right", "new epoch", "IssuerEdited", 2),
        ("account_was_reset", "new epoch", "IssuerEdited", 2),
        ("fallback_takes_over", "new epoch", "Fallback", 2),
        ("retry_is_due", "new epoch", "RetryDue", 2),
        ("hosts_are_free", "new epoch", "HostsFree", 2),
        ("daily_retry_is_due", "new epoch", "DailyRetry", 2),
        ("secret_may_be_handed_over", "knock", "HandedOver", 2),
        ("certificate_was_revoked", "new epoch", "Revoked", 0),
        ("something_else_was_issued", "new epoch", "Changed", 1),
        ("key_is_shared", "look", "SharedKey", 1),
        ("issuer_has_another_server", "new epoch", "OtherServer", 3),
        ("issuer_renews_all", "new epoch", "RenewAsked", 3),
        ("renewal_is_asked_for", "launch", "RenewAsked", 3),
        ("renewal_is_due", "look", "RenewalDue", 3),
        ("look_is_due", "look", "LookDue", 3),
    ]


@pytest.mark.parametrize("phase", [Phase.FAILED, Phase.WAITING])
def test_who_may_have_all_of_its_hosts_now_is_tried_again(phase: Phase) -> None:
    wanted = at_rest(phase)
    assert judge_situation(situation(wanted)) == IN_ORDER
    assert judge_situation(dataclasses.replace(situation(wanted), hosts_free=True)).reason is LaunchReason.HOSTS_FREE


@pytest.mark.parametrize("phase", sorted(ACTIVE | set(IDLE)))
def test_what_is_fresh_and_wanted_is_left_alone(phase: Phase) -> None:
    assert verdict(at_rest(phase), now=QUIET) == IN_ORDER


def test_an_ingress_without_a_record_was_missed() -> None:
    assert verdict(None) == Verdict(Action.LAUNCH, LaunchReason.MISSED, Priority.MISSED)


def test_a_name_alone_makes_no_record() -> None:
    assert verdict(None, sources=(), named_by=frozenset({"web"})) == IN_ORDER


def test_a_tombstone_stands_for_a_week() -> None:
    tomb = record(Phase.RETIRED)
    assert unwanted(tomb, NOW + TOMBSTONE) == Verdict(Action.FORGET, LaunchReason.NOT_WANTED)
    assert unwanted(tomb, NOW + TOMBSTONE - SECOND) == IN_ORDER


def test_a_tombstone_is_no_obstacle_for_who_comes_back() -> None:
    assert reason(record(Phase.RETIRED), now=NOW + TOMBSTONE) is LaunchReason.CHANGED


@pytest.mark.parametrize("phase", [Phase.ORPHANED, Phase.UNCONFIRMED])
def test_what_nobody_came_back_for_is_retired_after_ten_minutes(phase: Phase) -> None:
    assert ABSENCE_GRACE == 10 * MINUTE
    assert unwanted(record(phase), NOW + ABSENCE_GRACE) == Verdict(Action.RETIRE, LaunchReason.NOT_WANTED)
    assert unwanted(record(phase), NOW + ABSENCE_GRACE - SECOND) == IN_ORDER


@pytest.mark.parametrize("phase", [Phase.ORPHANED, Phase.UNCONFIRMED])
def test_what_an_ingress_with_a_broken_issuer_names_is_not_retired(phase: Phase) -> None:
    assert unwanted(record(phase), NOW + 30 * DAY, named_by=frozenset({"web"})) == IN_ORDER


@pytest.mark.parametrize("phase", [Phase.ORPHANED, Phase.UNCONFIRMED, Phase.RETIRED])
def test_who_comes_back_is_launched(phase: Phase) -> None:
    assert verdict(record(phase)) == Verdict(Action.LAUNCH, LaunchReason.CHANGED, Priority.MISSED)


@pytest.mark.parametrize("phase", [Phase.WANTED, *IDLE])
def test_what_no_ingress_names_is_orphaned_once_it_must_have_been_stored(phase: Phase) -> None:
    idle = at_rest(phase)
    assert unwanted(idle, NOW + rules.STORED_WITHIN).action is Action.ORPHAN
    assert unwanted(idle, NOW + rules.STORED_WITHIN - SECOND).action is not Action.ORPHAN


@pytest.mark.parametrize("phase", [Phase.WANTED, *IDLE])
def test_what_an_ingress_with_a_broken_issuer_names_is_not_orphaned(phase: Phase) -> None:
    assert unwanted(at_rest(phase), NOW + DAY, named_by=frozenset({"web"})).action is not Action.ORPHAN


@pytest.mark.parametrize("phase", sorted(ACTIVE))
def test_a_job_at_work_finds_out_by_itself(phase: Phase) -> None:
    assert unwanted(record(phase), NOW + 5 * MINUTE) == IN_ORDER


@pytest.mark.parametrize("phase", sorted(ACTIVE | set(IDLE)))
def test_an_ingress_wants_something_else(phase: Phase) -> None:
    changed = verdict(at_rest(phase), now=QUIET, sources=(source(hosts=HOSTS[:1]),))
    assert changed == Verdict(Action.LAUNCH, LaunchReason.CHANGED, Priority.MISSED)


@pytest.mark.parametrize(
    "settings",
    [
        Settings(issuer="other"),
        Settings(issuer="le", key_algorithm="rsa-2048"),
        Settings(issuer="le", profile="shortlived"),
        Settings(issuer="le", preferred_chain="x"),
        Settings(issuer="le", renew_before=60),
    ],
)
def test_other_settings_are_something_else(settings: Settings) -> None:
    assert reason(at_rest(), sources=(source(settings=settings),)) is LaunchReason.CHANGED


def test_a_second_ingress_is_something_else() -> None:
    assert reason(at_rest(), sources=(source(), source("second"))) is LaunchReason.CHANGED


def test_uid_and_age_are_not() -> None:
    assert verdict(at_rest(), now=QUIET, sources=(source(uid="u", created=NOW),)) == IN_ORDER


def two(gone_since: datetime | None, phase: Phase = Phase.ISSUED) -> Record:
    """Two Ingresses want the Secret; the second one has been away since then."""
    return at_rest(phase, sources=(source(), source("second", gone_since=gone_since)))


@pytest.mark.parametrize("phase", IDLE)
def test_one_of_two_ingresses_is_missed(phase: Phase) -> None:
    assert verdict(two(None, phase)) == Verdict(Action.MARK_SOURCES, LaunchReason.SOURCE_GONE)
    assert verdict(two(NOW, phase), now=QUIET) == IN_ORDER  # that has been noted


@pytest.mark.parametrize("phase", IDLE)
def test_one_that_is_back_is_noted_too(phase: Phase) -> None:
    for wait in (MINUTE, DAY):  # also if no sweep came by for longer than the grace
        back = verdict(two(NOW, phase), now=NOW + wait, named_by=frozenset({"Ingress/web", "Ingress/second"}))
        assert back == Verdict(Action.MARK_SOURCES, LaunchReason.SOURCE_GONE)


@pytest.mark.parametrize("phase", IDLE)
def test_after_ten_minutes_the_hosts_of_one_that_stayed_away_leave(phase: Phase) -> None:
    away = two(NOW - ABSENCE_GRACE, phase)
    assert verdict(away) == Verdict(Action.DROP_SOURCES, LaunchReason.SOURCE_GONE, Priority.MISSED)
    assert reason(two(NOW - ABSENCE_GRACE + SECOND, phase), now=QUIET) is LaunchReason.IN_ORDER


def test_while_nobody_else_is_known_to_be_there_nothing_leaves() -> None:
    away = at_rest(sources=(source(gone_since=NOW - DAY),))
    assert verdict(away, now=QUIET, sources=(), named_by=frozenset({"broken"})) == IN_ORDER


@pytest.mark.parametrize("phase", sorted(ACTIVE))
def test_during_an_attempt_sources_are_the_jobs_to_know(phase: Phase) -> None:
    assert verdict(two(None, phase)) == IN_ORDER


def test_put_off_at_admission() -> None:
    assert reason(record(Phase.WANTED)) is LaunchReason.CHANGED  # its Ingress is there
    hidden = verdict(record(Phase.WANTED), sources=(), named_by=frozenset({"web"}))
    assert hidden == Verdict(Action.NEW_EPOCH, LaunchReason.MISSED, Priority.MISSED)


def test_the_job_never_came() -> None:
    late = NOW + rules.JOB_GRACE + SECOND
    never = Verdict(Action.SAME_EPOCH, LaunchReason.JOB_NEVER_CAME, Priority.MISSED)
    assert verdict(record(), jobs=ABSENT_JOB, now=late) == never
    assert verdict(record(), jobs=ABSENT_JOB, now=late - SECOND) == IN_ORDER
    assert verdict(record(), jobs=RUNNING, now=late) == IN_ORDER


def test_the_same_epoch_at_most_three_times() -> None:
    late = NOW + rules.JOB_GRACE + SECOND
    assert reason(record(attempt=attempt(tries=2)), jobs=ABSENT_JOB, now=late) is LaunchReason.JOB_NEVER_CAME
    tried = record(attempt=attempt(tries=3))
    assert verdict(tried, jobs=ABSENT_JOB, now=late) == IN_ORDER
    assert reason(tried, jobs=ABSENT_JOB, now=NOW + rules.ATTEMPT_DEADLINE + SECOND) is LaunchReason.CRASHED


@pytest.mark.parametrize("phase", sorted(ACTIVE))
def test_a_job_that_is_over_while_its_attempt_is_not_has_crashed(phase: Phase) -> None:
    crashed = Verdict(Action.NEW_EPOCH, LaunchReason.CRASHED, Priority.RETRY)
    assert verdict(record(phase), jobs=FINISHED) == crashed
    assert verdict(record(phase), jobs=RUNNING) == IN_ORDER


@pytest.mark.parametrize("phase", sorted(ACTIVE - {Phase.LAUNCHED}))
def test_a_job_that_is_gone_has_crashed(phase: Phase) -> None:
    late = NOW + rules.JOB_GRACE + SECOND
    assert reason(record(phase), jobs=ABSENT_JOB, now=late) is LaunchReason.CRASHED
    assert reason(record(phase), jobs=ABSENT_JOB, now=late - SECOND) is LaunchReason.IN_ORDER


@pytest.mark.parametrize("phase", sorted(ACTIVE))
def test_an_attempt_long_after_every_deadline_has_crashed(phase: Phase) -> None:
    over = NOW + rules.ATTEMPT_DEADLINE + SECOND
    assert reason(record(phase), now=over) is LaunchReason.CRASHED
    assert reason(record(phase), now=over - SECOND) is LaunchReason.IN_ORDER


@pytest.mark.parametrize("phase", IDLE)
def test_what_is_not_active_cannot_crash(phase: Phase) -> None:
    assert verdict(at_rest(phase), jobs=FINISHED, now=QUIET) == IN_ORDER


def test_the_third_crash_in_a_row_is_one_too_many() -> None:
    third = record(Phase.ORDERING, attempt=attempt(crashes=2))
    assert verdict(third, jobs=FINISHED) == Verdict(Action.GIVE_UP, LaunchReason.CRASHES_AGAIN)
    assert verdict(third, jobs=RUNNING) == IN_ORDER
    second = record(Phase.ORDERING, attempt=attempt(crashes=1))
    assert reason(second, jobs=FINISHED) is LaunchReason.CRASHED


@pytest.mark.parametrize("phase", [Phase.WAITING, Phase.FAILED])
def test_an_edit_of_the_issuer_ends_the_wait(phase: Phase) -> None:
    edited = verdict(at_rest(phase), issuers={"le": "v2"})
    assert edited == Verdict(Action.NEW_EPOCH, LaunchReason.ISSUER_EDITED, Priority.RETRY)
    assert verdict(at_rest(phase), issuers={"le": "v1"}) == IN_ORDER


def test_an_issuer_that_is_made_or_deleted_is_an_edit() -> None:
    absent = at_rest(Phase.WAITING, retry=failure(NOW + DAY, issuer=ABSENT))
    assert verdict(absent, issuers={"other": "v1"}) == IN_ORDER
    assert reason(absent, issuers={"le": "v1"}) is LaunchReason.ISSUER_EDITED
    assert reason(at_rest(Phase.WAITING), issuers={"other": "v1"}) is LaunchReason.ISSUER_EDITED


def test_an_attempt_that_failed_before_it_read_its_issuer_says_nothing_about_edits() -> None:
    assert verdict(at_rest(Phase.WAITING, retry=failure(NOW + DAY, issuer=""))) == IN_ORDER


def test_an_edit_does_not_shorten_what_the_ca_asked_for() -> None:
    asked = at_rest(Phase.WAITING, retry=failure(NOW + DAY, asked=True))
    assert verdict(asked, issuers={"le": "v2"}) == IN_ORDER
    assert reason(asked, issuers={"le": "v2"}, now=NOW + DAY) is LaunchReason.ISSUER_EDITED


def test_an_edit_ends_the_wait_for_the_issuers_own_limits() -> None:
    problem = replace(PROBLEM, type=transitions.HELD_BACK)
    held = at_rest(Phase.WAITING, retry=failure(NOW + DAY, asked=True, problem=problem))
    assert verdict(held) == IN_ORDER
    assert reason(held, issuers={"le": "v2"}) is LaunchReason.ISSUER_EDITED


def test_a_retry_is_due() -> None:
    waits = at_rest(Phase.WAITING, retry=failure(NOW + MINUTE))
    assert verdict(waits, now=NOW + MINUTE) == Verdict(Action.NEW_EPOCH, LaunchReason.RETRY_DUE, Priority.RETRY)
    assert verdict(waits, now=NOW + MINUTE - SECOND) == IN_ORDER


def test_a_wait_that_a_wrong_clock_wrote_is_over() -> None:
    wrong = at_rest(Phase.WAITING, retry=failure(NOW + LONGEST_ASKED + SECOND, asked=True))
    assert reason(wrong) is LaunchReason.RETRY_DUE
    assert verdict(at_rest(Phase.WAITING, retry=failure(NOW + LONGEST_ASKED))) == IN_ORDER


def test_what_failed_is_tried_once_a_day() -> None:
    failed = at_rest(Phase.FAILED)
    assert verdict(failed, now=NOW + DAY) == Verdict(Action.NEW_EPOCH, LaunchReason.DAILY_RETRY, Priority.RETRY)
    assert verdict(failed, now=NOW + DAY - SECOND) == IN_ORDER


@pytest.mark.parametrize("refusal", [Refusal.FOREIGN, Refusal.IMMUTABLE])
def test_a_foreign_secret_is_looked_at_in_every_pass(refusal: Refusal) -> None:
    problem = replace(PROBLEM, type=str(refusal))
    foreign = at_rest(Phase.FAILED, retry=failure(None, problem=problem))
    assert verdict(foreign) == Verdict(Action.KNOCK, LaunchReason.HANDED_OVER, Priority.RETRY)
    waits = at_rest(Phase.WAITING, retry=failure(NOW + DAY, problem=problem))
    assert verdict(waits) == IN_ORDER


def test_what_was_issued_is_not_what_is_wanted() -> None:
    other = at_rest(issued=good(intent_hash="0123456789abcdef"))
    assert verdict(other, now=QUIET) == Verdict(Action.NEW_EPOCH, LaunchReason.CHANGED, Priority.MISSED)


@pytest.mark.parametrize(("life", "part"), [(90 * DAY, 2 / 3), (6 * DAY, 1 / 2)])
def test_a_renewal_is_due_late_in_a_certificates_life(life: timedelta, part: float) -> None:
    held = at_rest(issued=good(not_after=NOW + life))
    assert reason(held, now=NOW + life * (part - 0.04)) is not LaunchReason.RENEWAL_DUE
    assert verdict(held, now=NOW + life * part) == Verdict(Action.LOOK, LaunchReason.RENEWAL_DUE)


@pytest.mark.parametrize("phase", sorted(set(Phase) - {Phase.ISSUED}))
def test_only_what_is_issued_and_rests_is_renewed(phase: Phase) -> None:
    old = record(phase, issued=good(not_before=NOW - 80 * DAY, not_after=NOW + 10 * DAY))
    assert not rules.renewal_is_due(situation(old), old)


@pytest.mark.parametrize(
    ("certificates", "looks"), [(1, 12), (1000, 12), (1001, 6), (3000, 4), (11_001, 1), (12_000, 1), (50_000, 1)]
)
def test_each_issued_secret_is_looked_at_in_each_pass_or_with_many_once_an_hour(
    certificates: int, looks: int
) -> None:
    passes = [QUIET + 5 * number * MINUTE for number in range(12)]
    found = [verdict(at_rest(), now=moment, certificates=certificates) for moment in passes]
    assert found.count(Verdict(Action.LOOK, LaunchReason.LOOK_DUE)) == looks
    assert found.count(IN_ORDER) == 12 - looks


def test_with_ten_thousand_no_pass_has_many_more_looks_than_its_budget_and_nobody_waits_longer_than_an_hour() -> None:
    held = [replace(at_rest(), uid=f"uid-{number}") for number in range(1000)]
    due = [
        {one.uid for one in held if rules.look_is_due(situation(one, now=moment, certificates=10_000), one)}
        for moment in (QUIET + 5 * number * MINUTE for number in range(12))
    ]
    assert max(map(len, due)) < 1.5 * rules.MOST_LOOKS / 10
    assert set[str]().union(*due) == {one.uid for one in held}


@pytest.mark.parametrize("minutes", [1, 7, 10, 20, 30, 60])
def test_no_schedule_skips_a_look(minutes: int) -> None:
    passes = [QUIET + number * minutes * MINUTE for number in range(0, 60 * 7 // minutes)]
    for number in range(20):
        held = replace(at_rest(), secret_name=f"s{number}")
        seen = [m for m in passes if rules.look_is_due(situation(held, now=m, interval=minutes * MINUTE), held)]
        assert len(seen) >= 6


@pytest.mark.parametrize("left", [True, False])
def test_under_a_tenth_of_its_life_a_certificate_goes_first(left: bool) -> None:
    end = NOW + 9 * DAY + (timedelta(0) if left else -SECOND)
    late = good(not_before=end - 90 * DAY, not_after=end)
    due = verdict(at_rest(Phase.WAITING, issued=late, retry=failure(NOW)))
    assert due.reason is LaunchReason.RETRY_DUE
    assert due.priority is (Priority.RETRY if left else Priority.URGENT)
    found = after_look(situation(at_rest(issued=late)), Verdict(Action.LOOK, LaunchReason.RENEWAL_DUE), good=False)
    assert found.priority is (Priority.REST if left else Priority.URGENT)


def test_the_order_of_the_priorities() -> None:
    assert sorted(Priority) == [Priority.URGENT, Priority.MISSED, Priority.RETRY, Priority.REST]


@pytest.mark.parametrize(
    ("action", "why", "is_good", "expected"),
    [
        (Action.KNOCK, LaunchReason.HANDED_OVER, False, LaunchReason.HANDED_OVER),
        (Action.KNOCK, LaunchReason.HANDED_OVER, True, LaunchReason.HANDED_OVER),
        (Action.LOOK, LaunchReason.RENEWAL_DUE, False, LaunchReason.RENEWAL_DUE),
        (Action.LOOK, LaunchReason.RENEWAL_DUE, True, LaunchReason.IN_ORDER),  # its owner has put another one there
        (Action.LOOK, LaunchReason.LOOK_DUE, False, LaunchReason.SECRET_NOT_GOOD),
        (Action.LOOK, LaunchReason.LOOK_DUE, True, LaunchReason.IN_ORDER),
    ],
)
def test_what_a_look_leads_to(action: Action, why: LaunchReason, is_good: bool, expected: LaunchReason) -> None:
    """Its row says how urgent it is; a Secret that is not good was missed."""
    found = after_look(situation(at_rest()), Verdict(action, why, Priority.RETRY), good=is_good)
    assert found.reason is expected
    assert found.action is (Action.NOTHING if expected is LaunchReason.IN_ORDER else Action.NEW_EPOCH)
    priorities = {LaunchReason.SECRET_NOT_GOOD: Priority.MISSED, LaunchReason.IN_ORDER: Priority.REST}
    assert found.priority is priorities.get(expected, Priority.RETRY)


def test_without_a_record_a_look_leads_to_nothing() -> None:
    assert after_look(situation(None), Verdict(Action.LOOK, LaunchReason.LOOK_DUE), good=False) == IN_ORDER


@pytest.mark.parametrize(
    ("existing", "shared"),
    [
        (at_rest(), True),
        (at_rest(attempt=attempt(reason="RenewalDue")), True),
        (at_rest(attempt=attempt(reason="SharedKey")), False),
        (at_rest(issued=good(directory="")), False),
        (at_rest(Phase.WAITING), False),
    ],
    ids=["issued", "renewed", "made for this", "put there by hand", "waiting"],
)
def test_a_key_that_another_record_has_is_made_anew_once(existing: Record, shared: bool) -> None:
    found = judge_situation(dataclasses.replace(situation(existing, now=QUIET), shares_key=True))
    assert (found == Verdict(Action.LOOK, LaunchReason.SHARED_KEY, Priority.MISSED)) is shared
    assert verdict(existing, now=QUIET).reason is not LaunchReason.SHARED_KEY


@pytest.mark.parametrize("phase", [Phase.FAILED, Phase.WAITING])
@pytest.mark.parametrize("step", sorted(rules.TESTED))
def test_what_failed_with_its_issuers_account_is_tried_once_a_test_finds_that_ready(phase: Phase, step: str) -> None:
    retry = replace(failure(NOW + DAY), problem=replace(PROBLEM, step=step))
    held = at_rest(phase, retry=retry)
    ready = dataclasses.replace(situation(held), issuer_ready=held.since + SECOND)
    assert judge_situation(ready).reason is LaunchReason.ISSUER_EDITED
    for other in (
        dataclasses.replace(ready, issuer_ready=held.since),
        dataclasses.replace(ready, issuer_ready=None),
        dataclasses.replace(ready, record=replace(held, retry=replace(retry, asked=True))),
        dataclasses.replace(ready, record=replace(held, retry=failure(NOW + DAY))),
    ):
        assert judge_situation(other) == IN_ORDER


@pytest.mark.parametrize("phase", [Phase.WAITING, Phase.FAILED])
def test_what_failed_with_an_account_that_was_reset_is_tried_again(phase: Phase) -> None:
    """Whatever it failed for, and whatever the CA has asked of the former account."""
    held = at_rest(phase, retry=failure(None if phase is Phase.FAILED else NOW + DAY, asked=True))
    reset = dataclasses.replace(situation(held), account_reset=held.since + SECOND)
    assert judge_situation(reset) == Verdict(Action.NEW_EPOCH, LaunchReason.ISSUER_EDITED, Priority.RETRY)
    limit = replace(PROBLEM, type=transitions.HELD_BACK, step="limits")
    own = at_rest(Phase.WAITING, retry=failure(NOW + DAY, asked=True, problem=limit))
    for other in (
        dataclasses.replace(reset, account_reset=held.since),
        dataclasses.replace(reset, account_reset=None),
        dataclasses.replace(reset, record=own),
    ):
        assert judge_situation(other) == IN_ORDER


def test_what_its_issuer_has_replaced_is_ordered_once_it_is_an_hour_old() -> None:
    made = at_rest(issued=good(at=NOW))
    asked, due = NOW + MINUTE, NOW + timedelta(hours=1)
    for now, wish, is_due in [
        (due, asked, True),
        (due - SECOND, asked, False),
        (due + 2 * MINUTE, due + MINUTE, True),
        (due, due + MINUTE, False),
        (due, None, False),
    ]:
        found = judge_situation(dataclasses.replace(situation(made, now=now), wish=wish))
        assert (found.reason is LaunchReason.RENEW_ASKED) is is_due, (now, wish)
