"""Whether an Ingress passing by needs a new attempt: pure, shared by webhook and sweep."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from msgspec.structs import replace

from issuer_job.demand.common import Entry
from issuer_job.record import intents, transitions
from issuer_job.record.ledger_entries import MOST_FAILED, worn_out
from issuer_job.record.phases import ACTIVE, GONE, LaunchReason, Phase
from issuer_job.record.record import Intent, Problem, Record, Source
from issuer_job.record.renewal import asked_at, is_for


class PlanReason(StrEnum):
    """Why a plan is as it is."""

    NEW = "New"
    UNCHANGED = "Unchanged"
    CHANGED = "Changed"
    CHANGED_BEFORE_ORDER = "ChangedBeforeOrder"
    HELD_BACK = "HeldBack"
    """Changed to an intent that failed lately: its back-off goes on."""
    ENOUGH = "Enough"
    """Changed to what the certificate in hand is for, too: that stays until it is due."""
    JOINED = "Joined"
    SEEN_AGAIN = "SeenAgain"
    LEFT_OUT = "LeftOut"
    """Others share the Secret: with what is new of it there would be more sources or hosts than a certificate has."""
    RETRY_ASKED = "RetryAsked"
    RETRY_NOTED = "RetryNoted"
    """Asked for while an attempt is at work: if that fails, the next sweep tries again."""
    RENEW_ASKED = "RenewAsked"
    PUT_OFF = "PutOff"
    """Too many attempts of this namespace are active: it is launched later."""
    OVER_LIMIT = "OverLimit"
    """An order would exceed a limit of its issuer: it is launched when there is room."""


@dataclass(frozen=True)
class Plan:
    """What to write. `record` None: nothing. `launch`: the record takes an epoch and a Job follows."""

    reason: PlanReason
    record: Record | None = None
    launch: bool = False
    minor: bool = False
    """The intent differs from that source's: other Ingresses on the same Secret decide too."""


def plan(
    existing: Record | None,
    entry: Entry,
    *,
    namespace: str,
    now: datetime,
    may_launch: bool = True,
    lacking: bool = False,
) -> Plan:
    """What follows when something wants the entry. Without `may_launch` nothing takes an epoch.

    `lacking`: the Secret was deleted or emptied, which is how people ask for a new certificate.
    """
    source = entry.source
    if existing is None:
        name = entry.secret_name
        record = transitions.wanted(namespace=namespace, secret_name=name, sources=(source,), now=now)
        record = replace(record, renamed_from=entry.renamed_from)
        if not may_launch:
            return Plan(PlanReason.PUT_OFF, record)
        return Plan(PlanReason.NEW, transitions.launched(record, now=now, reason=LaunchReason.NEW), launch=True)

    decided = _merged(existing, source, now, lacking=lacking)
    if decided.launch and not may_launch:
        put_off = _put_off(existing, source, now, lacking=lacking)
        return Plan(PlanReason.PUT_OFF, put_off, minor=decided.minor)
    return decided


def _merged(existing: Record, source: Source, now: datetime, *, lacking: bool) -> Plan:
    gone, record = existing.phase in GONE, intents.asked(existing, source)
    minor = record.intent.settings != source.settings
    if all((kept.key, kept.hosts) != (source.key, source.hosts) for kept in record.sources):
        return Plan(PlanReason.LEFT_OUT)

    def launch(reason: PlanReason, why: LaunchReason) -> Plan:
        return Plan(reason, transitions.launched(record, now=now, reason=why), launch=True, minor=minor)

    asks_again = _asks_for_retry(existing, source, now, lacking=lacking)
    changed = record.intent.hash != existing.intent.hash
    corrected = _is_corrected(existing, source, now)
    worn = worn_out(record, now) if asks_again or changed or corrected else None
    if worn is not None:
        return Plan(PlanReason.HELD_BACK, _worn_out(record, now, *worn), minor=minor)
    if asks_again:
        return launch(PlanReason.RETRY_ASKED, LaunchReason.RETRY_ASKED)
    if changed:
        same_issuer = record.intent.settings.issuer == existing.intent.settings.issuer
        if _has_not_ordered(existing) and same_issuer:
            # Its Job reads the intent when it claims the attempt, and again before it orders. Another issuer
            # needs a Job of its own: account key and credentials are mounted by the issuer's name.
            record = transitions.changed_before_order(record, now)
            return Plan(PlanReason.CHANGED_BEFORE_ORDER, record, minor=minor)
        if is_enough(existing, record.intent):
            if lacking:
                return launch(PlanReason.SEEN_AGAIN, LaunchReason.SECRET_MISSING)
            return Plan(PlanReason.ENOUGH, record, minor=minor)
        same_order = same_issuer and record.intent.hosts == existing.intent.hosts
        if is_held_back(record, now) or (same_order and _is_bound(existing, now)):
            return Plan(PlanReason.HELD_BACK, _kept_waiting(record, now), minor=minor)
        return launch(PlanReason.CHANGED, LaunchReason.EDITED)
    if gone and is_held_back(record, now):
        return Plan(PlanReason.HELD_BACK, _kept_waiting(record, now), minor=minor)
    if corrected:
        return launch(PlanReason.CHANGED, LaunchReason.CORRECTED)
    if gone or existing.phase is Phase.WANTED or _waited_for_room(existing, now):
        return launch(PlanReason.SEEN_AGAIN, LaunchReason.SEEN_AGAIN)
    if lacking and existing.phase is Phase.ISSUED:
        return launch(PlanReason.SEEN_AGAIN, LaunchReason.SECRET_MISSING)
    if existing.phase is Phase.ISSUED and (asked := asked_at(record)) is not None and asked <= now:
        return launch(PlanReason.RENEW_ASKED, LaunchReason.RENEW_ASKED)
    if existing.phase in ACTIVE and _is_new_retry(existing, source):
        return Plan(PlanReason.RETRY_NOTED, transitions.retry_asked(record), minor=minor)
    if _new_source(existing, source):
        return Plan(PlanReason.JOINED, record, minor=minor)
    return Plan(PlanReason.UNCHANGED, minor=minor)


def _has_not_ordered(existing: Record) -> bool:
    """Whether an attempt is under way whose Job will look at what is wanted before it orders."""
    looks_again = existing.attempt is not None and existing.attempt.looks_again
    return existing.phase is Phase.LAUNCHED or (existing.phase is Phase.CLAIMED and looks_again)


def is_enough(existing: Record, intent: Intent) -> bool:
    """Whether the record has its certificate, and that is for this intent, too."""
    return existing.phase is Phase.ISSUED and existing.issued is not None and is_for(existing.issued, intent)


def _put_off(existing: Record, source: Source, now: datetime, *, lacking: bool) -> Record | None:
    """The sweep finds again what is listed, but nothing else, unless a record knows that it asks; nor, before its
    next look, that a Secret is gone.

    What runs is left alone: its Job looks.
    """
    known = source.kind.listed and not (lacking and existing.phase is Phase.ISSUED)
    if known or existing.phase in ACTIVE:
        return None
    return transitions.held_back(intents.asked(existing, source), problem=_CROWDED, now=now, until=now)


_CROWDED = Problem(
    type=transitions.HELD_BACK, detail="many orders in this namespace just now: it has its turn later", step="launch"
)


def _asks_for_retry(existing: Record, source: Source, now: datetime, *, lacking: bool) -> bool:
    """A new value of the annotation ends a back-off, but not a wait that the CA asked for; so does a lost Secret.

    A value that the record has met is not new, whatever the Ingress is called now.
    """
    if existing.retry is None or existing.phase in ACTIVE or _is_bound(existing, now):
        return False
    return _is_new_retry(existing, source) or (lacking and existing.phase not in GONE)


def _is_new_retry(existing: Record, source: Source) -> bool:
    return bool(source.retry) and all(s.retry != source.retry for s in existing.sources)


def _waited_for_room(existing: Record, now: datetime) -> bool:
    """Whether nothing but a launch was wanting, and may be tried now."""
    retry = existing.retry
    if existing.phase is not Phase.WAITING or retry is None or retry.not_before is None:
        return False
    only_room = (retry.problem.type, retry.problem.step) == (transitions.HELD_BACK, _CROWDED.step)
    return (only_room or retry.problem.type in transitions.BLAMELESS) and now >= retry.not_before


def _is_bound(record: Record, now: datetime) -> bool:
    """Whether a wait runs that the CA asked for."""
    retry = record.retry
    if retry is None or retry.not_before is None or record.phase in ACTIVE:
        return False
    return retry.asked and now < retry.not_before


def is_held_back(record: Record, now: datetime) -> bool:
    """Whether the intent is one that failed lately and its time has not come."""
    retry = record.retry
    if retry is None or record.phase in ACTIVE or record.intent.hash not in retry.hashes:
        return False
    return retry.not_before is None or now < retry.not_before


def _worn_out(record: Record, now: datetime, host: str, until: datetime) -> Record:
    """A new attempt would fail as the last ones did, at the cost of what the CA allows for the host."""
    detail = f"{host[:60]} failed {MOST_FAILED} times in an hour: again at {until:%H:%M} UTC"
    problem = Problem(type=transitions.HELD_BACK, detail=detail, host=host, step="launch")
    return transitions.held_back(record, now=now, problem=problem, until=until)


def _kept_waiting(record: Record, now: datetime) -> Record:
    waits = record.phase in {Phase.WAITING, Phase.FAILED}
    return record if waits else transitions.kept_waiting(record, now=now)


def _new_source(record: Record, source: Source) -> bool:
    """Uids and times alone are no reason to write: the Job takes them from the live Ingress."""
    former = next((s for s in record.sources if s.key == source.key), None)
    if former is None or former.gone_since is not None:
        return True
    return _said(former) != _said(source)


def _said(source: Source) -> tuple[object, ...]:
    return source.hosts, source.settings, source.ingress_class, source.retry, source.renew


def _is_corrected(existing: Record, source: Source, now: datetime) -> bool:
    """Whether it waits after a failure, and the class, where challenges are answered, is another one now: of that the
    intent says nothing.
    """
    waits = existing.phase in {Phase.WAITING, Phase.FAILED} and not _is_bound(existing, now)
    return waits and any(s.key == source.key and s.ingress_class != source.ingress_class for s in existing.sources)
