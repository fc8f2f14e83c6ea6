"""The Secrets that certjob writes in tenants' namespaces. Pure: they return plain dicts."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from certs import formats
from certs.placeholder import PLACEHOLDER_LIFETIME, make_placeholder
from issuer_job import vocabulary as v
from issuer_job.cluster import bodies
from issuer_job.cluster.api import Json
from issuer_job.record.record import Record
from issuer_job.tenant_secrets.access import Look


def tls_secret(
    record: Record,
    seen: Look,
    state: v.SecretState,
    *,
    chain_pem: bytes,
    key_pem: bytes,
    issuer: str,
    not_after: datetime,
    further: Mapping[str, bytes],
) -> Json:
    """The record's Secret; it replaces just the one that was seen, if one was. `further` are its other formats.

    Of a Secret that its owner makes the metadata says what is asked for, in the same words in which certjob tells
    what is issued elsewhere: what was seen of it stays.
    """
    labels = {v.MANAGED: "true", v.STATE: str(state)}
    notes = {v.NOT_AFTER: f"{not_after:{v.NOTED_TIME}}"}
    if record.secret_is_its_owners:
        labels = _certjobs(seen.metadata.get("labels")) | labels
        notes = _certjobs(seen.metadata.get("annotations")) | notes
    else:
        labels |= {v.MANAGED_BY: "certjob"}
        notes |= {v.HOSTS: ",".join(record.intent.hosts), v.ISSUER: issuer}
    metadata: Json = {"name": record.secret_name, "namespace": record.namespace, "labels": labels}
    metadata["annotations"] = notes
    if seen.found:
        metadata |= {"uid": seen.uid, "resourceVersion": seen.resource_version}
    return bodies.secret(metadata, v.TLS_SECRET_TYPE, {"tls.crt": chain_pem, "tls.key": key_pem, **further})


def placeholder_secret(record: Record, seen: Look, *, now: datetime) -> Json:
    """What an Ingress serves from until its certificate is there: a new self-signed one for the record's hosts.

    Of the formats it has those that need no password. See `tls_secret`.
    """
    made = make_placeholder(record.intent.hosts, now=now)
    chain, key = made.cert_chain_pems, made.key_pem
    return tls_secret(
        record,
        seen,
        v.SecretState.PLACEHOLDER,
        chain_pem=chain,
        key_pem=key,
        issuer=record.intent.settings.issuer,
        not_after=now + PLACEHOLDER_LIFETIME,
        further=formats.make(record.intent.settings.formats, chain_pem=chain, key_pem=key, passwords={}, now=now),
    )


def _certjobs(owners: Mapping[str, str] | None) -> dict[str, str]:
    """certjob's own labels or annotations; those of others are kept by the API server's policy."""
    return {
        key: x for key, x in (owners or {}).items() if key.startswith(v.PREFIX) and key not in {v.LOOK, v.WRITTEN_BY}
    }
