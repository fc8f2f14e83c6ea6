"""What the API server warns of in its answers: kubectl shows that, and so do commands that write."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from issuer_job.cluster.api import Response, Transport

_WARNING = re.compile(r'299 \S+ "((?:[^"\\]|\\.)*)"')
_ESCAPED = re.compile(r"\\(.)")


@dataclass
class Hearing:
    """A transport that remembers the warnings (RFC 9111, section 5.5) of the answers since `take`."""

    inner: Transport
    _heard: list[str] = field(default_factory=list)

    def take(self) -> tuple[str, ...]:
        """Each once, in their order; from then on there are none."""
        heard = tuple(dict.fromkeys(self._heard))
        self._heard.clear()
        return heard

    def send(self, method: str, path: str, *, body: bytes | None, timeout: float) -> Response:
        """See Transport."""
        answer = self.inner.send(method, path, body=body, timeout=timeout)
        self._heard += read_warnings(answer.headers.get("warning", ""))
        return answer

    def stream(self, path: str, *, timeout: float) -> Iterator[bytes]:
        """See Transport."""
        return self.inner.stream(path, timeout=timeout)


def read_warnings(header: str) -> list[str]:
    """The texts of a Warning header, which may hold several."""
    return [_ESCAPED.sub(r"\1", found[1]) for found in _WARNING.finditer(header)]
