"""When to renew a certificate."""

from datetime import datetime, timedelta
from hashlib import sha256

SHORT_LIFETIME = timedelta(days=10)
_LEAST_MARGIN = 1 / 20
_GREATEST_MARGIN = 2 / 3
_SPREAD = 1 / 30


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


def _fraction(spread_key: str) -> float:
    """A number from 0 to 1, the same in every process for the same text."""
    digest = sha256(spread_key.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:4], "big") / 2**32
