"""HTTP-01 responder: `GET /.well-known/acme-challenge/TOKEN` for all orders (RFC 8555, 8.3), from memory.

The answer depends on method and path only: some ingress controllers rewrite Host. On a port of its own `/livez` and
`/readyz` tell the kubelet; ready means that the first list was complete, and stays so while the API server is away.
`/metrics` is there, too.
"""

from __future__ import annotations

import asyncio
import logging
import resource
import signal
import socket
import time
from dataclasses import dataclass, replace
from functools import partial
from typing import cast

from aiohttp import web
from aiohttp.http import HttpProcessingError

from issuer_job import log
from issuer_job.cluster.api import Cluster
from issuer_job.cluster.following import Timing
from issuer_job.http01.challenge_index import TOKEN, ChallengeIndex
from issuer_job.http01.challenge_watch import ChallengeWatch
from issuer_job.http01.responder_metrics import ResponderMetrics, Result
from issuer_job.metrics.exposition import CONTENT_TYPE
from issuer_job.vocabulary import CHALLENGE_PATH, RESPONDER_PORT

HEALTH_PORT = 8081
HEALTH_CONNECTIONS = 50
MAX_UNANSWERED = 6 * 1024
"""Bytes that one connection may send before the next answer: a request's head, or several small ones."""
MAX_PIPELINED = 24
"""Requests that one connection may have in those bytes (RFC 9112, 9.3.2): a parsed one takes ten times its bytes."""
MAX_UNREAD = 4 * 1024
"""Bytes of answers that a client has not taken yet, before it gets no further one."""
_SOCKET_BUFFERS = 16 * 1024
"""Bytes in each direction that the kernel keeps of a connection: by itself it would take megabytes."""
_OTHER_FILES = 512
"""Descriptors beside the connections that are allowed: also for those that come before the oldest are closed."""
_BACKLOG = 1024
_SHUTDOWN = 2.0


@dataclass(frozen=True)
class ResponderLimits:
    """Seconds, and connections. With too many, the oldest are cut: new ones get their turn."""

    idle: float = 75.0
    """For the next request, the first included; longer than ingress controllers keep theirs (nginx: 60)."""
    drain: float = 5.0
    """After SIGTERM requests are still taken this long: ingress controllers learn late that the pod is going."""
    connections: int = 1500


def serve(
    cluster: Cluster,
    *,
    port: int = RESPONDER_PORT,
    health_port: int = HEALTH_PORT,
    limits: ResponderLimits | None = None,
    timing: Timing | None = None,
) -> None:
    """Runs the responder until SIGTERM or SIGINT; returns after the drain. Raises OSError if a port is taken."""
    watch = ChallengeWatch(cluster, ChallengeIndex(), timing=timing)
    asyncio.run(_serve(watch, port, health_port, limits or ResponderLimits()))


async def _serve(watch: ChallengeWatch, port: int, health_port: int, limits: ResponderLimits) -> None:
    responder = Responder(watch, limits=limits)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await responder.start(port=port, health_port=health_port)
    await stop.wait()
    responder.drain()
    await asyncio.sleep(limits.drain)
    await responder.stop()


class Responder:
    """The challenge server, the health server and the watch behind them, in the running event loop."""

    def __init__(self, watch: ChallengeWatch, *, limits: ResponderLimits | None = None) -> None:
        self._watch = watch
        self._limits = limits or ResponderLimits()
        self._draining = False
        self._runners: list[web.AppRunner] = []
        self._listeners: list[asyncio.Server] = []
        self._miss_logged = 0.0
        self._misses = 0
        self._metrics = ResponderMetrics(lambda: len(watch.index) if watch.listed.is_set() else None)

    @property
    def ports(self) -> tuple[int, int]:
        """Challenge port and health port."""
        challenge, health = (int(listener.sockets[0].getsockname()[1]) for listener in self._listeners)
        return challenge, health

    async def start(self, *, port: int, health_port: int) -> None:
        """Opens both ports, then starts the watch. Raises OSError if a port is taken."""
        self._limits = _bounded_by_files(self._limits)
        challenges, health = web.Application(client_max_size=1024), web.Application(client_max_size=1024)
        challenges.router.add_get(f"{CHALLENGE_PATH}{{token:{TOKEN.pattern}}}", self._challenge)
        health.router.add_get("/livez", self._livez)
        health.router.add_get("/readyz", self._readyz)
        health.router.add_get("/metrics", self._tell)
        for app, nothing, number, most in (
            (challenges, self._no_challenge, port, self._limits.connections),
            (health, self._nothing, health_port, HEALTH_CONNECTIONS),
        ):
            # The last resource that fits: also other methods of the paths above are 404, not 405.
            app.router.add_route("*", "/{path:.*}", nothing)
            await self._open(app, number, most)
        self._watch.start()
        log.info("responder-started", port=self.ports[0], health_port=self.ports[1])

    async def _open(self, app: web.Application, port: int, most: int) -> None:
        runner = web.AppRunner(
            app,
            access_log=None,
            logger=_server_log,
            keepalive_timeout=self._limits.idle,
            lingering_time=_SHUTDOWN,
            shutdown_timeout=_SHUTDOWN,
            auto_decompress=False,
            # Beyond these it says 400 and closes. The sizes are in bytes.
            max_line_size=2048,
            max_field_size=4096,
            max_headers=48,
            read_bufsize=4096,
        )
        self._runners.append(runner)
        await runner.setup()
        connection = partial(_Connection, cast(web.Server, runner.server), most)
        listening, loop = _listening_socket(port), asyncio.get_running_loop()
        self._listeners.append(await loop.create_server(connection, sock=listening, backlog=_BACKLOG))

    def drain(self) -> None:
        """Not ready any more; every answer says that its connection closes, so that clients go to another pod."""
        log.info("responder-draining", seconds=self._limits.drain)
        self._draining = True

    async def stop(self) -> None:
        """Takes no connection more, closes the idle ones, and ends those that run within a few seconds."""
        for listener in self._listeners:
            listener.close()
        await asyncio.gather(*(runner.cleanup() for runner in self._runners))
        self._watch.stop()
        log.info("responder-stopped")

    async def _challenge(self, request: web.Request) -> web.Response:
        token = request.match_info["token"]
        found = self._watch.index.lookup(token)
        if found is None:
            self._log_miss(token)
            self._metrics.count(Result.UNKNOWN)
            return self._answer(request, 404)
        self._metrics.count(Result.ANSWERED)
        log.info("challenge-answered", token=token[:6])
        return self._answer(request, 200, found.encode("ascii"))

    def _log_miss(self, token: str) -> None:
        """At most one line a second: anybody can ask for tokens that are not there."""
        self._misses += 1
        now = time.monotonic()
        if now - self._miss_logged >= 1:
            log.info("challenge-unknown", token=token[:6], requests=self._misses)
            self._miss_logged, self._misses = now, 0

    async def _livez(self, request: web.Request) -> web.Response:
        return self._health(request, self._watch.alive())

    async def _readyz(self, request: web.Request) -> web.Response:
        return self._health(request, self._watch.alive() and self._watch.listed.is_set() and not self._draining)

    def _health(self, request: web.Request, fit: bool) -> web.Response:
        return self._answer(request, 200, b"ok") if fit else self._answer(request, 503, b"not ready")

    async def _tell(self, request: web.Request) -> web.Response:
        answer = self._answer(request, 200, self._metrics.exposition.text())
        answer.headers["Content-Type"] = CONTENT_TYPE
        return answer

    async def _no_challenge(self, request: web.Request) -> web.Response:
        self._metrics.count(Result.OTHER)
        return await self._nothing(request)

    async def _nothing(self, request: web.Request) -> web.Response:
        return self._answer(request, 404)

    def _answer(self, request: web.Request, status: int, body: bytes = b"") -> web.Response:
        if request.transport is not None:
            cast(_Connection, request.transport.get_protocol()).answered()
        headers = {"Cache-Control": "no-store", "Server": "certjob"}
        response = web.Response(status=status, body=body, headers=headers, content_type="application/octet-stream")
        if self._draining:
            response.force_close()
        return response


class _Connection(asyncio.Protocol):
    """What a connection holds in memory, and how many there are: aiohttp bounds each header, not all together."""

    def __init__(self, server: web.Server, most: int) -> None:
        self._unanswered = self._pipelined = 0
        self._server = server
        self._most = most
        self._handler = server()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Closes the oldest connections beyond the bound."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(MAX_UNREAD)
        self._handler.connection_made(transport)
        for connection in self._server.connections[: -self._most]:
            connection.force_close()

    def answered(self) -> None:
        """One of its requests was: what it may send is counted anew."""
        self._unanswered = self._pipelined = 0

    def data_received(self, data: bytes) -> None:
        """Ends the connection of a client that sends too much before it is answered."""
        self._unanswered += len(data)
        self._pipelined += data.count(b"\n\r\n")
        if self._unanswered <= MAX_UNANSWERED and self._pipelined <= MAX_PIPELINED:
            self._handler.data_received(data)
        else:
            self._transport.abort()

    def eof_received(self) -> None:
        """No half-closed connections."""
        self._handler.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """To the handler."""
        self._handler.connection_lost(exc)

    def pause_writing(self) -> None:
        """To the handler."""
        self._handler.pause_writing()

    def resume_writing(self) -> None:
        """To the handler."""
        self._handler.resume_writing()


def _listening_socket(port: int) -> socket.socket:
    if socket.has_dualstack_ipv6():
        listening = socket.create_server(("", port), family=socket.AF_INET6, backlog=_BACKLOG, dualstack_ipv6=True)
    else:
        listening = socket.create_server(("", port), backlog=_BACKLOG)
    for buffer in (socket.SO_SNDBUF, socket.SO_RCVBUF):  # handed on to each connection
        listening.setsockopt(socket.SOL_SOCKET, buffer, _SOCKET_BUFFERS)
    return listening


def _not_malformed(record: logging.LogRecord) -> bool:
    """aiohttp logs a traceback for each malformed request: anybody could fill the log."""
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))


_server_log = logging.getLogger("issuer_job.http01.responder.server")
_server_log.addFilter(_not_malformed)


def _bounded_by_files(limits: ResponderLimits) -> ResponderLimits:
    """Asks for enough file descriptors for both ports, and takes fewer connections where the host refuses."""
    wanted = limits.connections + HEALTH_CONNECTIONS + _OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return limits
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    return replace(limits, connections=max(1, allowed - HEALTH_CONNECTIONS - _OTHER_FILES))
