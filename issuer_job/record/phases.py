"""Where an attempt stands, which phase may follow which, and why a sweep launches one."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum

ABSENCE_GRACE = timedelta(minutes=10)
"""How long what asks for a certificate may be away before what was made for it is given up."""
ATTEMPT_GRACE = timedelta(minutes=2)
"""How long after its launch nothing of an attempt is taken away."""


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


class LaunchReason(StrEnum):
    """What a sweep finds about a certificate; of an attempt it launches, why."""

    MISSED = "Missed"
    CHANGED = "Changed"
    JOB_NEVER_CAME = "JobNeverCame"
    CRASHED = "Crashed"
    CRASHES_AGAIN = "CrashesAgain"
    ISSUER_EDITED = "IssuerEdited"
    HOSTS_FREE = "HostsFree"
    RETRY_DUE = "RetryDue"
    FALLBACK = "Fallback"
    DAILY_RETRY = "DailyRetry"
    HANDED_OVER = "HandedOver"
    RENEWAL_DUE = "RenewalDue"
    LOOK_DUE = "LookDue"
    SECRET_NOT_GOOD = "SecretNotGood"  # noqa: S105 - a word, not a secret
    NOT_WANTED = "NotWanted"
    SOURCE_GONE = "SourceGone"
    ASKS_NO_MORE = "AsksNoMore"
    IN_ORDER = "InOrder"
