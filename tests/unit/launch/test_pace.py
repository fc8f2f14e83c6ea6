"""How many attempts the nodes carry: the window, whom it holds for, and what it learns from."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

import pytest
from msgspec.structs import replace

from issuer_job import vocabulary as v
from issuer_job.cluster.api import CONFIGMAPS, KubeError
from issuer_job.launch.pace import FREELY, FRESH, HARDLY, IDLE, LEAST, STANDSTILL, UNSEEN, Pace
from issuer_job.record import transitions
from issuer_job.record.phases import ACTIVE, LaunchReason
from issuer_job.record.record import Phase, Record
from issuer_job.record.store import to_config_map
from tests.fakes.api import status
from tests.worlds.job import JobWorld
from tests.worlds.samples import NOW, issued, source

CALM, STARVED = FREELY - 0.5, HARDLY + 0.5


class Nodes:
    """The records of all attempts, and processes that count them; time stands still between the steps."""

    def __init__(self, world: JobWorld) -> None:
        self.world, self.seconds = world, 0.0
        self.pace = self.process()

    def process(self) -> Pace:
        return Pace(clock=lambda: self.seconds, now=lambda: NOW + timedelta(seconds=self.seconds))

    def launched(self, name: str, namespace: str) -> Record:
        now = NOW + timedelta(seconds=self.seconds)
        wanted = transitions.wanted(namespace=namespace, secret_name=name, sources=(source(),), now=now)
        return transitions.launched(wanted, now=now, reason=LaunchReason.NEW)

    def store(self, record: Record) -> None:
        self.world.api.add(CONFIGMAPS, v.NAMESPACE, to_config_map(record))

    def launch(self, names: Iterable[str], namespace: str = "shop", *, by: Pace | None = None) -> None:
        """As a process does it that has asked before."""
        for name in names:
            record = self.launched(name, namespace)
            (by or self.pace).add(namespace, record.name, first=False)
            self.store(record)

    def begin(self, names: Iterable[str], stretch: float, namespace: str = "shop") -> None:
        for name in names:
            now = NOW + timedelta(seconds=self.seconds)
            self.store(transitions.claimed(self.launched(name, namespace), now, holder="pod", stretch=stretch))

    def end(self, names: Iterable[str], namespace: str = "shop") -> None:
        for name in names:
            self.world.api.remove(CONFIGMAPS, v.NAMESPACE, self.launched(name, namespace).name)

    def fits(self, namespace: str = "shop", *, by: Pace | None = None) -> bool:
        """A while later, when a new count is due."""
        self.seconds += FRESH + 0.01
        return (by or self.pace).fits(self.world.cluster, namespace)


@pytest.fixture
def nodes(world: JobWorld) -> Nodes:
    return Nodes(world)


def names(number: int, prefix: str = "h") -> list[str]:
    return [f"{prefix}{n}" for n in range(number)]


def test_so_many_are_at_work_and_the_next_when_one_has_ended(nodes: Nodes) -> None:
    for name in names(LEAST):
        assert nodes.fits()
        nodes.launch([name])
    assert not nodes.fits()
    nodes.seconds += UNSEEN
    nodes.end(["h0"])
    assert nodes.fits()


def test_all_processes_share_the_window(nodes: Nodes) -> None:
    other = nodes.process()
    nodes.launch(names(LEAST - 1))
    nodes.launch(["last"], by=other)
    assert not nodes.fits()
    assert not nodes.fits(by=other)


def test_between_two_counts_own_launches_are_known(nodes: Nodes) -> None:
    assert nodes.fits()
    nodes.launch(names(LEAST))
    assert not nodes.pace.fits(nodes.world.cluster, "shop")
    nodes.pace.take_back(nodes.launched("h0", "shop").name)
    assert nodes.pace.fits(nodes.world.cluster, "shop")


def test_whoever_has_none_at_work_has_one_whatever_the_others_have(nodes: Nodes) -> None:
    nodes.launch(names(50))
    assert nodes.fits("other")
    nodes.launch(["one"], "other")
    assert not nodes.fits("other")


def test_while_others_first_few_are_at_work_a_burst_goes_on_one_at_a_time(nodes: Nodes) -> None:
    nodes.launch(names(1))
    for name in names(LEAST):
        nodes.pace.add("other", nodes.launched(name, "other").name, first=True)
        nodes.store(nodes.launched(name, "other"))
    assert not nodes.fits()
    nodes.seconds += UNSEEN
    nodes.end(["h0"])
    assert nodes.fits()


def test_two_bursts_share_the_window(nodes: Nodes) -> None:
    nodes.launch(names(LEAST))
    nodes.launch(["one"], "other")
    nodes.seconds += UNSEEN
    nodes.end(names(LEAST // 2 + 1))
    assert nodes.fits("other")
    nodes.launch(["two"], "other")
    assert not nodes.fits("other")


def burst(nodes: Nodes, rounds: int, stretch: float) -> int:
    """As many as fit, launched, begun and ended, again and again; how many fitted at last."""
    done = 0
    for turn in range(rounds):
        done = 0
        while nodes.fits() and done < 1000:
            nodes.launch([f"r{turn}-{done}"])
            done += 1
        own = [f"r{turn}-{number}" for number in range(done)]
        nodes.begin(own, stretch)
        nodes.fits()
        nodes.seconds += UNSEEN
        nodes.end(own)
        nodes.fits()
    return done


@pytest.mark.exhaustive
def test_where_there_are_cpus_a_burst_soon_has_a_hundred_at_once(nodes: Nodes) -> None:
    assert burst(nodes, 7, CALM) > 100


def test_where_attempts_wait_for_a_cpu_it_becomes_less_but_never_nothing(nodes: Nodes) -> None:
    nodes.pace.size = 30
    nodes.fits()
    nodes.pace.size = 30
    assert burst(nodes, 3, STARVED) < 10
    assert burst(nodes, 3, STARVED) == LEAST


def test_what_starts_neither_freely_nor_hardly_changes_nothing_nor_does_an_attempt_that_says_nothing(
    nodes: Nodes,
) -> None:
    for stretch in (0.0, FREELY, HARDLY):
        assert burst(nodes, 2, stretch) == LEAST


def test_what_nobody_saw_at_work_has_started_freely(nodes: Nodes) -> None:
    nodes.fits()
    nodes.launch(names(LEAST))
    nodes.seconds += FRESH + 0.01
    nodes.end(["h0"])
    assert not nodes.fits()
    nodes.seconds += UNSEEN
    assert nodes.fits()
    assert nodes.pace.size == LEAST + 1


def test_a_few_now_and_then_say_nothing_of_what_many_would_do(nodes: Nodes) -> None:
    for turn in range(20):
        nodes.fits()
        nodes.launch([f"h{turn}"])
        nodes.begin([f"h{turn}"], CALM)
        nodes.fits()
        nodes.end([f"h{turn}"])
    assert nodes.pace.size <= LEAST


def test_what_was_learned_is_forgotten_when_nothing_is_launched_for_a_while(nodes: Nodes) -> None:
    assert burst(nodes, 4, CALM) > LEAST
    nodes.seconds += IDLE
    nodes.fits()
    assert nodes.pace.size == LEAST


@pytest.mark.parametrize("phase", sorted(Phase))
def test_what_is_under_way_counts_also_while_it_waits_for_its_ca(nodes: Nodes, phase: Phase) -> None:
    """A pod that waits for a controller's reload needs its CPU right afterwards."""
    for name in names(LEAST):
        nodes.store(replace(nodes.launched(name, "shop"), phase=phase))
    assert nodes.fits() is (phase not in ACTIVE)


def test_renewals_count_too(nodes: Nodes) -> None:
    """Whose records are called issued all the time."""
    for name in names(LEAST):
        record = nodes.launched(name, "shop")
        nodes.store(replace(record, issued=issued(hosts=record.intent.hosts)))
    assert not nodes.fits()


def test_what_hangs_or_has_crashed_keeps_nobody_waiting(nodes: Nodes) -> None:
    nodes.launch(names(LEAST))
    assert not nodes.fits()
    nodes.seconds += STANDSTILL.total_seconds()
    assert nodes.fits()


def test_a_count_that_takes_long_is_made_less_often(nodes: Nodes) -> None:
    send = nodes.world.api.send

    def slow(*args: object, **kwargs: object) -> object:
        nodes.seconds += 1
        return send(*args, **kwargs)  # type: ignore[arg-type]

    nodes.world.api.send = slow  # type: ignore[method-assign,assignment]
    for _ in range(4):
        nodes.seconds += 1
        nodes.pace.fits(nodes.world.cluster, "shop")
    assert len(nodes.world.api.requests) == 1


def test_an_api_server_that_does_not_answer_is_said(nodes: Nodes) -> None:
    nodes.world.api.fail("GET", "labelSelector", status(500, "InternalError"), times=1)
    with pytest.raises(KubeError):
        nodes.fits()
    assert nodes.fits()
