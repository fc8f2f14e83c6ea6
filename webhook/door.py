"""Who may come in: what is sent to a path that the live webhook configuration names. The API server has no other
credential to show, and nobody else can know a path that has a token.
"""

from __future__ import annotations

import hmac
import math
import re
import time
from collections.abc import Callable, Iterable, Mapping
from threading import BoundedSemaphore, Lock, Thread
from typing import Any

from issuer_job import log
from issuer_job import vocabulary as v
from issuer_job.cluster.api import MUTATING_WEBHOOKS, Cluster, KubeError

REMEMBERED = 30.0
"""Seconds for which a path is good that the configuration names no more: other API servers may be behind."""
INTERVAL = 10.0
PAUSE = 1.0
"""Seconds between two looks at the configuration, however many unknown paths are asked for."""
WAITING = 8
"""Requests that may wait for such a look: whoever makes up tokens must not take all threads."""
PROBES = frozenset({"/livez", "/readyz"})
_PATH = re.compile(r"(/mutate/[a-z]{1,20})(?:/[0-9a-f]{64})?")

StartResponse = Callable[..., Any]
Application = Callable[[dict[str, Any], StartResponse], Iterable[bytes]]


def configured_paths(cluster: Cluster) -> frozenset[str]:
    """The paths at which the API server asks this webhook now; those of 0.1.0's configuration while it is sent
    anything. Raises KubeError.
    """
    found = (
        cluster.find(MUTATING_WEBHOOKS, None, name)
        for name in (v.WEBHOOK_CONFIGURATION, v.FORMER_WEBHOOK_CONFIGURATION)
    )
    entries = [
        entry
        for configuration in found
        if configuration is not None
        for entry in configuration.get("webhooks") or []
        if entry.get("rules") or configuration["metadata"]["name"] == v.WEBHOOK_CONFIGURATION
    ]
    return frozenset((entry["clientConfig"].get("service") or {}).get("path") or "/" for entry in entries)


class KnownPaths:
    """The paths as they were read last, and lately. One per process; thread-safe."""

    def __init__(
        self,
        read: Callable[[], frozenset[str]],
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._load, self._clock, self._sleep = read, clock, sleep
        self._lock = Lock()
        self._waiting = BoundedSemaphore(WAITING)
        self._tried = -math.inf
        self._was_read = False
        self._seen: Mapping[str, float] = {}

    def keep_fresh(self) -> None:
        """Read them now and then from now on, in a thread; what goes wrong is logged and tried again."""

        def refresh() -> None:
            while True:
                try:
                    self.look()
                except Exception as problem:  # noqa: BLE001 - nobody would start it again
                    say = log.warning if isinstance(problem, KubeError) else log.exception
                    say("webhook-paths", problem=f"{type(problem).__name__}: {problem}"[:300])
                self._sleep(INTERVAL)

        Thread(target=refresh, name="paths", daemon=True).start()

    def read(self) -> bool:
        """Whether the configuration has been read, now or earlier."""
        if not self._was_read:
            try:
                self.look()
            except KubeError:
                return False
        return True

    def kind(self, path: str) -> str:
        """`/mutate/KIND` of a path that may come in, else empty. One that is not known yet may be new."""
        shape = _PATH.fullmatch(path)
        if shape is None:
            return ""
        if not self._is_known(path) and self._waiting.acquire(blocking=False):
            try:
                self.look()
            except KubeError:
                return ""
            finally:
                self._waiting.release()
        return shape[1] if self._is_known(path) else ""

    def look(self) -> None:
        """Read them, once for all who ask at the same moment. Raises KubeError."""
        asked = self._clock()
        with self._lock:
            if self._tried >= asked:
                return  # somebody else has looked meanwhile
            self._sleep(max(0.0, self._tried + PAUSE - self._clock()))
            self._tried = now = self._clock()
            lately = {path: at for path, at in self._seen.items() if now - at <= REMEMBERED}
            self._seen = lately | dict.fromkeys(self._load(), now)
            self._was_read = True

    def _is_known(self, path: str) -> bool:
        """Takes as long for a token that is nearly right as for any other."""
        return sum(hmac.compare_digest(path, known) for known in self._seen) > 0


class Door:
    """WSGI: lets in probes, and what comes by a known path, of which the token goes no further. All else is a 404
    without a byte of the body read.
    """

    def __init__(self, inside: Application, paths: KnownPaths) -> None:
        self._inside = inside
        self._paths = paths

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """See PEP 3333."""
        path = environ.get("PATH_INFO", "")
        kind = path if path in PROBES else self._paths.kind(path)
        if not kind:
            body = b"Not found.\n"
            start_response("404 Not Found", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
            return [body]
        for name in ("RAW_URI", "REQUEST_URI"):
            environ.pop(name, None)
        return self._inside(environ | {"PATH_INFO": kind}, start_response)
