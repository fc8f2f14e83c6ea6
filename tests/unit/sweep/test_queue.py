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


def order(*candidates: Candidate) -> list[str]:
    return [f"{c.situation.namespace}/{c.situation.secret_name}" for c in in_turn(candidates)]


def test_nobody() -> None:
    assert order() == []


def test_the_most_urgent_go_first() -> None:
    queued = [candidate("a", str(int(priority)), priority) for priority in reversed(Priority)]
    assert order(*queued) == ["a/0", "a/1", "a/2", "a/3"]


def test_each_namespace_in_turn() -> None:
    queued = [candidate("a", "1"), candidate("a", "2"), candidate("a", "3"), candidate("b", "1"), candidate("c", "1")]
    assert order(*queued) == ["a/1", "b/1", "c/1", "a/2", "a/3"]


def test_turns_begin_anew_with_each_priority() -> None:
    queued = [
        candidate("a", "1", Priority.URGENT),
        candidate("a", "2"),
        candidate("b", "1", Priority.URGENT),
        candidate("b", "2"),
    ]
    assert order(*queued) == ["a/1", "b/1", "a/2", "b/2"]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(list(Priority)))))
def test_nobody_is_lost_or_comes_twice(drawn: list[tuple[str, Priority]]) -> None:
    queued = [candidate(namespace, str(n), priority) for n, (namespace, priority) in enumerate(drawn)]
    found = list(in_turn(queued))
    assert sorted(map(id, found)) == sorted(map(id, queued))
    assert [c.verdict.priority for c in found] == sorted(c.verdict.priority for c in queued)
