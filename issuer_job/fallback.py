"""When an issuer has been failing a certificate for long enough, its fallback has a turn. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from issuer_job.issuer_schema import Issuer
from issuer_job.record import Phase, Record


def due_fallback(record: Record, issuers: Mapping[str, Issuer], *, now: datetime) -> str:
    """Name of the issuer that shall make the next attempt at once in place of the intent's; empty: none.

    The two take turns: after an attempt of the fallback the intent's issuer is next, when its back-off is over. A
    fallback that may not be used for these hosts, or is not there, takes no turn. What `issuers` holds is valid.
    """
    own = issuers.get(record.intent.settings.issuer)
    retry, attempt = record.retry, record.attempt
    if own is None or own.fallback is None or retry is None or retry.since is None or attempt is None:
        return ""
    if record.phase not in {Phase.WAITING, Phase.FAILED} or attempt.issuer:
        return ""
    if now - retry.since < own.fallback.patience:
        return ""
    other = issuers.get(own.fallback.issuer)
    return own.fallback.issuer if other is not None and _serves(other, record) else ""


def _serves(issuer: Issuer, record: Record) -> bool:
    """Whether the issuer may be used for every host of the record, and has a way to prove it."""
    if not issuer.allows_namespace(record.namespace):
        return False
    for source in record.sources:
        klass = source.ingress_class.name
        for host in source.hosts:
            provable = not issuer.is_acme or issuer.solver(host, klass) is not None
            if not (provable and issuer.allows_host(record.namespace, host)):
                return False
        if not issuer.allows_class(klass):
            return False
    return True
