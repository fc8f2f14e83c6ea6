"""Who goes first in a pass, and that nobody's work takes the time or the launches of another."""

from __future__ import annotations

import logging
from datetime import timedelta

import pytest
from msgspec.structs import replace

from issuer_job import vocabulary as v
from issuer_job.cluster.api import CONFIGMAPS, INGRESSES, JOBS
from issuer_job.launch import pace
from issuer_job.record.record import Phase
from issuer_job.record.store import from_config_map
from issuer_job.sweep import effects, launches
from tests.worlds.job import JobWorld, ingress
from tests.worlds.sweep import delete_ingress, issue_one, jobs, passes, run, write

pytestmark = pytest.mark.exhaustive


def miss(world: JobWorld, number: int, namespace: str) -> None:
    """So many Ingresses that the webhook never saw."""
    for n in range(number):
        body = ingress(f"m{n}", namespace=namespace, secret=f"m{n}", hosts=(f"m{n}.{namespace}.dev",))
        world.api.add(INGRESSES, namespace, body)


def launched(world: JobWorld, namespace: str) -> int:
    """How many Jobs were made for the namespace."""
    return sum(job["metadata"]["labels"][v.RECORD_NAMESPACE] == namespace for job in world.api.all(JOBS))


def requests(world: JobWorld) -> list[tuple[str, str]]:
    """Method and path of each."""
    return [(request.method, request.path.partition("?")[0]) for request in world.api.requests]


def test_a_due_renewal_has_its_turn_beside_a_namespace_that_changes_more_than_a_pass_launches(
    swept: JobWorld,
) -> None:
    swept.set_options(launchesPerSweep=4)
    issue_one(swept)
    miss(swept, 9, "aaa")
    swept.clock.ahead += timedelta(hours=17)
    run(swept)
    assert swept.record().phase is Phase.LAUNCHED
    assert launched(swept, "aaa") == 3


def test_urgent_renewals_of_one_namespace_leave_half_of_a_pass_to_those_who_wait(swept: JobWorld) -> None:
    swept.set_options(launchesPerSweep=4)
    for name in ("a", "b", "c", "d"):
        issue_one(swept, ingress(name, secret=name, hosts=(f"{name}.certjob.dev",)), secret=name)
    before = launched(swept, "shop")
    miss(swept, 3, "aaa")
    swept.clock.ahead += timedelta(hours=22)
    run(swept)
    assert (launched(swept, "shop") - before, launched(swept, "aaa")) == (2, 2)
    run(swept)
    assert (launched(swept, "shop") - before, launched(swept, "aaa")) == (4, 3)


def test_alone_a_namespace_has_the_whole_pass(swept: JobWorld) -> None:
    swept.set_options(launchesPerSweep=pace.FIRST)
    miss(swept, 6, "aaa")
    run(swept)
    assert launched(swept, "aaa") == pace.FIRST


def test_an_urgent_renewal_is_launched_before_anything_is_cleared_away(swept: JobWorld) -> None:
    issue_one(swept)
    for name in ("x", "y"):
        swept.apply(ingress(name, secret=name, hosts=(f"{name}.certjob.dev",)), stored=False)
        assert swept.run(secret=name) is v.ExitCode.LATER  # unconfirmed: to be retired
    swept.clock.ahead += timedelta(hours=22)
    before = len(swept.api.requests)
    run(swept)
    seen = requests(swept)[before:]
    launch = next(n for n, (method, path) in enumerate(seen) if method == "POST" and path.endswith("/jobs"))
    retired = next(n for n, (method, path) in enumerate(seen) if method == "DELETE" and "/secrets/" in path)
    assert launch < retired
    assert {swept.record(name).phase for name in ("x", "y")} == {Phase.RETIRED}


def test_what_costs_no_order_has_a_share_of_the_time_and_keeps_nobody_from_a_launch(
    swept: JobWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    issue_one(swept)
    delete_ingress(swept)
    miss(swept, 1, "aaa")
    swept.clock.ahead += timedelta(minutes=5)
    with monkeypatch.context() as patch:
        patch.setattr(effects, "SETTLE_SHARE", 0.0)
        run(swept)
    assert (swept.record().phase, launched(swept, "aaa")) == (Phase.ISSUED, 1)
    run(swept)
    assert swept.record().phase is Phase.ORPHANED


def test_nothing_of_a_pass_goes_on_after_its_deadline(swept: JobWorld) -> None:
    issue_one(swept)
    delete_ingress(swept)
    passes(swept, 1)
    swept.clock.ahead += timedelta(minutes=11)
    before = jobs(swept)
    run(swept, seconds=-1)
    assert (swept.record().phase, jobs(swept)) == (Phase.ORPHANED, before)


def step(world: JobWorld, phase: Phase) -> None:
    """All attempts that have been launched are in that phase."""
    for body in world.api.all(CONFIGMAPS):
        if v.RECORD in body["metadata"]["labels"]:
            record = from_config_map(body)
            if record.phase is Phase.LAUNCHED:
                write(world, replace(record, phase=phase))


def test_of_one_namespace_a_pass_launches_a_few_and_then_what_the_nodes_carry(
    swept: JobWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("FRESH", "UNSEEN", "COST"):
        monkeypatch.setattr(pace, name, 0.0)
    miss(swept, pace.FIRST + 2 * pace.LEAST, "aaa")
    miss(swept, 1, "bbb")
    seen: list[int] = []

    def pause(seconds: float) -> None:
        seen.append(launched(swept, "aaa"))
        step(swept, Phase.ISSUED)

    run(swept, sleep=pause)
    assert seen[:2] == [pace.FIRST, pace.FIRST + pace.LEAST]
    assert launched(swept, "aaa") == pace.FIRST + 2 * pace.LEAST
    assert launched(swept, "bbb") == 1


def test_where_nothing_moves_a_pass_does_not_wait_to_its_end_and_the_next_goes_on(
    swept: JobWorld, caplog: pytest.LogCaptureFixture
) -> None:
    miss(swept, 2 * pace.FIRST, "aaa")
    miss(swept, 1, "bbb")
    slept: list[float] = []
    with caplog.at_level(logging.INFO):
        run(swept, sleep=slept.append)
    assert launched(swept, "aaa") == pace.FIRST
    assert launched(swept, "bbb") == 1
    assert sum(slept) <= 60
    swept_line = [r.fields for r in caplog.records if r.message == "swept"][-1]  # type: ignore[attr-defined]
    assert swept_line["put off for want of room on the nodes"] == pace.FIRST
    step(swept, Phase.AUTHORIZING)
    run(swept)
    assert launched(swept, "aaa") == 2 * pace.FIRST


def test_an_attempt_that_goes_on_in_its_place_does_not_wait_for_the_nodes(
    swept: JobWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    miss(swept, pace.FIRST, "aaa")
    run(swept)
    monkeypatch.setattr(launches, "FIRST", 0)
    for job in swept.api.all(JOBS):
        swept.api.remove(JOBS, v.NAMESPACE, job["metadata"]["name"])
    before = launched(swept, "aaa")
    swept.clock.ahead += timedelta(minutes=1, seconds=30)
    run(swept)
    assert (before, launched(swept, "aaa")) == (0, pace.FIRST)
