"""The gauges of the view, derived from the snapshot at each scrape: nothing is told of what is gone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

from issuer_job.metrics.families import Sample, Samples
from issuer_job.status.issuer_status import IssuerStatus
from issuer_job.status.shown import State
from webhook.view import families as f
from webhook.view.issuers import statuses
from webhook.view.rows import CertificateRow
from webhook.view.snapshot import Snapshot
from webhook.view.sweeps import EndedSweep, SweepSchedule

MOST_SERIES = 20_000
"""Certificates that have series of their own; with more, only those that are pressing."""


def gauges(snapshot: Snapshot, *, now: datetime, most: int = MOST_SERIES) -> Samples:
    """Everything as it is at that time."""
    rows, seconds = snapshot.certificates.rows(), now.timestamp()
    issuers = statuses(snapshot.issuers.issuers, snapshot.states, Counter(row.issuer for row in rows), now)
    yield from certificate_gauges(rows, now=seconds, most=most)
    yield f.CERTIFICATES, _counted(rows, [issuer.name for issuer in issuers], seconds)
    yield from issuer_gauges(issuers)
    yield from sweep_gauges(snapshot.schedule, snapshot.pods.last_sweep)
    yield f.SNAPSHOT, [((), snapshot.heard_at())]


def certificate_gauges(rows: Sequence[CertificateRow], *, now: float, most: int) -> Samples:
    """Of each certificate that somebody wants, or of the pressing ones if there are more than `most`. Pure."""
    wanted = [row for row in rows if row.state is not State.GONE]
    truncated = len(wanted) > most
    told = [row for row in wanted if row.is_pressing(now)] if truncated else wanted
    labelled = [((row.namespace, row.name, row.issuer), row) for row in told]
    yield f.READY, ((labels, row.is_ready(now)) for labels, row in labelled if row.known)
    yield f.NOT_BEFORE, ((labels, row.not_before) for labels, row in labelled if row.not_after)
    yield f.NOT_AFTER, ((labels, row.not_after) for labels, row in labelled if row.not_after)
    yield f.RENEWAL, ((labels, row.renewal) for labels, row in labelled if row.not_after)
    yield f.FAILING, (((*labels, row.problem), row.failures) for labels, row in labelled if row.failures)
    yield f.TRUNCATED, [((), truncated)]


def _counted(rows: Iterable[CertificateRow], issuers: Iterable[str], now: float) -> Iterator[Sample]:
    counts = Counter[tuple[str, State, bool]]()
    there = set(issuers)
    for row in rows:
        counts[row.issuer if row.issuer in there else f.UNKNOWN_ISSUER, row.state, row.is_ready(now)] += 1
    for issuer in sorted(there | {issuer for issuer, _, _ in counts}):
        for state in State:
            for ready in (True, False):
                yield (issuer, str(state), str(ready).lower()), counts[issuer, state, ready]


def issuer_gauges(issuers: Sequence[IssuerStatus]) -> Samples:
    """Of each issuer. Pure."""
    yield f.ISSUER_READY, (((one.name,), one.ready) for one in issuers if one.ready is not None)
    limits = [((one.name, str(use.limit)), use) for one in issuers for use in one.limits]
    yield f.LIMIT, ((labels, use.allowed) for labels, use in limits)
    yield f.LIMIT_USED, ((labels, use.used) for labels, use in limits)


def sweep_gauges(schedule: SweepSchedule | None, last: EndedSweep | None) -> Samples:
    """What is not known is left out. Pure."""
    if schedule is not None:
        yield f.SWEEP_INTERVAL, [((), schedule.interval.total_seconds())]
        if schedule.last_success is not None:
            yield f.SWEEP_SUCCESS, [((), schedule.last_success.timestamp())]
    if last is not None:
        yield f.SWEEP_SECONDS, [((), last.word.seconds)]
        counts = {**last.word.counts, "trouble": last.word.trouble}
        if last.policies_in_force:
            yield f.SWEEP_ITEMS, [((what,), counts.get(what, 0)) for what in f.ITEMS]
        if last.policies_in_force is not None:
            yield f.POLICIES, [((), last.policies_in_force)]
