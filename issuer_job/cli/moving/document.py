"""The report of a move as a document."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Literal

from issuer_job.migrate.plans.steps import MoveRow
from issuer_job.status.shown import Shown


class MoveItem(Shown, frozen=True, kw_only=True):
    """What becomes of one certificate, and why."""

    namespace: str
    name: str
    asker: str
    now_from: str
    will_be: str
    why: str


class MoveReport(Shown, frozen=True, kw_only=True):
    """All that is to be moved, as it was `at` that time."""

    api_version: Literal["certjob.io/v1"] = "certjob.io/v1"
    kind: Literal["MoveReport"] = "MoveReport"
    at: datetime
    items: tuple[MoveItem, ...]


def report(rows: Iterable[MoveRow], at: datetime) -> MoveReport:
    """The rows."""
    items = (
        MoveItem(
            namespace=row.namespace,
            name=row.secret_name,
            asker=row.asker,
            now_from=row.now_from,
            will_be=str(row.will_be),
            why=row.why,
        )
        for row in rows
    )
    return MoveReport(at=at, items=tuple(items))
