"""What an Ingress that passes by means for its record (one Ingress, several on one Secret, again and again)."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from msgspec.structs import replace

from issuer_job.demand.common import Entry
from issuer_job.demand.plan import Plan, PlanReason, is_held_back, plan
from issuer_job.record import intents, transitions
from issuer_job.record.ledger_entries import MOST_FAILED
from issuer_job.record.record import ACTIVE, Counted, LedgerEntry, Phase, Record, Retry, Settings, Source, SourceKind
from issuer_job.record.sources import IngressClass
from tests.worlds.samples import HOSTS, LATER, NOW, PROBLEM, attempt, issued, record, source

GONE = {Phase.UNCONFIRMED, Phase.ORPHANED, Phase.RETIRED}
OTHER = Settings(issuer="other")


def decided(existing: Record | None, wanted: Source) -> Plan:
    return plan(existing, Entry("web-tls", wanted), namespace="shop", now=LATER)


def test_the_first_time() -> None:
    made = decided(None, source())
    assert (made.reason, made.launch, made.minor) == (PlanReason.NEW, True, False)
    assert made.record is not None
    assert (made.record.phase, made.record.epoch) == (Phase.LAUNCHED, int(LATER.timestamp()))
    assert (made.record.intent.hosts, made.record.resource_version) == (HOSTS, "")


@pytest.mark.parametrize("phase", sorted(set(Phase) - GONE - {Phase.WANTED}))
def test_the_same_again_writes_nothing(phase: Phase) -> None:
    assert decided(record(phase), source()) == Plan(PlanReason.UNCHANGED)


@pytest.mark.parametrize("phase", sorted(set(Phase) - GONE - {Phase.WANTED}))
def test_uid_and_age_alone_are_no_reason_to_write(phase: Phase) -> None:
    assert decided(record(phase), source(uid="u", created=NOW)).record is None


@pytest.mark.parametrize("phase", sorted(GONE | {Phase.WANTED}))
def test_seen_again(phase: Phase) -> None:
    made = decided(record(phase), source())
    assert (made.reason, made.launch) == (PlanReason.SEEN_AGAIN, True)
    assert made.record is not None
    assert (made.record.phase, made.record.generation) == (Phase.LAUNCHED, 1)
    assert made.record.epoch > record(phase).epoch


@pytest.mark.parametrize("phase", sorted(GONE))
def test_seen_again_forgets_the_sources_of_before(phase: Phase) -> None:
    made = decided(record(phase), source("second"))
    assert made.record is not None
    assert [s.name for s in made.record.sources] == ["second"]


def test_a_change_before_the_claim_needs_no_second_job() -> None:
    existing = record(Phase.LAUNCHED)
    made = decided(existing, source(hosts=HOSTS[:1]))
    assert (made.reason, made.launch) == (PlanReason.CHANGED_BEFORE_ORDER, False)
    assert made.record is not None
    assert (made.record.epoch, made.record.generation) == (existing.epoch, 2)
    assert transitions.attempt_of(made.record).generation == 2
    assert transitions.attempt_of(made.record).order_url == ""


def test_a_change_before_the_order_needs_no_second_job() -> None:
    existing = record(Phase.CLAIMED, attempt=attempt(looks_again=True))
    made = decided(existing, source(hosts=HOSTS[:1]))
    assert (made.reason, made.launch) == (PlanReason.CHANGED_BEFORE_ORDER, False)
    assert made.record is not None
    assert (made.record.phase, made.record.epoch, made.record.generation) == (Phase.CLAIMED, existing.epoch, 2)
    assert transitions.attempt_of(made.record).changed_at is not None


def test_another_issuer_before_the_claim_needs_a_job_with_its_keys() -> None:
    made = decided(record(Phase.LAUNCHED), source(settings=OTHER))
    assert (made.reason, made.launch) == (PlanReason.CHANGED, True)


@pytest.mark.parametrize("phase", sorted((ACTIVE - {Phase.LAUNCHED}) | {Phase.ISSUED, Phase.WAITING, Phase.FAILED}))
def test_a_change_later_takes_a_new_epoch(phase: Phase) -> None:
    existing = record(phase)
    made = decided(existing, source(hosts=(*HOSTS, "c.certjob.dev")))
    assert (made.reason, made.launch) == (PlanReason.CHANGED, True)
    assert made.record is not None
    assert (made.record.phase, made.record.generation) == (Phase.LAUNCHED, 2)
    assert made.record.epoch > existing.epoch
    assert made.record.intent.hosts == (*HOSTS, "c.certjob.dev")


def test_a_second_ingress_with_no_new_host_only_joins() -> None:
    made = decided(record(Phase.ISSUED), source("second", HOSTS[:1]))
    assert (made.reason, made.launch, made.minor) == (PlanReason.JOINED, False, False)
    assert made.record is not None
    assert [s.name for s in made.record.sources] == ["web", "second"]
    assert made.record.phase is Phase.ISSUED


def test_a_second_ingress_with_a_new_host_widens_the_certificate() -> None:
    made = decided(record(Phase.ISSUED), source("second", ("c.certjob.dev",)))
    assert made.launch
    assert made.record is not None
    assert made.record.intent.hosts == (*HOSTS, "c.certjob.dev")


def test_when_settings_differ_the_oldest_wins_and_the_other_is_told() -> None:
    existing = record(Phase.ISSUED, sources=(source(created=NOW),))
    young = decided(existing, source("second", settings=OTHER))
    assert (young.reason, young.minor) == (PlanReason.JOINED, True)
    assert young.record is not None
    assert young.record.intent.settings.issuer == "le"
    old = decided(existing, source("second", settings=OTHER, created=NOW - timedelta(days=1)))
    assert (old.reason, old.minor) == (PlanReason.CHANGED, False)


def test_a_joined_source_that_comes_again_writes_nothing_but_is_told_again() -> None:
    joined = decided(record(Phase.ISSUED, sources=(source(created=NOW),)), source("second", settings=OTHER)).record
    assert decided(joined, source("second", settings=OTHER)) == Plan(PlanReason.UNCHANGED, minor=True)


def test_another_class_is_noted_for_the_routes() -> None:
    existing = record(Phase.ISSUED)
    changed = replace(existing.sources[0], ingress_class=replace(existing.sources[0].ingress_class, field="nginx"))
    assert decided(existing, changed).reason is PlanReason.JOINED


def failed(phase: Phase, hosts: tuple[str, ...], **fields: object) -> Record:
    """A record whose attempts for `hosts` and then for the present intent failed."""
    there = intents.union((source(hosts=hosts),)).hash
    retry = Retry(problem=PROBLEM, failures=3, intent_hash=record().intent.hash, earlier=(there,))
    return record(phase, retry=replace(retry, **fields))


def test_waiting_goes_on_when_the_same_comes_again() -> None:
    assert decided(failed(Phase.WAITING, HOSTS[:1], not_before=LATER), source()).record is None


@pytest.mark.parametrize(
    ("phase", "not_before"), [(Phase.WAITING, LATER + timedelta(minutes=1)), (Phase.FAILED, None)]
)
def test_going_back_to_what_failed_lately_does_not_end_the_back_off(phase: Phase, not_before: object) -> None:
    made = decided(failed(phase, HOSTS[:1], not_before=not_before), source(hosts=HOSTS[:1]))
    assert (made.reason, made.launch) == (PlanReason.HELD_BACK, False)
    assert made.record is not None
    assert (made.record.phase, made.record.intent.hosts) == (phase, HOSTS[:1])


def test_nor_does_it_prolong_it() -> None:
    made = decided(failed(Phase.WAITING, HOSTS[:1], not_before=LATER), source(hosts=HOSTS[:1]))
    assert made.launch


def test_something_new_ends_the_back_off() -> None:
    made = decided(failed(Phase.FAILED, HOSTS[:1]), source(hosts=("new.certjob.dev",)))
    assert made.launch


def put_off(existing: Record | None, wanted: Source) -> Plan:
    return plan(existing, Entry("web-tls", wanted), namespace="shop", now=LATER, may_launch=False)


def test_put_off_the_first_time_it_is_written_down() -> None:
    made = put_off(None, source())
    assert (made.reason, made.launch) == (PlanReason.PUT_OFF, False)
    assert made.record is not None
    assert (made.record.phase, made.record.epoch) == (Phase.WANTED, 0)


@pytest.mark.parametrize("phase", sorted(set(Phase) - {Phase.LAUNCHED}))
def test_put_off_later_nothing_is_written(phase: Phase) -> None:
    assert put_off(record(phase), source(hosts=HOSTS[:1])) == Plan(PlanReason.PUT_OFF)


def asking(*hosts: str) -> Source:
    """A Secret, which nobody can list."""
    return source(hosts=hosts or HOSTS, kind=SourceKind.SECRET)


def test_what_only_waited_for_room_is_launched_when_it_is_asked_for_again() -> None:
    held = put_off(record(Phase.FAILED, sources=(asking(),)), asking("new.certjob.dev")).record
    assert held is not None
    assert held.phase is Phase.WAITING
    assert decided(held, asking("new.certjob.dev")).launch
    by_ca = replace(held, retry=replace(held.retry, problem=replace(PROBLEM, type="rateLimited")))
    assert not decided(by_ca, asking("new.certjob.dev")).launch


def test_what_needs_no_launch_is_not_put_off() -> None:
    assert put_off(record(Phase.ISSUED), source("second", HOSTS[:1])).reason is PlanReason.JOINED
    assert put_off(record(Phase.ISSUED), source()).reason is PlanReason.UNCHANGED


@pytest.mark.parametrize("phase", [Phase.WAITING, Phase.FAILED])
@pytest.mark.parametrize("former", ["", "1"])
def test_a_new_value_of_the_retry_annotation_ends_the_back_off(phase: Phase, former: str) -> None:
    not_before = None if phase is Phase.FAILED else LATER + timedelta(hours=1)
    existing = failed(phase, HOSTS[:1], not_before=not_before)
    existing = replace(existing, sources=(source(retry=former),))
    made = decided(existing, source(retry="2"))
    assert (made.reason, made.launch) == (PlanReason.RETRY_ASKED, True)
    assert made.record is not None
    assert made.record.sources[0].retry == "2"


@pytest.mark.parametrize(("step", "failures"), [("authorization", 3), ("newOrder", None)])
def test_it_does_not_make_those_failures_forgotten_that_the_ca_counts(step: str, failures: int | None) -> None:
    problem = replace(PROBLEM, step=step)
    existing = failed(Phase.WAITING, HOSTS[:1], not_before=LATER + timedelta(hours=1), problem=problem)
    made = decided(existing, source(retry="2"))
    assert made.record is not None
    assert (made.record.retry.failures if made.record.retry else None) == failures


def worn(number: int, *, ago: timedelta = timedelta(minutes=20), host: str = HOSTS[0]) -> Record:
    """A record of which so many validations of a host failed."""
    entries = tuple(
        LedgerEntry(at=LATER - ago - timedelta(minutes=n), kind=Counted.FAILURE, issuer="le", hosts=(host,))
        for n in range(number)
    )
    return replace(failed(Phase.WAITING, HOSTS[:1], not_before=LATER + timedelta(hours=1)), ledger=entries)


CHANGES = [
    pytest.param(source(retry="2"), id="retry"),
    pytest.param(source(hosts=(*HOSTS, "c.certjob.dev")), id="one more host"),
    pytest.param(source(settings=Settings(issuer="le", preferred_chain="X1")), id="another chain"),
]


@pytest.mark.parametrize("changed", CHANGES)
def test_no_change_starts_an_attempt_for_a_host_that_failed_four_times_in_an_hour(changed: Source) -> None:
    assert decided(worn(MOST_FAILED - 1), changed).launch
    made = decided(worn(MOST_FAILED), changed)
    assert (made.reason, made.launch) == (PlanReason.HELD_BACK, False)
    assert made.record is not None
    assert made.record.retry is not None
    assert made.record.retry.not_before == LATER + timedelta(minutes=37)
    assert f"{HOSTS[0]} failed 4 times in an hour" in made.record.retry.problem.detail
    assert made.record.intent == intents.asked(worn(0), changed).intent  # it is what is ordered then
    assert not decided(made.record, replace(changed, retry="3")).launch


@pytest.mark.parametrize("changed", CHANGES)
def test_what_failed_long_ago_or_was_another_host_holds_nothing_back(changed: Source) -> None:
    assert decided(worn(9, ago=timedelta(hours=1)), changed).launch
    assert decided(worn(9, host="x.certjob.dev"), changed).launch


def test_another_issuer_counts_for_itself() -> None:
    assert decided(worn(9), source(settings=OTHER)).launch


def test_without_the_host_that_fails_it_is_ordered_at_once() -> None:
    assert decided(worn(9), source(hosts=HOSTS[1:])).launch


@pytest.mark.parametrize("retry", ["", "1"])
def test_the_same_value_or_none_does_not(retry: str) -> None:
    existing = failed(Phase.WAITING, HOSTS[:1], not_before=LATER + timedelta(hours=1))
    existing = replace(existing, sources=(source(retry="1"),))
    assert not decided(existing, source(retry=retry)).launch


def test_it_does_not_shorten_what_the_ca_asked_for_and_is_used_up() -> None:
    existing = failed(Phase.WAITING, HOSTS[:1], not_before=LATER + timedelta(hours=1), asked=True)
    made = decided(existing, source(retry="1"))
    assert (made.reason, made.launch) == (PlanReason.JOINED, False)
    assert decided(made.record, source(retry="1")) == Plan(PlanReason.UNCHANGED)
    over = failed(Phase.WAITING, HOSTS[:1], not_before=LATER, asked=True)
    assert decided(over, source(retry="1")).reason is PlanReason.RETRY_ASKED


def test_of_a_certificate_that_is_there_the_value_is_only_noted() -> None:
    assert decided(record(Phase.ISSUED), source(retry="1")).reason is PlanReason.JOINED


@pytest.mark.parametrize("phase", sorted(ACTIVE))
def test_while_an_attempt_is_at_work_it_is_remembered_for_the_end(phase: Phase) -> None:
    made = decided(record(phase, retry=failed(phase, HOSTS[:1]).retry), source(retry="1"))
    assert (made.reason, made.launch) == (PlanReason.RETRY_NOTED, False)
    assert made.record is not None
    assert transitions.attempt_of(made.record).retry_asked
    assert decided(made.record, source(retry="1")) == Plan(PlanReason.UNCHANGED)


@pytest.mark.parametrize("kind", sorted(transitions.BLAMELESS))
def test_what_ended_without_a_failure_is_launched_by_whoever_passes_by(kind: str) -> None:
    problem = replace(PROBLEM, type=kind)
    held = transitions.held_back(record(Phase.CLAIMED), problem=problem, now=NOW, until=NOW)
    made = decided(held, source())
    assert (made.reason, made.launch) == (PlanReason.SEEN_AGAIN, True)


@pytest.mark.parametrize("phase", sorted(GONE))
@pytest.mark.parametrize(
    ("not_before", "after"), [(LATER + timedelta(minutes=1), Phase.WAITING), (None, Phase.FAILED)]
)
def test_made_anew_it_goes_on_waiting(phase: Phase, not_before: object, after: Phase) -> None:
    made = decided(failed(phase, HOSTS[:1], not_before=not_before), source("renamed"))
    assert (made.reason, made.launch) == (PlanReason.HELD_BACK, False)
    assert made.record is not None
    assert (made.record.phase, [s.name for s in made.record.sources]) == (after, ["renamed"])


@pytest.mark.parametrize("phase", sorted(GONE))
def test_made_anew_after_the_wait_it_is_launched(phase: Phase) -> None:
    assert decided(failed(phase, HOSTS[:1], not_before=LATER), source()).launch


def test_one_that_was_marked_as_gone_is_unmarked() -> None:
    existing = record(Phase.ISSUED, sources=(source(), source("second", gone_since=NOW)))
    made = decided(existing, source("second"))
    assert made.reason is PlanReason.JOINED
    assert made.record is not None
    assert [s.gone_since for s in made.record.sources] == [None, None]


def test_another_time_of_renewal_is_noted() -> None:
    made = decided(record(Phase.ISSUED), source(settings=Settings(issuer="le", renew_before=60)))
    assert (made.reason, made.launch) == (PlanReason.JOINED, False)
    assert made.record is not None
    assert made.record.intent.settings.renew_before == 60


def test_who_is_held_back() -> None:
    waits = failed(Phase.WAITING, HOSTS[:1], not_before=LATER)
    assert is_held_back(waits, NOW)
    assert not is_held_back(waits, LATER)
    assert is_held_back(failed(Phase.FAILED, HOSTS[:1]), LATER)
    assert not is_held_back(replace(waits, phase=Phase.LAUNCHED), NOW)
    assert not is_held_back(replace(waits, retry=None), NOW)
    other = intents.intended(waits, sources=(source(hosts=("new.certjob.dev",)),))
    assert not is_held_back(other, NOW)


@pytest.mark.parametrize("phase", [Phase.WAITING, Phase.FAILED, Phase.ORPHANED, Phase.RETIRED])
def test_a_retry_annotation_that_the_record_has_met_is_not_new_under_another_name(phase: Phase) -> None:
    """Some tools give an Ingress a new name with each release, and keep its annotations."""
    existing = failed(phase, HOSTS[:1], not_before=LATER + timedelta(hours=1))
    existing = replace(existing, sources=(source(retry="1"),))
    assert not decided(existing, source("web-2", retry="1")).launch


@pytest.mark.parametrize(
    ("settings", "hosts", "launches"),
    [
        (Settings(issuer="le", preferred_chain="x"), HOSTS, False),
        (Settings(issuer="other"), HOSTS, True),
        (Settings(issuer="le"), HOSTS[:1], True),
    ],
    ids=["the same order again", "another issuer", "other hosts"],
)
def test_a_wait_that_the_ca_asked_for_is_kept_by_an_order_for_the_same(
    settings: Settings, hosts: tuple[str, ...], launches: bool
) -> None:
    retry = Retry(
        problem=PROBLEM,
        failures=1,
        intent_hash=record().intent.hash,
        not_before=LATER + timedelta(days=3),
        asked=True,
    )
    made = decided(record(Phase.WAITING, retry=retry), source(settings=settings, hosts=hosts))
    assert made.launch is launches
    assert made.reason is (PlanReason.CHANGED if launches else PlanReason.HELD_BACK)
    again = decided(made.record, source(settings=settings, hosts=hosts))
    assert again.reason is PlanReason.UNCHANGED  # written once


OTHER_CLASS = IngressClass(field="another")


@pytest.mark.parametrize("phase", [Phase.WAITING, Phase.FAILED])
def test_a_corrected_class_is_what_the_failure_was_about_and_begins_anew(phase: Phase) -> None:
    existing = failed(phase, HOSTS[:1], not_before=LATER + timedelta(hours=6))
    made = decided(existing, source(ingress_class=OTHER_CLASS))
    assert (made.reason, made.launch) == (PlanReason.CHANGED, True)
    assert made.record is not None
    assert made.record.retry is None
    assert made.record.sources[0].ingress_class == OTHER_CLASS
    assert not decided(replace(existing, sources=made.record.sources), source(ingress_class=OTHER_CLASS)).launch


def test_but_it_steps_around_no_wait_of_the_ca_and_no_limit() -> None:
    existing = failed(Phase.WAITING, HOSTS[:1], not_before=LATER + timedelta(hours=6), asked=True)
    assert not decided(existing, source(ingress_class=OTHER_CLASS)).launch
    assert decided(worn(MOST_FAILED), source(ingress_class=OTHER_CLASS)).reason is PlanReason.HELD_BACK


def issued_at(at: datetime) -> Record:
    return replace(record(Phase.ISSUED), issued=issued(at=at, directory="https://ca.certjob.dev/dir"))


def test_a_certificate_that_is_older_than_is_asked_for_is_renewed_at_once() -> None:
    made = decided(issued_at(LATER - timedelta(hours=2)), source(renew=LATER))
    assert (made.reason, made.launch) == (PlanReason.RENEW_ASKED, True)
    assert made.record is not None
    assert made.record.attempt is not None
    assert made.record.attempt.renews


@pytest.mark.parametrize(
    ("age", "renew"),
    [
        (timedelta(hours=2), timedelta(seconds=1)),
        (timedelta(hours=2), timedelta(hours=-2)),
        (timedelta(minutes=59), timedelta(0)),
    ],
    ids=["an appointment", "no older", "less than an hour ago"],
)
def test_otherwise_it_is_only_noted(age: timedelta, renew: timedelta) -> None:
    made = decided(issued_at(LATER - age), source(renew=LATER + renew))
    assert (made.reason, made.launch) == (PlanReason.JOINED, False)
    assert made.record is not None
    assert made.record.sources[0].renew == LATER + renew


@pytest.mark.parametrize("phase", sorted(ACTIVE | {Phase.WAITING, Phase.FAILED}))
def test_what_is_at_work_or_waits_is_left_to_it(phase: Phase) -> None:
    held = replace(issued_at(LATER - timedelta(hours=2)), phase=phase, retry=failed(phase, HOSTS).retry)
    assert not decided(held, source(renew=LATER)).launch
