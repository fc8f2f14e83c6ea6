"""What the overview counts, groups and puts first."""

from __future__ import annotations

from datetime import timedelta

import pytest

from issuer_job.status.advice import advice_for
from tests.worlds.page import HOUR, MINUTE, NOW, PageWorld, asked, failing, issued, member, problem
from tests.worlds.view import stored
from webhook.view.page.document import Overview
from webhook.view.page.overview import MOST_SHOWN, overview
from webhook.view.sweeps import SweepSchedule


def of(world: PageWorld) -> Overview:
    return overview(world.source, world.now)


def test_the_numbers_are_those_of_the_list() -> None:
    world = PageWorld.of_fleet()
    shown = of(world)
    for word, number in (("yes", shown.ready), ("no", shown.not_ready), ("unknown", shown.unknown)):
        found = world.get(f"/certificates.json?ready={word}").json
        assert found is not None
        assert len([one for one in found["items"] if one["state"] != "Gone"]) == number, word
    assert shown.certificates == shown.ready + shown.not_ready + shown.unknown
    assert (shown.under_way, shown.gone) == (2, 1)
    assert [due.within for due in shown.due] == ["24h", "7d"]
    for due in shown.due:
        for what, number in (("due", due.renewals), ("ends", due.ends)):
            listed = world.get(f"/certificates.json?{what}={due.within}").json
            assert listed is not None
            assert len(listed["items"]) == number


def test_problems_come_by_type_first_what_keeps_most_from_being_ready() -> None:
    world = PageWorld.of_fleet()
    shown = of(world)
    ranks = [(-group.not_ready, -group.count) for group in shown.problems]
    assert ranks == sorted(ranks)
    by_type = {group.type: group for group in shown.problems}
    connection = by_type["connection"]
    assert (connection.count, connection.not_ready) == (2, 1)
    assert [f"{one.namespace}/{one.name}" for one in connection.items] == ["shop/pay-tls", "team-b/app-tls"]
    assert (connection.means, connection.do) == advice_for("connection").plain
    assert by_type["recordUnreadable"].not_ready == 0
    # What an issuer keeps from being renewed is told although nothing has failed yet.
    assert by_type["unknownIssuer"].items[0].why is not None
    for group in shown.problems:
        assert {one.why.type for one in group.items if one.why is not None} == {group.type}


def test_of_a_problem_that_many_have_a_few_are_shown() -> None:
    world = PageWorld([member(number) for number in range(7, 1100, 100)])
    [group] = of(world).problems
    assert (group.count, len(group.items)) == (11, MOST_SHOWN)
    assert "and 6 more" in world.get("/").text


@pytest.mark.parametrize(("ago", "stale"), [(20, False), (21, True)])
def test_a_sweep_is_missed_after_four_intervals(ago: int, stale: bool) -> None:
    world = PageWorld.of_fleet()
    world.view.snapshot.schedule = SweepSchedule(NOW - ago * MINUTE, 5 * MINUTE)
    assert of(world).last_sweep.stale is stale
    assert ("Nothing is renewed" in world.get("/").text) is stale


def test_nothing_is_known_of_a_sweep_that_never_was() -> None:
    world = PageWorld()
    world.view.snapshot.schedule = None
    world.view.snapshot.pods.last_sweep = None
    assert "None has succeeded yet" in world.get("/").text


def test_all_is_well() -> None:
    one = stored(issued(asked("shop", "web-tls", "a.example.com", since=HOUR), NOW - HOUR))
    text = PageWorld([one]).get("/").text
    assert "The certificate is ready" in text
    assert "Nothing fails." in text
    assert "No certificate is asked for" in PageWorld().get("/").text


def test_what_ends_soonest_is_shown_first() -> None:
    def renewal(name: str, days: int) -> object:
        held = issued(
            asked("shop", name, f"{name}.example.com", since=timedelta(days=90)), NOW - timedelta(days=days)
        )
        return stored(failing(held, problem("dns", "NXDOMAIN", f"{name}.example.com"), 2 * HOUR, wait=HOUR))

    world = PageWorld([renewal("fresh", 60), renewal("old", 85), renewal("ended", 95)])  # type: ignore[list-item]
    assert [one.name for one in of(world).problems[0].items] == ["ended", "old", "fresh"]
