"""What a webhook pod tells Prometheus of itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import TypeVar

from issuer_job import log
from issuer_job.metrics.exposition import CONTENT_TYPE, Exposition
from issuer_job.metrics.families import Family, Kind, Samples
from webhook.scraping import ScrapeServer, ServedPage, kept

_C = Kind.COUNTER
REQUESTS = Family("webhook_requests_total", _C, "Reviews, by the reason of the answer", ("reason",))
SECONDS = Family(
    "webhook_request_seconds",
    Kind.HISTOGRAM,
    "What the answer to a review took, by the entry of the webhook configuration; the API server waits for 5 s",
    ("entry",),
    (0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 4.0),
)
LAUNCHES = Family(
    "webhook_launches_total", _C, "Certificates that reviews asked for, by what came of it", ("outcome",)
)
SERVING = Family(
    "webhook_serving_certificate_not_after_timestamp_seconds",
    Kind.GAUGE,
    "When the certificate ends that the API server is shown",
)
FAMILIES = (REQUESTS, SECONDS, LAUNCHES, SERVING)
BAD_REQUEST, NO_ROOM = "BadRequest", "NoRoom"
"""Reasons for which a review is not even read."""
T = TypeVar("T")


class WebhookMetrics:
    """One for each process; thread-safe. `serving_until`: when its certificate ends. OSError: nobody knows."""

    def __init__(self, serving_until: Callable[[], datetime]) -> None:
        self.exposition = Exposition()
        self._requests = self.exposition.counter(REQUESTS)
        self._seconds = self.exposition.histogram(SECONDS)
        self._launches = self.exposition.counter(LAUNCHES)
        self._serving_until = serving_until
        self.exposition.gauges(self._gauges)

    def answered(self, reason: str, outcomes: Iterable[str] = ()) -> None:
        """One review, with what came of its certificates. Both are of closed lists."""
        self._requests.labels(reason).inc()
        for outcome in outcomes:
            self._launches.labels(outcome).inc()

    def timed(self, entry: str, handle: Callable[[], T]) -> Callable[[], T]:
        """The same, with what it takes noted: from when a thread has the request to its answer."""
        seconds = self._seconds.labels(entry)

        def handled() -> T:
            with seconds.time():
                return handle()

        return handled

    def serve(self, port: int) -> int:
        """At a port of its own, in plain HTTP: by the other one only the API server comes in. The port, 0 if there is
        none; admissions do not depend on it.
        """
        page = kept(lambda: ServedPage(200, self.exposition.text(), CONTENT_TYPE))
        server = ScrapeServer({"/metrics": page}, port=port)
        try:
            server.start()
        except OSError as problem:
            log.error("no-metrics", problem=str(problem))
            return 0
        return server.port

    def _gauges(self) -> Samples:
        try:
            return [(SERVING, [((), self._serving_until().timestamp())])]
        except OSError:
            return []
