"""HTTP-01 responder: `GET /.well-known/acme-challenge/TOKEN` for all orders (RFC 8555, 8.3), from memory.

The answer depends on method and path only: some ingress controllers rewrite Host. On a port of its own `/livez` and
`/readyz` tell the kubelet; ready means that the first list was complete, and stays so while the API server is away.
"""

from __future__ import annotations

import asyncio
import logging
import resource
import signal
import time
from dataclasses import replace

from issuer_job.challenge_index import TOKEN, ChallengeIndex
from issuer_job.challenge_watch import ChallengeWatch, Timing
from issuer_job.http_listener import Limits, Listener
from issuer_job.kube import Cluster
from issuer_job.vocabulary import CHALLENGE_PATH, RESPONDER_PORT

log = logging.getLogger("issuer_job.responder")

HEALTH_PORT = 8081
_OTHER_FILES = 128


def serve(
    cluster: Cluster,
    *,
    port: int = RESPONDER_PORT,
    health_port: int = HEALTH_PORT,
    limits: Limits | None = None,
    timing: Timing | None = None,
) -> None:
    """Runs the responder until SIGTERM or SIGINT; returns after the drain. Raises OSError if a port is taken."""
    watch = ChallengeWatch(cluster, ChallengeIndex(), timing=timing)
    asyncio.run(_serve(watch, port, health_port, limits or Limits()))


async def _serve(watch: ChallengeWatch, port: int, health_port: int, limits: Limits) -> None:
    responder = Responder(watch, limits=limits)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await responder.start(port=port, health_port=health_port)
    await stop.wait()
    await responder.stop()


class Responder:
    """The challenge server, the health server and the watch behind them, in the running event loop."""

    def __init__(self, watch: ChallengeWatch, *, limits: Limits | None = None) -> None:
        self._watch = watch
        self._limits = limits or Limits()
        self._listeners: list[Listener] = []
        self._miss_logged = 0.0
        self._misses = 0

    @property
    def ports(self) -> tuple[int, int]:
        """Challenge port and health port."""
        challenge, health = (listener.port for listener in self._listeners)
        return challenge, health

    async def start(self, *, port: int, health_port: int) -> None:
        """Opens both ports, then starts the watch. Raises OSError if a port is taken."""
        limits = _bounded_by_files(self._limits)
        for number, answer in ((port, self._challenge), (health_port, self._health)):
            listener = Listener(answer, limits)
            await listener.open(number)
            self._listeners.append(listener)
        self._watch.start()
        log.info("responder-started", extra={"fields": {"port": self.ports[0], "health_port": self.ports[1]}})

    async def stop(self) -> None:
        """Takes requests for `limits.drain` seconds more, then none, and finishes those that run."""
        log.info("responder-draining", extra={"fields": {"seconds": self._limits.drain}})
        await asyncio.sleep(self._limits.drain)
        for listener in self._listeners:
            await listener.close()
        self._watch.stop()
        log.info("responder-stopped", extra={"fields": {}})

    def _challenge(self, method: str, path: str) -> tuple[int, bytes]:
        token = path.removeprefix(CHALLENGE_PATH)
        if method not in ("GET", "HEAD") or token == path or not TOKEN.fullmatch(token):
            return 404, b""
        found = self._watch.index.lookup(token)
        if found is None:
            self._log_miss(token)
            return 404, b""
        log.info("challenge-answered", extra={"fields": {"token": token[:6]}})
        return 200, found.encode("ascii")

    def _log_miss(self, token: str) -> None:
        """At most one line a second: anybody can ask for tokens that are not there."""
        self._misses += 1
        now = time.monotonic()
        if now - self._miss_logged >= 1:
            log.info("challenge-unknown", extra={"fields": {"token": token[:6], "requests": self._misses}})
            self._miss_logged, self._misses = now, 0

    def _health(self, method: str, path: str) -> tuple[int, bytes]:
        if method not in ("GET", "HEAD") or path not in ("/livez", "/readyz"):
            return 404, b""
        fit = self._watch.alive() and (path == "/livez" or self._watch.listed.is_set())
        return (200, b"ok") if fit else (503, b"not ready")


def _bounded_by_files(limits: Limits) -> Limits:
    """Asks for enough file descriptors for both ports, and takes fewer connections where the host refuses."""
    wanted = 2 * limits.connections + _OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return limits
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    return replace(limits, connections=max(1, (allowed - _OTHER_FILES) // 2))
