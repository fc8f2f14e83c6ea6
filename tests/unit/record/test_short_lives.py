"""The shortest life that the sweeps carry: as long as it takes at worst, with one renewal that fails."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from certs.duration import format_duration, parse_duration
from certs.renewal import renewal_due_at
from issuer_job.backoff import wait_after
from issuer_job.record.phases import ISSUE_DEADLINE, SWEEP_INTERVAL
from issuer_job.record.renewal import shortest_carried, too_short

SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)
START = datetime(2026, 1, 1, tzinfo=UTC)
INTERVALS = [MINUTE, 2 * MINUTE, SWEEP_INTERVAL, 10 * MINUTE, timedelta(hours=1)]


def renewed_after(life: timedelta, interval: timedelta, first_sweep: timedelta) -> timedelta:
    """When the next certificate is there, if the first order fails at its end and the second takes as long."""
    due = renewal_due_at(
        not_before=START,
        not_after=START + life,
        renew_before=None,
        suggested=None,
        interval=interval,
        spread_key="shop.web-tls",
    )

    def next_sweep(moment: timedelta) -> timedelta:
        return first_sweep + -(-(moment - first_sweep) // interval) * interval

    failed = next_sweep(due - START) + ISSUE_DEADLINE
    return next_sweep(failed + wait_after(1, jitter=1.0)) + ISSUE_DEADLINE


def slowest(life: timedelta, interval: timedelta) -> timedelta:
    """However the life lies to the sweeps."""
    steps = range(0, int(interval.total_seconds()), max(1, int(interval.total_seconds()) // 60))
    return max(renewed_after(life, interval, timedelta(seconds=step)) for step in steps)


@pytest.mark.parametrize("interval", INTERVALS)
def test_one_renewal_may_fail_however_the_life_lies_to_the_sweeps(interval: timedelta) -> None:
    least = shortest_carried(interval)
    assert slowest(least, interval) <= least
    assert slowest(least * 1.5, interval) <= least * 1.5


@pytest.mark.parametrize("interval", INTERVALS)
def test_and_of_a_life_that_is_a_good_deal_shorter_it_may_not(interval: timedelta) -> None:
    life = shortest_carried(interval) * 0.85
    assert slowest(life, interval) > life


def test_with_the_manifests_schedule_it_is_as_documented() -> None:
    assert format_duration(shortest_carried(SWEEP_INTERVAL)) == "39m"
    assert format_duration(shortest_carried(MINUTE)) == "23m"


def test_what_is_wrong_is_said_with_both_lives() -> None:
    assert too_short(timedelta(minutes=39), SWEEP_INTERVAL) == ""
    said = too_short(timedelta(minutes=15), SWEEP_INTERVAL)
    assert "every 5m" in said
    assert "lives 15m" in said
    assert "from 39m on" in said


@pytest.mark.parametrize("text", ["1s", "39m", "1h30m", "1d1m", "6d16h", "90d", "12h0m5s"])
def test_a_duration_is_written_as_it_is_read(text: str) -> None:
    assert parse_duration(format_duration(parse_duration(text))) == parse_duration(text)


def test_durations_that_nobody_writes() -> None:
    assert format_duration(timedelta(0)) == format_duration(timedelta(seconds=-5)) == "0s"
    assert format_duration(timedelta(hours=24, minutes=1, microseconds=7)) == "1d1m"
