"""Whether this replica should get requests: the API server can be reached, and nobody has asked us to stop."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from threading import Event, Lock

draining = Event()
"""Set by the worker on SIGTERM: readiness goes false while requests are still answered."""


class Readiness:
    """A cached check that never blocks its caller for longer than `patience` seconds, however long `check` hangs."""

    def __init__(self, check: Callable[[], bool], *, lifetime: float = 1.0, patience: float = 1.5) -> None:
        self._check = check
        self._lifetime = lifetime
        self._patience = patience
        self._lock = Lock()
        self._running: Future[bool] | None = None
        self._answer: tuple[float, bool] | None = None
        # One thread: while a check hangs, every probe waits for that one.
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="readiness")

    def ready(self) -> bool:
        """Whether to send requests here. An answer is good for `lifetime` seconds."""
        if draining.is_set():
            return False
        with self._lock:
            if self._answer is not None and time.monotonic() - self._answer[0] < self._lifetime:
                return self._answer[1]
            if self._running is None:
                self._running = self._pool.submit(self._look)
            running = self._running
        done, _ = wait_for([running], timeout=self._patience)
        return bool(done) and running.result()

    def _look(self) -> bool:
        found = False
        try:
            found = self._check()
        finally:
            with self._lock:
                self._answer = (time.monotonic(), found)
                self._running = None
        return found
