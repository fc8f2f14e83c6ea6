"""In which order a pass launches: the most urgent first, and among equals each namespace in turn. Pure."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from issuer_job.sweep.situation import Situation, Verdict


@dataclass(frozen=True)
class Candidate:
    """A certificate that is to be launched."""

    situation: Situation
    verdict: Verdict


def in_turn(candidates: Iterable[Candidate]) -> Iterator[Candidate]:
    """By priority; within one, round-robin by namespace, so that a large one keeps nobody waiting."""
    queues: dict[int, dict[str, deque[Candidate]]] = defaultdict(lambda: defaultdict(deque))
    for candidate in candidates:
        queues[candidate.verdict.priority][candidate.situation.namespace].append(candidate)
    for _, namespaces in sorted(queues.items()):
        waiting = deque(namespaces.values())
        while waiting:
            queue = waiting.popleft()
            yield queue.popleft()
            if queue:
                waiting.append(queue)
