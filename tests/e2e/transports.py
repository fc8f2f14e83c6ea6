"""Transports to the API server for tests: as a service account, over a Wire, without Jobs, with shortened lists."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

from urllib3 import PoolManager, Timeout
from urllib3.exceptions import HTTPError

from issuer_job.cluster.api import Json, Response, Transport, Unreachable
from tests.e2e.api import Endpoint
from tests.e2e.wire import AnswerLost, Call, Wire


class TokenTransport:
    """`issuer_job.cluster.api.Transport` with one service account's token."""

    def __init__(self, endpoint: Endpoint, token: str) -> None:
        self._base = f"https://{endpoint.host}:{endpoint.port}"
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        self._pool = PoolManager(ssl_context=endpoint.tls, maxsize=32)

    def send(self, method: str, path: str, *, body: bytes | None, timeout: float) -> Response:
        """See Transport."""
        try:
            answer = self._pool.request(
                method,
                self._base + path,
                body=body,
                headers=self._headers,
                timeout=Timeout(total=timeout),
                redirect=False,
                retries=False,
            )
        except (HTTPError, OSError) as problem:
            raise Unreachable(f"{method} {path}: {type(problem).__name__}") from problem
        return Response(answer.status, {name.lower(): value for name, value in answer.headers.items()}, answer.data)

    def stream(self, path: str, *, timeout: float) -> Iterator[bytes]:
        """See Transport."""
        answer = self._pool.request(
            "GET",
            self._base + path,
            headers=self._headers,
            timeout=Timeout(connect=5, read=timeout),
            preload_content=False,
        )
        try:
            rest = b""
            for chunk in answer.stream(65536):
                *lines, rest = (rest + chunk).split(b"\n")
                yield from filter(None, lines)
        except (HTTPError, OSError) as problem:
            raise Unreachable(f"watch {path}: {type(problem).__name__}") from problem
        finally:
            answer.close()


@dataclass(frozen=True)
class WiredTransport:
    """A transport to the API server with a Wire in between."""

    inner: Transport
    wire: Wire

    def send(self, method: str, path: str, *, body: bytes | None, timeout: float) -> Response:
        """See Transport."""
        bare, _, query = path.partition("?")
        name = json.loads(body)["metadata"]["name"] if method == "POST" and body else ""
        rehearsed = "dryRun" in query
        what = " ".join(filter(None, ("DRY" if rehearsed else "", method, f"{bare}/{name}" if name else bare)))
        call = Call(what, writes=method != "GET" and not rehearsed)
        try:
            return self.wire.carry(
                call,
                lambda: self.inner.send(method, path, body=body, timeout=timeout),
                lambda answer: answer.status,
            )
        except AnswerLost:
            raise Unreachable(f"{method} {bare}: the answer was lost") from None

    def stream(self, path: str, *, timeout: float) -> Iterator[bytes]:
        """See Transport."""
        return self.inner.stream(path, timeout=timeout)


@dataclass(frozen=True)
class HeldJobs:
    """A transport that says 201 to a Job and creates none: the test runs its pods. `held` has them by name.

    What is only rehearsed, as a canary is, goes through.
    """

    inner: Transport
    held: dict[str, Json]

    def send(self, method: str, path: str, *, body: bytes | None, timeout: float) -> Response:
        """See Transport."""
        place, _, query = path.partition("?")
        if method == "POST" and body and place.endswith("/jobs") and "dryRun" not in query:
            job = json.loads(body)
            self.held[job["metadata"]["name"]] = job
            return Response(201, {}, body)
        return self.inner.send(method, path, body=body, timeout=timeout)

    def stream(self, path: str, *, timeout: float) -> Iterator[bytes]:
        """See Transport."""
        return self.inner.stream(path, timeout=timeout)


@dataclass(frozen=True)
class OnlyOwned:
    """A transport whose lists hold no more than what the object with this uid owns."""

    inner: Transport
    owner: str

    def send(self, method: str, path: str, *, body: bytes | None, timeout: float) -> Response:
        """See Transport."""
        answer = self.inner.send(method, path, body=body, timeout=timeout)
        page = json.loads(answer.body or b"{}")
        if "items" not in page:
            return answer
        page["items"] = [
            item
            for item in page["items"]
            if self.owner in {owner["uid"] for owner in item["metadata"].get("ownerReferences") or []}
        ]
        return Response(answer.status, answer.headers, json.dumps(page).encode())

    def stream(self, path: str, *, timeout: float) -> Iterator[bytes]:
        """See Transport."""
        return self.inner.stream(path, timeout=timeout)
