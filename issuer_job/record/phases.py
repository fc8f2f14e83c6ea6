"""Where an attempt stands, and which phase may follow which."""

from __future__ import annotations

from enum import StrEnum


class Phase(StrEnum):
    """Where the current attempt stands."""

    WANTED = "Wanted"
    LAUNCHED = "Launched"
    CLAIMED = "Claimed"
    UNCONFIRMED = "Unconfirmed"
    ORDERING = "Ordering"
    AUTHORIZING = "Authorizing"
    FINALIZING = "Finalizing"
    INSTALLING = "Installing"
    ISSUED = "Issued"
    WAITING = "Waiting"
    FAILED = "Failed"
    ORPHANED = "Orphaned"
    RETIRED = "Retired"


ACTIVE = frozenset(
    {Phase.LAUNCHED, Phase.CLAIMED, Phase.ORDERING, Phase.AUTHORIZING, Phase.FINALIZING, Phase.INSTALLING}
)
"""Phases in which a Job is, or should be, at work."""

P = Phase

ARROWS: dict[Phase, frozenset[Phase]] = {
    P.WANTED: frozenset({P.LAUNCHED, P.WAITING, P.ORPHANED}),
    P.LAUNCHED: frozenset({P.LAUNCHED, P.CLAIMED, P.WAITING, P.ORPHANED}),
    P.CLAIMED: frozenset(
        {
            P.CLAIMED,
            P.LAUNCHED,
            P.ISSUED,
            P.UNCONFIRMED,
            P.FAILED,
            P.WAITING,
            P.ORDERING,
            P.INSTALLING,
            P.ORPHANED,
        }
    ),
    P.UNCONFIRMED: frozenset({P.LAUNCHED, P.WAITING, P.FAILED, P.RETIRED}),
    P.ORDERING: frozenset({P.ORDERING, P.CLAIMED, P.LAUNCHED, P.AUTHORIZING, P.WAITING, P.FAILED, P.ORPHANED}),
    P.AUTHORIZING: frozenset({P.CLAIMED, P.LAUNCHED, P.FINALIZING, P.ORDERING, P.WAITING, P.FAILED, P.ORPHANED}),
    P.FINALIZING: frozenset({P.CLAIMED, P.LAUNCHED, P.INSTALLING, P.ORDERING, P.WAITING, P.FAILED, P.ORPHANED}),
    P.INSTALLING: frozenset({P.CLAIMED, P.LAUNCHED, P.INSTALLING, P.ISSUED, P.WAITING, P.FAILED, P.ORPHANED}),
    P.ISSUED: frozenset({P.LAUNCHED, P.ISSUED, P.WAITING, P.ORPHANED}),
    P.WAITING: frozenset({P.LAUNCHED, P.ISSUED, P.WAITING, P.ORPHANED}),
    P.FAILED: frozenset({P.LAUNCHED, P.ISSUED, P.WAITING, P.ORPHANED}),
    P.ORPHANED: frozenset({P.LAUNCHED, P.ISSUED, P.WAITING, P.FAILED, P.RETIRED}),
    P.RETIRED: frozenset({P.LAUNCHED, P.WAITING, P.FAILED}),
}
