"""Whose turn it is in a pass: what is urgent, then each namespace in turn. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from issuer_job.sweep.situation import Priority, Situation, Verdict


@dataclass(frozen=True, slots=True)
class Candidate:
    """A certificate of which something follows."""

    situation: Situation
    verdict: Verdict


@dataclass(frozen=True)
class Queue:
    """Who goes when: round-robin by namespace, so that a large one keeps nobody waiting, whatever the others need; of
    each namespace the most important first. `late` are those beyond their namespace's share.
    """

    urgent: tuple[Candidate, ...]
    others: tuple[Candidate, ...]
    late: tuple[Candidate, ...]

    def __iter__(self) -> Iterator[Candidate]:
        """All of them."""
        yield from (*self.urgent, *self.others, *self.late)


def in_turn(candidates: Iterable[Candidate], *, share: int, had: Mapping[str, int] | None = None) -> Queue:
    """At most `share` of each namespace go before all others had their turn; `had` says how many did before."""
    seen: Counter[str] = Counter(had)
    groups: tuple[list[Candidate], ...] = ([], [], [])
    for candidate in sorted(candidates, key=lambda c: c.verdict.priority):
        namespace = candidate.situation.namespace
        seen[namespace] += 1
        first = 0 if candidate.verdict.priority is Priority.URGENT else 1
        groups[first if seen[namespace] <= share else 2].append(candidate)
    return Queue(*(tuple(_round_robin(group)) for group in groups))


def _round_robin(candidates: Iterable[Candidate]) -> Iterator[Candidate]:
    queues: dict[str, deque[Candidate]] = defaultdict(deque)
    for candidate in candidates:
        queues[candidate.situation.namespace].append(candidate)
    waiting = deque(queues.values())
    while waiting:
        queue = waiting.popleft()
        yield queue.popleft()
        if queue:
            waiting.append(queue)
