"""How long to wait before the next attempt. Pure."""

from __future__ import annotations

from datetime import timedelta

FIRST = timedelta(minutes=1)
LONGEST = timedelta(hours=6)
LONGEST_ASKED = timedelta(days=7)
PERMANENT = timedelta(days=1)
"""After what failed for good: once a day somebody may have put it right."""
RATE_LIMITED = timedelta(hours=1)
"""For a CA that limits without saying for how long."""


def wait_after(
    failures: int, *, asked: timedelta | None = None, rate_limited: bool = False, jitter: float = 0.0
) -> timedelta:
    """The wait after the `failures`-th failure in a row (from 1): a minute, doubled to six hours, or what was asked.

    `jitter` is a random number in [0, 1): up to a quarter of the wait is added. `asked` is the other
    side's Retry-After, clamped to 7 days.
    """
    own = min(FIRST * (1 << min(failures - 1, 20)), LONGEST)
    if rate_limited and asked is None:
        own = max(own, RATE_LIMITED)
    if asked is not None:
        own = max(own, min(asked, LONGEST_ASKED))
    return min(own * (1 + 0.25 * jitter), LONGEST_ASKED)
