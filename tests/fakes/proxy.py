"""An HTTP proxy on loopback, spoken to with or without TLS: it connects whoever asks (RFC 9110, section 9.3.6)."""

from __future__ import annotations

import select
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from socketserver import BaseRequestHandler, ThreadingTCPServer
from typing import Any

from tests.fakes.acme_ca import FakeCA
from tests.fakes.serving import served


@dataclass
class Proxy:
    """`ca_pem` is whom a client has to trust if its `url` is https; `connected` is who was asked for."""

    url: str
    ca_pem: bytes
    connected: list[str] = field(default_factory=list)


class _Connecter(BaseRequestHandler):
    server: _Server

    def handle(self) -> None:
        with suppress(OSError):
            context = self.server.context
            client = context.wrap_socket(self.request, server_side=True) if context else self.request
            with client:
                self._connect(client)

    def _connect(self, client: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            head += client.recv(4096)
        target = head.split()[1].decode()
        self.server.proxy.connected.append(target)
        host, _, port = target.rpartition(":")
        with socket.create_connection((host, int(port))) as server:
            client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            while True:
                waiting = isinstance(client, ssl.SSLSocket) and client.pending() > 0
                for source in [client] if waiting else select.select([client, server], [], [])[0]:
                    if not (content := source.recv(16384)):
                        return
                    (server if source is client else client).sendall(content)


class _Server(ThreadingTCPServer):
    daemon_threads = True
    context: ssl.SSLContext | None
    proxy: Proxy

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that leave are what the tests are about."""


@contextmanager
def http_proxy(scheme: str) -> Iterator[Proxy]:
    """Run one; `scheme` is http or https."""
    ca = FakeCA("Proxy TLS CA")
    context = ca.server_context() if scheme == "https" else None
    with _Server(("127.0.0.1", 0), _Connecter) as server:
        server.context = context
        server.proxy = Proxy(f"{scheme}://127.0.0.1:{server.server_address[1]}", ca.pem)
        with served(server):
            yield server.proxy
