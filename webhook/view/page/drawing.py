"""Where things stand in the pictures of a certificate: its life and its timeline, in percent of the width. Pure.

Events of one attempt lie seconds apart, attempts minutes to months. So what lies between two events is drawn by the
logarithm of the time: the pictures show an order and proportions, the list beside them has the times.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from itertools import pairwise

from issuer_job.record.phases import HistoryEvent
from issuer_job.status.shown import Certificate, TimelineEntry

EDGE = 2.5
"""Percent of the width that is left free at both ends, so that marks are whole."""


class EventMark(StrEnum):
    """What an event looks like: each has a form of its own, besides its colour."""

    STEP = "step"
    GOOD = "good"
    WAIT = "wait"
    BAD = "bad"


_MARKS = {
    HistoryEvent.ISSUED: EventMark.GOOD,
    HistoryEvent.ADOPTED: EventMark.GOOD,
    HistoryEvent.HOST_REGAINED: EventMark.GOOD,
    HistoryEvent.WAITING: EventMark.WAIT,
    HistoryEvent.HELD_BACK: EventMark.WAIT,
    HistoryEvent.ORDER_DROPPED: EventMark.BAD,
    HistoryEvent.FAILED: EventMark.BAD,
    HistoryEvent.HOST_LOST: EventMark.BAD,
    HistoryEvent.TO_BE_REVOKED: EventMark.BAD,
}


def mark_of(event: str) -> EventMark:
    """Of an event, also of one that a later version has written."""
    return _MARKS.get(HistoryEvent(event), EventMark.STEP) if event in set(HistoryEvent) else EventMark.STEP


@dataclass(frozen=True)
class Point:
    """An event's place."""

    at: float
    mark: EventMark


@dataclass(frozen=True)
class Band:
    """The events of one attempt, from the place where it begins."""

    at: float
    width: float


@dataclass(frozen=True)
class Timeline:
    """All of it."""

    points: tuple[Point, ...]
    bands: tuple[Band, ...]


def timeline(entries: Sequence[TimelineEntry]) -> Timeline:
    """Of a story, the oldest first."""
    if not entries:
        return Timeline((), ())
    gaps = [0.0, *(_gap(before.at, after.at) for before, after in pairwise(entries))]
    whole = sum(gaps)
    places, way = [], 0.0
    for gap in gaps:
        way += gap
        places.append(EDGE + (100 - 2 * EDGE) * way / whole if whole else 50.0)
    points = tuple(Point(round(at, 2), mark_of(entry.event)) for at, entry in zip(places, entries, strict=True))
    starts = [i for i, entry in enumerate(entries) if not i or entry.epoch != entries[i - 1].epoch]
    edges = [0.0, *((places[i - 1] + places[i]) / 2 for i in starts[1:]), 100.0]
    bands = tuple(Band(round(a, 2), round(b - a, 2)) for a, b in pairwise(edges))
    return Timeline(points, bands)


def _gap(before: datetime, after: datetime) -> float:
    return 1 + math.log1p(max(0.0, (after - before).total_seconds()))


@dataclass(frozen=True)
class Life:
    """From a certificate's first to its last moment: what of it is over, and when it is to be renewed."""

    now: float
    renewal: float


def life(certificate: Certificate, now: datetime) -> Life:
    """Of a certificate; what lies outside of it is at its ends."""
    begin, whole = certificate.not_before, (certificate.not_after - certificate.not_before).total_seconds()

    def place(moment: datetime) -> float:
        part = (moment - begin).total_seconds() / whole if whole > 0 else 1.0
        return round(100 * min(1.0, max(0.0, part)), 2)

    return Life(place(now), place(certificate.renewal_at))
