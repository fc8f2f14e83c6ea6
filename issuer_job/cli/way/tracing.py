"""Tells each request: `-v`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from issuer_job.cluster.api import Response, Transport


@dataclass(frozen=True)
class Traced:
    """A transport that says each request with its answer's status and time; of a stream that it has begun."""

    inner: Transport
    say: Callable[[str], None]

    def send(self, method: str, path: str, *, body: bytes | None, timeout: float) -> Response:
        """See Transport."""
        started = time.monotonic()
        answer = self.inner.send(method, path, body=body, timeout=timeout)
        self.say(f"{method} {path} {answer.status} in {(time.monotonic() - started) * 1000:.0f} ms")
        return answer

    def stream(self, path: str, *, timeout: float) -> Iterator[bytes]:
        """See Transport."""
        self.say(f"GET {path}")
        return self.inner.stream(path, timeout=timeout)
