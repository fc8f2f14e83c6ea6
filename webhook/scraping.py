"""A port of its own for what is scraped and probed: plain HTTP, GET of a few fixed paths, nothing of a request is
kept or read but its first line. Anybody in the cluster may ask, so everything is bounded.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from threading import Event, Thread

from issuer_job import log

PORT = 9402
CONNECTIONS = 16
"""With more, the oldest are cut: new ones get their turn."""
MAX_HEAD = 4096
"""Bytes of a request."""
SECONDS = 10.0
"""For one request, from the connection to the end of the answer."""
CHUNK = 64 * 1024
"""Bytes that are handed to the kernel at once: a client that does not read has no more of our memory."""
IDLE_SHARE = 4
"""What took a second to make is good for so many: whoever asks all the time gets a fifth of a CPU at most."""
LEAST_AGE = 1.0
"""Seconds for which an answer is good in any case."""
WORDS = {200: "OK", 404: "Not Found", 405: "Method Not Allowed", 500: "Internal Server Error", 503: "Unavailable"}


@dataclass(frozen=True)
class ServedPage:
    """What is answered at a path."""

    status: int
    body: bytes
    kind: str = "text/plain; charset=utf-8"


NOT_READY = ServedPage(503, b"not ready\n")
OK = ServedPage(200, b"ok\n")
Make = Callable[[], ServedPage]


def kept(make: Make, *, clock: Callable[[], float] = time.monotonic) -> Make:
    """The same page for a while: the longer the more it takes to make. What is not 200 is made anew each time."""
    held: tuple[float, ServedPage] | None = None

    def page() -> ServedPage:
        nonlocal held
        begun = clock()
        if held is not None and begun < held[0]:
            return held[1]
        held = None  # not both at once in memory
        made = make()
        ended = clock()
        if made.status == 200:
            held = (ended + max(LEAST_AGE, IDLE_SHARE * (ended - begun)), made)
        return made

    return page


class ScrapeServer:
    """Serves pages by path, in a thread that ends with the process."""

    def __init__(self, pages: Mapping[str, Make], *, port: int = PORT, seconds: float = SECONDS) -> None:
        self.port = port
        """The real one once it is started, where 0 was given."""
        self._pages, self._seconds = pages, seconds
        self._open: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    @property
    def connections(self) -> int:
        """That are open now."""
        return len(self._open)

    def start(self) -> None:
        """Opens the port. Raises OSError if it is taken."""
        listening = _listening_socket(self.port)
        self.port = int(listening.getsockname()[1])
        started = Event()
        Thread(target=asyncio.run, args=(self._serve(listening, started),), name="scrape", daemon=True).start()
        started.wait(5)

    async def _serve(self, listening: socket.socket, started: Event) -> None:
        server = await asyncio.start_server(self._connected, sock=listening, limit=MAX_HEAD, backlog=64)
        started.set()
        await server.serve_forever()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None:  # asyncio calls us in one
            return
        while len(self._open) >= CONNECTIONS:
            self._open.pop(next(iter(self._open))).transport.abort()
        self._open[task] = writer
        try:
            async with asyncio.timeout(self._seconds):
                await self._answer(reader, writer)
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            self._open.pop(task, None)
            writer.transport.abort()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        method, _, rest = head.partition(b"\r\n")[0].decode("latin-1").partition(" ")
        page = self._page(method, rest.partition(" ")[0].partition("?")[0])
        lines = [
            f"HTTP/1.1 {page.status} {WORDS[page.status]}",
            f"Content-Type: {page.kind}",
            f"Content-Length: {len(page.body)}",
            "Cache-Control: no-store",
            "X-Content-Type-Options: nosniff",
            "Connection: close",
        ]
        writer.transport.set_write_buffer_limits(CHUNK)
        writer.write("\r\n".join([*lines, "", ""]).encode("latin-1"))
        if method != "HEAD":
            for begin in range(0, len(page.body), CHUNK):
                writer.write(page.body[begin : begin + CHUNK])
                await writer.drain()
        with suppress(NotImplementedError):
            writer.write_eof()
        while await reader.read(MAX_HEAD):  # until the client has all of it, and has closed
            pass

    def _page(self, method: str, path: str) -> ServedPage:
        make = self._pages.get(path)
        if make is None:
            return ServedPage(404, b"Not found.\n")
        if method not in {"GET", "HEAD"}:
            return ServedPage(405, b"GET only.\n")
        try:
            return make()
        except Exception:  # noqa: BLE001 - one bug must not end the port
            log.exception("scrape")
            return ServedPage(500, b"internal error, see the log\n")


def port_from_environment() -> int:
    """`CERTJOB_METRICS_PORT`, 0 for any that is free."""
    text = os.environ.get("CERTJOB_METRICS_PORT", "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 6 else PORT


def _listening_socket(port: int) -> socket.socket:
    """Both IP versions where the kernel has both."""
    if socket.has_dualstack_ipv6():
        return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("", port))
