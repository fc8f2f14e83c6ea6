"""When to ask again: poll delays and `Retry-After`. Durations are timedeltas, moments aware datetimes."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

FIRST_DELAY = timedelta(milliseconds=100)
GROWTH = 1.5
EARLY_CAP = timedelta(seconds=2)
LATE_CAP = timedelta(seconds=10)
LATE_AFTER = timedelta(minutes=1)
LONGEST_WAIT = timedelta(days=7)

_SECONDS = re.compile(r"[+-]?[0-9]{1,18}")


def utc_now() -> datetime:
    """The wall clock, for all that is not handed another one; the rest of this module is pure."""
    return datetime.now(UTC)


def clamp_wait(
    wait: timedelta, *, shortest: timedelta = timedelta(0), longest: timedelta = LONGEST_WAIT
) -> timedelta:
    """Bound a wait that somebody else asked for; by default to between nothing and 7 days."""
    return max(shortest, min(wait, longest))


def parse_http_date(value: str | None) -> datetime | None:
    """Read an HTTP date (RFC 9110 5.6.7) as an aware datetime; one without a zone is UTC. None if unreadable."""
    if not value or len(value) > 100:
        return None
    try:
        moment = parsedate_to_datetime(value.strip())
        # "-0000" and an unknown zone parse as naive; HTTP dates are always UTC.
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def parse_retry_after(value: str | None, *, answer_date: datetime | None, now: datetime) -> timedelta | None:
    """Read a `Retry-After` header (RFC 9110 10.2.3): seconds, or an HTTP date.

    A date counts from the answer's own `Date` (`answer_date`), so that a wrong local clock does no
    harm, and from `now` if the answer had none. Past dates and negative numbers are zero, the longest
    wait is 7 days; None if there is no header or it cannot be read.
    """
    text = (value or "").strip()
    if _SECONDS.fullmatch(text):
        seconds = min(max(int(text), 0), int(LONGEST_WAIT.total_seconds()))
        return timedelta(seconds=seconds)
    moment = parse_http_date(text)
    if moment is None:
        return None
    return clamp_wait(moment - (answer_date or now))


class Poll:
    """The delays between polls of one object, within a deadline.

    Starts at 0.1 s, because a CA often answers at once, and grows by half each time up to 2 s, or
    10 s once a minute has passed. A `Retry-After` longer than the own delay is honoured; zero or a
    past date asks for no hot loop and changes nothing.
    """

    def __init__(self, *, started: datetime, deadline: datetime) -> None:
        self._started = started
        self._deadline = deadline
        self._next = FIRST_DELAY

    def delay(self, *, now: datetime, retry_after: timedelta | None = None) -> timedelta | None:
        """How long to wait before the next poll; None when the deadline has passed.

        A longer delay is cut to the time left, so that the last poll happens at the deadline.
        """
        left = self._deadline - now
        if left <= timedelta(0):
            return None
        cap = LATE_CAP if now - self._started >= LATE_AFTER else EARLY_CAP
        own = min(self._next, cap)
        self._next = min(own * GROWTH, LATE_CAP)
        return min(max(own, retry_after or own), left)
