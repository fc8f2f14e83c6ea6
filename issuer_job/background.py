"""Calls into code that may hang: in a thread that the process does not wait for."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Background(Generic[T]):
    """A call that runs while its caller does something else."""

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
