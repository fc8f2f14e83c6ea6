"""What the live Ingresses and Secrets want: the record's intent is only a hint until they confirm it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from msgspec.structs import replace

from issuer_job import vocabulary as v
from issuer_job.attempt import events
from issuer_job.attempt.attempt import Attempt, Later, Resolved, Unwanted
from issuer_job.cluster.api import CONFIGMAPS, INGRESSES, NAMESPACES, Json
from issuer_job.demand import secret as requests
from issuer_job.demand.eligibility import refusal
from issuer_job.demand.ingress import annotations_of, named_secrets, opts_in, wants
from issuer_job.issue import install
from issuer_job.issuers.load import ABSENT, IssuerError, Issuers, is_issuer, issuer_version, parse_issuer
from issuer_job.issuers.schema import Issuer
from issuer_job.issuers.types import SELF_SIGNED
from issuer_job.polling import Poll
from issuer_job.record import intents, transitions
from issuer_job.record.record import Problem, Settings, Source, SourceKind

PATIENCE = timedelta(seconds=30)
"""How long an Ingress may take from admission to storage."""


def resolve_issuer(attempt: Attempt) -> Resolved:
    """Read the issuer that the record names. Raises Later if it is missing or broken: an operator edits it."""
    settings = attempt.record.intent.settings
    name = attempt.record.issuer
    found = attempt.cluster.find(CONFIGMAPS, v.NAMESPACE, name)
    if found is None or not is_issuer(found):
        attempt.issuer_version = ABSENT
        raise Later(Problem(type="unknownIssuer", detail=f"there is no issuer {name}", step="issuer"))
    attempt.issuer_version = issuer_version(found)
    try:
        issuer = parse_issuer(found)
    except IssuerError as problem:
        raise Later(Problem(type="brokenIssuer", detail=str(problem), step="issuer")) from None
    return _resolved(name, settings, issuer)


def _resolved(name: str, settings: Settings, issuer: Issuer) -> Resolved:
    return Resolved(
        name=name,
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
    if intent is not None and intent.settings.issuer != attempt.record.intent.settings.issuer:
        named = intent.settings.issuer
        detail = f"the Ingress names issuer {named} now; if there is no such issuer, correct the annotation"
        raise Later(Problem(type="issuerChanged", detail=detail, step="confirm"), wait=timedelta(0))
    if found.wrong and (intent is None or intent.hash != attempt.record.intent.hash):
        raise Later(Problem(type="notCertifiable", detail=found.wrong, step="confirm"))
    if intent is None:
        raise Unwanted("no live Ingress wants this Secret")
    own = attempt.record.intent.settings.issuer
    if refused := refusal(resolved.issuer, namespace=attempt.record.namespace, sources=found.sources, own=own):
        detail = f"issuer {resolved.name} is to certify all hosts that ask for this Secret, but: {refused}"
        raise Later(Problem(type="notCertifiable", detail=detail, step="confirm"))
    attempt.ingresses = found.ingresses
    if found.sources != attempt.record.sources:
        if intent.hash == attempt.record.intent.hash:
            # Only uid and age were learnt: the next write takes them along.
            attempt.record = replace(attempt.record, sources=found.sources, intent=intent)
        else:
            attempt.advance(transitions.confirmed, sources=found.sources)
    return _resolved(resolved.name, attempt.record.intent.settings, resolved.issuer)


@dataclass(frozen=True)
class _Live:
    """What asks for the Secret's certificate, and the sources that it is for the record.

    `wrong` says of one that names the Secret why nothing can be certified for it.
    """

    ingresses: list[Json]
    sources: tuple[Source, ...]
    wrong: str = ""


def _live(attempt: Attempt, resolved: Resolved) -> _Live:
    record = attempt.record
    own = record.intent.settings.issuer  # the issuer of this attempt may be that one's fallback
    ingresses, sources, wrong = [], [], ""
    for ingress in _candidates(attempt):
        known = _known(ingress, own, resolved.issuer)
        enabled = _namespace_enabled(attempt, ingress)
        wanted = wants(ingress, issuers=known, namespace_enabled=enabled)
        mine = [entry.source for entry in wanted.entries if entry.secret_name == record.secret_name]
        if mine:
            ingresses.append(ingress)
            sources += mine
        elif record.secret_name in named_secrets(ingress, namespace_enabled=enabled):
            notices = "; ".join(notice.message for notice in wanted.notices)
            wrong = f"Ingress {ingress['metadata']['name']} names the Secret, but: {notices}"
    if any(source.kind is SourceKind.SECRET for source in record.sources):
        asking, problem = _secrets_word(attempt, own, resolved.issuer)
        wrong = problem or wrong
        if asking is not None:
            ingresses.append(events.asker(asking, record.namespace))
            sources.append(asking)
    return _Live(ingresses, tuple(sources), wrong)


def _secrets_word(attempt: Attempt, own: str, issuer: Issuer) -> tuple[Source | None, str]:
    """What the Secret asks for itself, and what is wrong with that. Raises Later, Permanent."""
    record = attempt.record
    seen = install.look(attempt)
    if not seen.found:
        return None, ""
    secret = {"metadata": seen.metadata}
    if not requests.asks(secret):
        return None, ""
    asked = requests.asked(secret, issuers=_known(secret, own, issuer))
    if asked.entry is None or asked.entry.problem is not None:
        return None, f"Secret {record.secret_name}: " + "; ".join(notice.message for notice in asked.notices)
    return asked.entry.source, ""


def _known(asker: Json, own: str, issuer: Issuer) -> Issuers:
    """The issuer it names. Of several that ask for one Secret the oldest decides, and its issuer has to serve all."""
    names_it = annotations_of(asker).get(v.ISSUER) or own
    return Issuers({names_it: issuer if names_it == own else _FOR_EVERYBODY}, {}, default=own)


_FOR_EVERYBODY = Issuer(type=SELF_SIGNED.name)
"""Takes every namespace and host."""


def _candidates(attempt: Attempt) -> list[Json]:
    """The Ingresses the record knows by name; with generateName the name is only known now: all of the namespace."""
    record = attempt.record
    sources = [source for source in record.sources if source.kind is SourceKind.INGRESS]
    if all(source.name for source in sources):
        found = (attempt.cluster.find(INGRESSES, record.namespace, source.name) for source in sources)
        return [ingress for ingress in found if ingress is not None]
    return list(attempt.cluster.items(INGRESSES, record.namespace))


def _namespace_enabled(attempt: Attempt, ingress: Json) -> bool:
    """Asked only when the Ingress does not opt in by itself."""
    if opts_in(ingress, namespace_enabled=False) or not opts_in(ingress, namespace_enabled=True):
        return False
    namespace = attempt.cluster.find(NAMESPACES, None, ingress["metadata"]["namespace"]) or {}
    labels = namespace.get("metadata", {}).get("labels") or {}
    return bool(labels.get(v.NAMESPACE_ENABLED) == "true")
