"""When to renew a certificate."""

from datetime import datetime, timedelta
from hashlib import sha256

SHORT_LIFETIME = timedelta(days=10)
_LEAST_MARGIN = 1 / 20
_GREATEST_MARGIN = 2 / 3
_SPREAD = 1 / 30
SWEEPS_LEFT = 3
"""Intervals that are left of a certificate's life when it is renewed at the latest."""


def renewal_time(
    *, not_before: datetime, not_after: datetime, renew_before: timedelta | None, spread_key: str
) -> datetime:
    """When the renewal of a certificate with this validity is due.

    After two thirds of its life, after half if that is under 10 days, or `renew_before` its end, kept between a
    twentieth and two thirds of the life: less leaves no time to retry, more would renew again and again. From that,
    a thirtieth of the life earlier at most, always the same for one `spread_key`, so that certificates issued
    together are not renewed together. Never before `not_before`.
    """
    life = max(not_after - not_before, timedelta(0))
    if renew_before is None:
        margin = life / 2 if life < SHORT_LIFETIME else life / 3
    else:
        margin = min(max(renew_before, life * _LEAST_MARGIN), life * _GREATEST_MARGIN)
    return not_before + life - margin - life * _SPREAD * _fraction(spread_key)


def chosen_time(start: datetime, end: datetime, spread_key: str) -> datetime:
    """One point of the window that a CA suggests, uniform over the keys (RFC 9773, section 4.2).

    Always the same one for the same window and key, so that asking again moves nothing. `end` is not before `start`.
    """
    return start + (end - start) * _fraction(f"{spread_key} {start.isoformat()} {end.isoformat()}")


def renewal_due_at(
    *,
    not_before: datetime,
    not_after: datetime,
    renew_before: timedelta | None,
    suggested: datetime | None,
    interval: timedelta,
    spread_key: str,
) -> datetime:
    """When a certificate is due, for a caller that comes by every `interval`.

    At the moment `suggested` by the CA, which may be long past, or else at `renewal_time`; with the user's
    `renew_before` whichever comes first. At the latest `SWEEPS_LEFT` intervals before its end, so that one renewal
    may fail; a life shorter than a few intervals would be over by then before it began, so not before its middle.
    """
    by_age = renewal_time(
        not_before=not_before, not_after=not_after, renew_before=renew_before, spread_key=spread_key
    )
    if suggested is None:
        due = by_age
    elif renew_before is None:
        due = suggested
    else:
        due = min(suggested, by_age)
    life = max(not_after - not_before, timedelta(0))
    latest = max(not_before + life - SWEEPS_LEFT * interval, not_before + life / 2)
    return min(due, latest)


def shortest_life(*, interval: timedelta, order: timedelta, pause: timedelta) -> timedelta:
    """The shortest life that a caller who comes by every `interval` carries, with time for one renewal that fails.

    At worst it comes by a whole interval after the certificate is due, which of a short life is its middle. The first
    order takes its longest, `order`, and fails; the next one may come `pause` later, is made when the caller comes by
    after that, and takes as long.
    """
    again = -(-(order + pause) // interval) * interval
    return 2 * (interval + again + order)


def _fraction(spread_key: str) -> float:
    """A number from 0 to 1, the same in every process for the same text."""
    digest = sha256(spread_key.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:4], "big") / 2**32
