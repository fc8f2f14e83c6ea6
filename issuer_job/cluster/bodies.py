"""Bodies of the plain objects that hold data. Pure: they return dicts, and know nothing of what is in them."""

from __future__ import annotations

from base64 import b64encode

from issuer_job import vocabulary as v
from issuer_job.cluster.api import Json


def own_metadata(
    name: str, labels: dict[str, str], *, annotations: dict[str, str] | None = None, owner: Json | None = None
) -> Json:
    """Of an object in certjob's namespace, deleted with its owner, of which this is the ownerReference."""
    metadata: Json = {"name": name, "namespace": v.NAMESPACE, "labels": labels | {v.MANAGED_BY: "certjob"}}
    metadata |= {"annotations": annotations} if annotations else {}
    return metadata | ({"ownerReferences": [owner]} if owner else {})


def secret(metadata: Json, kind: str, data: dict[str, bytes]) -> Json:
    """A Secret of the type `kind`; `data` as it is, not yet in base64."""
    encoded = {key: b64encode(value).decode() for key, value in data.items()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": kind, "data": encoded}


def config_map(metadata: Json, data: dict[str, str]) -> Json:
    """A ConfigMap."""
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}
