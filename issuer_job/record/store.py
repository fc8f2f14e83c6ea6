"""The records as they are stored: ConfigMaps in certjob's namespace. Every write is a compare-and-swap."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime
from typing import Concatenate, ParamSpec, TypeVar, cast

import msgspec
from msgspec.structs import replace

from issuer_job import vocabulary as v
from issuer_job.cluster import bodies, changes
from issuer_job.cluster.api import CONFIGMAPS, Cluster, Json
from issuer_job.cluster.changes import UNREAD, Unread
from issuer_job.record.annotations import read_moment
from issuer_job.record.record import ACTIVE, SCHEMA_VERSION, Record, RecordError

P = ParamSpec("P")
R = TypeVar("R", bound=Record | None)
Arrow = Callable[Concatenate[Record, datetime, P], Record]
"""A function of `transitions`: the record after something happened, given the moment and whatever else it takes."""


def to_config_map(record: Record) -> Json:
    """The record as a ConfigMap; its uid and resourceVersion make the write a compare-and-swap."""
    labels = {
        v.RECORD: "true",
        v.RECORD_NAMESPACE: record.namespace,
        v.STATE: record.state,
    }
    if record.phase in ACTIVE:
        labels[v.AT_WORK] = "true"
    version = max(record.version, record.reader_version)
    stored = msgspec.json.encode(replace(record, uid="", resource_version="", version=version))
    data = {v.RECORD_KEY: msgspec.json.format(stored, indent=1).decode()}
    annotations = {v.HOSTS: ",".join(record.intent.hosts)[:4096]}
    body = bodies.config_map(bodies.own_metadata(record.name, labels, annotations=annotations), data)
    if record.resource_version:
        body["metadata"] |= {"resourceVersion": record.resource_version, "uid": record.uid}
    return body


def from_config_map(config_map: Json) -> Record:
    """Read a record. Raises RecordError, also if it is another's than its ConfigMap is named for."""
    metadata: Json = config_map["metadata"]
    text = (config_map.get("data") or {}).get(v.RECORD_KEY, "")
    try:
        record = msgspec.json.decode(text, type=Record)
    except (msgspec.DecodeError, RecursionError) as problem:
        raise RecordError(f"record {metadata['name']}: {problem}") from None
    if record.version > SCHEMA_VERSION:
        raise RecordError(f"record {metadata['name']}: written by a later certjob (version {record.version})")
    if record.name != metadata["name"]:
        raise RecordError(f"record {metadata['name']}: it says that it is {record.name}")
    asked = read_moment((metadata.get("annotations") or {}).get(v.RENEW, ""))
    return replace(
        record,
        version=1,
        uid=metadata.get("uid", ""),
        resource_version=metadata.get("resourceVersion", ""),
        renew=asked or record.renew,
    )


def live_record(cluster: Cluster, name: str) -> Record | None:
    """The record as it is stored now. Raises RecordError, KubeError."""
    found = cluster.find(CONFIGMAPS, v.NAMESPACE, name)
    return None if found is None else from_config_map(found)


def list_records(cluster: Cluster, namespace: str) -> Iterator[Record]:
    """The records of one namespace's certificates, without what cannot be read. Raises KubeError."""
    return _listed(cluster, f"{v.RECORD}=true,{v.RECORD_NAMESPACE}={namespace}")


def list_all(cluster: Cluster) -> Iterator[Record]:
    """The records of all namespaces' certificates, without what cannot be read. Raises KubeError."""
    return _listed(cluster, f"{v.RECORD}=true")


def list_at_work(cluster: Cluster) -> Iterator[Record]:
    """Those of all namespaces whose attempts are under way. Raises KubeError."""
    return _listed(cluster, f"{v.RECORD}=true,{v.AT_WORK}=true")


def _listed(cluster: Cluster, labels: str) -> Iterator[Record]:
    for config_map in cluster.items(CONFIGMAPS, v.NAMESPACE, labels=labels):
        with suppress(RecordError):  # the sweep tells of it
            yield from_config_map(config_map)


def fresh(cluster: Cluster, record: Record) -> Record | None:
    """The record with its history, if it still is the one that was listed. Raises KubeError, RecordError."""
    live = live_record(cluster, record.name)
    return live if live is not None and live.resource_version == record.resource_version else None


def write_record(cluster: Cluster, wanted: Record) -> Record | None:
    """Create the record, or put it in the place of the one that was read, once; as it is stored then.

    None if somebody was faster. Raises KubeError.
    """
    body = to_config_map(wanted)
    held = body if wanted.resource_version else None
    done = changes.swap(cluster, CONFIGMAPS, v.NAMESPACE, held, body)
    return None if done is None else from_config_map(done.after)


def delete_record(cluster: Cluster, record: Record) -> bool:
    """Delete exactly the record that was read; False if it is another by now. Raises KubeError."""
    return changes.swap(cluster, CONFIGMAPS, v.NAMESPACE, to_config_map(record), None) is not None


def change_record(
    cluster: Cluster, name: str, edit: Callable[[Record | None], R], *, held: Unread | None = UNREAD
) -> R:
    """Make the record what `edit` says, whoever else writes it, and return it: see `changes.change`.

    None from `edit` leaves what is stored as it is, and is returned. Raises RecordError, KubeError.
    """
    wanted: Record | None = None

    def edited(stored: Json | None) -> Json | None:
        nonlocal wanted
        former = None if stored is None else from_config_map(stored)
        wanted = edit(former)
        return stored if wanted is None or wanted == former else to_config_map(wanted)

    what = f"the record {name}"
    done = changes.change(cluster, CONFIGMAPS, v.NAMESPACE, name, edited, held=held, what=what)
    return cast(R, None if wanted is None or done.after is None else from_config_map(done.after))
