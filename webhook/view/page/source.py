"""Where the page has it from: what the view keeps in memory. No request asks the API server."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Protocol

from issuer_job.status.issuer_status import IssuerStatus
from issuer_job.status.shown import CertificateStatus
from webhook.view.page.document import LastSweep
from webhook.view.rows import CertificateRow


class PageSource(Protocol):
    """Asked from any thread; `now` is what the answer is for."""

    def is_complete(self) -> bool:
        """Whether everything was listed once: before, nothing is known."""

    def heard_at(self) -> datetime:
        """When all of it was known to be so."""

    def rows(self) -> Sequence[CertificateRow]:
        """Every certificate in short."""

    def find(self, namespace: str, name: str) -> CertificateRow | None:
        """The one that is in that Secret."""

    def certificates(self, rows: Iterable[CertificateRow], now: datetime) -> list[CertificateStatus]:
        """All that is to be said of these, in their order, without those that are gone by now."""

    def problem_of(self, row: CertificateRow) -> str:
        """The type of what stands in the way of one, empty if nothing does: as `CertificateStatus.why` has it."""

    def issuers(self, now: datetime) -> Sequence[IssuerStatus]:
        """Every issuer, by name."""

    def last_sweep(self, now: datetime) -> LastSweep:
        """What the last sweep said, as far as is known."""
