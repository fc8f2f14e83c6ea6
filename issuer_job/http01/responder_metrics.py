"""What the responder tells Prometheus: how many it was asked for, and what it has to answer with."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

from issuer_job.metrics.exposition import Exposition
from issuer_job.metrics.families import Family, Kind, Samples

REQUESTS = Family(
    "responder_requests_total",
    Kind.COUNTER,
    "Requests at the challenge port: answered, unknown (no such token here), other (no challenge's path)",
    ("result",),
)
CHALLENGES = Family("responder_challenges", Kind.GAUGE, "Tokens that it has an answer for")
FAMILIES = (REQUESTS, CHALLENGES)


class Result(StrEnum):
    """What came of a request."""

    ANSWERED = "answered"
    UNKNOWN = "unknown"
    OTHER = "other"


class ResponderMetrics:
    """One for each process. `challenges`: how many it can answer, None before it knows."""

    def __init__(self, challenges: Callable[[], int | None]) -> None:
        self.exposition = Exposition()
        requests = self.exposition.counter(REQUESTS)
        self._requests = {result: requests.labels(result) for result in Result}
        self._challenges = challenges
        self.exposition.gauges(self._gauges)

    def count(self, result: Result) -> None:
        """One request."""
        self._requests[result].inc()

    def _gauges(self) -> Samples:
        held = self._challenges()
        return [] if held is None else [(CHALLENGES, [((), held)])]
