"""Names and IP addresses of the whole Internet, on the loopback."""

from __future__ import annotations

import errno
import socket
from dataclasses import dataclass, field
from typing import Any

import pytest

_connect, _resolve = socket.create_connection, socket.getaddrinfo


@dataclass
class FakeInternet:
    """What `socket` says of names and addresses: who is at them, by port, and who was called.

    A name's addresses may change from question to question: the last ones stay.
    """

    names: dict[str, list[list[str]]] = field(default_factory=dict)
    sites: dict[tuple[str, int], int] = field(default_factory=dict)
    """Ports of the loopback, by IP address and port."""
    called: list[tuple[str, int]] = field(default_factory=list)

    def install(self, monkeypatch: pytest.MonkeyPatch) -> FakeInternet:
        """For connections that are made through `socket.create_connection`."""
        monkeypatch.setattr(socket, "create_connection", self._create_connection)
        monkeypatch.setattr(socket, "getaddrinfo", self._getaddrinfo)
        return self

    def _getaddrinfo(self, host: Any, port: Any, *args: Any, **options: Any) -> list[Any]:
        if host not in self.names:
            return _resolve(host, port, *args, **options)
        answers = self.names[host]
        addresses = answers.pop(0) if len(answers) > 1 else answers[0]
        return [info for address in addresses for info in _resolve(address, port, *args, **options)]

    def _create_connection(self, address: tuple[str, int], timeout: float | None = None) -> socket.socket:
        self.called.append(address)
        port = self.sites.get(address)
        if port is None:
            raise OSError(errno.EHOSTUNREACH, "No route to host")
        return Link(_connect(("127.0.0.1", port), timeout=timeout), address)


class Link(socket.socket):
    """A connection that says whom it was meant for."""

    def __init__(self, connection: socket.socket, peer: tuple[str, int]) -> None:
        timeout = connection.gettimeout()
        super().__init__(fileno=connection.detach())
        self.settimeout(timeout)
        self._peer = peer

    def getpeername(self) -> tuple[str, int]:
        return self._peer
