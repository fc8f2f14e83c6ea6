"""Whether an issuer may be used by all that ask for one certificate, and when its fallback has a turn. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from certs.formats import passwords_needed
from issuer_job.demand.askers import READERS
from issuer_job.demand.common import host_problem
from issuer_job.issuers.schema import Issuer
from issuer_job.record.record import Phase, Record, Source


def refusal(issuer: Issuer, *, namespace: str, sources: Iterable[Source], own: str = "") -> str:
    """Why the issuer has no certificate for what the sources want together, in a sentence; empty if it has.

    Each of them may have named another issuer, whose word on hosts counts for nothing here. `own` is this one's name:
    a source that named another may be of a class that this one is not for.
    """
    if not issuer.allows_namespace(namespace):
        return f"the issuer is not for namespace {namespace}"
    for source in sources:
        asker = f"{source.kind} {source.name or source.generate_name}"
        names_it = source.settings.issuer == own or not own
        if names_it and not READERS[source.kind].serves(issuer, source):
            return f"{asker}: the issuer is not for its {source.kind} class"
        for host in source.hosts:
            problem = host_problem(host, issuer, namespace=namespace, ingress_class=source.ingress_class.name)
            if problem is not None:
                return f"{asker}: {problem.message}"
    return ""


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
