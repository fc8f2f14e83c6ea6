"""The Secret that an Ingress serves from until its certificate is there."""

from __future__ import annotations

from datetime import datetime

from certs.placeholder import PLACEHOLDER_LIFETIME, make_placeholder
from issuer_job import objects
from issuer_job import vocabulary as v
from issuer_job.kube import Json
from issuer_job.record import Record


def placeholder_secret(record: Record, *, now: datetime, uid: str = "", resource_version: str = "") -> Json:
    """A managed Secret with a new self-signed certificate for the record's hosts. See `objects.tls_secret`."""
    made = make_placeholder(record.intent.hosts, now=now)
    return objects.tls_secret(
        namespace=record.namespace,
        name=record.secret_name,
        state=v.SecretState.PLACEHOLDER,
        cert_chain_pem=made.cert_chain_pems,
        key_pem=made.key_pem,
        hosts=record.intent.hosts,
        issuer=record.intent.settings.issuer,
        not_after=now + PLACEHOLDER_LIFETIME,
        uid=uid,
        resource_version=resource_version,
    )
