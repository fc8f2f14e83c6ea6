"""Threads for what admissions ask of the cluster, shared fairly among namespaces."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock
from typing import Any, TypeVar

THREADS = 32
THREADS_OF_ONE = 24
"""Of the threads, for one namespace: the others need not wait for any call of it to end."""
MAX_OUTSTANDING = 200
"""Calls that run or wait for a thread; beyond, an admission does not even queue."""
SHARE = 4
"""One namespace has at most this part of the outstanding calls."""
ALWAYS = 5
"""Calls that a namespace may have outstanding whatever the others do: those of one admission."""

T = TypeVar("T")


class Busy(Exception):
    """Too many calls wait already."""


class FairPool:
    """Runs calls. Of those that wait, each namespace's oldest has its turn. Thread-safe."""

    def __init__(self, *, max_outstanding: int = MAX_OUTSTANDING) -> None:
        self._most = max_outstanding
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="admission")
        self._lock = Lock()
        self._waiting: dict[str, deque[tuple[Future[Any], Callable[[], Any]]]] = {}
        """By namespace; the next one first."""
        self._running = Counter[str]()
        self._outstanding = Counter[str]()

    def submit(self, namespace: str, call: Callable[[], T]) -> Future[T]:
        """Run the call as soon as it is the namespace's turn. Raises Busy."""
        future: Future[T] = Future()
        with self._lock:
            own, every = self._outstanding[namespace], self._outstanding.total()
            full = every >= self._most and (own >= ALWAYS or every >= 2 * self._most)
            if full or own >= max(1, self._most // SHARE):
                raise Busy("too many admissions at once")
            self._outstanding[namespace] += 1
            self._waiting.setdefault(namespace, deque()).append((future, call))
            self._start()
        return future

    def _start(self) -> None:
        """Under the lock: as many as there are threads for."""
        while self._running.total() < THREADS:
            turn = next((name for name in self._waiting if self._running[name] < THREADS_OF_ONE), None)
            if turn is None:
                return
            waiting = self._waiting.pop(turn)
            future, call = waiting.popleft()
            if waiting:
                self._waiting[turn] = waiting  # behind all others
            self._running[turn] += 1
            self._pool.submit(self._run, turn, future, call)

    def _run(self, namespace: str, future: Future[Any], call: Callable[[], Any]) -> None:
        result, raised = None, None
        runs = future.set_running_or_notify_cancel()
        try:
            result = call() if runs else None
        except BaseException as problem:  # noqa: BLE001 - raised where the result is asked for
            raised = problem
        with self._lock:  # its place is free before anybody hears of the end
            for counts in (self._running, self._outstanding):
                counts[namespace] -= 1
                if not counts[namespace]:
                    del counts[namespace]
            self._start()
        if raised is not None:
            future.set_exception(raised)
        elif runs:
            future.set_result(result)
