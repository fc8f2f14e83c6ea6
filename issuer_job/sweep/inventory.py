"""What a sweep has to know of the whole cluster, read in pages and kept small: Ingresses, records, Jobs."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar

from msgspec.structs import replace

from issuer_job import vocabulary as v
from issuer_job.cluster.api import CONFIGMAPS, INGRESSES, JOBS, NAMESPACES, Cluster, Gone, Json, KubeError
from issuer_job.demand.ingress import Entry, named_secrets, own_entry, wants
from issuer_job.hosts.precedence import Namers
from issuer_job.issuers.load import Issuers
from issuer_job.launch.jobs import is_finished
from issuer_job.record.record import Record, RecordError, from_config_map
from issuer_job.upkeep.leftovers import leftover_keys
from issuer_job.upkeep.limits import Ledger

logger = logging.getLogger(__name__)

ROUNDS = 3
Key = tuple[str, str]
"""Namespace and name of a Secret."""
T = TypeVar("T")


@dataclass
class Live:
    """What the live Ingresses say. `bare` are those that the webhook never saw and whose spec.tls is empty."""

    entries: dict[Key, list[Entry]] = field(default_factory=lambda: defaultdict(list))
    named_by: dict[Key, set[str]] = field(default_factory=lambda: defaultdict(set))
    namers: Namers = field(default_factory=Namers)
    """Who names which host in any Ingress, opted in or not."""
    bare: list[Json] = field(default_factory=list)
    count: int = 0


@dataclass
class Known:
    """The records, without their histories; `leftover_keys` are those that may have left pending keys over."""

    records: dict[Key, Record] = field(default_factory=dict)
    ledger: Ledger = field(default_factory=Ledger)
    leftover_keys: set[Key] = field(default_factory=set)
    unreadable: int = 0


def read_live(cluster: Cluster, issuers: Issuers) -> Live:
    """All Ingresses. Raises KubeError, so that half a list is never taken for the whole."""
    enabled = read_enabled(cluster)

    def read() -> Live:
        live = Live()
        for ingress in cluster.items(INGRESSES):
            _add(live, ingress, issuers, enabled)
        return live

    return _whole(read, "Ingresses")


def read_known(cluster: Cluster, *, now: datetime) -> Known:
    """All records; one that cannot be read is logged and left alone. Raises KubeError."""

    def read() -> Known:
        known = Known()
        for config_map in cluster.items(CONFIGMAPS, v.NAMESPACE, labels=f"{v.RECORD}=true"):
            try:
                record = from_config_map(config_map)
            except RecordError as problem:
                logger.error("record", extra={"fields": {"problem": str(problem)}})
                known.unreadable += 1
                continue
            key = (record.namespace, record.secret_name)
            known.ledger.add(record)
            if leftover_keys(record, now=now):
                known.leftover_keys.add(key)
            known.records[key] = replace(record, history=(), ledger=())
        return known

    return _whole(read, "records")


def read_jobs(cluster: Cluster) -> Mapping[str, bool]:
    """Of each Job in certjob's namespace whether it has finished. Raises KubeError."""
    return _whole(
        lambda: {job["metadata"]["name"]: is_finished(job) for job in cluster.items(JOBS, v.NAMESPACE)}, "Jobs"
    )


def read_enabled(cluster: Cluster) -> frozenset[str]:
    """The namespaces whose Ingresses are all opted in. Raises KubeError."""
    labelled = cluster.items(NAMESPACES, labels=f"{v.NAMESPACE_ENABLED}=true")
    return frozenset(namespace["metadata"]["name"] for namespace in labelled)


def _add(live: Live, ingress: Json, issuers: Issuers, enabled: frozenset[str]) -> None:
    metadata = ingress["metadata"]
    namespace = metadata["namespace"]
    live.count += 1
    live.namers.add(ingress)
    if namespace in v.EXCLUDED_NAMESPACES:
        return
    for secret_name in named_secrets(ingress, namespace_enabled=namespace in enabled):
        live.named_by[namespace, secret_name].add(metadata["name"])
    wanted = wants(ingress, issuers=issuers, namespace_enabled=namespace in enabled)
    if wanted.added is not None and own_entry(ingress) is None:
        live.named_by[namespace, wanted.added.secret_name].add(metadata["name"])  # its entry was lost on the way
        live.bare.append(ingress)
        return
    for entry in wanted.entries:
        live.entries[namespace, entry.secret_name].append(entry)


def _whole(read: Callable[[], T], what: str) -> T:
    """Read a collection; when a page's token expires it starts again."""
    for _ in range(ROUNDS):
        try:
            return read()
        except Gone:
            continue
    raise KubeError(f"the list of {what} keeps expiring")
