"""What is shown of a certificate: the parts of the published schema (docs/status.schema.json). Pure."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

import msgspec


class Evidence(StrEnum):
    """What it was told from."""

    RECORDS = "records"
    """certjob's own: all that is known."""
    OBJECTS = "objects"
    """Ingresses, Secrets' metadata and Events in the namespace, and what hosts serve: a tenant's view."""


class State(StrEnum):
    """Where a certificate stands, in a word. Whether it is ready is another question: see `CertificateStatus`."""

    ISSUED = "Issued"
    ISSUING = "Issuing"
    RENEWING = "Renewing"
    WAITING = "Waiting"
    FAILED = "Failed"
    GONE = "Gone"


class NextStep(StrEnum):
    """What comes next."""

    RENEWAL = "renewal"
    UNDER_WAY = "under way"
    """A Job is at work; `Next.at` is when it began."""
    LAUNCH = "launch"
    RETRY = "retry"
    LIMIT = "limit"
    """It waits for a limit of its issuer, or for its turn: no failure."""
    CHANGE = "change"
    """Only a change helps; `Next.at` is when it is tried all the same."""
    REMOVAL = "removal"
    """Nobody asks for it."""
    UNKNOWN = "unknown"


class Shown(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Part of the published schema: every field is always there. Times are aware, in UTC."""


class Why(Shown, frozen=True):
    """What stands in the way. `means` and `do` are for people, `detail` are the words of whoever said no."""

    type: str
    means: str
    detail: str
    host: str
    step: str
    do: str
    docs: str

    @property
    def sentence(self) -> str:
        """All of it but what to do."""
        host = self.host if self.host not in self.detail else ""
        kind = ", ".join(filter(None, (self.type, host)))
        said = f': "{self.detail}"' if self.detail else ""
        return f"{self.means} ({kind}){said}" if kind else self.means


class Next(Shown, frozen=True):
    """What happens by itself, and when; `failures` so far in a row. `detail` says more of what is under way."""

    what: NextStep
    at: datetime | None = None
    failures: int = 0
    detail: str = ""


class Certificate(Shown, frozen=True):
    """What the Secret holds, as far as is known; `renewal_at` is when the next one is due."""

    serial: str
    hosts: tuple[str, ...]
    not_before: datetime
    not_after: datetime
    issued_at: datetime
    renewal_at: datetime
    by_hand: bool
    """Its owner put it there."""
    revoked: bool


class AskedBy(Shown, frozen=True):
    """What asks for the certificate; `gone`: it is away just now."""

    kind: str
    name: str
    ingress_class: str
    gone: bool


class TimelineEntry(Shown, frozen=True):
    """One event; `type` is that of the problem, if it is about one, and `until` when it was to be tried again."""

    at: datetime
    epoch: int
    event: str
    detail: str
    type: str
    until: datetime | None = None


class CertificateStatus(Shown, frozen=True):
    """`ready`: the Secret holds a trusted certificate, in date, for all the hosts; None if that is not known.
    `expires` is when what the Secret holds ends, a placeholder, too. `unknown` are fields that could not be found out
    with the rights of whoever asked.

    State and ready are independent: a certificate whose renewal fails is Waiting, and ready. `job` is the name of the
    current attempt's Job, which is gone ten minutes after its end.
    """

    namespace: str
    name: str
    ready: bool | None
    state: State
    phase: str
    hosts: tuple[str, ...]
    issuer: str
    asked_by: tuple[AskedBy, ...]
    asked_since: datetime | None
    why: Why | None
    next: Next
    certificate: Certificate | None
    job: str
    epoch: int
    attempt_at: datetime | None
    reason: str
    """Why the current attempt was launched, a word of `LaunchReason`."""
    timeline: tuple[TimelineEntry, ...]
    expires: datetime | None = None
    unknown: tuple[str, ...] = ()
