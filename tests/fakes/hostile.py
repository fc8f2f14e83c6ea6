"""A server that speaks TLS and nothing that it should: it answers each request with whatever bytes it is told."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import repeat
from socketserver import BaseRequestHandler, ThreadingTCPServer
from typing import Any

from tests.fakes.acme_ca import FakeCA
from tests.fakes.serving import served

DRIP = 0.02
"""Seconds from one piece of a slow answer to the next."""


@dataclass
class HostileServer:
    """`answer` gives the pieces of what is sent back for a request's path; None among them is a pause.

    `sent` counts the bytes that were written before the client went away.
    """

    base: str
    ca_pem: bytes
    answer: Callable[[str], Iterable[bytes | None]] = lambda path: ()
    sent: int = 0
    paths: list[str] = field(default_factory=list)
    stopped: threading.Event = field(default_factory=threading.Event)

    def speak(self, connection: ssl.SSLSocket) -> None:
        """One request, one answer, and the connection ends."""
        head = b""
        while b"\r\n\r\n" not in head:
            head += (piece := connection.recv(65536))
            if not piece:
                return
        path = head.split(b" ", 2)[1].decode()
        self.paths.append(path)
        for piece in self.answer(path):
            if piece is None:
                if self.stopped.wait(DRIP):
                    return
            else:
                connection.sendall(piece)
                self.sent += len(piece)


def slowly(content: bytes) -> Iterator[bytes | None]:
    """A byte at a time."""
    for byte in content:
        yield bytes([byte])
        yield None


def for_ever(piece: bytes, *, after: bytes = b"") -> Iterator[bytes]:
    """It never ends by itself."""
    yield after
    yield from repeat(piece)


class _Speaker(BaseRequestHandler):
    server: _Server

    def handle(self) -> None:
        # Clients that leave are what the tests are about.
        with suppress(OSError), self.server.context.wrap_socket(self.request, server_side=True) as connection:
            self.server.hostile.speak(connection)


class _Server(ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    context: ssl.SSLContext
    hostile: HostileServer

    def handle_error(self, request: Any, client_address: Any) -> None:
        """See _Speaker."""


@contextmanager
def hostile_server() -> Iterator[HostileServer]:
    """Run one on loopback."""
    ca = FakeCA("Hostile TLS CA")
    context = ca.server_context()
    with _Server(("127.0.0.1", 0), _Speaker) as server:
        server.context = context
        server.hostile = HostileServer(f"https://127.0.0.1:{server.server_address[1]}", ca.pem)
        with served(server):
            try:
                yield server.hostile
            finally:
                server.hostile.stopped.set()
