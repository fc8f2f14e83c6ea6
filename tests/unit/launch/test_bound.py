"""How many attempts of a namespace this process may have launched lately."""

from __future__ import annotations

import pytest

from issuer_job.launch.bound import ACTIVE_SECONDS, LaunchBound


def launched(bound: LaunchBound, namespace: str, most: int) -> bool:
    with bound.slot(namespace) as slot:
        slot.launched = slot.take(most)
        return slot.launched


def test_each_namespace_has_its_own_places_for_five_minutes() -> None:
    seconds = [0.0]
    bound = LaunchBound(lambda: seconds[0])
    assert [launched(bound, "shop", 2) for _ in range(3)] == [True, True, False]
    assert launched(bound, "other", 2)
    seconds[0] = ACTIVE_SECONDS
    assert not launched(bound, "shop", 2)
    seconds[0] += 1
    assert launched(bound, "shop", 2)


def test_a_place_is_taken_once_and_given_back_whatever_happens() -> None:
    bound = LaunchBound()
    with bound.slot("shop") as slot:
        assert slot.take(1)
        assert slot.take(1)
        assert not launched(bound, "shop", 1)
    with pytest.raises(LookupError), bound.slot("shop") as slot:
        raise LookupError(slot.take(1))
    assert launched(bound, "shop", 1)


def test_a_place_that_was_forgotten_is_not_given_back_twice() -> None:
    seconds = [0.0]
    bound = LaunchBound(lambda: seconds[0])
    with bound.slot("shop") as slow:
        assert slow.take(1)
        seconds[0] = ACTIVE_SECONDS + 1
        assert launched(bound, "shop", 1)
    assert not launched(bound, "shop", 1)


def test_of_many_namespaces_only_the_latest_are_remembered() -> None:
    seconds = [0.0]
    bound = LaunchBound(lambda: seconds[0])
    for number in range(10_000):
        seconds[0] += 1
        assert launched(bound, f"namespace-{number}", 1)
    assert len(bound._taken) == len(bound._active) == ACTIVE_SECONDS + 1
