"""In which order a pass launches."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from issuer_job.record.phases import LaunchReason
from issuer_job.sweep.queue import Candidate, in_turn
from issuer_job.sweep.situation import Action, Priority, Situation, Verdict
from tests.worlds.samples import NOW


def candidate(namespace: str, name: str, priority: Priority = Priority.REST) -> Candidate:
    situation = Situation(
        namespace=namespace,
        secret_name=name,
        record=None,
        entries=(),
        named_by=frozenset(),
        jobs={},
        issuers={},
        interval=NOW - NOW,
        now=NOW,
    )
    return Candidate(situation, Verdict(Action.NEW_EPOCH, LaunchReason.RETRY_DUE, priority))


def order(*candidates: Candidate, share: int = 25) -> list[str]:
    return [f"{c.situation.namespace}/{c.situation.secret_name}" for c in in_turn(candidates, share=share)]


def test_nobody() -> None:
    assert order() == []


def test_the_most_urgent_go_first() -> None:
    queued = [candidate("a", str(int(priority)), priority) for priority in reversed(Priority)]
    assert order(*queued) == ["a/0", "a/1", "a/2", "a/3"]


def test_each_namespace_in_turn() -> None:
    queued = [candidate("a", "1"), candidate("a", "2"), candidate("a", "3"), candidate("b", "1"), candidate("c", "1")]
    assert order(*queued) == ["a/1", "b/1", "c/1", "a/2", "a/3"]


def test_turns_begin_anew_behind_what_is_urgent() -> None:
    queued = [
        candidate("a", "1", Priority.URGENT),
        candidate("a", "2"),
        candidate("b", "1", Priority.URGENT),
        candidate("b", "2"),
    ]
    assert order(*queued) == ["a/1", "b/1", "a/2", "b/2"]


def test_a_renewal_of_one_namespace_does_not_wait_for_all_that_another_has_changed() -> None:
    """Whoever changes many objects makes work of a higher priority; that is his own turn's order, nobody else's."""
    changed = [candidate("a", str(number), Priority.MISSED) for number in range(3)]
    assert order(*changed, candidate("b", "renewal", Priority.REST)) == ["a/0", "b/renewal", "a/1", "a/2"]


def test_what_is_urgent_in_one_namespace_takes_no_more_than_its_share_before_the_others() -> None:
    urgent = [candidate("a", str(number), Priority.URGENT) for number in range(4)]
    assert order(*urgent, candidate("b", "1"), candidate("b", "2"), share=2) == [
        "a/0", "a/1", "b/1", "b/2", "a/2", "a/3",
    ]  # fmt: skip


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(list(Priority)))), st.integers(1, 5))
def test_nobody_is_lost_or_comes_twice(drawn: list[tuple[str, Priority]], share: int) -> None:
    queued = [candidate(namespace, str(n), priority) for n, (namespace, priority) in enumerate(drawn)]
    found = list(in_turn(queued, share=share))
    assert sorted(map(id, found)) == sorted(map(id, queued))
    for namespace in "abc":
        own = [c.verdict.priority for c in found if c.situation.namespace == namespace]
        assert own == sorted(own)


@given(st.lists(st.sampled_from(list(Priority)), max_size=20), st.integers(1, 5))
def test_who_waits_alone_against_many_is_among_the_first(many: list[Priority], share: int) -> None:
    queued = [candidate("a", str(n), priority) for n, priority in enumerate(many)]
    alone = candidate("b", "alone")
    place = list(in_turn([*queued, alone], share=share)).index(alone)
    assert place <= share
