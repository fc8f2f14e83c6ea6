"""What a record's Ingresses want together: sources in, intent out. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from msgspec.structs import replace

from issuer_job.record.phases import ABSENCE_GRACE, GONE
from issuer_job.record.record import Intent, Record, Source

NO_ORDER: dict[str, Any] = {
    "ordered": False,
    "order_url": "",
    "order_expires": None,
    "replaces": "",
    "terms": "",
    "pending_key": "",
}
"""Of an attempt whose order is forgotten."""

MAX_HOSTS = 100
"""Names in one certificate: Let's Encrypt's limit."""
MAX_SOURCES = 50
"""Objects that share one certificate: each is told what becomes of it, and a route has room for as many owners."""
MAX_TOGETHER = 1000
"""Hosts of all sources of one record, each counted as often as it is named: a ConfigMap holds 1 MiB."""


def bounded(sources: tuple[Source, ...], settled: tuple[Source, ...] = ()) -> tuple[Source, ...]:
    """Those that have room in one record, in their order.

    Those that a record has, the `settled` ones, go first with the hosts that they have there: who comes later or
    grows goes over, however old it is, and takes nobody's place. Of the others the oldest go first.
    """
    if len(sources) <= MAX_SOURCES and sum(len(source.hosts) for source in sources) <= MAX_HOSTS:
        return sources
    had = {source.key: frozenset(source.hosts) for source in settled}
    by_age = sorted(sources, key=_age)
    as_before = (replace(s, hosts=tuple(h for h in s.hosts if h in had[s.key])) for s in by_age if s.key in had)
    kept: dict[str, Source] = {}
    hosts: set[str] = set()
    room = MAX_TOGETHER
    for source in (*(one for one in as_before if one.hosts), *by_age):
        before = kept.get(source.key)
        left = room - len(source.hosts) + (len(before.hosts) if before else 0)
        has_place = before is not None or len(kept) < MAX_SOURCES
        if has_place and left >= 0 and len(hosts.union(source.hosts)) <= MAX_HOSTS:
            room = left
            kept[source.key] = source
            hosts.update(source.hosts)
    return tuple(kept[source.key] for source in sources if source.key in kept)


def _age(source: Source) -> tuple[bool, float]:
    """One that is just being created has no creation time and counts as the youngest."""
    return source.created is None, source.created.timestamp() if source.created else 0.0


def union(sources: tuple[Source, ...]) -> Intent:
    """What several Ingresses on one Secret want together: all hosts, and the oldest one's settings."""
    hosts = sorted({host for source in sources for host in source.hosts})
    return Intent(hosts=tuple(hosts), settings=min(sources, key=_age).settings)


def joined(sources: tuple[Source, ...], source: Source) -> tuple[Source, ...]:
    """`sources` with `source` in the place of its former self; what is known of uid and age is kept."""
    former = next((s for s in sources if s.key == source.key), None)
    if former is None:
        return (*sources, source)
    source = replace(source, uid=source.uid or former.uid, created=source.created or former.created)
    return tuple(source if s.key == source.key else s for s in sources)


def intended(record: Record, *, sources: tuple[Source, ...], keep_order: bool = False) -> Record:
    """Other sources, as far as there is room. A changed intent raises the generation and, unless it still fits,
    forgets the order.
    """
    sources = bounded(sources, record.sources)
    intent = union(sources)
    if intent.hash == record.intent.hash:
        return replace(record, sources=sources, intent=intent)
    attempt = record.attempt
    if attempt is not None and not keep_order:
        attempt = replace(attempt, **NO_ORDER, orders_dropped=0)
    return replace(record, sources=sources, intent=intent, generation=record.generation + 1, attempt=attempt)


def asked(record: Record, *sources: Source) -> Record:
    """The record with what these ask for, too; of one that nobody wanted any more, with that alone."""
    together = () if record.phase in GONE else record.sources
    for source in sources:
        together = joined(together, source)
    return intended(record, sources=together)


def noticed_gone(record: Record, now: datetime, *, live: frozenset[str]) -> Record:
    """Mark the sources whose Ingresses are not among the `live` keys, unmark those that are."""
    sources = tuple(
        replace(source, gone_since=None if source.key in live else source.gone_since or now)
        for source in record.sources
    )
    return replace(record, sources=sources)


def without_gone(record: Record, now: datetime, *, grace: timedelta = ABSENCE_GRACE) -> Record:
    """Without the sources that have been gone for longer than `grace`; the intent may change by that."""
    left = tuple(s for s in record.sources if s.gone_since is None or now - s.gone_since < grace)
    return intended(record, sources=left)
