"""What a sweep has to know of the whole cluster, read in pages and kept small: what asks, records, Jobs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from msgspec.structs import replace

from issuer_job import log
from issuer_job import vocabulary as v
from issuer_job.cluster.api import CONFIGMAPS, JOBS, NAMESPACES, Cluster, read_whole
from issuer_job.demand.askers import Asker, list_askers
from issuer_job.demand.common import Entry
from issuer_job.hosts.precedence import Namers
from issuer_job.issuers.load import Issuers
from issuer_job.launch.jobs import is_finished
from issuer_job.record.record import Record, RecordError
from issuer_job.record.store import from_config_map
from issuer_job.upkeep.leftovers import leftover_keys
from issuer_job.upkeep.limits import Ledger

Key = tuple[str, str]
"""Namespace and name of a Secret."""


@dataclass
class Live:
    """What the live objects say. `bare` are those that the webhook never saw: they lack what it adds.

    `named_by` has the keys of what names a Secret, see `Source.key`.
    """

    entries: dict[Key, list[Entry]] = field(default_factory=lambda: defaultdict(list))
    named_by: dict[Key, set[str]] = field(default_factory=lambda: defaultdict(set))
    namers: Namers = field(default_factory=Namers)
    """Who names which host in any of them, opted in or not."""
    bare: list[Asker] = field(default_factory=list)
    count: int = 0


@dataclass
class Known:
    """The records, without their histories; `leftover_keys` are those that may have left pending keys over."""

    records: dict[Key, Record] = field(default_factory=dict)
    ledger: Ledger = field(default_factory=Ledger)
    leftover_keys: set[Key] = field(default_factory=set)
    unreadable: int = 0


def read_live(cluster: Cluster, issuers: Issuers) -> Live:
    """All objects that can be listed. Raises KubeError, so that half a list is never taken for the whole."""
    enabled = read_enabled(cluster)

    def read() -> Live:
        live = Live()
        for asker in list_askers(cluster):
            _add(live, asker, issuers, enabled)
        return live

    return read_whole(read, "what may ask for certificates")


def read_known(cluster: Cluster, *, now: datetime) -> Known:
    """All records; one that cannot be read is logged and left alone. Raises KubeError."""

    def read() -> Known:
        known = Known()
        for config_map in cluster.items(CONFIGMAPS, v.NAMESPACE, labels=f"{v.RECORD}=true"):
            try:
                record = from_config_map(config_map)
            except RecordError as problem:
                log.error("record", problem=str(problem))
                known.unreadable += 1
                continue
            key = (record.namespace, record.secret_name)
            known.ledger.add(record)
            if leftover_keys(record, now=now):
                known.leftover_keys.add(key)
            known.records[key] = replace(record, history=(), ledger=())
        return known

    return read_whole(read, "records")


def read_jobs(cluster: Cluster) -> Mapping[str, bool]:
    """Of each Job in certjob's namespace whether it has finished. Raises KubeError."""
    return read_whole(
        lambda: {job["metadata"]["name"]: is_finished(job) for job in cluster.items(JOBS, v.NAMESPACE)}, "Jobs"
    )


def read_enabled(cluster: Cluster) -> frozenset[str]:
    """The namespaces whose Ingresses are all opted in. Raises KubeError."""
    labelled = cluster.items(NAMESPACES, labels=f"{v.NAMESPACE_ENABLED}=true")
    return frozenset(namespace["metadata"]["name"] for namespace in labelled)


def _add(live: Live, asker: Asker, issuers: Issuers, enabled: frozenset[str]) -> None:
    namespace = asker.namespace
    live.count += 1
    live.namers.add(asker)
    if namespace in v.EXCLUDED_NAMESPACES:
        return
    namespace_enabled = namespace in enabled
    wanted = asker.reader.wants(asker.object, issuers=issuers, namespace_enabled=namespace_enabled)
    named = asker.reader.named_secrets(asker.object, namespace_enabled=namespace_enabled)
    for secret_name in named | {entry.secret_name for entry in wanted.entries}:
        live.named_by[namespace, secret_name].add(asker.kind.key(asker.name))
    if wanted.completed is not None:
        live.bare.append(asker)
        return
    for entry in wanted.entries:
        live.entries[namespace, entry.secret_name].append(entry)
