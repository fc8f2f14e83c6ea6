"""What the live objects want that ask: the record's intent is only a hint until they confirm it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from msgspec.structs import replace

from issuer_job import vocabulary as v
from issuer_job.attempt.attempt import Attempt, Later, Resolved, Unwanted
from issuer_job.cluster.api import CONFIGMAPS, Json
from issuer_job.demand.askers import Asker, find_askers, is_enabled
from issuer_job.demand.common import annotations_of
from issuer_job.demand.eligibility import refusal
from issuer_job.hosts.at_order import options_for
from issuer_job.issue import install
from issuer_job.issuers.load import ABSENT, IssuerError, Issuers, is_issuer, issuer_version, parse_issuer
from issuer_job.issuers.schema import Issuer
from issuer_job.issuers.types import SELF_SIGNED
from issuer_job.polling import Poll
from issuer_job.record import intents, transitions
from issuer_job.record.record import Problem, Source

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
    return Resolved.of(name, issuer, settings)


def confirm(attempt: Attempt, resolved: Resolved) -> Resolved:
    """Make the record's intent what live objects want.

    The Job may start before the object is stored, and a change may be on its way: waits a while for the
    live state to become what admission saw, then the live state wins. Returns the values that hold then.
    One that names the Secret but cannot be certified as it is now stops the attempt: a certificate without its hosts
    must not take the place of one that has them. Raises Unwanted, Later, Permanent, KubeError.
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
        attempt.load()  # what is wanted may change on the way, too
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
    attempt.confirmed = found.sources
    if found.sources != attempt.record.sources:
        if intent.hash == attempt.record.intent.hash:
            # Only uid and age were learnt: the next write takes them along.
            attempt.record = replace(attempt.record, sources=found.sources, intent=intent)
        else:
            attempt.advance(transitions.confirmed, sources=found.sources, known=attempt.record.sources)
            if attempt.record.sources != found.sources:
                return confirm(attempt, resolved)  # somebody has joined meanwhile
    return Resolved.of(resolved.name, resolved.issuer, attempt.record.intent.settings)


@dataclass(frozen=True)
class _Live:
    """The sources that the record has now; `wrong` says of one that names the Secret why nothing can be certified."""

    sources: tuple[Source, ...]
    wrong: str = ""


def _live(attempt: Attempt, resolved: Resolved) -> _Live:
    """Raises Later, Permanent, KubeError."""
    record = attempt.record
    own = record.intent.settings.issuer  # the issuer of this attempt may be that one's fallback
    sources, wrong = [], ""
    for found in find_askers(attempt.cluster, record, look=lambda: _looked_at(attempt)):
        asker = _aliased(attempt, found)
        known = _known(asker, own, resolved.issuer)
        enabled = _namespace_enabled(attempt, asker)
        wanted = asker.reader.wants(asker.object, issuers=known, namespace_enabled=enabled)
        mine = wanted.of(record.secret_name)
        if mine is not None and mine.problem is None:
            sources.append(mine.source)
        elif record.secret_name in asker.reader.named_secrets(asker.object, namespace_enabled=enabled):
            notices = "; ".join(notice.message for notice in wanted.notices)
            wrong = f"{asker.kind} {asker.name} asks for this certificate, but: {notices}"
    return _Live(intents.bounded(tuple(sources), record.sources), wrong)


def _aliased(attempt: Attempt, asker: Asker) -> Asker:
    """With what other tools' annotations say, if the operator has them read. Raises Later, KubeError."""
    aliased = asker.aliased
    return aliased if aliased is not asker and options_for(attempt).cert_manager_annotations else asker


def _looked_at(attempt: Attempt) -> Json | None:
    seen = install.look(attempt)
    return seen.metadata if seen.found else None


def _known(asker: Asker, own: str, issuer: Issuer) -> Issuers:
    """The issuer it names. Of several that ask for one Secret the oldest decides, and its issuer has to serve all."""
    names_it = annotations_of(asker.object).get(v.ISSUER) or own
    return Issuers({names_it: issuer if names_it == own else _FOR_EVERYBODY}, {}, default=own)


_FOR_EVERYBODY = Issuer(type=SELF_SIGNED.name)
"""Takes every namespace and host."""


def _namespace_enabled(attempt: Attempt, asker: Asker) -> bool:
    """Asked only when the object does not opt in by itself."""
    opts_in = asker.reader.opts_in
    if opts_in(asker.object) or not opts_in(asker.object, namespace_enabled=True):
        return False
    return is_enabled(attempt.cluster, asker.namespace)
