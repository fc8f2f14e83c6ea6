"""When a renewal is due."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certs.duration import parse_duration
from certs.errors import CertError
from certs.renewal import chosen_time, renewal_due_at, renewal_time
from tests.fakes.certs_ca import DAY, NOW


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


# The CA's window


def test_the_chosen_time_is_uniform_over_the_window() -> None:
    parts = sorted((chosen_time(NOW, NOW + 2 * DAY, str(number)) - NOW) / (2 * DAY) for number in range(1000))
    assert all(abs(part - number / 1000) < 0.06 for number, part in enumerate(parts))


def test_the_chosen_time_is_the_same_in_every_process() -> None:
    chosen = chosen_time(NOW, NOW + 2 * DAY, "serial default.shop-tls")
    assert chosen == chosen_time(NOW, NOW + 2 * DAY, "serial default.shop-tls")
    assert chosen.isoformat(timespec="seconds") == "2026-06-03T06:01:54+00:00"


def test_another_window_chooses_anew() -> None:
    one, other = chosen_time(NOW, NOW + DAY, "key"), chosen_time(NOW + DAY, NOW + 2 * DAY, "key")
    assert other - one != DAY


@given(_moments, _moments, st.text())
def test_the_chosen_time_is_in_the_window_whatever_it_is(one: datetime, other: datetime, key: str) -> None:
    start, end = min(one, other), max(one, other)
    assert start <= chosen_time(start, end, key) <= end


def due(
    *,
    life: timedelta = 90 * DAY,
    suggested: datetime | None = None,
    renew_before: timedelta | None = None,
    interval: timedelta = timedelta(minutes=5),
) -> datetime:
    return renewal_due_at(
        not_before=NOW,
        not_after=NOW + life,
        renew_before=renew_before,
        suggested=suggested,
        interval=interval,
        spread_key="shop",
    )


@pytest.mark.parametrize("after", [-1, 10, 30, 85], ids=lambda days: f"{days} days")
def test_the_ca_decides_alone_without_a_wish(after: int) -> None:
    assert due(suggested=NOW + after * DAY) == NOW + after * DAY


def test_age_decides_without_a_suggestion() -> None:
    for renew_before in (None, 45 * DAY):
        by_age = renewal_time(not_before=NOW, not_after=NOW + 90 * DAY, renew_before=renew_before, spread_key="shop")
        assert due(renew_before=renew_before) == by_age


def test_of_wish_and_suggestion_the_earlier_one_counts() -> None:
    wish = due(renew_before=45 * DAY)
    assert due(renew_before=45 * DAY, suggested=NOW + 80 * DAY) == wish
    assert due(renew_before=45 * DAY, suggested=NOW + 10 * DAY) == NOW + 10 * DAY


def test_three_sweeps_are_left_even_if_the_ca_suggests_the_last_second() -> None:
    for suggested in (NOW + 90 * DAY, NOW + 4000 * DAY):
        assert due(suggested=suggested, interval=timedelta(hours=1)) == NOW + 90 * DAY - timedelta(hours=3)


def test_a_life_of_a_few_sweeps_is_not_renewed_before_its_middle() -> None:
    ten = timedelta(minutes=10)
    assert due(life=ten, suggested=NOW + ten) == NOW + ten / 2
    assert due(life=ten, interval=timedelta(minutes=1), suggested=NOW + ten) == NOW + timedelta(minutes=7)


@given(
    _moments,
    _moments,
    st.none() | st.timedeltas(timedelta(0), 3653 * DAY),
    st.none() | _moments,
    st.timedeltas(timedelta(0), 7 * DAY),
)
def test_due_in_time_whatever_the_input(
    start: datetime, end: datetime, renew_before: timedelta | None, suggested: datetime | None, interval: timedelta
) -> None:
    found = renewal_due_at(
        not_before=start,
        not_after=end,
        renew_before=renew_before,
        suggested=suggested,
        interval=interval,
        spread_key="shop",
    )
    assert found <= max(start, end)
    assert found >= start or found == suggested


# What users write


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("720h", 30 * DAY),
        ("1h30m", timedelta(minutes=90)),
        ("90m", timedelta(minutes=90)),
        ("45s", timedelta(seconds=45)),
        ("30d", 30 * DAY),
        ("1d12h", 1.5 * DAY),
        ("3653d", 3653 * DAY),
    ],
)
def test_durations(text: str, duration: timedelta) -> None:
    assert parse_duration(text) == duration


@pytest.mark.parametrize("text", ["", "30", "d", "-1h", "1.5h", "1 h", "30d ", "30D", "1w", "30d\n", "x" * 100_000])
def test_no_duration(text: str) -> None:
    with pytest.raises(CertError, match="is not a duration such as 30d, 720h or 1h30m") as caught:
        parse_duration(text)
    assert len(str(caught.value)) < 120


@pytest.mark.parametrize("text", ["0s", "0h0m", "3654d", "999999d", "87673h"])
def test_durations_are_bounded(text: str) -> None:
    with pytest.raises(CertError, match="is not between one second and ten years"):
        parse_duration(text)
