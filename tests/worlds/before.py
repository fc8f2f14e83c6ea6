"""What certjob 0.1.0 would have left in the place of what this version made: named by a hash of the record's name."""

from __future__ import annotations

from issuer_job import vocabulary as v
from issuer_job.cluster.api import CONFIGMAPS, INGRESSES, JOBS, SECRETS, Json, Resource
from issuer_job.record.store import from_config_map
from tests.fakes.api import FakeApi

RECORD_HASH = "certjob.io/record-hash"


def as_before(api: FakeApi) -> None:
    """All records, and all that belongs to them, as 0.1.0 would have stored them."""
    for found in api.all(CONFIGMAPS, v.NAMESPACE):
        if v.RECORD in (found["metadata"].get("labels") or {}):
            _record(api, found)


def _record(api: FakeApi, config_map: Json) -> None:
    record = from_config_map(config_map)
    uid, old = record.uid, record.old_hash
    text = config_map["data"][v.RECORD_KEY].replace(f"pending-{uid}-", f"pending-{old}-")
    config_map["data"][v.RECORD_KEY] = text.replace(',\n "version": 2', "")
    config_map["metadata"]["labels"][RECORD_HASH] = old
    api.add(CONFIGMAPS, v.NAMESPACE, config_map)
    for resource in (SECRETS, CONFIGMAPS):
        for found in api.all(resource, v.NAMESPACE):
            labels = found["metadata"].get("labels") or {}
            if labels.get(v.RECORD_UID) == uid:
                labels[RECORD_HASH] = old
                del labels[v.RECORD_UID]
                found["data"].pop(v.PENDING_OWNER, None)
                _renamed(api, resource, found, found["metadata"]["name"].replace(uid, old))
    for route in api.all(INGRESSES, v.NAMESPACE):
        notes = route["metadata"]["annotations"]
        if epoch := notes.pop(v.EPOCH_PREFIX + uid, ""):
            notes[v.EPOCH_PREFIX + old] = epoch
            api.add(INGRESSES, v.NAMESPACE, route)
    for job in api.all(JOBS, v.NAMESPACE):
        if job["metadata"]["labels"][v.RECORD_UID] == uid:
            template = job["spec"]["template"]
            for metadata in (job["metadata"], template["metadata"]):
                metadata["labels"][RECORD_HASH] = old
            for volume in template["spec"]["volumes"]:
                secret = volume["secret"]["secretName"]
                volume["secret"]["secretName"] = secret.replace(f"pending-{uid}-", f"pending-{old}-")
            _renamed(api, JOBS, job, f"{record.secret_name}-{old}-{record.epoch}")


def _renamed(api: FakeApi, resource: Resource, found: Json, name: str) -> None:
    api.remove(resource, v.NAMESPACE, found["metadata"]["name"])
    found["metadata"]["name"] = name
    api.add(resource, v.NAMESPACE, found)
