"""Whether what is waited for is there. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum

from certs.hostnames import covers
from issuer_job.cli.sight.from_here import HostView
from issuer_job.cli.sight.names import Name, NameKind
from issuer_job.status import moments
from issuer_job.status.shown import CertificateStatus, State
from issuer_job.status.words import next_text

RECENT = timedelta(minutes=10)
"""How long it is of interest how long it took."""


class Progress(Enum):
    """What became of one target."""

    PENDING = "pending"
    DONE = "done"
    STUCK = "stuck"
    """Only a change helps."""


@dataclass(frozen=True)
class Standing:
    """One certificate of a target, or the target itself while it has none; `text` says where it stands."""

    label: str
    progress: Progress
    text: str
    shown: CertificateStatus | None = None

    @property
    def step(self) -> object:
        """Another one when something has happened; seconds that pass are nothing."""
        shown = self.shown
        if shown is None or self.progress is not Progress.PENDING:
            return self.text
        return shown.state, shown.phase, shown.epoch, self.text if shown.state is State.ISSUED else ""


@dataclass(frozen=True)
class Target:
    """What is waited for, in a namespace; None: in any. `hosts` are those that it has to be good for."""

    namespace: str | None
    name: Name | None = None
    hosts: tuple[str, ...] = ()

    def standings(self, every: Iterable[CertificateStatus], now: datetime) -> list[Standing]:
        """Of each of its certificates; of one that is not there yet, that it is waited for."""
        here = (one for one in every if self.namespace in {None, one.namespace} and one.state is not State.GONE)
        found = list(here) if self.name is None else self.name.chosen(here)
        if not found and self.name is not None:
            return [Standing(self._label, Progress.PENDING, "certjob knows nothing of it yet")]
        return [self._standing(one, now) for one in found]

    def _standing(self, shown: CertificateStatus, now: datetime) -> Standing:
        progress, text = _progress(shown, now)
        if progress is Progress.DONE and not all(covers(shown.hosts, host) for host in self.hosts):
            progress, text = Progress.PENDING, "certjob has not seen all of its hosts yet"
        return Standing(f"{shown.namespace}/{shown.name}", progress, text, shown)

    @property
    def _label(self) -> str:
        name = self.name.given if self.name is not None else ""
        if self.name is not None and self.name.kind is NameKind.SECRET:
            name = self.name.name
        return f"{self.namespace}/{name}" if self.namespace is not None else name


def _progress(shown: CertificateStatus, now: datetime) -> tuple[Progress, str]:
    if shown.state in {State.ISSUING, State.RENEWING}:
        return Progress.PENDING, next_text(shown, now)
    if shown.ready:
        return Progress.DONE, _issued(shown, now)
    if shown.state is State.FAILED:
        why = f"{shown.why.type}, {shown.why.means}" if shown.why is not None else "only a change helps"
        return Progress.STUCK, f"Failed: {why}"
    if "state" in shown.unknown or (shown.ready is None and shown.state is State.ISSUED):
        return Progress.PENDING, "you may not read whether it is there"
    return Progress.PENDING, f"{shown.state}: {next_text(shown, now)}"


def _issued(shown: CertificateStatus, now: datetime) -> str:
    made, began = shown.certificate, shown.attempt_at
    if made is not None and began is not None and began <= made.issued_at and now - made.issued_at < RECENT:
        return f"Issued in {moments.seconds(made.issued_at - began)}"
    return f"Issued, until {shown.expires:%Y-%m-%d}" if shown.expires is not None else "Issued"


def with_views(standing: Standing, views: Mapping[str, HostView]) -> Standing:
    """One that is there as its hosts show it: each that can be asked has to serve it."""
    for host, view in views.items():
        served, shown = view.served, standing.shown
        if served is None:
            return replace(standing, progress=Progress.PENDING, text=f"{host}: {view.problem}")
        known = shown.certificate if shown is not None else None
        is_it = served.trusted if known is None else int(known.serial or "0", 16) == int(served.serial, 16)
        if not is_it:
            other = "a certificate that is not trusted here" if known is None else "another certificate"
            what = "the placeholder" if served.placeholder else other
            return replace(standing, progress=Progress.PENDING, text=f"{host}: {what} is served")
    return replace(standing, text=f"{standing.text}; served")
