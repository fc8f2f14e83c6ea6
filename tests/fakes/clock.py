"""Time for modules that wait: what is slept passes at once."""

from __future__ import annotations

import time


class QuickTime:
    """The real time plus what was slept, in place of the module `time` in one that is tested."""

    def __init__(self) -> None:
        self._ahead = 0.0

    def monotonic(self) -> float:
        """See time.monotonic."""
        return time.monotonic() + self._ahead

    def sleep(self, seconds: float) -> None:
        """See time.sleep. Sleeps of several threads add up."""
        self._ahead += seconds
