"""The Secrets that certjob writes, or pretends to write, in tenants' namespaces. Pure: they return plain dicts."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from issuer_job import vocabulary as v
from issuer_job.cluster import bodies
from issuer_job.cluster.api import Json

_NOTHING: Mapping[str, bytes] = {}


def tls_secret(
    *,
    namespace: str,
    name: str,
    state: v.SecretState,
    cert_chain_pem: bytes,
    key_pem: bytes,
    hosts: tuple[str, ...],
    issuer: str,
    not_after: datetime,
    uid: str = "",
    resource_version: str = "",
    further: Mapping[str, bytes] = _NOTHING,
    owners: Json | None = None,
) -> Json:
    """A managed Secret. With uid and resourceVersion it replaces just the object that was looked at.

    `further` are the formats that it has besides. `owners` is the metadata of a Secret that its owner makes: what is
    asked for is written there, in the same words in which certjob tells what is issued elsewhere, and stays.
    """
    labels = {v.MANAGED: "true", v.STATE: str(state)}
    notes = {v.NOT_AFTER: f"{not_after:%Y-%m-%dT%H:%M:%SZ}"}
    if owners is None:
        labels |= {v.MANAGED_BY: "certjob"}
        notes |= {v.HOSTS: ",".join(hosts), v.ISSUER: issuer}
    else:
        labels = _certjobs(owners.get("labels")) | labels
        notes = _certjobs(owners.get("annotations")) | notes
    metadata: Json = {"name": name, "namespace": namespace, "labels": labels, "annotations": notes}
    if resource_version:
        metadata |= {"uid": uid, "resourceVersion": resource_version}
    return bodies.secret(metadata, v.TLS_SECRET_TYPE, {"tls.crt": cert_chain_pem, "tls.key": key_pem, **further})


def look_secret(namespace: str, name: str, *, asking: bool = False) -> Json:
    """The body of a look: sent with dryRun, answered with the stored data if the Secret is managed.

    With `asking` the webhook is sent it, although the stored Secret may have lost the label.
    """
    metadata = {
        "name": name,
        "namespace": namespace,
        "labels": {v.MANAGED: "true"} | ({v.REQUEST: "true"} if asking else {}),
        "annotations": {v.LOOK: "true"},
    }
    return bodies.secret(metadata, v.TLS_SECRET_TYPE, {"tls.crt": b"", "tls.key": b""})


def canary_secret() -> Json:
    """What certjob must never be able to write: the policies have to refuse it (sent with dryRun)."""
    return bodies.secret({"name": "certjob-canary", "namespace": v.CANARY_NAMESPACE}, "Opaque", {})


def _certjobs(owners: Mapping[str, str] | None) -> dict[str, str]:
    """certjob's own labels or annotations; those of others are kept by the API server's policy."""
    return {key: x for key, x in (owners or {}).items() if key.startswith(v.PREFIX) and key != v.LOOK}
