"""What is said of a status wherever people read it. Pure."""

from __future__ import annotations

from datetime import datetime

from issuer_job.status import moments
from issuer_job.status.shown import CertificateStatus, NextStep

UNKNOWN = "?"


def called(shown: CertificateStatus) -> str:
    """What commands call it by: its Secret, or where that is not known its host."""
    return shown.hosts[0] if shown.name == UNKNOWN and shown.hosts else shown.name


def next_text(shown: CertificateStatus, now: datetime) -> str:
    """What happens by itself, and when, in a few words."""
    coming, kind = shown.next, shown.why.type if shown.why else ""
    when = moments.relative(coming.at, now) if coming.at and coming.at >= now else "with the next sweep"
    match coming.what:
        case NextStep.UNDER_WAY:
            since = f"{moments.seconds(now - coming.at, whole=True)}: " if coming.at else ""
            return f"{since}{coming.detail}"
        case NextStep.RENEWAL:
            return f"renewal {when}"
        case NextStep.RETRY:
            count = f", {moments.ordinal(coming.failures)} failure" if coming.failures else ""
            return f"retry {when}{count}" + (f": {kind}" if kind else "")
        case NextStep.LIMIT:
            return f"held back, goes on {when}"
        case NextStep.CHANGE:
            return f"needs a change: {kind}" if kind else "needs a change"
        case NextStep.LAUNCH:
            return "launched with the next sweep"
        case NextStep.REMOVAL:
            return f"nobody asks for it, goes {when}"
    return f"unknown: {kind}" if kind else UNKNOWN
