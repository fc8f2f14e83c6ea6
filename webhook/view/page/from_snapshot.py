"""The page's source: the view's snapshot."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from issuer_job.status.issuer_status import IssuerStatus
from issuer_job.status.shown import CertificateStatus
from issuer_job.status.status import issuer_problem
from webhook.view.issuers import statuses
from webhook.view.page.document import LastSweep
from webhook.view.rows import CertificateRow
from webhook.view.snapshot import Snapshot
from webhook.view.sweeps import SweepSchedule

STALE_AFTER = 4
"""Intervals without a sweep that succeeds."""


class SnapshotSource:
    """See PageSource."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def is_complete(self) -> bool:
        """See PageSource."""
        return self._snapshot.is_complete()

    def heard_at(self) -> datetime:
        """See PageSource."""
        return datetime.fromtimestamp(self._snapshot.heard_at(), UTC)

    def rows(self) -> Sequence[CertificateRow]:
        """See PageSource."""
        return self._snapshot.certificates.rows()

    def find(self, namespace: str, name: str) -> CertificateRow | None:
        """See PageSource."""
        return self._snapshot.certificates.find(namespace, name)

    def problem_of(self, row: CertificateRow) -> str:
        """See PageSource."""
        if row.problem or not row.is_wanted or not row.known:
            return row.problem
        problem = issuer_problem(row.issuer, self._snapshot.issuers.issuers)
        return problem.type if problem is not None else ""

    def certificates(self, rows: Iterable[CertificateRow], now: datetime) -> list[CertificateStatus]:
        """See PageSource."""
        held, issuers = self._snapshot.certificates, self._snapshot.issuers.issuers
        found = (held.status(row, now=now, issuers=issuers) for row in rows)
        return [one for one in found if one is not None]

    def issuers(self, now: datetime) -> Sequence[IssuerStatus]:
        """See PageSource."""
        snapshot = self._snapshot
        counted = Counter(row.issuer for row in snapshot.certificates.rows() if row.is_wanted)
        return statuses(snapshot.issuers.issuers, snapshot.states, counted, now)

    def last_sweep(self, now: datetime) -> LastSweep:
        """See PageSource."""
        schedule = self._snapshot.schedule or SweepSchedule()
        ended, success = self._snapshot.pods.last_sweep, schedule.last_success
        word = ended.word if ended is not None else None
        return LastSweep(
            succeeded_at=success,
            interval=schedule.interval.total_seconds(),
            stale=success is not None and now - success > STALE_AFTER * schedule.interval,
            ended_at=ended.at if ended is not None else None,
            seconds=word.seconds if word is not None else 0.0,
            exit_code=word.exit_code if word is not None else None,
            problem=word.problem if word is not None else "",
            trouble=word.trouble if word is not None else 0,
            counts=dict(word.counts) if word is not None else {},
        )
