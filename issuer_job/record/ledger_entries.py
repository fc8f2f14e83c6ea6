"""What a record remembers for the limits of its issuer's CA. Pure; `ledger` counts over all records."""

from __future__ import annotations

from datetime import datetime, timedelta

from msgspec.structs import replace

from issuer_job.record.record import Counted, LedgerEntry, Problem, Record

MOST_FAILED = 4
"""Failed validations of a host in an hour, after which what its owner changes starts no attempt: Let's Encrypt allows
five, and one is left for certjob's own.
"""
LEDGER_LENGTH = 100
LEDGER_HOSTS = 1000
"""In all entries of a record: it has to fit into a ConfigMap, whose limit is 1 MiB."""
WINDOWS = {
    Counted.ORDER: timedelta(hours=3),
    Counted.CERTIFICATE: timedelta(days=7),
    Counted.FAILURE: timedelta(hours=1),
}
"""How long what counts against a limit has to be remembered: the periods of Let's Encrypt's limits."""
TOMBSTONE = max(WINDOWS.values())
"""How long a record stays after its certificate was given up."""


def with_order(record: Record, *, now: datetime, exempt: bool) -> Record:
    """One more order."""
    return _with(record, Counted.ORDER, now, exempt=exempt)


def with_certificate(record: Record, hosts: tuple[str, ...], *, now: datetime) -> Record:
    """One more certificate; as exempt as its order was."""
    order = next((entry for entry in reversed(record.ledger) if entry.kind is Counted.ORDER), None)
    return _with(record, Counted.CERTIFICATE, now, hosts, exempt=order is not None and order.exempt)


def with_failure(record: Record, problem: Problem, *, now: datetime) -> Record:
    """A failed validation counts against the CA's limit for its host; other problems do not."""
    if problem.step != "authorization" or not problem.host:
        return record
    return _with(record, Counted.FAILURE, now, (problem.host,))


def worn_out(record: Record, now: datetime) -> tuple[str, datetime] | None:
    """A host of the intent that failed too often within an hour, and when it may be tried again; None if all may."""
    found, issuer = [], record.intent.settings.issuer
    for host in record.intent.hosts:
        failures = (e for e in record.ledger if (e.kind, e.issuer) == (Counted.FAILURE, issuer) and host in e.hosts)
        ends = sorted(end for e in failures if (end := e.at + WINDOWS[Counted.FAILURE]) > now)
        if len(ends) >= MOST_FAILED:
            found.append((host, min(ends[-MOST_FAILED], now + WINDOWS[Counted.FAILURE])))
    return max(found, key=lambda pair: pair[1], default=None)


def remembered(ledger: tuple[LedgerEntry, ...], entry: LedgerEntry, *, now: datetime) -> tuple[LedgerEntry, ...]:
    """The ledger with the entry, without what no limit looks back to, nor the oldest for which there is no room."""
    looked_at = (*(old for old in ledger if now - old.at < WINDOWS[old.kind]), entry)[-LEDGER_LENGTH:]
    while sum(len(old.hosts) for old in looked_at) > LEDGER_HOSTS:
        looked_at = looked_at[1:]
    return looked_at


def _with(
    record: Record, kind: Counted, now: datetime, hosts: tuple[str, ...] = (), *, exempt: bool = False
) -> Record:
    issuer = record.issuer
    entry = LedgerEntry(at=now, kind=kind, issuer=issuer, hosts=hosts, exempt=exempt)
    return replace(record, ledger=remembered(record.ledger, entry, now=now))
