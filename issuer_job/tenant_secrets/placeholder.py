"""The Secret that an Ingress serves from until its certificate is there."""

from __future__ import annotations

from datetime import datetime

from certs import formats
from certs.placeholder import PLACEHOLDER_LIFETIME, make_placeholder
from issuer_job import vocabulary as v
from issuer_job.cluster.api import Json
from issuer_job.record.record import Record
from issuer_job.tenant_secrets.bodies import tls_secret


def placeholder_secret(
    record: Record, *, now: datetime, uid: str = "", resource_version: str = "", owners: Json | None = None
) -> Json:
    """A managed Secret with a new self-signed certificate for the record's hosts. See `bodies.tls_secret`.

    Of the formats it has those that need no password.
    """
    made = make_placeholder(record.intent.hosts, now=now)
    chain, key = made.cert_chain_pems, made.key_pem
    return tls_secret(
        namespace=record.namespace,
        name=record.secret_name,
        state=v.SecretState.PLACEHOLDER,
        cert_chain_pem=chain,
        key_pem=key,
        hosts=record.intent.hosts,
        issuer=record.intent.settings.issuer,
        not_after=now + PLACEHOLDER_LIFETIME,
        uid=uid,
        resource_version=resource_version,
        further=formats.make(record.intent.settings.formats, chain_pem=chain, key_pem=key, passwords={}, now=now),
        owners=owners,
    )
