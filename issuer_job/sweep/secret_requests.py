"""What a look says of a Secret that asks for its own certificate: nobody can list such Secrets. Pure."""

from __future__ import annotations

from dataclasses import replace

from issuer_job.demand import secret
from issuer_job.demand.common import Entry, Wants
from issuer_job.demand.plan import PlanReason
from issuer_job.demand.unlisted import standing, with_new_intent
from issuer_job.issuers.load import Issuers
from issuer_job.record.phases import LaunchReason
from issuer_job.record.record import Record
from issuer_job.sweep.inventory import Known, Live
from issuer_job.sweep.situation import Action, Priority, Situation, Verdict
from issuer_job.tenant_secrets.access import Look

ENDED = Verdict(Action.ORPHAN, LaunchReason.NOT_WANTED)
RETIRED = Verdict(Action.RETIRE, LaunchReason.NOT_WANTED)
LEFT = Verdict(Action.MARK_SOURCES, LaunchReason.ASKS_NO_MORE)


def keep_alive(live: Live, known: Known) -> None:
    """Count what the records know to ask for itself as if it had been listed."""
    for (namespace, secret_name), record in known.records.items():
        for source in standing(record):
            live.join((namespace, secret_name), Entry(secret_name, source), record)
            live.named_by[namespace, secret_name].add(source.key)


def after_word(
    situation: Situation, record: Record, verdict: Verdict, seen: Look, issuers: Issuers
) -> Verdict | None:
    """What follows from the Secret's own word; None if nothing does, so that what it holds decides."""
    if not record.secret_is_its_owners:
        return None
    word = _word(seen, issuers)
    entry = word.of(record.secret_name)
    if verdict.reason is LaunchReason.NOT_WANTED:
        return _launched(situation, entry) if entry is not None else RETIRED
    if not standing(record):
        return None
    if word.opted_in:
        return _launched(situation, entry) if entry is not None and _is_another(situation, record, entry) else None
    if not others(situation, record):
        return ENDED
    # One that is missing is made again for the others; from one that is there its owner has taken the label.
    return LEFT if seen.found else None


def told(situation: Situation, seen: Look, issuers: Issuers) -> Situation:
    """With what the Secret itself says in the place of what its record remembers: only that has a uid."""
    entry = _word(seen, issuers).of(situation.secret_name)
    if entry is None:
        return situation
    return replace(situation, entries=(*_without(situation, entry), entry))


def others(situation: Situation, record: Record) -> frozenset[str]:
    """Who names the Secret besides itself."""
    return situation.named_by - {source.key for source in standing(record)}


def _is_another(situation: Situation, record: Record, entry: Entry) -> bool:
    """Whether the record does not say so yet. Uid and age alone are nothing to write, nor is the class where no
    issuer tells it.
    """
    if entry.problem is not None:
        return with_new_intent(record, entry) is not None
    return situation.plan(entry).reason is not PlanReason.UNCHANGED


def _launched(situation: Situation, entry: Entry) -> Verdict:
    return Verdict(Action.LAUNCH, LaunchReason.CHANGED, Priority.MISSED, entries=(*_without(situation, entry), entry))


def _without(situation: Situation, entry: Entry) -> tuple[Entry, ...]:
    return tuple(e for e in situation.entries if e.source.key != entry.source.key)


def _word(seen: Look, issuers: Issuers) -> Wants:
    """What the Secret asks for itself."""
    return secret.wants({"metadata": seen.metadata}, issuers=issuers) if seen.found else Wants(False)
