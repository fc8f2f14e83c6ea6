"""Waiting for authoritative servers: all of them, quickly first, and not for ever."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from issuer_job.dns01.lookup import Address, NoAnswer, Place, Silent
from issuer_job.dns01.propagation import Lag, wait

START = datetime(2026, 5, 5, 10, 0, tzinfo=UTC)
ONE, TWO = ("192.0.2.1", 53), ("192.0.2.2", 53)
NAME = "_acme-challenge.example.org"
PLACE = Place(NAME, "example.org", (ONE, TWO))


@dataclass
class Servers:
    """Each server has each value from some second on; without an entry it never answers. Only sleeping moves time."""

    since: dict[Address, dict[str, float]]
    now: datetime = START
    asked: dict[Address, list[float]] = field(default_factory=lambda: defaultdict(list))

    def ask(self, server: Address, name: str) -> frozenset[str]:
        seconds = (self.now - START).total_seconds()
        self.asked[server].append(seconds)
        if server not in self.since:
            raise Silent("silence")
        return frozenset(value for value, since in self.since[server].items() if seconds >= since)

    def read(self) -> datetime:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def wait(self, *values: str, patience: float = 120) -> list[Lag]:
        deadline = START + timedelta(seconds=patience)
        return wait({PLACE: values}, self.ask, clock=self.read, sleep=self.sleep, deadline=deadline)


def test_no_time_is_lost_when_all_have_it() -> None:
    servers = Servers({ONE: {"a": 0}, TWO: {"a": 0}})
    assert servers.wait("a") == []
    assert servers.now == START


def test_the_slowest_server_counts() -> None:
    servers = Servers({ONE: {"a": 0}, TWO: {"a": 7}})
    assert servers.wait("a") == []
    assert timedelta(seconds=7) <= servers.now - START < timedelta(seconds=10)


def test_who_has_all_is_not_asked_again() -> None:
    servers = Servers({ONE: {"a": 0}, TWO: {"a": 7}})
    servers.wait("a")
    assert len(servers.asked[ONE]) == 1


def test_all_values_of_a_name_are_waited_for() -> None:
    servers = Servers({ONE: {"a": 0, "b": 3}, TWO: {"a": 0, "b": 0}})
    assert servers.wait("a", "b") == []
    assert servers.now - START >= timedelta(seconds=3)


def test_the_first_questions_come_quickly() -> None:
    servers = Servers({ONE: {"a": 60}, TWO: {"a": 60}})
    servers.wait("a")
    assert servers.asked[ONE][1] <= 0.1
    assert len(servers.asked[ONE]) < 50


def test_the_wait_ends_and_says_who_lacks_what() -> None:
    servers = Servers({ONE: {"a": 0}, TWO: {}})
    assert servers.wait("a", patience=30) == [Lag(TWO, NAME, silent=False)]
    assert servers.now - START == timedelta(seconds=30)


def test_a_server_that_never_answers_is_given_up_early() -> None:
    servers = Servers({ONE: {"a": 0}})
    assert servers.wait("a") == [Lag(TWO, NAME, silent=True)]
    assert timedelta(seconds=10) <= servers.now - START < timedelta(seconds=15)


def test_a_server_that_answers_is_waited_for_when_another_is_silent() -> None:
    servers = Servers({ONE: {"a": 40}})
    assert servers.wait("a") == [Lag(TWO, NAME, silent=True)]
    assert servers.now - START >= timedelta(seconds=40)


def test_a_zone_without_known_servers_is_not_waited_for() -> None:
    servers = Servers({})
    place = Place(NAME, "example.org", ())
    assert wait({place: ["a"]}, servers.ask, clock=servers.read, sleep=servers.sleep, deadline=START) == []


def test_a_silent_server_is_not_asked_for_all_names_in_a_round() -> None:
    servers = Servers({ONE: {"a": 0}})
    names = {Place(f"{number}.{NAME}", "example.org", (ONE, TWO)): ["a"] for number in range(200)}
    wait(names, servers.ask, clock=servers.read, sleep=servers.sleep, deadline=START)
    assert len(servers.asked[ONE]) == 200
    assert len(servers.asked[TWO]) < 100


def test_a_server_that_does_not_serve_one_zone_is_asked_about_another() -> None:
    places = {Place("a.example", "a.example", (ONE,)): ["x"], Place("b.example", "b.example", (ONE,)): ["x"]}
    asked: list[str] = []

    def ask(server: Address, name: str) -> frozenset[str]:
        asked.append(name)
        if name == "a.example":
            raise NoAnswer("REFUSED")
        return frozenset({"x"})

    lags = wait(places, ask, clock=lambda: START, sleep=lambda _: None, deadline=START)
    assert [lag.name for lag in lags] == ["a.example"]
    assert sorted(asked) == ["a.example", "b.example"]
