"""How templates say things: times, addresses, and that no text of others is anything but text."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from issuer_job import vocabulary as v
from issuer_job.status import moments
from issuer_job.status.issuer_status import Limit
from issuer_job.status.plain import clean
from issuer_job.status.shown import CertificateStatus, State, TimelineEntry
from issuer_job.status.words import next_text
from webhook.view.page.drawing import mark_of
from webhook.view.page.query import Query

MOST_CHARACTERS, MOST_OF_A_NAME = 4000, 253
"""Of a text on a page."""
TWIN, PAGE = ".json", ".html"
"""Endings of addresses; a page whose Secret's own name ends so has one more."""
LIMITS = {
    Limit.ORDERS: "Orders",
    Limit.DOMAIN: "Certificates for one domain",
    Limit.SET: "Certificates for the same hosts",
    Limit.FAILURES: "Failed proofs of one host",
}
OLD = timedelta(minutes=2)
"""After which it is said that the API server was not heard."""


def prepare(environment: Environment) -> None:
    """What the templates use. All that they print is escaped by Jinja, and cleaned of control characters here."""
    environment.finalize = _tidy
    environment.undefined = StrictUndefined
    environment.trim_blocks = environment.lstrip_blocks = True
    environment.filters |= {
        "broken": broken,
        "iso": iso,
        "absolute": moments.absolute,
        "relative": moments.relative,
        "wait": wait,
        "span": span,
        "since": since,
        "next_text": next_text,
        "commands": commands,
        "page_of": page_of,
        "twin_of": twin_of,
        "mark": mark_of,
        "percent": percent,
    }
    environment.globals |= {
        "STATES": tuple(State),
        "LIMITS": LIMITS,
        "OLD": OLD,
        "Query": Query,
        "VERSION": v.VERSION,
    }


def _tidy(value: object) -> object:
    """Markup is what a template itself has made; all else may be anybody's."""
    return tidy(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def tidy(text: str, most: int = MOST_CHARACTERS) -> str:
    """What others wrote, within bounds and without characters that are none."""
    return clean(text if len(text) <= most else text[:most] + "\u2026")


def broken(name: str) -> Markup:
    """A name that breaks where a person would break it."""
    return Markup(".<wbr>").join(tidy(name, MOST_OF_A_NAME).split("."))


def iso(moment: datetime) -> str:
    """As `time datetime` has it."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def page_of(shown: CertificateStatus) -> str:
    """Its address."""
    path = _path(shown)
    return path + PAGE if path.endswith((TWIN, PAGE)) else path


def twin_of(shown: CertificateStatus) -> str:
    """Its address as JSON."""
    return _path(shown) + TWIN


def _path(shown: CertificateStatus) -> str:
    return f"/certificates/{quote(shown.namespace, safe='')}/{quote(shown.name, safe='')}"


def commands(shown: CertificateStatus) -> Iterator[tuple[str, str]]:
    """What can be run, and what for."""
    one = f"-n {shown.namespace} {shown.name}"
    if shown.state in {State.WAITING, State.FAILED} and shown.why is not None and shown.ready is not None:
        yield "Now", f"kubectl certjob retry {one}"
    if shown.job:
        yield "Log", f"kubectl certjob logs {one}"


def since(entry: TimelineEntry, before: TimelineEntry | None) -> str:
    """How long after the one before it, if that is of the same attempt: "+0.9s"."""
    if before is None or before.epoch != entry.epoch:
        return ""
    return f"+{moments.seconds(entry.at - before.at)}"


def wait(seconds: float) -> str:
    """A length of time that somebody waited: "1.1s", "3m4s"."""
    return moments.seconds(timedelta(seconds=seconds))


def span(seconds: float) -> str:
    """A length of time: "3h", "7d"."""
    for unit, name in ((86_400, "d"), (3600, "h")):
        if seconds >= unit and not seconds % unit:
            return f"{seconds // unit:.0f}{name}"
    return moments.short(timedelta(seconds=seconds))


def percent(part: float, whole: float) -> float:
    """At most 100."""
    return round(min(100.0, 100 * part / whole), 1) if whole > 0 else 0.0
