"""The fuzzer sees what it is there to see."""

from __future__ import annotations

import json
import random
import time

import pytest

from tests.fuzz.engines import by_hypothesis, by_number, by_replay
from tests.fuzz.mutate import mutated
from tests.fuzz.target import LARGEST, Budget, OverBudget, Target

SEEDS = [b'{"a": [1, {"b": "x"}], "c": null}', b"plain"]


def test_what_a_target_raises_is_found() -> None:
    def run(data: bytes) -> None:
        if len(data) > 100:
            raise KeyError("found")

    with pytest.raises(KeyError, match="found"):
        by_number(Target("raises", run, SEEDS), inputs=2000)
    with pytest.raises(KeyError, match="found"):
        by_hypothesis(Target("raises", run, SEEDS), seconds=60)


def test_cpu_beyond_the_budget_is_found_however_often_it_is_measured() -> None:
    def run(data: bytes) -> None:
        end = time.process_time() + 0.02
        while time.process_time() < end:
            pass

    budget = Budget(Target("slow", run, SEEDS), seconds=0.01)
    with pytest.raises(OverBudget, match="20 ms for 5 bytes"):
        budget(b"12345")
    assert budget.worst == b"12345"


def test_one_slow_moment_is_no_finding() -> None:
    runs = iter([0.02, 0, 0])

    def run(data: bytes) -> None:
        end = time.process_time() + next(runs)
        while time.process_time() < end:
            pass

    Budget(Target("once", run, SEEDS), seconds=0.01)(b"x")


def test_memory_beyond_the_budget_is_found() -> None:
    def run(data: bytes) -> None:
        bytearray(400 * 2**20)[::4096] = b"x" * (400 * 256)

    with pytest.raises(OverBudget, match="MiB for 1 bytes"):
        Budget(Target("large", run, SEEDS), seconds=10)(b"x")


def test_a_number_of_inputs_is_the_same_ones_each_time() -> None:
    def inputs() -> list[bytes]:
        found: list[bytes] = []
        by_number(Target("notes", found.append, SEEDS), inputs=50)
        return found

    assert inputs() == inputs()
    assert len(set(inputs())) > 30


def test_inputs_keep_their_size_and_most_of_json_stays_json() -> None:
    chance, documents = random.Random(1), 0
    data = SEEDS[0]
    for _ in range(500):
        data = mutated(data if len(data) < 10_000 else SEEDS[0], SEEDS, chance)
        assert len(data) <= LARGEST
        try:
            json.loads(data)
        except (ValueError, RecursionError):
            data = SEEDS[0]
        else:
            documents += 1
    assert documents > 200


def test_an_input_is_run_again_as_it_is() -> None:
    ran: list[bytes] = []
    by_replay(Target("notes", ran.append, SEEDS), b"found")
    assert ran == [*SEEDS, b"found"]
