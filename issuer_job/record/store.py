"""The records as they are stored: ConfigMaps in certjob's namespace."""

from __future__ import annotations

from issuer_job import vocabulary as v
from issuer_job.cluster.api import CONFIGMAPS, Cluster
from issuer_job.record.record import Record, from_config_map


def live_record(cluster: Cluster, name: str) -> Record | None:
    """The record as it is stored now. Raises RecordError, KubeError."""
    found = cluster.find(CONFIGMAPS, v.NAMESPACE, name)
    return None if found is None else from_config_map(found)


def fresh(cluster: Cluster, record: Record) -> Record | None:
    """The record with its history, if it still is the one that was listed. Raises KubeError, RecordError."""
    found = cluster.find(CONFIGMAPS, v.NAMESPACE, record.name)
    if found is None or found["metadata"]["resourceVersion"] != record.resource_version:
        return None
    return from_config_map(found)
