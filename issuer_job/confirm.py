"""What the live Ingresses want: the record's intent is only a hint until they confirm it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from msgspec.structs import replace

from issuer_job import claims, intents, issuers, transitions
from issuer_job import vocabulary as v
from issuer_job.attempt import Attempt, Later, Permanent, Resolved, Unwanted
from issuer_job.issuers import Issuer, IssuerError, Issuers
from issuer_job.kube import CONFIGMAPS, INGRESSES, NAMESPACES, Json
from issuer_job.polling import Poll
from issuer_job.record import Problem, Settings, Source
from issuer_job.wants import annotations_of, named_secrets, opts_in, wants

PATIENCE = timedelta(seconds=30)
"""How long an Ingress may take from admission to storage."""


def resolve_issuer(attempt: Attempt) -> Resolved:
    """Read the issuer that the record names. Raises Later if it is missing or broken: an operator edits it."""
    settings = attempt.record.intent.settings
    found = attempt.cluster.find(CONFIGMAPS, v.NAMESPACE, settings.issuer)
    if found is None or (found["metadata"].get("labels") or {}).get(v.ISSUER) != "true":
        attempt.issuer_version = issuers.ABSENT
        raise Later(Problem(type="unknownIssuer", detail=f"there is no issuer {settings.issuer}", step="issuer"))
    attempt.issuer_version = issuers.version(found)
    try:
        issuer = issuers.parse(found)
    except IssuerError as problem:
        raise Later(Problem(type="brokenIssuer", detail=str(problem), step="issuer")) from None
    return _resolved(settings, issuer)


def _resolved(settings: Settings, issuer: Issuer) -> Resolved:
    return Resolved(
        name=settings.issuer,
        issuer=issuer,
        key_algorithm=settings.key_algorithm or issuer.key_algorithm,
        profile=settings.profile or issuer.profile or None,
        preferred_chain=settings.preferred_chain or issuer.preferred_chain or None,
    )


def confirm(attempt: Attempt, resolved: Resolved) -> Resolved:
    """Make the record's intent what the live Ingresses want.

    The Job may start before the Ingress is stored, and a change may be on its way: waits a while for the
    live state to become what admission saw, then the live state wins. Returns the values that hold then.
    Raises Unwanted, Later. An Ingress that names the Secret but cannot be certified as it is now stops the attempt:
    a certificate without its hosts must not take the place of one that has them.
    """
    started = attempt.clock()
    poll = Poll(started=started, deadline=min(started + PATIENCE, attempt.deadline))
    while True:
        found = _live(attempt, resolved)
        intent = intents.union(found.sources) if found.sources else None
        if intent is not None and intent.hash == attempt.record.intent.hash:
            break
        delay = poll.delay(now=attempt.clock())
        if delay is None:
            break
        attempt.sleep(delay.total_seconds())
    if intent is not None and intent.settings.issuer != resolved.name:
        named = intent.settings.issuer
        detail = f"the Ingress names issuer {named} now; if there is no such issuer, correct the annotation"
        raise Later(Problem(type="issuerChanged", detail=detail, step="confirm"), wait=timedelta(0))
    if found.wrong and (intent is None or intent.hash != attempt.record.intent.hash):
        raise Later(Problem(type="notCertifiable", detail=found.wrong, step="confirm"))
    if intent is None:
        raise Unwanted("no live Ingress wants this Secret")
    attempt.ingresses = found.ingresses
    if found.sources != attempt.record.sources:
        if intent.hash == attempt.record.intent.hash:
            # Only uid and age were learnt: the next write takes them along.
            attempt.record = replace(attempt.record, sources=found.sources, intent=intent)
        else:
            attempt.advance(transitions.confirmed, sources=found.sources)
    return _resolved(attempt.record.intent.settings, resolved.issuer)


def hold_hosts(attempt: Attempt) -> None:
    """Every host must be claimed by this namespace. Raises Permanent."""
    namespace = attempt.record.namespace
    for host in attempt.record.intent.hosts:
        held_by = claims.holder(attempt.cluster, host) or claims.take(attempt.cluster, host, namespace)
        if held_by != namespace:
            detail = "another namespace had this host first"
            raise Permanent(Problem(type="hostClaimed", detail=detail, host=host, step="claims"))


@dataclass(frozen=True)
class _Live:
    """The live Ingresses that want the Secret, and the sources that they are for the record.

    `wrong` says of one that names the Secret why nothing can be certified for it.
    """

    ingresses: list[Json]
    sources: tuple[Source, ...]
    wrong: str = ""


def _live(attempt: Attempt, resolved: Resolved) -> _Live:
    record = attempt.record
    ingresses, sources, wrong = [], [], ""
    for ingress in _candidates(attempt):
        # Whatever issuer it names: of several Ingresses on one Secret the oldest decides. Whom another issuer serves
        # is that issuer's word, which the launcher has heard.
        names_it = annotations_of(ingress).get(v.ISSUER) or resolved.name
        issuer = resolved.issuer if names_it == resolved.name else _for_everybody(resolved.issuer)
        known = Issuers({names_it: issuer}, {}, default=resolved.name)
        enabled = _namespace_enabled(attempt, ingress)
        wanted = wants(ingress, issuers=known, namespace_enabled=enabled)
        mine = [entry.source for entry in wanted.entries if entry.secret_name == record.secret_name]
        if mine:
            ingresses.append(ingress)
            sources += mine
        elif record.secret_name in named_secrets(ingress, namespace_enabled=enabled):
            notices = "; ".join(notice.message for notice in wanted.notices)
            wrong = f"Ingress {ingress['metadata']['name']} names the Secret, but: {notices}"
    return _Live(ingresses, tuple(sources), wrong)


def _for_everybody(issuer: Issuer) -> Issuer:
    return replace(issuer, allowed_namespaces=(), ingress_classes=(), private_names=True)


def _candidates(attempt: Attempt) -> list[Json]:
    """The Ingresses the record knows by name; with generateName the name is only known now: all of the namespace."""
    record = attempt.record
    if all(source.name for source in record.sources):
        found = (attempt.cluster.find(INGRESSES, record.namespace, source.name) for source in record.sources)
        return [ingress for ingress in found if ingress is not None]
    return list(attempt.cluster.items(INGRESSES, record.namespace))


def _namespace_enabled(attempt: Attempt, ingress: Json) -> bool:
    """Asked only when the Ingress does not opt in by itself."""
    if opts_in(ingress, namespace_enabled=False) or not opts_in(ingress, namespace_enabled=True):
        return False
    namespace = attempt.cluster.find(NAMESPACES, None, ingress["metadata"]["namespace"]) or {}
    labels = namespace.get("metadata", {}).get("labels") or {}
    return bool(labels.get(v.NAMESPACE_ENABLED) == "true")
