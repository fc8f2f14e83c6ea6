"""Launches that had to wait at admission: in turn, as soon as there is room."""

from __future__ import annotations

import threading
import time

import pytest

from issuer_job.cluster.api import INGRESSES, JOBS, Json
from issuer_job.demand.common import Entry
from issuer_job.demand.ingress import wants
from issuer_job.launch import pace, room, turns
from issuer_job.launch.configuration import SettingsCache
from issuer_job.launch.launcher import Launcher
from issuer_job.launch.outcome import OutcomeReason
from issuer_job.launch.room import Room
from issuer_job.launch.turns import PATIENCE, STORED_WITHIN, Turns
from issuer_job.record.record import Phase
from tests.fakes.api import status
from tests.worlds.job import JobWorld, ingress


class World:
    """One webhook process, whose clock stands still between the tests' steps."""

    def __init__(self, world: JobWorld) -> None:
        self.world, self.seconds = world, 0.0
        settings = SettingsCache(world.cluster)
        self.room = Room(settings, clock=lambda: self.seconds)
        launcher = Launcher(world.cluster, settings, clock=world.clock.read, room=self.room)
        self.turns = Turns(world.cluster, launcher, self.room, clock=lambda: self.seconds)

    def admit(self, name: str, *, namespace: str = "shop", host: str = "") -> OutcomeReason:
        body = ingress(name, namespace=namespace, secret=name, hosts=(host or f"{name}.{namespace}.dev",))
        self.world.api.add(INGRESSES, namespace, body)
        end = time.monotonic() + 30
        return self.turns.launch(self.entry(body), namespace=namespace, deadline=end, expect_new=True).reason

    def entry(self, body: Json) -> Entry:
        return wants(body, issuers=SettingsCache(self.world.cluster).issuers()).entries[0]

    def end(self, name: str, namespace: str = "shop") -> None:
        """Its Job runs to its end; a while later everybody knows."""
        self.world.run(secret=name, namespace=namespace)
        self.seconds += 5

    def jobs(self) -> int:
        return len(self.world.api.all(JOBS))


@pytest.fixture
def one(world: JobWorld) -> World:
    """A namespace may have one order at a time."""
    world.set_options(activeOrdersPerNamespace=1)
    return World(world)


def test_what_had_to_wait_is_launched_when_the_one_before_has_ended(one: World) -> None:
    assert [one.admit(name) for name in ("a", "b", "c")] == [
        OutcomeReason.LAUNCHED,
        OutcomeReason.PUT_OFF,
        OutcomeReason.PUT_OFF,
    ]
    one.seconds += 5
    assert (one.turns.take(), one.jobs()) == (0, 1)
    one.end("a")
    assert (one.turns.take(), one.jobs()) == (1, 2)
    assert one.turns.take() == 0
    one.end("b")
    assert (one.turns.take(), one.jobs()) == (1, 3)
    one.end("c")
    assert (one.turns.take(), one.turns._waiting) == (0, {})
    assert {one.world.record(name).phase for name in ("a", "b", "c")} == {Phase.ISSUED}
    assert len(one.world.ca.ordered) == 3


def test_each_namespace_in_turn(one: World) -> None:
    for namespace in ("shop", "other"):
        for name in ("a", "b", "c"):
            one.admit(name, namespace=namespace)
    one.end("a")
    one.end("a", "other")
    assert one.turns.take() == 2
    assert one.world.record("b", "other").phase is Phase.LAUNCHED


def test_a_later_word_takes_the_place_of_the_one_that_waits(one: World) -> None:
    one.admit("a")
    one.admit("b", host="old.certjob.dev")
    one.admit("b", host="new.certjob.dev")
    one.end("a")
    assert one.turns.take() == 1
    assert one.world.record("b").intent.hosts == ("new.certjob.dev",)
    one.end("b")
    assert (one.turns.take(), one.turns._waiting) == (0, {})


def test_what_is_launched_at_once_by_a_later_word_waits_no_more(one: World) -> None:
    one.admit("a")
    one.admit("b", host="old.certjob.dev")
    one.end("a")
    assert one.admit("b", host="new.certjob.dev") is OutcomeReason.LAUNCHED
    assert one.turns._waiting == {}


def test_what_the_sweep_has_launched_meanwhile_is_left_alone(one: World) -> None:
    one.admit("a")
    one.admit("b")
    one.end("a")
    one.world.relaunch(secret="b")
    one.end("b")
    before = one.jobs()
    one.turns.take()
    assert (one.jobs(), one.turns._waiting) == (before, {})


def test_a_later_word_that_another_process_heard_is_not_undone(one: World) -> None:
    two = World(one.world)
    one.admit("a")
    assert one.admit("b", host="old.certjob.dev") is OutcomeReason.PUT_OFF
    one.end("a")
    two.seconds += 5
    assert two.admit("b", host="new.certjob.dev") is OutcomeReason.LAUNCHED
    one.end("b")
    before = one.jobs()
    one.turns.take()
    assert (one.jobs(), one.turns._waiting) == (before, {})
    assert one.world.record("b").intent.hosts == ("new.certjob.dev",)


def test_who_shares_a_secret_has_a_turn_although_the_other_was_launched(one: World) -> None:
    one.admit("a")
    one.admit("b")
    body = ingress("c", secret="b", hosts=("c.shop.dev",))
    one.world.api.add(INGRESSES, "shop", body)
    one.turns.launch(one.entry(body), namespace="shop", deadline=time.monotonic() + 30)
    one.end("a")
    assert one.turns.take() == 1
    one.end("b")
    assert one.turns.take() == 1
    assert one.world.record("b").intent.hosts == ("b.shop.dev", "c.shop.dev")


def test_what_waits_for_too_long_is_left_to_the_sweep(one: World) -> None:
    one.admit("a")
    one.admit("b")
    one.seconds += PATIENCE + 1
    one.turns.take()
    assert (one.jobs(), one.turns._waiting) == (1, {})


def test_what_is_gone_when_its_turn_comes_is_not_launched(one: World) -> None:
    """An attempt would look for its object for half a minute, in the place of one that is wanted."""
    for name in ("a", "b", "c", "d"):
        one.admit(name)
    one.world.api.remove(INGRESSES, "shop", "b")
    one.world.api.add(INGRESSES, "shop", being_deleted(ingress("c", secret="c", hosts=("c.shop.dev",))))
    one.end("a")
    one.seconds += STORED_WITHIN
    assert [one.turns.take() for _ in range(4)] == [1, 1, 1, 0]
    assert [one.world.record(name).phase for name in "bcd"] == [Phase.WANTED, Phase.WANTED, Phase.LAUNCHED]


def test_what_is_not_stored_yet_is_launched(one: World) -> None:
    one.admit("a")
    one.admit("b")
    one.world.api.remove(INGRESSES, "shop", "b")
    one.end("a")
    one.turns.take()
    assert one.world.record("b").phase is Phase.LAUNCHED


def test_who_may_not_look_for_an_object_takes_it_to_be_there(one: World) -> None:
    one.admit("a")
    one.admit("b")
    one.end("a")
    one.seconds += STORED_WITHIN
    one.world.api.fail("GET", "/ingresses/b", status(403, "Forbidden"))
    one.turns.take()
    assert one.world.record("b").phase is Phase.LAUNCHED


def being_deleted(body: Json) -> Json:
    body["metadata"] |= {"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["x/y"]}
    return body


def test_no_namespace_fills_the_places_in_which_others_wait(one: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "MOST", 10)
    for number in range(9):
        one.admit(f"h{number}")
    kept = len(one.turns._waiting["shop"])
    assert 3 <= kept <= 6
    one.admit("a", namespace="other")
    one.admit("b", namespace="other")
    assert len(one.turns._waiting["other"]) == 1


def test_an_api_server_that_fails_keeps_everything_waiting(one: World) -> None:
    one.admit("a")
    one.admit("b")
    one.end("a")
    one.world.api.fail("GET", "labelSelector", status(500, "InternalError"), times=1)
    assert one.turns.take() == 0
    assert one.turns.pause == turns.TROUBLE  # and is not asked four times a second, for each namespace
    assert one.turns.take() == 1
    assert one.turns.pause == turns.PAUSE


def test_the_thread_launches_by_itself(world: JobWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (room, pace):
        monkeypatch.setattr(module, "UNSEEN", 0.0)
    monkeypatch.setattr(room, "FIRST", 1)
    monkeypatch.setattr(pace, "FRESH", 0.0)
    monkeypatch.setattr(pace, "LEAST", 1)
    settings, launched = SettingsCache(world.cluster), threading.Event()
    own = Room(settings)
    turn = Turns(world.cluster, Launcher(world.cluster, settings, clock=world.clock.read, room=own), own)
    turn.keep_on()
    for name in ("a", "b"):
        body = ingress(name, secret=name, hosts=(f"{name}.certjob.dev",))
        world.api.add(INGRESSES, "shop", body)
        entry = wants(body, issuers=settings.issuers()).entries[0]
        turn.launch(entry, namespace="shop", deadline=time.monotonic() + 30)
    assert len(world.api.all(JOBS)) == 1
    world.api.hooks["jobs"] = lambda write: launched.set()
    world.run(secret="a")
    assert launched.wait(10)
