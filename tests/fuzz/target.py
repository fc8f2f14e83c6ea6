"""A target: one reader of foreign bytes, run once for each input, within a budget."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

LARGEST = 64 * 1024
"""Bytes of one input."""
SECONDS = 0.1
"""CPU for each input of up to 64 KiB."""
BYTES = 64 * 1024 * 1024
"""By how much one input may raise the process's memory."""


class OverBudget(AssertionError):
    """An input cost more than it may."""


@dataclass(frozen=True)
class Target:
    """`run` reads one input; whatever it raises is a finding. `seeds` are good inputs, to start from."""

    name: str
    run: Callable[[bytes], object]
    seeds: Sequence[bytes]


@dataclass
class Budget:
    """Runs inputs, counts them, and raises OverBudget at one that takes too much CPU or memory.

    Several threads may work on an input: the process's CPU time counts. An input that seems too slow is measured
    again, since collections of garbage and first uses fall on whatever runs at the time.
    """

    target: Target
    seconds: float = SECONDS
    memory: int = BYTES
    inputs: int = 0
    slowest: float = 0.0
    largest: int = 0
    worst: bytes = field(default=b"", repr=False)

    def warm_up(self) -> None:
        """First uses load and remember things, which is no input's cost."""
        for seed in self.target.seeds:
            self.target.run(seed)

    def __call__(self, data: bytes) -> None:
        """One input. Raises what the target raises, and OverBudget."""
        self.inputs += 1
        before = _peak()
        took = self._timed(data)
        grown = _peak() - before
        if took > self.seconds:
            took = min(took, self._timed(data), self._timed(data))
        if took > self.slowest:
            self.slowest, self.worst = took, data
        self.largest = max(self.largest, grown)
        if took > self.seconds:
            raise OverBudget(f"{took * 1000:.0f} ms for {len(data)} bytes")
        if grown > self.memory:
            raise OverBudget(f"{grown / 2**20:.0f} MiB for {len(data)} bytes")

    def _timed(self, data: bytes) -> float:
        started = time.process_time()
        self.target.run(data)
        return time.process_time() - started


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
