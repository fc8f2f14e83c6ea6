"""When an issuer has been failing a certificate for long enough, its fallback has a turn. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from certs.formats import passwords_needed
from issuer_job.demand.eligibility import refusal
from issuer_job.issuers.schema import Issuer
from issuer_job.record.record import Phase, Record


def due_fallback(record: Record, issuers: Mapping[str, Issuer], *, now: datetime) -> str:
    """Name of the issuer that shall make the next attempt at once in place of the intent's; empty: none.

    The two take turns: after an attempt of the fallback the intent's issuer is next, when its back-off is over. A
    fallback that may not be used for these hosts, or is not there, takes no turn, nor does any for key stores. What
    `issuers` holds is valid.
    """
    own = issuers.get(record.intent.settings.issuer)
    retry, attempt = record.retry, record.attempt
    if own is None or own.fallback is None or retry is None or retry.since is None or attempt is None:
        return ""
    if record.phase not in {Phase.WAITING, Phase.FAILED} or attempt.issuer:
        return ""
    if passwords_needed(record.intent.settings.formats):
        return ""  # its credentials have other passwords: the stores could not be opened any more
    if now - retry.since < own.fallback.patience:
        return ""
    other = issuers.get(own.fallback.issuer)
    if other is None or refusal(other, namespace=record.namespace, sources=record.sources):
        return ""
    return own.fallback.issuer
