"""What a certificate's row says, and the line of what comes next. Pure."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from issuer_job.cli.out.terminal import Cell, Part, Style
from issuer_job.status import moments
from issuer_job.status.shown import CertificateStatus, State
from issuer_job.status.words import UNKNOWN, next_text

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
        UNKNOWN if "state" in shown.unknown else Cell(str(shown.state), _STYLES[shown.state]),
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


def _known(shown: CertificateStatus, field: str, text: Callable[[], str]) -> str:
    return UNKNOWN if field in shown.unknown else text()
