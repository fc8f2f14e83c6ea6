"""HTTP-01 responder: `GET /.well-known/acme-challenge/TOKEN` for all orders (RFC 8555, 8.3), from memory.

The answer depends on method and path only: some ingress controllers rewrite Host. On a port of its own `/livez` and
`/readyz` tell the kubelet; ready means that the first list was complete, and stays so while the API server is away.
"""

from __future__ import annotations

import asyncio
import logging
import resource
import signal
import socket
import time
from dataclasses import dataclass, replace

from aiohttp import web
from aiohttp.http import HttpProcessingError

from issuer_job import log
from issuer_job.cluster.api import Cluster
from issuer_job.http01.challenge_index import TOKEN, ChallengeIndex
from issuer_job.http01.challenge_watch import ChallengeWatch, Timing
from issuer_job.vocabulary import CHALLENGE_PATH, RESPONDER_PORT

HEALTH_PORT = 8081
_OTHER_FILES = 512
"""Descriptors beside the connections that are allowed: also for those that come before the oldest are cut."""
_BACKLOG = 1024
_SHUTDOWN = 2.0


@dataclass(frozen=True)
class ResponderLimits:
    """Seconds, and connections of each port. With too many, the oldest are cut: new ones get their turn."""

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
        self._miss_logged = 0.0
        self._misses = 0

    @property
    def ports(self) -> tuple[int, int]:
        """Challenge port and health port."""
        challenge, health = (int(runner.addresses[0][1]) for runner in self._runners)
        return challenge, health

    async def start(self, *, port: int, health_port: int) -> None:
        """Opens both ports, then starts the watch. Raises OSError if a port is taken."""
        self._limits = _bounded_by_files(self._limits)
        challenges, health = web.Application(client_max_size=1024), web.Application(client_max_size=1024)
        challenges.router.add_get(f"{CHALLENGE_PATH}{{token:{TOKEN.pattern}}}", self._challenge)
        health.router.add_get("/livez", self._livez)
        health.router.add_get("/readyz", self._readyz)
        for app, number in ((challenges, port), (health, health_port)):
            # The last resource that fits: also other methods of the paths above are 404, not 405.
            app.router.add_route("*", "/{path:.*}", self._nothing)
            await self._open(app, number)
        self._cutting = asyncio.create_task(self._cut_oldest())
        self._watch.start()
        log.info("responder-started", port=self.ports[0], health_port=self.ports[1])

    async def _open(self, app: web.Application, port: int) -> None:
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
            max_headers=64,
            read_bufsize=4096,
        )
        self._runners.append(runner)
        await runner.setup()
        await web.SockSite(runner, _listening_socket(port), backlog=_BACKLOG).start()

    def drain(self) -> None:
        """Not ready any more; every answer says that its connection closes, so that clients go to another pod."""
        log.info("responder-draining", seconds=self._limits.drain)
        self._draining = True

    async def stop(self) -> None:
        """Takes no connection more, closes the idle ones, and ends those that run within a few seconds."""
        await asyncio.gather(*(runner.cleanup() for runner in self._runners))
        self._cutting.cancel()
        self._watch.stop()
        log.info("responder-stopped")

    async def _cut_oldest(self) -> None:
        while True:
            await asyncio.sleep(1)
            for server in filter(None, (runner.server for runner in self._runners)):
                for connection in server.connections[: -self._limits.connections]:
                    connection.force_close()

    async def _challenge(self, request: web.Request) -> web.Response:
        token = request.match_info["token"]
        found = self._watch.index.lookup(token)
        if found is None:
            self._log_miss(token)
            return self._answer(404)
        log.info("challenge-answered", token=token[:6])
        return self._answer(200, found.encode("ascii"))

    def _log_miss(self, token: str) -> None:
        """At most one line a second: anybody can ask for tokens that are not there."""
        self._misses += 1
        now = time.monotonic()
        if now - self._miss_logged >= 1:
            log.info("challenge-unknown", token=token[:6], requests=self._misses)
            self._miss_logged, self._misses = now, 0

    async def _livez(self, request: web.Request) -> web.Response:
        return self._health(self._watch.alive())

    async def _readyz(self, request: web.Request) -> web.Response:
        return self._health(self._watch.alive() and self._watch.listed.is_set() and not self._draining)

    def _health(self, fit: bool) -> web.Response:
        return self._answer(200, b"ok") if fit else self._answer(503, b"not ready")

    async def _nothing(self, request: web.Request) -> web.Response:
        return self._answer(404)

    def _answer(self, status: int, body: bytes = b"") -> web.Response:
        headers = {"Cache-Control": "no-store", "Server": "certjob"}
        response = web.Response(status=status, body=body, headers=headers, content_type="application/octet-stream")
        if self._draining:
            response.force_close()
        return response


def _listening_socket(port: int) -> socket.socket:
    if socket.has_dualstack_ipv6():
        return socket.create_server(("", port), family=socket.AF_INET6, backlog=_BACKLOG, dualstack_ipv6=True)
    return socket.create_server(("", port), backlog=_BACKLOG)


def _not_malformed(record: logging.LogRecord) -> bool:
    """aiohttp logs a traceback for each malformed request: anybody could fill the log."""
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))


_server_log = logging.getLogger("issuer_job.http01.responder.server")
_server_log.addFilter(_not_malformed)


def _bounded_by_files(limits: ResponderLimits) -> ResponderLimits:
    """Asks for enough file descriptors for both ports, and takes fewer connections where the host refuses."""
    wanted = 2 * limits.connections + _OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return limits
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    return replace(limits, connections=max(1, (allowed - _OTHER_FILES) // 2))
