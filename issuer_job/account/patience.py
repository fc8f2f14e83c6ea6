"""How a CA that does not answer properly is asked again within a Job."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

from issuer_job.acme_client import AcmeUnavailable
from issuer_job.attempt.attempt import Attempt

LAST_POLL = timedelta(seconds=5)
"""From the last poll to the Job's deadline: at the deadline itself nothing can be asked or written any more."""
PAUSES = (1.0, 3.0, 9.0)
"""Seconds between tries."""

R = TypeVar("R")


def patiently(attempt: Attempt, ask: Callable[[], R]) -> R:
    """Ask, and a few times again if the CA does not answer properly. Raises AcmeError."""
    for pause in PAUSES:
        try:
            return ask()
        except AcmeUnavailable as error:
            if not worth_a_wait(attempt, error, pause):
                raise
    return ask()


def worth_a_wait(attempt: Attempt, error: AcmeUnavailable, pause: float) -> bool:
    """Whether to ask the CA again within this Job, in `pause` seconds or when it wishes; waits if so."""
    wait = max(pause, error.retry_after.total_seconds() if error.retry_after else 0.0)
    if wait > PAUSES[-1] or attempt.clock() + timedelta(seconds=wait) >= attempt.deadline - LAST_POLL:
        return False
    attempt.step("ca-unavailable", problem=str(error.problem), step=error.step, again_in=wait)
    attempt.sleep(wait)
    return True
