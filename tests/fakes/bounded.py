"""A transport that refuses answers beyond a size, as the real one does: for tests of what is made of that."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

from issuer_job.cluster.api import HEAD, MAX_ANSWER, Json, Response, TooLarge, Transport


@dataclass
class BoundedTransport:
    """Sends what another transport sends. `limits` are those of the lists that were asked for."""

    inner: Transport
    most: int = MAX_ANSWER
    limits: list[int] = field(default_factory=list)
    refused: int = 0

    def send(self, method: str, path: str, *, body: bytes | None, timeout: float) -> Response:
        """See Transport."""
        if limit := parse_qs(urlsplit(path).query).get("limit"):
            self.limits.append(int(limit[0]))
        answer = self.inner.send(method, path, body=body, timeout=timeout)
        if len(answer.body) > self.most:
            self.refused += 1
            raise TooLarge(f"{method} {path}: the answer is larger than {self.most} bytes", answer.body[:HEAD])
        return answer

    def stream(self, path: str, *, timeout: float) -> Iterator[bytes]:
        """See Transport."""
        return self.inner.stream(path, timeout=timeout)


@dataclass(frozen=True)
class OnePage:
    """Answers everything with one list of these objects."""

    body: bytes

    @classmethod
    def of(cls, objects: Iterable[Json]) -> OnePage:
        """The list, as bytes."""
        return cls(
            json.dumps({"kind": "List", "metadata": {"resourceVersion": "1"}, "items": list(objects)}).encode()
        )

    def send(self, method: str, path: str, *, body: bytes | None, timeout: float) -> Response:
        """See Transport."""
        return Response(200, {}, self.body)

    def stream(self, path: str, *, timeout: float) -> Iterator[bytes]:
        """See Transport: there is none."""
        yield from ()
