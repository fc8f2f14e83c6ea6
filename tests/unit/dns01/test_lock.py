"""Leases: one holder per name, and none for ever."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from issuer_job import vocabulary as v
from issuer_job.cluster.api import Cluster, Json, Response
from issuer_job.dns01.lock import LEASES, LockBusy, LockLost, Locks
from tests.fakes.api import FakeApi, status

START = datetime(2026, 5, 5, 10, 0, tzinfo=UTC)


@dataclass
class Time:
    """Only sleeping moves it. `on_sleep` sees every sleep."""

    now: datetime = START
    slept: int = 0
    on_sleep: Callable[[], None] = lambda: None

    def read(self) -> datetime:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept += 1
        self.now += timedelta(seconds=seconds)
        self.on_sleep()


@dataclass
class SlowApi(FakeApi):
    """What happens between a write and its answer."""

    on_write: Callable[[], None] = lambda: None

    def send(self, method: str, path: str, *, body: bytes | None, timeout: float) -> Response:
        answer = super().send(method, path, body=body, timeout=timeout)
        if method != "GET":
            self.on_write()
        return answer


@dataclass
class World:
    """A cluster and a clock."""

    api: FakeApi = field(default_factory=FakeApi)
    time: Time = field(default_factory=Time)
    held: list[AbstractContextManager[None]] = field(default_factory=list)

    def locks(self, holder: str = "me") -> Locks:
        return Locks(Cluster(self.api), holder, 60, self.time.read, self.time.sleep)

    def hold(self, name: str, holder: str) -> AbstractContextManager[None]:
        """Somebody takes the lock and keeps it."""
        self.held.append(self.locks(holder).held([name], deadline=self.deadline))
        self.held[-1].__enter__()
        return self.held[-1]

    def leases(self) -> list[Json]:
        return self.api.all(LEASES, v.NAMESPACE)

    @property
    def deadline(self) -> datetime:
        return self.time.now + timedelta(seconds=200)


@pytest.fixture
def world() -> World:
    return World()


def test_a_lock_is_a_lease_while_it_is_held(world: World) -> None:
    with world.locks().held(["b.example.org", "a.example.org", "a.example.org"], deadline=world.deadline):
        assert [lease["spec"]["holderIdentity"] for lease in world.leases()] == ["me", "me"]
        assert all(lease["metadata"]["name"].startswith("dns-") for lease in world.leases())
    assert world.leases() == []


def test_everybody_takes_locks_in_the_same_order(world: World) -> None:
    for wanted in (["a", "b", "c"], ["c", "b", "a", "a"]):
        with world.locks().held(wanted, deadline=world.deadline):
            pass
    made = [(request.body or {})["metadata"]["name"] for request in world.api.requests if request.method == "POST"]
    assert made[:3] == made[3:]


def test_a_lock_is_given_back_when_the_change_fails(world: World) -> None:
    with pytest.raises(RuntimeError), world.locks().held(["a"], deadline=world.deadline):
        raise RuntimeError
    assert world.leases() == []


def test_the_second_waits_for_the_first(world: World) -> None:
    first = world.hold("a", "first")
    world.time.on_sleep = lambda: first.__exit__(None, None, None) if world.time.slept == 3 else None
    with world.locks("second").held(["a"], deadline=world.deadline):
        assert world.time.slept == 3
        assert [lease["spec"]["holderIdentity"] for lease in world.leases()] == ["second"]


def test_a_lock_that_nobody_renews_is_taken_over(world: World) -> None:
    world.hold("a", "dead")
    with world.locks("next").held(["a"], deadline=world.deadline):
        assert timedelta(seconds=60) <= world.time.now - START < timedelta(seconds=62)
        assert [lease["spec"]["holderIdentity"] for lease in world.leases()] == ["next"]


def test_who_has_lost_a_lock_does_not_give_back_anothers(world: World) -> None:
    slow = world.hold("a", "slow")
    with world.locks("next").held(["a"], deadline=world.deadline):
        slow.__exit__(None, None, None)
        assert [lease["spec"]["holderIdentity"] for lease in world.leases()] == ["next"]


def test_a_lock_that_changes_hands_is_not_taken_over(world: World) -> None:
    world.hold("a", "other")

    def renewed() -> None:
        lease = world.leases()[0]
        lease["spec"]["renewTime"] = world.time.now.isoformat()
        world.api.add(LEASES, v.NAMESPACE, lease)

    world.time.on_sleep = renewed
    with pytest.raises(LockBusy), world.locks().held(["a"], deadline=world.deadline):
        pass
    assert world.time.now - START >= timedelta(seconds=200)


def test_waiting_ends_and_gives_back_what_was_taken(world: World) -> None:
    world.hold("b", "other")
    early = START + timedelta(seconds=5)
    with pytest.raises(LockBusy, match="b"), world.locks().held(["a", "b"], deadline=early):
        pass
    assert [lease["spec"]["holderIdentity"] for lease in world.leases()] == ["other"]


def test_our_own_lock_whose_answer_was_lost_is_ours(world: World) -> None:
    world.hold("a", "me")
    with world.locks().held(["a"], deadline=world.deadline):
        assert world.time.slept == 0


def test_a_lock_that_cannot_be_given_back_harms_nobody(world: World) -> None:
    world.api.fail("DELETE", "/leases/", status(403, "Forbidden", "no"))
    with world.locks().held(["a"], deadline=world.deadline):
        pass
    assert len(world.leases()) == 1


def test_the_first_lock_is_renewed_when_the_last_had_to_be_waited_for(world: World) -> None:
    first = world.hold("b", "other")
    world.time.on_sleep = lambda: first.__exit__(None, None, None) if world.time.now >= soon else None
    soon = START + timedelta(seconds=50)
    with world.locks().held(["a", "b"], deadline=world.deadline):
        assert all(age(world, lease) <= timedelta(seconds=10) for lease in world.leases())


def test_who_lost_a_lock_while_waiting_for_the_next_starts_over(world: World) -> None:
    first = world.hold("b", "other")
    taken: list[AbstractContextManager[None]] = []

    def later() -> None:
        if world.time.now - START < timedelta(seconds=50) or taken:
            return
        mine = next(lease for lease in world.leases() if lease["spec"]["holderIdentity"] == "me")
        mine["spec"]["holderIdentity"] = "third"
        world.api.add(LEASES, v.NAMESPACE, mine)
        taken.append(first)
        first.__exit__(None, None, None)

    world.time.on_sleep = later
    with world.locks().held(["a", "b"], deadline=world.deadline):
        assert [lease["spec"]["holderIdentity"] for lease in world.leases()] == ["me", "me"]
        assert world.time.now - START >= timedelta(seconds=110), "the third's time had to pass"


def test_a_lock_lasts_from_when_it_was_asked_for(world: World) -> None:
    world.api = api = SlowApi()
    api.on_write = lambda: world.time.sleep(9)
    locks = world.locks()
    with locks.held(["a"], deadline=world.deadline):
        for _ in range(3):
            world.time.sleep(2)
            locks.renew()
            [lease] = world.leases()
            assert age(world, lease) <= timedelta(seconds=10)


def test_a_lock_that_was_taken_over_cannot_be_renewed(world: World) -> None:
    slow = world.locks("slow")
    with slow.held(["a"], deadline=world.deadline):
        world.time.sleep(61)
        world.hold("a", "next")
        world.time.sleep(61)
        with pytest.raises(LockLost):
            slow.renew()


def test_locks_that_are_left_run_out_for_everybody_alike(world: World) -> None:
    locks = world.locks()
    with locks.held(["a"], deadline=world.deadline):
        world.time.sleep(50)
        locks.leave()
    left_at = world.time.now
    with world.locks().held(["a"], deadline=world.deadline):
        assert world.time.now - left_at >= timedelta(seconds=60)


def age(world: World, lease: Json) -> timedelta:
    """Since its renewal."""
    return world.time.now - datetime.fromisoformat(lease["spec"]["renewTime"])
