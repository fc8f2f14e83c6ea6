"""How many attempts this process has launched for each namespace lately: admission does not wait for a list."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock

ACTIVE_SECONDS = 300.0
"""How long an attempt counts as active for the bound of its namespace: the deadline of its pod."""


@dataclass(eq=False)
class Slot:
    """Room for one attempt of a namespace."""

    bound: LaunchBound
    namespace: str
    launched: bool = False
    """Whether an attempt was: the slot stays taken."""

    def take(self, most: int) -> bool:
        """Whether it is taken now: there was room, with fewer than `most` slots of its namespace taken."""
        return self.bound.take(self, most)


@dataclass
class LaunchBound:
    """Gives out slots. Thread-safe; forgets what was taken more than `ACTIVE_SECONDS` ago."""

    clock: Callable[[], float] = time.monotonic
    _lock: Lock = field(default_factory=Lock)
    _taken: dict[Slot, float] = field(default_factory=dict)
    """When each was, the oldest first."""
    _active: Counter[str] = field(default_factory=Counter)

    @contextmanager
    def slot(self, namespace: str) -> Iterator[Slot]:
        """A slot that may be taken; it is free again at the end unless an attempt was launched."""
        slot = Slot(self, namespace)
        try:
            yield slot
        finally:
            if not slot.launched:
                with self._lock:
                    self._free(slot)

    def take(self, slot: Slot, most: int) -> bool:
        """See `Slot`."""
        with self._lock:
            now = self.clock()
            while self._taken and now - self._taken[oldest := next(iter(self._taken))] > ACTIVE_SECONDS:
                self._free(oldest)
            if slot not in self._taken and self._active[slot.namespace] < most:
                self._taken[slot] = now
                self._active[slot.namespace] += 1
            return slot in self._taken

    def _free(self, slot: Slot) -> None:
        if self._taken.pop(slot, None) is None:
            return
        self._active[slot.namespace] -= 1
        if not self._active[slot.namespace]:
            del self._active[slot.namespace]
