"""A burst of Ingresses that join one Secret settles before it is ordered."""

from __future__ import annotations

from datetime import datetime, timedelta

from issuer_job.attempt.attempt import Attempt
from issuer_job.record import transitions
from issuer_job.record.phases import LaunchReason
from issuer_job.record.record import Counted, Record

QUIET, LONGEST_QUIET = timedelta(seconds=3), timedelta(seconds=30)
"""How long nobody must have joined, and at most."""
LATELY = timedelta(minutes=10)


def settle(attempt: Attempt) -> None:
    """Wait until nobody has joined for a moment, where several share a Secret: they often come one after the other,
    and each step would be an order. The more was ordered lately, the longer. Raises what `load` does.
    """
    started = attempt.clock()
    while (wait := _unsettled(attempt.record, attempt.clock())) and attempt.clock() - started < LONGEST_QUIET:
        attempt.sleep(wait.total_seconds())
        attempt.load()


def _unsettled(record: Record, now: datetime) -> timedelta | None:
    """How long nothing must change from now on."""
    state = transitions.attempt_of(record)
    joined = state.launched_at if state.reason == LaunchReason.EDITED else None
    changed = state.changed_at or joined
    if changed is None or len(record.sources) < 2:
        return None
    lately = sum(now - e.at < LATELY for e in record.ledger if e.kind is Counted.ORDER)
    left = changed + min(QUIET * 2**lately, LONGEST_QUIET) - now
    return min(left, LONGEST_QUIET) if left > timedelta(0) else None
