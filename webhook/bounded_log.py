"""Log lines about requests, as many as can be read: anybody may send thousands of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock

from issuer_job import log


@dataclass
class _Bucket:
    """Room for `burst` lines at once, and for `rate` more in each second."""

    burst: float
    rate: float
    at: float
    spent: float = 0.0
    left_out: int = 0

    def is_free(self, now: float) -> bool:
        """Whether there is room for one more."""
        self.spent, self.at = max(0.0, self.spent - (now - self.at) * self.rate), now
        return self.spent + 1 <= self.burst


BURST, RATE = 200, 10.0
"""Lines about one namespace at once, and in each second later on."""
BURST_OF_ALL, RATE_OF_ALL = 1000, 100.0
REMEMBERED = 1000
"""Namespaces that are told apart: beyond, those that have had nothing to say are forgotten, once a second."""


class BoundedLog:
    """One per process; thread-safe. `leftOut` of a line is the number of those before it that had no room."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = Lock()
        self._all = _Bucket(BURST_OF_ALL, RATE_OF_ALL, clock())
        self._by_namespace: dict[str, _Bucket] = {}
        self._forgets_at = 0.0

    def say(self, write: Callable[..., None], event: str, /, *, about: str = "", **fields: object) -> None:
        """Write a line about a namespace if there is room; `write` is one of `log`'s functions."""
        with self._lock:
            left_out = self._take(about)
        if left_out is not None:
            write(event, **fields, **({"leftOut": left_out} if left_out else {}))

    def info(self, event: str, /, *, about: str = "", **fields: object) -> None:
        """A line that is none about trouble."""
        self.say(log.info, event, about=about, **fields)

    def _take(self, about: str) -> int | None:
        now = self._clock()
        if about not in self._by_namespace and len(self._by_namespace) >= REMEMBERED:
            if now >= self._forgets_at:
                kept = {name: own for name, own in self._by_namespace.items() if not own.is_free(now) or own.spent}
                self._by_namespace, self._forgets_at = kept, now + 1
            about = about if len(self._by_namespace) < REMEMBERED else ""
        own = self._by_namespace.setdefault(about, _Bucket(BURST, RATE, now))
        if not (own.is_free(now) & self._all.is_free(now)):
            own.left_out += 1
            return None
        left_out, own.left_out = own.left_out, 0
        own.spent += 1
        self._all.spent += 1
        return left_out
