"""What `describe` asks besides: Secret, hosts from here, claims, the Job. What may not be read is left out."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import partial

from issuer_job import vocabulary as v
from issuer_job.cli.base.endings import if_allowed, is_forbidden
from issuer_job.cli.base.session import Session
from issuer_job.cli.sight.from_here import MOST, HostView, look_at
from issuer_job.cli.sight.records import RecordSight
from issuer_job.cli.sight.sight import Sight
from issuer_job.cli.telling import facts
from issuer_job.cli.telling.facts import Fact
from issuer_job.cluster.api import JOBS, PODS, SECRETS, Json, KubeError
from issuer_job.hosts.claims import claim_of
from issuer_job.issuers.schema import Issuer
from issuer_job.issuers.types import type_of
from issuer_job.status import moments
from issuer_job.status.shown import CertificateStatus


def further_facts(session: Session, sight: Sight, shown: CertificateStatus, *, lookup: bool) -> Iterator[Fact]:
    """See the module. Raises KubeError, but not for a right that is missing."""
    views = look_at(shown.hosts) if lookup else {}
    yield _secret(session, shown, views)
    yield from _hosts(session, sight, shown, views)
    if isinstance(sight, RecordSight) and shown.issuer:
        yield facts.issuer_fact(sight.issuer(shown.issuer, hosts=shown.hosts))
    elif shown.issuer:
        yield "Issuer", shown.issuer
    yield from facts.timeline_facts(shown.timeline, session.now)
    if isinstance(sight, RecordSight) and shown.job:
        yield from _job(session, shown)


def _secret(session: Session, shown: CertificateStatus, views: dict[str, HostView]) -> Fact:
    seen = [facts.served_text(shown, view) for view in views.values()]
    from_here = f"; seen from here: {', '.join(dict.fromkeys(seen))}" if seen else ""
    try:
        found = session.cluster.find(SECRETS, shown.namespace, shown.name)
    except KubeError as problem:
        if not is_forbidden(problem):
            raise
        return "Secret", f"{shown.name}: you may not read it{from_here}"
    return "Secret", f"{shown.name}: {_state(found)}{from_here}"


def _state(secret: Json | None) -> str:
    """What its labels and annotations say."""
    if secret is None:
        return "it is not there"
    labels, notes = (secret["metadata"].get(field) or {} for field in ("labels", "annotations"))
    if labels.get(v.MANAGED) != "true":
        return f"it is not certjob's: it has no label {v.MANAGED}=true"
    until = notes.get(v.NOT_AFTER, "")[:10]
    return f"{labels.get(v.STATE, 'its owner made it')}" + (f" until {until}" if until else "")


def _hosts(session: Session, sight: Sight, shown: CertificateStatus, views: dict[str, HostView]) -> Iterator[Fact]:
    issuer = sight.issuers.valid.get(shown.issuer) if isinstance(sight, RecordSight) else None
    classes = [asker.ingress_class for asker in shown.asked_by if asker.ingress_class]
    for host in shown.hosts[:MOST]:
        claim = ""
        if isinstance(sight, RecordSight):
            claim = if_allowed(partial(_claim, session, host, shown.namespace)) or ""
        how = _proven(issuer, host, classes[0] if classes else None) if issuer is not None else ""
        yield facts.host_fact(host, how=how, view=views.get(host), claim=claim)
    if len(shown.hosts) > MOST:
        yield "Host", f"and {len(shown.hosts) - MOST} more"


def _proven(issuer: Issuer, host: str, ingress_class: str | None) -> str:
    if not type_of(issuer).proves_hosts:
        return "needs no proof"
    solver = issuer.solver(host, ingress_class)
    if solver is None:
        return "no solver of the issuer is for it"
    if solver.dns01 is not None:
        return f"DNS-01 by {solver.dns01.provider}"
    return "HTTP-01 by route" + (f" in class {ingress_class}" if ingress_class else "")


def _claim(session: Session, host: str, namespace: str) -> str:
    claim = claim_of(session.cluster, host)
    if claim is None:
        return "claim: none"
    whose = claim.namespace if claim.namespace == namespace else f"{claim.namespace}, another namespace"
    return f"claim: {whose}, {'checked' if claim.checked else 'not checked yet'}"


def _job(session: Session, shown: CertificateStatus) -> Iterator[Fact]:
    where, logs = session.certjob_namespace, f"kubectl certjob logs -n {shown.namespace} {shown.name}"
    job = if_allowed(lambda: session.cluster.find(JOBS, where, shown.job))
    if not job:
        return
    labels = f"job-name={shown.job}"
    pods = if_allowed(lambda: list(session.cluster.items(PODS, where, labels=labels))) or []
    last = max(pods, key=lambda pod: str(pod["metadata"].get("creationTimestamp", "")), default=None)
    kept = _kept_until(job)
    until = f", kept until {kept:%H:%M}" if kept else ""
    yield "Job", f"{shown.job} {_pod_text(last, session.now)}{until}: {logs}"


def _pod_text(pod: Json | None, now: datetime) -> str:
    """How its pod ended, or what it does."""
    if pod is None:
        return "has no pod yet"
    status = pod.get("status") or {}
    state = next((one.get("state") or {} for one in status.get("containerStatuses") or ()), {})
    if ended := state.get("terminated"):
        code = ended.get("exitCode")
        word = next((f" ({known.name.lower().replace('_', ' ')})" for known in v.ExitCode if known == code), "")
        return f"ended with {code}{word}"
    if running := state.get("running"):
        since = datetime.fromisoformat(running["startedAt"]) if running.get("startedAt") else now
        return f"has run for {moments.short(now - since)}"
    if waiting := state.get("waiting"):
        return f"waits: {waiting.get('reason', 'its pod starts')}"
    unplaced = (one for one in status.get("conditions") or () if one.get("type") == "PodScheduled")
    found = next((one for one in unplaced if one.get("status") == "False"), None)
    return f"waits: {found.get('reason', '')}: {found.get('message', '')[:200]}" if found else "has a pod that starts"


def _kept_until(job: Json) -> datetime | None:
    """When Kubernetes deletes it, if it is over."""
    ttl, status = job["spec"].get("ttlSecondsAfterFinished"), job.get("status") or {}
    conditions = status.get("conditions") or ()
    ends = [one.get("lastTransitionTime") for one in conditions if one.get("type") in {"Complete", "Failed"}]
    if ttl is None or not ends or not ends[0]:
        return None
    return datetime.fromisoformat(ends[0]) + timedelta(seconds=ttl)
