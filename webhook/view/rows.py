"""A certificate in numbers and words: what the view keeps of a record. Pure.

Whatever claims to be a record is read: whoever wrote it, nothing large is kept of it, and nothing odd gets through.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta

from issuer_job import names
from issuer_job.cluster.api import Json
from issuer_job.metrics.families import OTHER
from issuer_job.record.record import Record
from issuer_job.record.store import from_config_map
from issuer_job.status.shown import CertificateStatus, State
from issuer_job.status.status import ready_between, status, unreadable
from webhook.view.families import TYPES
from webhook.view.packing import pack

MOST_HOSTS = 8192
"""Characters: a certificate has at most 100 hosts."""
_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_NAME = re.compile(r"[a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class CertificateRow:
    """Times are in seconds since 1970, 0 where there is none.

    From `ready_from` to `ready_until` the Secret holds a trusted certificate for all hosts, if nothing happens;
    `known`: whether anything is known of that. `problem` is a type of the closed list, empty if nothing fails.
    """

    namespace: str
    name: str
    issuer: str
    state: State
    known: bool = True
    ready_from: float = 0.0
    ready_until: float = 0.0
    not_before: float = 0.0
    not_after: float = 0.0
    renewal: float = 0.0
    failures: int = 0
    problem: str = ""
    hosts: str = ""
    """Separated by spaces."""

    @property
    def is_wanted(self) -> bool:
        """Whether anything asks for it."""
        return self.state is not State.GONE

    def is_ready(self, now: float) -> bool:
        """Whether the Secret holds a trusted certificate, in date, for all the hosts."""
        return self.ready_from <= now < self.ready_until

    def is_pressing(self, now: float) -> bool:
        """Whether it fails, has no certificate, or one in the last third of its life."""
        last_third = self.not_after - (self.not_after - self.not_before) / 3
        return bool(self.failures) or not self.is_ready(now) or now >= last_third


@dataclass(frozen=True, slots=True)
class Read:
    """What came of reading a record. `packed` is the record, or why it cannot be read."""

    row: CertificateRow
    packed: bytes | str
    record: Record | None


def read_row(config_map: Json, *, now: datetime, interval: timedelta) -> Read:
    """Raises nothing."""
    try:
        record = from_config_map(config_map)
        row = _row(status(record, now=now, interval=interval), ready_between(record))
        if not (_NAMESPACE.fullmatch(row.namespace) and _NAME.fullmatch(row.name)):
            raise ValueError("it names no Secret")
        return Read(row, pack(record), record)
    except Exception as problem:  # noqa: BLE001 - times beyond all calendars, and what else may have been written
        why = str(problem)[:300]
        return Read(_row(unreadable(config_map["metadata"]["name"], why), None), why, None)


def _row(told: CertificateStatus, ready: tuple[datetime, datetime] | None) -> CertificateRow:
    certificate = told.certificate
    known = told.ready is not None
    kind = told.why.type if told.why is not None else ""
    return CertificateRow(
        namespace=told.namespace,
        name=told.name,
        issuer=told.issuer if names.is_issuer_name(told.issuer) else "",
        state=told.state,
        known=known,
        ready_from=ready[0].timestamp() if ready else 0.0,
        ready_until=ready[1].timestamp() if ready else 0.0,
        not_before=certificate.not_before.timestamp() if certificate else 0.0,
        not_after=certificate.not_after.timestamp() if certificate else 0.0,
        renewal=certificate.renewal_at.timestamp() if certificate else 0.0,
        failures=max(0, told.next.failures) if known else 1,
        problem=kind if kind in TYPES or not kind else OTHER,
        hosts=" ".join(told.hosts)[:MOST_HOSTS],
    )
