"""A small HTTP/1.1 server for answers that depend on method and path only and fit into one packet.

asyncio with a parser of its own: with the API transport loaded, aiohttp.web starts at 57 MiB and asyncio at 46, and
a thread per connection (http.server) gives in to a thousand idle ones. One request per connection, always
`Connection: close` (RFC 9112, 9.6): no pipelining, no body, no keep-alive race, a bounded life for each connection.
"""

from __future__ import annotations

import asyncio
import logging
import re
import socket
from collections.abc import Callable
from dataclasses import dataclass

log = logging.getLogger("issuer_job.responder")

MAX_HEAD = 16 * 1024
"""Bytes of a request line with all headers."""
_MAX_LINE = 2048
_BUFFER = 16 * 1024
_MAX_DISCARD = 64 * 1024
_REQUEST_LINE = re.compile(rb"([A-Za-z]{1,20}) (?:https?://[^/? ]*)?([!-~]+) HTTP/1\.[01]")
_PHRASES = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    414: "URI Too Long",
    431: "Request Header Fields Too Large",
    503: "Service Unavailable",
}

Answer = Callable[[str, str], tuple[int, bytes]]
"""From method and path (without query) to status and body."""


@dataclass(frozen=True)
class Limits:
    """Seconds. A connection has `request` for its request and `linger` to take its answer and close."""

    request: float = 10.0
    linger: float = 2.0
    drain: float = 8.0
    """After SIGTERM requests are still taken this long: ingress controllers learn late that the pod is going."""
    connections: int = 2000


class Listener:
    """One port and its connections, oldest first. With too many, the oldest is cut: new ones get their turn."""

    def __init__(self, answer: Answer, limits: Limits) -> None:
        self.answer = answer
        self.limits = limits
        self.connections: dict[Connection, None] = {}
        self.buffer = memoryview(bytearray(_BUFFER))
        self._server: asyncio.Server | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._empty = asyncio.Event()
        self.port = 0

    async def open(self, port: int) -> None:
        """Listens on IPv6 and IPv4. Raises OSError if the port is taken."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Connection(self), sock=_listening_socket(port))
        self.port = self._server.sockets[0].getsockname()[1]
        self._expire()

    async def close(self) -> None:
        """Takes no connection more; waits for those in the middle of a request, at most the time a request has."""
        if self._server is None or self._timer is None:
            return
        self._server.close()
        for connection in list(self.connections):
            connection.close_if_idle()
        if self.connections:
            self._empty.clear()
            try:
                await asyncio.wait_for(self._empty.wait(), self.limits.request + self.limits.linger)
            except TimeoutError:
                log.warning("connections-cut", extra={"fields": {"connections": len(self.connections)}})
        self._timer.cancel()
        for connection in list(self.connections):
            connection.abort()

    def opened(self, connection: Connection) -> None:
        """A connection came."""
        if len(self.connections) >= self.limits.connections:
            next(iter(self.connections)).abort()
        self.connections[connection] = None

    def closed(self, connection: Connection) -> None:
        """A connection went."""
        self.connections.pop(connection, None)
        if not self.connections:
            self._empty.set()

    def _expire(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        for connection in [connection for connection in self.connections if connection.deadline <= now]:
            connection.abort()
        self._timer = loop.call_later(min(1.0, self.limits.linger / 2), self._expire)


class Connection(asyncio.BufferedProtocol):
    """One request, one answer. Of a request it keeps the first line only."""

    __slots__ = ("_answered", "_line", "_listener", "_received", "_tail", "_transport", "deadline")

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._transport: asyncio.Transport | None = None
        self._line: bytes | None = None
        self._tail = b""
        self._received = 0
        self._answered = False
        self.deadline = asyncio.get_running_loop().time() + listener.limits.request

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - for the type checker
        self._transport = transport
        self._listener.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        self._listener.closed(self)

    def eof_received(self) -> bool:
        """The other side is done: what was written still goes out, then the connection closes."""
        return False

    def get_buffer(self, sizehint: int) -> memoryview:
        """See asyncio.BufferedProtocol. One buffer for all: it is read before the next connection's turn."""
        return self._listener.buffer

    def buffer_updated(self, nbytes: int) -> None:
        """See asyncio.BufferedProtocol. After the answer all is thrown away: closing on unread data resets."""
        self._received += nbytes
        if self._answered:
            if self._received > MAX_HEAD + _MAX_DISCARD:
                self.abort()
            return
        window = self._tail + self._listener.buffer[:nbytes]
        if self._line is None:
            line, ended, _ = window.partition(b"\r\n")
            if len(line) > _MAX_LINE:
                self._send(414, b"")
            elif ended:
                self._line = line
            else:
                self._tail = window
        if self._line is None or self._answered:
            return
        if b"\r\n\r\n" in window:
            self._reply(self._line)
        elif self._received > MAX_HEAD:
            self._send(431, b"")
        else:
            self._tail = window[-3:]

    def close_if_idle(self) -> None:
        """Closes unless a request has begun."""
        if self._transport is not None and (self._answered or not self._received):
            self._transport.close()

    def abort(self) -> None:
        """Closes at once; counts as gone from now on."""
        if self._transport is not None:
            self._transport.abort()
        self._listener.closed(self)

    def _reply(self, line: bytes) -> None:
        match = _REQUEST_LINE.fullmatch(line)
        if match is None:
            self._send(400, b"")
            return
        method = match[1].decode()
        status, body = self._listener.answer(method, match[2].decode("ascii").partition("?")[0])
        self._send(status, body, bodiless=method == "HEAD")

    def _send(self, status: int, body: bytes, *, bodiless: bool = False) -> None:
        head = (
            f"HTTP/1.1 {status} {_PHRASES[status]}\r\n"
            "Content-Type: application/octet-stream\r\n"
            f"Content-Length: {len(body)}\r\n"
            "Cache-Control: no-store\r\n"
            "Connection: close\r\n\r\n"
        ).encode()
        self._answered = True
        self.deadline = asyncio.get_running_loop().time() + self._listener.limits.linger
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(head if bodiless else head + body)
            self._transport.write_eof()


def _listening_socket(port: int) -> socket.socket:
    if socket.has_dualstack_ipv6():
        return socket.create_server(("::", port), family=socket.AF_INET6, backlog=1024, dualstack_ipv6=True)
    return socket.create_server(("0.0.0.0", port), backlog=1024)  # noqa: S104 - reached from other pods
