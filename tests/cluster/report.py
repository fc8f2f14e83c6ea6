"""What the user sees: one line per step with the seconds since the start, and errors of one sentence."""

from __future__ import annotations

import time

_began = time.monotonic()


class ClusterError(Exception):
    """Something a user can act on, said in one sentence."""


def step(text: str) -> None:
    """Print one step with the time since the command began."""
    print(f"[{elapsed():6.1f} s] {text}", flush=True)


def elapsed() -> float:
    """Seconds since the command began."""
    return time.monotonic() - _began
