"""Calls in threads: into code that may hang, and several at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any, Generic, TypeVar

AT_ONCE = 8
"""Calls at a time: as many as the API server's transport keeps connections, and few for one client of a CA."""

T = TypeVar("T")
R = TypeVar("R")


def at_once(call: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """What the calls return, in the order of the items; one alone takes no thread. Each sees its caller's context.

    Raises what the first that fails in that order raises. No further call is begun then, and those that were begun
    have ended.
    """
    todo = list(items)
    if len(todo) < 2:
        return [call(item) for item in todo]
    contexts = [copy_context() for _ in todo]  # each thread in one of its own
    with ThreadPoolExecutor(min(AT_ONCE, len(todo))) as pool:
        return list(pool.map(lambda context, item: context.run(call, item), contexts, todo))


def both(one: Callable[[], T], other: Callable[[], R]) -> tuple[T, R]:
    """What two calls return that are made at once. Raises what the first one raises, else what the other does."""
    calls: tuple[Callable[[], Any], ...] = (one, other)
    first, second = at_once(lambda call: call(), calls)
    return first, second


class Background(Generic[T]):
    """A call that runs while its caller does something else, in a thread that the process does not wait for."""

    def __init__(self, call: Callable[[], T]) -> None:
        self._call = call
        self._results: list[T] = []
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def result(self, seconds: float) -> T:
        """What the call returned. Raises what it raised, and TimeoutError if it takes longer than this from now."""
        self._thread.join(max(seconds, 0.0))
        if self._thread.is_alive():
            raise TimeoutError(f"no answer within {seconds:.0f} s")
        if self._error is not None:
            raise self._error
        return self._results[0]

    def _run(self) -> None:
        try:
            self._results.append(self._call())
        except BaseException as error:  # noqa: BLE001 - raised in the caller's thread
            self._error = error
