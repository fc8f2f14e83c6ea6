"""The pictures of a certificate: where its events and its renewal stand."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from issuer_job.record.phases import HistoryEvent
from issuer_job.status.shown import Certificate, TimelineEntry
from tests.worlds.samples import NOW
from webhook.view.page.drawing import EDGE, EventMark, life, mark_of, timeline


def entry(seconds: float, epoch: int = 1, event: str = "ordered") -> TimelineEntry:
    return TimelineEntry(at=NOW + timedelta(seconds=seconds), epoch=epoch, event=event, detail="", type="")


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(-(10**9), 10**9), st.integers(0, 3)), max_size=20))
def test_every_event_has_its_place_in_order_and_every_attempt_its_band(story: list[tuple[int, int]]) -> None:
    picture = timeline([entry(seconds, epoch) for seconds, epoch in story])
    places = [point.at for point in picture.points]
    assert len(places) == len(story)
    assert places == sorted(places)
    assert all(EDGE <= at <= 100 - EDGE for at in places)
    assert abs(sum(band.width for band in picture.bands) - (100 if story else 0)) < 0.2
    changes = sum(a[1] != b[1] for a, b in pairwise(story))
    assert len(picture.bands) == (changes + 1 if story else 0)


def test_seconds_and_weeks_are_both_seen() -> None:
    picture = timeline([entry(0), entry(1), entry(14 * 86_400), entry(14 * 86_400 + 1)])
    first, second, third, last = (point.at for point in picture.points)
    assert second - first > 5
    assert third - second > 4 * (second - first)
    assert abs((last - third) - (second - first)) < 0.1


def test_every_event_has_a_mark_and_so_has_one_of_a_later_version() -> None:
    assert {mark_of(event) for event in HistoryEvent} == set(EventMark)
    assert mark_of("<b>transmuted</b>") is EventMark.STEP
    assert mark_of("issued") is EventMark.GOOD


def test_a_life_from_its_first_to_its_last_moment() -> None:
    def held(begin: datetime, end: datetime, renewal: datetime) -> Certificate:
        return Certificate(
            serial="1",
            hosts=(),
            not_before=begin,
            not_after=end,
            issued_at=begin,
            renewal_at=renewal,
            by_hand=False,
            revoked=False,
        )

    day = timedelta(days=1)
    half = life(held(NOW - 45 * day, NOW + 45 * day, NOW + 15 * day), NOW)
    assert (half.now, half.renewal) == (50, 66.67)
    over = life(held(NOW - 9 * day, NOW - 8 * day, NOW + day), NOW)
    assert (over.now, over.renewal) == (100, 100)
    assert life(held(NOW, NOW, NOW), NOW).now == 100
