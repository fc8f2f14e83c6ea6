"""The API server behind a Unix socket, as `kubectl proxy` offers it: `cluster.api.Transport` by http.client.

Of Secrets no more than their metadata is asked for, in the answers to writes, too: no key travels here.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPException, HTTPResponse
from pathlib import Path
from threading import Lock

import msgspec

from issuer_job.cluster.api import HEAD, MAX_ANSWER, Response, TooLarge, Unreachable, api_error

_SECRETS = re.compile(r"/api/v1/(?:namespaces/[^/]+/)?secrets(?:/[^/]+)?")
_METADATA = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"
_METADATA_LIST = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
_MAX_ERROR = 1 << 16


def accepted(method: str, path: str) -> str:
    """The media type to ask for (Kubernetes API concepts, "Metadata-only fetches"); `path` may have a query."""
    bare, _, query = path.partition("?")
    if _SECRETS.fullmatch(bare) is None:
        return "application/json"
    is_list = method == "GET" and bare.endswith("/secrets") and "watch=" not in query
    return _METADATA_LIST if is_list else _METADATA


class _Connection(HTTPConnection):
    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class SocketTransport:
    """`api.Transport` over kept connections. `where` gives the socket's path when the first request needs it."""

    def __init__(self, where: Callable[[], Path]) -> None:
        self._where = where
        self._idle: list[_Connection] = []
        self._lock = Lock()

    def send(self, method: str, path: str, *, body: bytes | None, timeout: float) -> Response:
        """See Transport."""
        with self._asked(method, path, body, timeout) as (connection, answer):
            data = answer.read(MAX_ANSWER + 1)
            if len(data) > MAX_ANSWER:
                raise TooLarge(f"{method} {_bare(path)}: the answer is larger than {MAX_ANSWER} bytes", data[:HEAD])
            headers = {name.lower(): value for name, value in answer.headers.items()}
            headers |= {"warning": ", ".join(answer.headers.get_all("warning", []))}
            if answer.isclosed() and not answer.will_close:
                with self._lock:
                    self._idle.append(connection)
        if (
            answer.status >= 500
            and "audit-id" not in headers
            and headers.get("content-type", "")[:10] == "text/plain"
        ):
            # kubectl's own answer: it did not get through.
            raise Unreachable(_bounded(data))
        return Response(answer.status, headers, data)

    def stream(self, path: str, *, timeout: float) -> Iterator[bytes]:
        """See Transport."""
        with self._asked("GET", path, None, timeout) as (_, answer):
            if answer.status >= 400:
                raise _refused(answer.status, answer.read(_MAX_ERROR))
            while line := answer.readline(MAX_ANSWER + 1):
                if len(line) > MAX_ANSWER:
                    raise TooLarge(f"watch {_bare(path)}: a line is larger than {MAX_ANSWER} bytes", line[:HEAD])
                if line.strip():
                    yield line.rstrip(b"\r\n")

    def close(self) -> None:
        """End the kept connections."""
        with self._lock:
            for connection in self._idle:
                connection.close()
            self._idle.clear()

    @contextmanager
    def _asked(
        self, method: str, path: str, body: bytes | None, timeout: float
    ) -> Iterator[tuple[_Connection, HTTPResponse]]:
        """Send the request; the connection is closed after use unless it was put back among the idle."""
        with self._lock:
            connection = self._idle.pop() if self._idle else None
        connection = connection or _Connection(self._where(), timeout)
        headers = {"Accept": accepted(method, path), "User-Agent": "kubectl-certjob"}
        if body is not None:
            headers["Content-Type"] = "application/merge-patch+json" if method == "PATCH" else "application/json"
        try:
            connection.timeout = timeout
            if connection.sock is not None:
                connection.sock.settimeout(timeout)
            connection.request(method, path, body=body, headers=headers)
            answer = connection.getresponse()
            yield connection, answer
        except TimeoutError:
            raise Unreachable(f"no answer to {method} {_bare(path)} within {timeout:.0f} s") from None
        except (HTTPException, OSError) as problem:
            raise Unreachable(f"{method} {_bare(path)}: {type(problem).__name__}") from problem
        finally:
            with self._lock:
                kept = connection in self._idle
            if not kept:
                connection.close()


def _refused(status: int, body: bytes) -> Exception:
    with suppress(msgspec.DecodeError, RecursionError):
        found = msgspec.json.decode(body)
        if isinstance(found, dict):
            return api_error(status, found)
    return Unreachable(_bounded(body)) if status >= 500 else api_error(status, {"message": _bounded(body)})


def _bounded(body: bytes) -> str:
    return " ".join(body[:500].decode(errors="replace").split())


def _bare(path: str) -> str:
    return path.partition("?")[0]
