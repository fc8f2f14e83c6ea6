"""Why there is no certificate for what somebody names: the Ingress as it is, read as certjob reads it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from certs.hostnames import normalize
from issuer_job import vocabulary as v
from issuer_job.cli.base.endings import is_forbidden
from issuer_job.cli.base.session import Session
from issuer_job.cli.sight.names import Name, NameKind
from issuer_job.cli.sight.sight import Sight
from issuer_job.cli.telling.facts import Fact
from issuer_job.cluster.api import INGRESSES, Json, KubeError
from issuer_job.demand import ingress as demand
from issuer_job.demand.askers import is_enabled
from issuer_job.hosts.claims import claim_of
from issuer_job.status.shown import Evidence

WARNINGS = "docs/troubleshooting.md#warnings-at-kubectl-apply"


def absent_facts(session: Session, sight: Sight, name: Name) -> Iterator[Fact]:
    """What is known of a name that no certificate is for; nothing if nothing is. Raises KubeError."""
    namespace = session.namespace
    if namespace is None:
        return
    if name.kind is NameKind.INGRESS:
        found = session.cluster.find(INGRESSES, namespace, name.name, read=demand.from_list)
        asking = [] if found is None else [found]
    elif name.may_be_host:
        host = normalize(name.name)
        every = session.cluster.items(INGRESSES, namespace, read=demand.from_list)
        asking = [one for one in every if host in set(demand.named_hosts(one))]
        if (holder := _holder(session, sight, host)) and holder != namespace:
            yield "Host", f"{host} is held by namespace {holder}: see docs/hosts.md"
    else:
        return
    for one in asking:
        yield from _of_ingress(session, sight, one)


def _of_ingress(session: Session, sight: Sight, one: Json) -> Iterator[Fact]:
    namespace, name = one["metadata"]["namespace"], one["metadata"]["name"]
    yield "Ingress", f"{namespace}/{name}, without a certificate of certjob's"
    enabled = is_namespace_enabled(session, namespace)
    if not demand.opts_in(one, namespace_enabled=bool(enabled)):
        unsure = "" if enabled is not None else " (its namespace's label certjob.io/enabled could not be read)"
        yield "Why", f"it does not ask for one{unsure}"
        yield "Do", f"kubectl annotate ingress -n {namespace} {name} {v.TLS_ACME}=true"
        return
    from issuer_job.cli.sight.records import RecordSight

    if not isinstance(sight, RecordSight):
        yield "Why", "it asks for one; what became of that the records know, which you may not read"
        yield "Do", f"kubectl certjob check -n {namespace} ingress/{name}"
        return
    wants = demand.wants(one, issuers=sight.issuers, namespace_enabled=bool(enabled))
    for notice in wants.notices:
        yield "Why", f"{notice.message} ({notice.reason})"
    if not wants.entries:
        yield "Do", f"see {WARNINGS}" if wants.notices else "kubectl certjob doctor"
        return
    names = ", ".join(entry.secret_name for entry in wants.entries)
    yield "Next", f"a sweep launches what it wants ({names}): the webhook has not seen it; or send it again"
    yield "Do", "docs/troubleshooting.md#send-an-ingress-through-the-webhook-again"


def is_namespace_enabled(session: Session, namespace: str) -> bool | None:
    """Whether the namespace opts in for all in it; None if that may not be read."""
    try:
        return is_enabled(session.cluster, namespace)
    except KubeError as problem:
        if not is_forbidden(problem):
            raise
        return None


def _holder(session: Session, sight: Sight, host: str) -> str:
    """Which namespace has the host, as far as whoever asks may know."""
    if sight.evidence is Evidence.RECORDS:
        with suppress(KubeError):
            claim = claim_of(session.cluster, host)
            return claim.namespace if claim is not None else ""
    return ""
