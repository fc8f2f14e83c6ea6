"""How many attempts of a namespace this process may have launched lately."""

from __future__ import annotations

from issuer_job.launch.bound import ACTIVE_SECONDS, LaunchBound


def test_each_namespace_has_its_own_room_for_five_minutes() -> None:
    seconds = [0.0]
    bound = LaunchBound(lambda: seconds[0])
    assert [bound.take("shop", 2) for _ in range(3)] == [True, True, False]
    assert bound.take("other", 2)
    seconds[0] = ACTIVE_SECONDS
    assert not bound.take("shop", 2)
    seconds[0] += 1
    assert bound.take("shop", 2)


def test_room_that_was_given_back_is_free_and_nobody_elses() -> None:
    bound = LaunchBound()
    bound.take("shop", 1)
    bound.take("other", 1)
    bound.give_back("shop")
    assert not bound.take("other", 1)
    assert [bound.take("shop", 1) for _ in range(2)] == [True, False]


def test_room_that_was_forgotten_already_is_given_back_to_nobody() -> None:
    seconds = [0.0]
    bound = LaunchBound(lambda: seconds[0])
    bound.take("shop", 1)
    seconds[0] = ACTIVE_SECONDS + 1
    assert bound.take("other", 1)
    bound.give_back("shop")
    assert not bound.take("other", 1)


def test_of_many_namespaces_only_the_latest_are_remembered() -> None:
    seconds = [0.0]
    bound = LaunchBound(lambda: seconds[0])
    for number in range(1000):
        seconds[0] += 1
        assert bound.take(f"namespace-{number}", 1)
    assert len(bound._taken) == ACTIVE_SECONDS + 1
