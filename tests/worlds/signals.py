"""Signals as a terminal has them: who runs tests in the background has some ignored, and programs inherit that."""

from __future__ import annotations

import signal
from contextlib import suppress


def as_at_a_terminal() -> None:
    """For this process, and for what it starts."""
    with suppress(ValueError):  # not of the main thread
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
