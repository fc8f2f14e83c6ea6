"""A transport that tries again: for processes that would rather wait a little than give up."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from issuer_job import names
from issuer_job.cluster.api import Response, Transport, Unreachable

FIRST_PAUSE = 0.1
LONGEST_PAUSE = 5.0
TRANSIENT = frozenset({429, 500, 502, 503, 504})
HOOK_PATIENCE = 5.0
"""Seconds for an admission webhook that the API server cannot reach: it has a back-off of its own, and words."""


@dataclass(frozen=True)
class RetryingTransport:
    """Retries lost connections, 429 and 5xx with growing, jittered pauses until `deadline`.

    A create may thus be sent twice: its caller must be able to live with AlreadyExists for its own object.
    `deadline` and `clock` are in seconds of one monotonic clock.
    """

    inner: Transport
    deadline: float
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    def send(self, method: str, path: str, *, body: bytes | None, timeout: float) -> Response:
        """See Transport."""
        pause = FIRST_PAUSE
        hook_until = min(self.deadline, self.clock() + HOOK_PATIENCE)
        while True:
            wait = pause * random.uniform(0.5, 1.5)  # noqa: S311 - jitter
            left = self.deadline - self.clock()
            try:
                response = self.inner.send(method, path, body=body, timeout=max(min(timeout, left), 1.0))
            except Unreachable:
                if wait >= left:
                    raise
            else:
                if response.status not in TRANSIENT:
                    return response
                if response.status == 500 and b"failed calling webhook" in response.body:
                    left = hook_until - self.clock()
                wait = max(wait, names.number(response.headers.get("retry-after", "")))
                if wait >= left:
                    return response
            self.sleep(wait)
            pause = min(pause * 2, LONGEST_PAUSE)

    def stream(self, path: str, *, timeout: float) -> Iterator[bytes]:
        """See Transport. A watch is not retried here: its reader has to list again."""
        return self.inner.stream(path, timeout=timeout)
