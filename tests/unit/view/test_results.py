"""Counters: each line of a record's story is counted once, each pod's last word once, and nothing from before."""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from issuer_job import vocabulary as v
from issuer_job.cluster.api import Json
from issuer_job.last_word import LastWord, Work
from issuer_job.record import transitions as t
from issuer_job.record.phases import LaunchReason
from issuer_job.record.record import HistoryEntry, Phase, Problem, Record
from tests.worlds.samples import NOW, issued, source
from tests.worlds.view import WORD, ViewWorld, pod, stored

DNS = Problem(type="dns", detail="no A record", host="a.certjob.dev", step="authorization")


@pytest.fixture
def world() -> ViewWorld:
    world = ViewWorld()
    world.first()
    return world


class Life:
    """A record that goes through attempts, each step written down."""

    def __init__(self, world: ViewWorld, name: str = "web-tls") -> None:
        self.world = world
        made = t.wanted(namespace="shop", secret_name=name, sources=(source(),), now=world.now)
        self.record = replace(made, uid=f"uid-{name}")

    def write(self, record: Record, *, seen: bool = True) -> Record:
        self.record = record
        if seen:
            self.world.put(record)
        return record

    def launch(self, reason: LaunchReason = LaunchReason.NEW, **seen: bool) -> None:
        self.write(t.launched(self.record, self.world.now, reason=reason), **seen)

    def issue(self, seconds: float = 1.2, serial: str = "ab", **seen: bool) -> None:
        now = self.world.later(seconds=seconds)
        self.write(t.claimed(self.record, now, holder="pod"))
        made = issued(at=now, not_before=now, not_after=now + timedelta(days=90), serial=serial)
        self.write(t.issued(replace(self.record, phase=Phase.INSTALLING), now, issued=made), **seen)

    def wait(self, problem: Problem = DNS) -> None:
        now = self.world.later(seconds=2)
        self.write(t.waiting(replace(self.record, phase=Phase.CLAIMED), now, problem=problem, wait=timedelta(60)))


def attempts(world: ViewWorld) -> dict[tuple[str, str], float]:
    return {(labels["reason"], labels["outcome"]): value for labels, value in world.series("attempts_total")}


def problems(world: ViewWorld) -> dict[str, float]:
    return {labels["type"]: value for labels, value in world.series("problems_total")}


def issuances(world: ViewWorld) -> dict[str, tuple[float, float]]:
    told = world.told()
    sums = {dict(k)["kind"]: x for k, x in told.get("issuance_seconds_sum", {}).items()}
    return {dict(k)["kind"]: (x, sums[dict(k)["kind"]]) for k, x in told.get("issuance_seconds_count", {}).items()}


def test_a_certificate_and_its_renewal(world: ViewWorld) -> None:
    life = Life(world)
    life.launch()
    assert attempts(world) == {}  # it has no result yet
    life.issue(1.2)
    assert attempts(world) == {("new", "issued"): 1}
    assert issuances(world) == {"new": (1, pytest.approx(1.2))}
    world.later(days=60)
    life.launch(LaunchReason.RENEWAL_DUE)
    life.issue(3, serial="cd")
    assert attempts(world) == {("new", "issued"): 1, ("RenewalDue", "issued"): 1}
    assert issuances(world) == {"new": (1, pytest.approx(1.2)), "renewal": (1, pytest.approx(3))}


def test_failures_have_their_type_and_the_next_attempt_its_own_reason(world: ViewWorld) -> None:
    life = Life(world)
    life.launch(LaunchReason.EDITED)
    life.wait()
    world.later(minutes=2)
    life.launch(LaunchReason.RETRY_DUE)
    life.wait(Problem(type="urn:made:up", detail="x"))
    assert attempts(world) == {("Changed", "waiting"): 1, ("RetryDue", "waiting"): 1}
    assert problems(world) == {"dns": 1, "other": 1}


def test_a_problem_without_an_attempt_is_no_attempt(world: ViewWorld) -> None:
    life = Life(world)
    life.write(t.failed(replace(life.record, phase=Phase.ISSUED), world.now, problem=DNS))
    assert (attempts(world), problems(world)) == ({}, {"dns": 1})


def test_an_attempt_that_crashed_has_no_result_and_the_next_one_says_so(world: ViewWorld) -> None:
    life = Life(world)
    life.launch()
    world.later(minutes=15)
    life.launch(LaunchReason.CRASHED)
    life.issue()
    assert attempts(world) == {("Crashed", "issued"): 1}


def test_what_is_seen_again_counts_once(world: ViewWorld) -> None:
    life = Life(world)
    life.launch()
    life.issue()
    for _ in range(3):
        world.put(life.record)
        world.snapshot.certificates.replace([stored(life.record)])
    assert attempts(world) == {("new", "issued"): 1}


def test_a_watch_that_was_broken_loses_nothing_that_the_story_still_has(world: ViewWorld) -> None:
    life = Life(world)
    life.launch()
    for number in range(6):  # unseen: 12 lines of 20
        life.issue(serial=f"s{number}", seen=False)
        world.later(hours=1)
        life.launch(LaunchReason.RENEW_ASKED, seen=False)
    other = Life(world, "other-tls")
    other.launch(seen=False)
    other.issue(seen=False)
    world.snapshot.certificates.replace([stored(life.record), stored(other.record)])
    assert attempts(world) == {("new", "issued"): 2, ("RenewAsked", "issued"): 5}


def test_what_was_before_the_view_is_not_told_however_often_it_starts(world: ViewWorld) -> None:
    life = Life(world)
    life.launch()
    life.issue()
    world.later(minutes=10)
    again = ViewWorld(world.now)
    again.first(life.record)
    again.put(life.record)
    assert attempts(again) == {}
    late = ViewWorld(world.now)  # the record comes only after the first list, as from a backup
    late.first()
    late.put(life.record)
    assert attempts(late) == {}


def test_a_clock_that_is_behind_loses_nothing(world: ViewWorld) -> None:
    life = Life(world)
    world.later(seconds=-30)
    life.launch()
    life.issue()
    assert attempts(world) == {("new", "issued"): 1}


def test_a_record_that_is_made_anew_begins_another_story(world: ViewWorld) -> None:
    for uid in ("one", "two"):
        life = Life(world)
        life.record = replace(life.record, uid=uid)
        life.launch()
        life.issue()
        world.snapshot.certificates.drop(stored(life.record))
    assert attempts(world) == {("new", "issued"): 2}


def test_issuers_that_are_not_there_share_a_name(world: ViewWorld) -> None:
    for number in range(5):
        life = Life(world, f"s-{number}")
        intent = life.record.intent
        settings_of_it = replace(intent.settings, issuer=f"made-up-{number}")
        life.record = replace(life.record, intent=replace(intent, settings=settings_of_it))
        life.launch()
        life.wait()
    assert [labels["issuer_name"] for labels, _ in world.series("attempts_total")] == ["unknown"]
    assert [labels["issuer_name"] for labels, _ in world.series("problems_total")] == ["unknown"]


_ENTRIES = st.builds(
    HistoryEntry,
    at=st.datetimes(min_value=datetime(2026, 5, 5), max_value=datetime(2026, 5, 6)).map(
        lambda at: at.replace(tzinfo=NOW.tzinfo)
    ),
    epoch=st.integers(0, 3),
    event=st.sampled_from(["launched", "issued", "adopted", "waiting", "failed", "held back", "no such event"]),
    detail=st.text(max_size=20) | st.sampled_from(list(map(str, LaunchReason))),
    type=st.text(max_size=20) | st.sampled_from(["", "dns", "caa"]),
)


@pytest.mark.exhaustive
@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(_ENTRIES, max_size=8), max_size=6))
def test_whatever_the_stories_say_a_line_counts_at_most_once(parts: list[list[HistoryEntry]]) -> None:
    world = ViewWorld()
    world.first()
    made = t.wanted(namespace="shop", secret_name="web-tls", sources=(source(),), now=NOW)
    record = replace(made, uid="u")
    lines = 0
    for part in parts:
        record = replace(record, history=(*record.history, *part))
        lines += len(part)
        for _ in range(2):
            world.put(record)
    assert sum(attempts(world).values()) <= lines
    assert sum(problems(world).values()) <= lines


# What pods say at their end.


def steps(world: ViewWorld) -> dict[str, float]:
    return {labels["step"]: value for labels, value in world.series("issuance_step_seconds_count")}


def test_each_last_word_counts_once_and_those_from_before_do_not() -> None:
    world = ViewWorld()
    world.snapshot.pods.replace([pod("old"), pod("runs", None)])
    world.snapshot.pods.put(pod("old"))
    assert steps(world) == {}
    for _ in range(2):
        world.snapshot.pods.put(pod("runs"))
        world.snapshot.pods.replace([pod("old"), pod("runs"), pod("new")])
    assert steps(world) == {"Start": 2, "Authorizing": 2}


@pytest.mark.parametrize(
    "said",
    [
        "",
        "Killed",
        "{",
        pod("x", msgspec.structs.replace(WORD, exit_code=11)),
        pod("x", msgspec.structs.replace(WORD, work=Work.CHECK)),
        pod("x", component="webhook"),
        {"metadata": {"uid": "x"}},
        {"metadata": {"uid": "x", "labels": None}, "status": None},
        {"metadata": {"uid": "x", "labels": {v.APP_COMPONENT: "issue"}}, "status": {"containerStatuses": None}},
    ],
)
def test_what_did_not_issue_or_says_nothing_has_no_steps(world: ViewWorld, said: Json | str) -> None:
    world.snapshot.pods.put(pod("x", said) if isinstance(said, str) else said)
    assert steps(world) == {}
    assert world.snapshot.pods.last_sweep is None


def sweep(uid: str, minutes: int, **fields: object) -> Json:
    word = msgspec.structs.replace(LastWord(work=Work.SWEEP, exit_code=0, seconds=2.5), **fields)
    return pod(uid, word, at=NOW + timedelta(minutes=minutes), component="sweep")


def test_the_last_sweep_is_told_also_one_from_before_the_view() -> None:
    world = ViewWorld()
    assert "sweep_seconds" not in world.told()
    counts = {"looks": 7, "records": 12, "RenewalDue": 3}
    world.snapshot.pods.replace([sweep("b", 5, counts=counts, trouble=2), sweep("a", 0, seconds=9.0)])
    told = world.told()
    assert told["sweep_seconds"] == {(): 2.5}
    assert told["policies_in_force"] == {(): 1}
    items = {dict(labels)["what"]: value for labels, value in told["sweep_items"].items()}
    assert {what: items[what] for what in ("looks", "records", "trouble", "damaged")} == {
        "looks": 7,
        "records": 12,
        "trouble": 2,
        "damaged": 0,
    }
    assert "RenewalDue" not in items
    assert len(items) < 26


def test_a_sweep_that_did_not_get_far_says_nothing_of_what_it_did_not_see(world: ViewWorld) -> None:
    world.snapshot.pods.put(sweep("a", 0, exit_code=11, problem="policiesNotInForce"))
    assert world.told()["policies_in_force"] == {(): 0}
    assert "sweep_items" not in world.told()
    world.snapshot.pods.put(sweep("b", 5, exit_code=1, problem="apiServer"))
    assert "policies_in_force" not in world.told()
