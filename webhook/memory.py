"""How many bytes of reviews are in memory at a time: what is too much waits for its turn."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition

SMALL = 64 * 1024
"""Bytes up to which a review is a small one. Those of most Ingresses have a few KiB."""
SMALL_ROOM = 4 * 1024 * 1024
"""Bytes of all small reviews at a time."""
LARGE_ROOM = 6 * 1024 * 1024
"""Bytes of all others at a time: two of the largest that the API server takes."""
PATIENCE = 2.0
"""Seconds that a review waits for room; the API server waits for 5."""


class NoMemory(Exception):
    """Too many reviews at once."""


class ReviewMemory:
    """Thread-safe. Large reviews take no room from small ones: whoever sends those makes only his like wait."""

    def __init__(self, *, small: int = SMALL_ROOM, large: int = LARGE_ROOM) -> None:
        self._free = {True: small, False: large}
        self._changed = Condition()

    @contextmanager
    def taken(self, size: int, *, patience: float = PATIENCE) -> Iterator[None]:
        """Room for a review of `size` bytes, as long as it is worked on. Raises NoMemory after `patience` seconds."""
        small, end = size <= SMALL, time.monotonic() + patience
        with self._changed:
            while self._free[small] < size:
                if not self._changed.wait(end - time.monotonic()):
                    raise NoMemory
            self._free[small] -= size
        try:
            yield
        finally:
            with self._changed:
                self._free[small] += size
                self._changed.notify_all()
