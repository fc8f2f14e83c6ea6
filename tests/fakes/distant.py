"""An API server to which each request takes a while, so that others come in between."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

from issuer_job.cluster.api import Response, Transport


@dataclass(frozen=True)
class DistantTransport:
    """Sends what another transport sends, `seconds` later."""

    inner: Transport
    seconds: float = 0.003

    def send(self, method: str, path: str, *, body: bytes | None, timeout: float) -> Response:
        """See Transport."""
        time.sleep(self.seconds)
        return self.inner.send(method, path, body=body, timeout=timeout)

    def stream(self, path: str, *, timeout: float) -> Iterator[bytes]:
        """See Transport."""
        return self.inner.stream(path, timeout=timeout)
