"""What a certificate's row says, and the line of what comes next. Pure."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from issuer_job.cli.out import moments
from issuer_job.cli.out.terminal import Cell, Part, Style
from issuer_job.status.status import CertificateStatus, NextStep, State

UNKNOWN = "?"
HEADERS = ("NAMESPACE", "CERTIFICATE", "READY", "STATE", "HOSTS", "ISSUER", "EXPIRES", "NEXT")
WIDE = ("ASKED BY", "AGE", "SERIAL")
_STYLES = {
    State.ISSUED: Style.GOOD,
    State.ISSUING: Style.BOLD,
    State.RENEWING: Style.BOLD,
    State.WAITING: Style.WARN,
    State.FAILED: Style.BAD,
    State.GONE: Style.DIM,
}


def headers(*, wide: bool = False) -> tuple[str, ...]:
    """Of the table."""
    return HEADERS[:-1] + WIDE + HEADERS[-1:] if wide else HEADERS


def row(shown: CertificateStatus, now: datetime, *, wide: bool = False) -> list[Part]:
    """A row of the table."""
    cells: list[Part] = [
        shown.namespace,
        shown.name,
        ready(shown),
        Cell(str(shown.state), _STYLES[shown.state]),
        _known(shown, "hosts", lambda: hosts(shown)),
        _known(shown, "issuer", lambda: shown.issuer or "-"),
        _known(shown, "expires", lambda: moments.short(shown.expires - now) if shown.expires else "-"),
    ]
    if wide:
        cells += [
            _known(shown, "askedBy", lambda: ",".join(f"{one.kind}/{one.name}" for one in shown.asked_by) or "-"),
            moments.short(now - shown.asked_since) if shown.asked_since else UNKNOWN,
            _known(shown, "certificate", lambda: shown.certificate.serial if shown.certificate else "-"),
        ]
    return [*cells, next_text(shown, now)]


def ready(shown: CertificateStatus) -> Part:
    """Whether it is, in a word."""
    if shown.ready is None:
        return UNKNOWN
    return Cell("yes", Style.GOOD) if shown.ready else Cell("no", Style.BAD)


def hosts(shown: CertificateStatus) -> str:
    """The first, and how many more."""
    more = len(shown.hosts) - 1
    return "-" if more < 0 else shown.hosts[0] + (f" +{more}" if more else "")


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


def _known(shown: CertificateStatus, field: str, text: Callable[[], str]) -> str:
    return UNKNOWN if field in shown.unknown else text()
