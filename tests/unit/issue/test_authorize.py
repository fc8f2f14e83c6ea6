"""Polling until the CA has decided, within the Job's deadline."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from issuer_job import names
from issuer_job import vocabulary as v
from issuer_job.attempt.attempt import Attempt, Later, Pod
from issuer_job.cluster.api import Cluster
from issuer_job.issue.authorize import poll_until
from tests.fakes.acme import Reply, Request, problem
from tests.fakes.api import FakeApi
from tests.fakes.ca import NO_ANSWER
from tests.worlds.job import JobWorld, ingress

START = datetime(2026, 5, 5, 10, 0, tzinfo=UTC)


@dataclass(frozen=True)
class Seen:
    """What one poll finds."""

    done: bool = False
    retry_after: timedelta | None = None


@dataclass(frozen=True)
class Named(Seen):
    """What one poll finds of one of several."""

    name: str = ""


@dataclass
class Ca:
    """Answers poll after poll; `asked` are the seconds since the start. Only sleeping moves the time."""

    done_after: float
    retry_after: timedelta | None = None
    now: datetime = START
    asked: list[float] = field(default_factory=list)

    def read(self) -> datetime:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def fetch(self) -> Seen:
        since = (self.now - START).total_seconds()
        self.asked.append(since)
        return Seen(done=since >= self.done_after, retry_after=self.retry_after)

    def poll(self) -> Seen:
        pod = Pod(record="shop.web-tls", record_uid="u", epoch=1, uid="p")
        deadline = START + timedelta(seconds=270)
        attempt = Attempt(Cluster(FakeApi()), pod, deadline, mounts=Path(), clock=self.read, sleep=self.sleep)
        return poll_until(
            attempt, lambda _: self.fetch(), lambda seen: seen.done, [self.fetch()], what="authorization"
        )[0]


def test_a_quick_ca_is_asked_quickly() -> None:
    ca = Ca(done_after=0.2)
    assert ca.poll().done
    assert ca.asked[-1] < 0.3


def test_a_slow_ca_is_asked_as_seldom_as_it_wishes() -> None:
    ca = Ca(done_after=15, retry_after=timedelta(seconds=4))
    assert ca.poll().done
    assert ca.asked == [0, 4, 8, 12, 16]


@pytest.mark.parametrize("retry_after", [None, timedelta(seconds=7), timedelta(hours=3)])
def test_the_last_poll_leaves_time_to_write_down_how_it_ended(retry_after: timedelta | None) -> None:
    ca = Ca(done_after=3600, retry_after=retry_after)
    with pytest.raises(Later) as stopped:
        ca.poll()
    assert stopped.value.problem.type == "timeout"
    assert ca.asked[-1] == 265


def test_of_several_only_those_that_are_open_are_asked_and_no_sooner_than_the_ca_wishes_for_any() -> None:
    wishes = {"quick": timedelta(seconds=1), "slow": timedelta(seconds=6), "none": None}
    ca = Ca(done_after=0)
    asked: list[tuple[str, float]] = []

    def ask(name: str) -> Named:
        since = (ca.now - START).total_seconds()
        asked.append((name, since))
        return Named(done=since >= (10 if name == "quick" else 5), retry_after=wishes[name], name=name)

    pod = Pod(record="shop.web-tls", record_uid="u", epoch=1, uid="p")
    attempt = Attempt(Cluster(FakeApi()), pod, START + timedelta(seconds=270), clock=ca.read, sleep=ca.sleep)
    first = [Named(retry_after=wish, name=name) for name, wish in wishes.items()]
    seen = poll_until(attempt, lambda one: ask(one.name), lambda one: one.done, first, what="authorization")
    assert [(one.name, one.done) for one in seen] == [("quick", True), ("slow", True), ("none", True)]
    assert sorted(asked[:3]) == [("none", 6), ("quick", 6), ("slow", 6)]
    assert {name for name, _ in asked[3:]} == {"quick"}
    assert all(later - earlier >= 1 for (_, earlier), (_, later) in pairwise(asked[2:]))


@dataclass
class Watch:
    """Sees at each request whether the challenge is in its place; `fault` may answer a request in the CA's stead."""

    world: JobWorld
    fault: tuple[str, int, Reply]
    seen: list[tuple[str, bool]] = field(default_factory=list)

    def before(self, request: Request) -> Reply | None:
        path, nth, reply = self.fault
        present = names.challenge(self.world.record().uid, self.world.record().epoch) in self.world.left_over()
        self.seen.append((request.path, present))
        if request.path != path or len([one for one, _ in self.seen if one == path]) != nth:
            return None
        if reply is NO_ANSWER:
            self.world.ca._answer(request)  # it reached the CA, only the answer is lost
        return reply


@pytest.mark.parametrize(
    "fault",
    [
        ("/chall/1/0", 1, NO_ANSWER),
        ("/chall/1/0", 1, problem("serverInternal", status=500)),
        ("/authz/1/0", 2, problem("serverInternal", status=503)),
    ],
    ids=["the answer to the challenge is lost", "the challenge is refused for now", "a poll fails"],
)
def test_the_challenge_stays_in_its_place_while_the_ca_may_be_looking(
    world: JobWorld, fault: tuple[str, int, Reply]
) -> None:
    watch = Watch(world, fault)
    world.ca.before = watch.before
    world.apply(ingress())
    assert world.run() is v.ExitCode.DONE
    asked = [path for path, _ in watch.seen]
    first, last = asked.index("/chall/1/0"), len(asked) - 1 - asked[::-1].index("/authz/1/0")
    assert all(present for _, present in watch.seen[first : last + 1])
    assert asked.count("/dir") == 1
    assert len(world.ca.ordered) == 1


def test_a_challenge_that_reached_the_ca_is_not_answered_again(world: JobWorld) -> None:
    watch = Watch(world, ("/chall/1/0", 1, NO_ANSWER))
    world.ca.before = watch.before
    world.apply(ingress())
    world.run()
    assert [path for path, _ in watch.seen].count("/chall/1/0") == 1


def test_a_ca_that_stays_away_while_validating_is_given_up(world: JobWorld) -> None:
    world.ca.script("/chall/1/0", *[problem("serverInternal", "on fire", status=500)] * 99)
    world.apply(ingress())
    assert world.run() is v.ExitCode.LATER
    assert world.left_over() == []
    retry = world.record().retry
    assert retry is not None
    assert retry.problem.detail == "challenge: on fire"
    assert sum(world.clock.slept) < 120
