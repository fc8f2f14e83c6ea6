"""When a renewal is due."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certs.renewal import renewal_time
from tests.fake_certs_ca import DAY, NOW


def part_of_life(life: timedelta, renew_before: timedelta | None = None, key: str = "shop") -> float:
    due = renewal_time(not_before=NOW, not_after=NOW + life, renew_before=renew_before, spread_key=key)
    return (due - NOW) / life


@pytest.mark.parametrize(
    ("life", "renew_before", "latest"),
    [
        (90 * DAY, None, 2 / 3),
        (45 * DAY, None, 2 / 3),
        (10 * DAY, None, 2 / 3),
        (timedelta(hours=160), None, 1 / 2),
        (90 * DAY, 45 * DAY, 1 / 2),
        (90 * DAY, 400 * DAY, 1 / 3),
        (90 * DAY, timedelta(0), 19 / 20),
        (90 * DAY, -DAY, 19 / 20),
    ],
)
def test_due_at_its_part_of_life_or_a_thirtieth_earlier(
    life: timedelta, renew_before: timedelta | None, latest: float
) -> None:
    parts = [part_of_life(life, renew_before, key=str(number)) for number in range(200)]
    assert max(parts) <= latest + 1e-9
    assert min(parts) >= latest - 1 / 30
    assert max(parts) - min(parts) > 0.9 / 30, "the keys are spread over the whole thirtieth"


def test_the_same_key_gives_the_same_time_in_every_process() -> None:
    due = renewal_time(not_before=NOW, not_after=NOW + 90 * DAY, renew_before=None, spread_key="default.shop-tls")
    assert due.isoformat(timespec="seconds") == "2026-07-29T05:55:49+00:00"


_moments = st.datetimes(datetime(1990, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))


@given(_moments, _moments, st.none() | st.timedeltas(), st.text())
def test_due_within_life_whatever_the_input(
    start: datetime, end: datetime, renew_before: timedelta | None, key: str
) -> None:
    due = renewal_time(not_before=start, not_after=end, renew_before=renew_before, spread_key=key)
    assert start <= due <= max(start, end)
