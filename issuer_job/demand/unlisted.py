"""What cannot be listed is known by its record alone: it is written down in any case, and kept alive. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta

from issuer_job.demand.common import Entry
from issuer_job.record import intents, transitions
from issuer_job.record.phases import GONE, Phase
from issuer_job.record.record import Problem, Record, Source


def standing(record: Record) -> tuple[Source, ...]:
    """The sources that only their record keeps alive, as long as nobody has seen that they ask no more."""
    if record.phase in GONE:
        return ()
    return tuple(source for source in record.sources if not source.kind.listed and source.gone_since is None)


def held_up(
    existing: Record | None,
    entry: Entry,
    problem: Problem,
    *,
    namespace: str,
    now: datetime,
    wait: timedelta,
    issuer: str,
) -> Record | None:
    """The record of a certificate that cannot be ordered as things stand; None if it need not be written.

    An attempt or a certificate for the same intent is left alone. `issuer` stands for the issuer's configuration:
    when that is another one, or after `wait`, the sweep tries again.
    """
    name, sources = entry.secret_name, (entry.source,)
    record = with_new_intent(existing, entry) if existing else None
    if existing is None:
        record = transitions.wanted(namespace=namespace, secret_name=name, sources=sources, now=now)
    return record and transitions.waiting(record, problem=problem, now=now, wait=wait, issuer=issuer)


def with_new_intent(existing: Record, entry: Entry) -> Record | None:
    """The record with what the entry asks for, before it moves; None if it says so already."""
    record = intents.asked(existing, entry.source)
    same = record.intent.hash == existing.intent.hash and existing.phase not in GONE | {Phase.WANTED}
    return None if same else record
