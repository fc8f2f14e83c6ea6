from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from issuer_job.polling import Poll, clamp_wait, parse_http_date, parse_retry_after

NOW = datetime(2026, 5, 5, 10, 0, tzinfo=UTC)


def seconds(number: float) -> timedelta:
    return timedelta(seconds=number)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("120", seconds(120)),
        (" 3 ", seconds(3)),
        ("0", seconds(0)),
        ("-5", seconds(0)),
        ("999999999999999999", timedelta(days=7)),
        ("Tue, 05 May 2026 10:00:30 GMT", seconds(30)),
        ("Tue, 05 May 2026 10:00:30 -0000", seconds(30)),
        ("Tue, 05 May 2026 12:00:30 +0200", seconds(30)),
        ("Tue, 05 May 2026 09:00:00 GMT", seconds(0)),
        ("Tue, 05 May 2099 09:00:00 GMT", timedelta(days=7)),
        ("Fri, 31 Dec 9999 23:59:59 -2359", None),
        ("1.5", None),
        ("soon", None),
        ("9" * 5000, None),
        ("", None),
        (None, None),
    ],
)
def test_retry_after_is_read_and_bounded(value: str | None, expected: timedelta | None) -> None:
    assert parse_retry_after(value, answer_date=None, now=NOW) == expected


def test_a_date_counts_from_the_answers_own_date_not_from_a_wrong_clock() -> None:
    value = "Tue, 05 May 2026 10:00:30 GMT"
    assert parse_retry_after(value, answer_date=NOW, now=NOW + timedelta(days=2)) == seconds(30)


def test_http_dates_are_aware_and_utc() -> None:
    parsed = parse_http_date("Tue, 05 May 2026 12:00:00 +0200")
    assert parsed == NOW
    assert parsed is not None
    assert parsed.tzinfo is UTC


def test_clamp() -> None:
    assert clamp_wait(timedelta(days=8)) == timedelta(days=7)
    assert clamp_wait(seconds(-1)) == seconds(0)
    assert clamp_wait(seconds(1), shortest=seconds(60)) == seconds(60)


def test_delays_grow_from_a_tenth_of_a_second_to_two_seconds_then_ten() -> None:
    poll = Poll(started=NOW, deadline=NOW + timedelta(hours=1))
    early = [poll.delay(now=NOW) for _ in range(12)]
    assert early[:3] == [seconds(0.1), seconds(0.15), seconds(0.225)]
    assert early[-1] == seconds(2)
    late = [poll.delay(now=NOW + timedelta(minutes=1)) for _ in range(8)]
    assert late[0] == seconds(3)
    assert late[-1] == seconds(10)


def test_a_real_retry_after_is_honoured() -> None:
    poll = Poll(started=NOW, deadline=NOW + timedelta(minutes=5))
    assert poll.delay(now=NOW, retry_after=seconds(3)) == seconds(3)


def test_zero_retry_after_makes_no_hot_loop() -> None:
    poll = Poll(started=NOW, deadline=NOW + timedelta(minutes=5))
    assert [poll.delay(now=NOW, retry_after=seconds(0)) for _ in range(2)] == [seconds(0.1), seconds(0.15)]


def test_delays_end_at_the_deadline() -> None:
    poll = Poll(started=NOW, deadline=NOW + seconds(1))
    assert poll.delay(now=NOW, retry_after=seconds(60)) == seconds(1)
    assert poll.delay(now=NOW + seconds(1)) is None
