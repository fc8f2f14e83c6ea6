"""How many attempts this process has launched for each namespace lately: admission does not wait for a list."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock

ACTIVE_SECONDS = 300.0
"""How long an attempt counts as active for the bound of its namespace: the deadline of its pod."""


@dataclass(frozen=True)
class LaunchBound:
    """Gives room for attempts. Thread-safe; forgets what was taken more than `ACTIVE_SECONDS` ago."""

    clock: Callable[[], float] = time.monotonic
    _lock: Lock = field(default_factory=Lock)
    _taken: deque[tuple[float, str]] = field(default_factory=deque)
    """When and for which namespace, the oldest first."""

    def take(self, namespace: str, most: int) -> bool:
        """Whether there was room for one more, which is taken now: fewer than `most` were taken."""
        with self._lock:
            while self._taken and self.clock() - self._taken[0][0] > ACTIVE_SECONDS:
                self._taken.popleft()
            free = sum(taken == namespace for _, taken in self._taken) < most
            if free:
                self._taken.append((self.clock(), namespace))
            return free

    def give_back(self, namespace: str) -> None:
        """Nothing was launched: the namespace's newest room is free again."""
        with self._lock:
            newest = next((entry for entry in reversed(self._taken) if entry[1] == namespace), None)
            if newest is not None:
                self._taken.remove(newest)
