"""What fails and why, what is due, what is left of the limits, and whether sweeps come."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from datetime import datetime

from issuer_job.status.advice import advice_for, anchor
from issuer_job.status.shown import State
from webhook.view.page.document import Due, Overview, ProblemGroup
from webhook.view.page.listing import ends, is_due
from webhook.view.page.query import SPANS
from webhook.view.page.source import PageSource
from webhook.view.rows import CertificateRow

MOST_SHOWN = 5
"""Certificates of one problem that are shown; there is a list of all of them."""
MOST_PROBLEMS = 20
"""Problems of which certificates are shown; of the others their number."""


def overview(source: PageSource, now: datetime) -> Overview:
    """Of all that there is."""
    rows, seconds = source.rows(), now.timestamp()
    wanted = [row for row in rows if row.is_wanted]
    ready = Counter(row.is_ready(seconds) if row.known else None for row in wanted)
    return Overview(
        at=now,
        heard_at=source.heard_at(),
        certificates=len(wanted),
        ready=ready[True],
        not_ready=ready[False],
        unknown=ready[None],
        gone=len(rows) - len(wanted),
        under_way=sum(row.state in {State.ISSUING, State.RENEWING} for row in wanted),
        problems=tuple(_grouped(source, wanted, now)),
        due=tuple(
            Due(
                within=span,
                renewals=sum(is_due(row, seconds, span) for row in wanted),
                ends=sum(ends(row, seconds, span) for row in wanted),
            )
            for span in SPANS
        ),
        issuers=tuple(source.issuers(now)),
        last_sweep=source.last_sweep(now),
    )


def _grouped(source: PageSource, wanted: Iterable[CertificateRow], now: datetime) -> Iterator[ProblemGroup]:
    """By type of problem: first what keeps most certificates from being ready."""
    seconds, found = now.timestamp(), defaultdict[str, list[CertificateRow]](list)
    for row in wanted:
        if kind := source.problem_of(row):
            found[kind].append(row)
    not_ready = {kind: sum(row.known and not row.is_ready(seconds) for row in rows) for kind, rows in found.items()}
    order = sorted(found, key=lambda kind: (-not_ready[kind], -len(found[kind]), kind))
    for place, kind in enumerate(order):
        urgent = sorted(found[kind], key=lambda row: (row.is_ready(seconds), row.not_after, row.namespace, row.name))
        means, do = advice_for(kind).plain
        yield ProblemGroup(
            type=kind,
            means=means,
            do=do,
            docs=anchor(kind),
            count=len(urgent),
            not_ready=not_ready[kind],
            items=tuple(source.certificates(urgent[:MOST_SHOWN], now)) if place < MOST_PROBLEMS else (),
        )
