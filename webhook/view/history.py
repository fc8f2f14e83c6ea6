"""What new lines of a record's story say of attempts and problems: what counters count. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from issuer_job.record.phases import HistoryEvent
from issuer_job.record.record import HISTORY_LENGTH, HistoryEntry, Record


class AttemptOutcome(StrEnum):
    """What came of an attempt. One that another took the place of, as after a crash, has none."""

    ISSUED = "issued"
    KEPT = "kept"
    """The Secret held a certificate that may stay."""
    WAITING = "waiting"
    FAILED = "failed"


_OUTCOMES: Mapping[str, AttemptOutcome] = {
    HistoryEvent.ISSUED: AttemptOutcome.ISSUED,
    HistoryEvent.ADOPTED: AttemptOutcome.KEPT,
    HistoryEvent.WAITING: AttemptOutcome.WAITING,
    HistoryEvent.HELD_BACK: AttemptOutcome.WAITING,
    HistoryEvent.FAILED: AttemptOutcome.FAILED,
}


@dataclass(frozen=True)
class AttemptResult:
    """Of an attempt that was launched for `reason`, a word of `LaunchReason`; `seconds` since then."""

    issuer: str
    reason: str
    outcome: AttemptOutcome
    seconds: float
    replaces: bool
    """Whether there was a certificate before."""


@dataclass(frozen=True)
class ProblemMet:
    """A problem that stood in the way, by its type."""

    issuer: str
    type: str


Told = AttemptResult | ProblemMet


def keys_of(record: Record, since: datetime) -> tuple[int, ...]:
    """What stands for each line of the record's story from then on, the oldest first."""
    return tuple(_key(record, entry) for entry in record.history[-HISTORY_LENGTH:] if entry.at >= since)


def told_by(
    record: Record, seen: frozenset[int] | tuple[int, ...], since: datetime
) -> Iterator[AttemptResult | ProblemMet]:
    """What the lines say that are not among the `seen` ones, and no older than `since`."""
    launches: dict[int, HistoryEntry] = {}
    issued_before = bool(record.former)
    for entry in record.history[-HISTORY_LENGTH:]:
        is_new = entry.at >= since and _key(record, entry) not in seen
        if is_new and entry.type:
            yield ProblemMet(record.issuer, entry.type)
        if entry.event == HistoryEvent.LAUNCHED:
            launches[entry.epoch] = entry
        outcome = _OUTCOMES.get(entry.event)
        if outcome is None or (launch := launches.pop(entry.epoch, None)) is None:
            continue
        if is_new:
            seconds = max(0.0, (entry.at - launch.at).total_seconds())
            yield AttemptResult(record.issuer, launch.detail, outcome, seconds, issued_before)
        issued_before = issued_before or outcome in {AttemptOutcome.ISSUED, AttemptOutcome.KEPT}


def _key(record: Record, entry: HistoryEntry) -> int:
    """Told twice, it is the same; a record that is made anew begins another story."""
    return hash((record.uid, entry.epoch, entry.at, entry.event, entry.type))
