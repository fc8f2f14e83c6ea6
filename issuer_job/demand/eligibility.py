"""Whether an issuer may be used by all that ask for one certificate. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from issuer_job.demand.askers import READERS
from issuer_job.demand.common import host_problem
from issuer_job.issuers.schema import Issuer
from issuer_job.record.record import Source


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
