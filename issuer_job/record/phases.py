"""Where an attempt stands, which phase may follow which, and why a sweep launches one."""

from __future__ import annotations

from datetime import timedelta
from enum import Enum, StrEnum
from typing import Self

ABSENCE_GRACE = timedelta(minutes=10)
"""How long what asks for a certificate may be away before what was made for it is given up."""
ATTEMPT_GRACE = timedelta(minutes=2)
"""How long after its launch nothing of an attempt is taken away."""
SWEEP_INTERVAL = timedelta(minutes=5)
"""From one sweep to the next, as the manifests have it."""
ISSUE_DEADLINE = timedelta(seconds=270)
"""After which an attempt's process gives up: its pod is ended after 300 seconds."""
FIRST_BACKOFF = timedelta(seconds=75)
"""The longest wait after a first failure that nobody asks for, see `backoff.wait_after`."""


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
GONE = frozenset({Phase.UNCONFIRMED, Phase.ORPHANED, Phase.RETIRED})
"""Phases of a record that nobody wanted: whoever comes back starts with new sources."""

P = Phase

_AT_WORK = frozenset({P.CLAIMED, P.LAUNCHED, P.WAITING, P.FAILED, P.ORPHANED})
_IDLE = frozenset({P.LAUNCHED, P.ISSUED, P.WAITING, P.ORPHANED})

ARROWS: dict[Phase, frozenset[Phase]] = {
    P.WANTED: frozenset({P.LAUNCHED, P.WAITING, P.ORPHANED}),
    P.LAUNCHED: frozenset({P.LAUNCHED, P.CLAIMED, P.WAITING, P.ORPHANED}),
    P.CLAIMED: _AT_WORK | {P.ORDERING, P.INSTALLING, P.ISSUED, P.UNCONFIRMED},
    P.UNCONFIRMED: frozenset({P.LAUNCHED, P.WAITING, P.FAILED, P.RETIRED}),
    P.ORDERING: _AT_WORK | {P.ORDERING, P.AUTHORIZING},
    P.AUTHORIZING: _AT_WORK | {P.ORDERING, P.FINALIZING},
    P.FINALIZING: _AT_WORK | {P.ORDERING, P.INSTALLING},
    P.INSTALLING: _AT_WORK | {P.INSTALLING, P.ISSUED},
    P.ISSUED: _IDLE | {P.FAILED},
    P.WAITING: _IDLE,
    P.FAILED: _IDLE,
    P.ORPHANED: frozenset({P.LAUNCHED, P.ISSUED, P.WAITING, P.FAILED, P.RETIRED}),
    P.RETIRED: frozenset({P.LAUNCHED, P.WAITING, P.FAILED}),
}


class Bearing(Enum):
    """What a launch for some reasons means besides an attempt."""

    REPLACES = "replaces"
    """The certificate that the record knows is to be replaced, however good. Else what the Secret holds decides."""
    CRASH = "crash"
    """The attempt before ended without a word."""
    AFRESH = "afresh"
    """The failures so far do not count."""


class LaunchReason(StrEnum):
    """Why an attempt is launched, and what else a sweep finds about a certificate; with what it means besides.

    Records keep the word alone: of a later version it may be one that is not here.
    """

    bearing: Bearing | None

    def __new__(cls, word: str, bearing: Bearing | None = None) -> Self:
        """A member is its word."""
        reason = str.__new__(cls, word)
        reason._value_, reason.bearing = word, bearing
        return reason

    NEW = "new"
    EDITED = "changed"
    """At admission; `CHANGED` is what a sweep finds."""
    SEEN_AGAIN = "seen again"
    RETRY_ASKED = "retry asked for", Bearing.AFRESH
    CORRECTED = "corrected", Bearing.AFRESH
    SECRET_MISSING = "Secret missing"  # noqa: S105 - words, not a secret
    MISSED = "Missed"
    CHANGED = "Changed"
    JOB_NEVER_CAME = "JobNeverCame"
    CRASHED = "Crashed", Bearing.CRASH
    CRASHES_AGAIN = "CrashesAgain"
    ISSUER_EDITED = "IssuerEdited", Bearing.AFRESH
    HOSTS_FREE = "HostsFree"
    RETRY_DUE = "RetryDue"
    FALLBACK = "Fallback"
    DAILY_RETRY = "DailyRetry"
    HANDED_OVER = "HandedOver"
    RENEWAL_DUE = "RenewalDue", Bearing.REPLACES
    RENEW_ASKED = "RenewAsked", Bearing.REPLACES
    SHARED_KEY = "SharedKey", Bearing.REPLACES
    OTHER_SERVER = "OtherServer", Bearing.REPLACES
    LOOK_DUE = "LookDue"
    SECRET_NOT_GOOD = "SecretNotGood"  # noqa: S105 - a word, not a secret
    REVOKED = "Revoked", Bearing.REPLACES
    NOT_WANTED = "NotWanted"
    SOURCE_GONE = "SourceGone"
    ASKS_NO_MORE = "AsksNoMore"
    IN_ORDER = "InOrder"


class HistoryEvent(StrEnum):
    """What a record's story tells. Records keep the word alone: of a later version it may be one that is not here."""

    LAUNCHED = "launched"
    UNCONFIRMED = "unconfirmed"
    ORDER_DROPPED = "order dropped"
    ORDERED = "ordered"
    ISSUED = "issued"
    ADOPTED = "adopted"
    HOST_LOST = "host lost"
    HOST_REGAINED = "host regained"
    TO_BE_REVOKED = "to be revoked"
    KEY_DROPPED = "key dropped"
    WAITING = "waiting"
    FAILED = "failed"
    HELD_BACK = "held back"
    ORPHANED = "orphaned"
    RETIRED = "retired"
