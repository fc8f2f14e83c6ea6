"""Launching in a pass: at most so many, each namespace within its bound, each issuer within its CA's limits."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from datetime import datetime

from issuer_job import log
from issuer_job.attempt import events
from issuer_job.cluster import quota
from issuer_job.cluster.quota import Quota
from issuer_job.demand.plan import is_enough, is_held_back
from issuer_job.demand.share import Use, adds_nothing, beyond, use_of
from issuer_job.hosts.limits import OverLimit, PlannedOrder, planned_order
from issuer_job.issuers.options import Options
from issuer_job.issuers.types import type_of
from issuer_job.launch.launcher import Launcher
from issuer_job.launch.outcome import OutcomeReason
from issuer_job.launch.pace import FIRST, Pace
from issuer_job.launch.room import scarce
from issuer_job.launch.start import LaunchRefused
from issuer_job.record import intents, transitions
from issuer_job.record.phases import Bearing, LaunchReason
from issuer_job.record.record import ACTIVE, Phase, Problem, Record
from issuer_job.record.renewal import asked_at, is_pressing, serves
from issuer_job.sweep.effects import Effects
from issuer_job.sweep.queue import Candidate
from issuer_job.sweep.situation import Action, Situation

LAUNCHES = frozenset({Action.LAUNCH, Action.SAME_EPOCH, Action.NEW_EPOCH, Action.DROP_SOURCES})

LAUNCH_SHARE = 0.9
"""Of the pass's time that is left when they begin to be counted: what is left over is cleared away after them."""

JOBS_SHARE = 0.9
"""Of the quota of Jobs: the rest is for checks, and for the CronJob's own."""
MOST_TOLD = 10
"""Of a namespace in one pass, that something is too much: each is a request, and the others wait."""


class SweepLaunches:
    """The launches of one pass, counted and bounded."""

    def __init__(self, effects: Effects, launcher: Launcher, options: Options, free: Quota, pace: Pace) -> None:
        self._effects = effects
        self._pace = pace
        self._launcher, self._starter = launcher, launcher.until(effects.deadline)
        self._options = options
        self.launched = Counter[str]()
        """Of each namespace, in this pass."""
        self._until = time.monotonic() + (effects.deadline - time.monotonic()) * LAUNCH_SHARE
        self._counts = effects.counts
        self._uses = effects.known.uses
        self._free = free
        self._told = Counter[str]()

    @property
    def share(self) -> int:
        """How many launches of a pass one namespace may have while others wait."""
        return -(-self._options.launches_per_sweep // 2)

    def launch(self, candidate: Candidate, *, may_wait: bool = True) -> bool:
        """Launch, unless this pass, the namespace or the issuer has had its share. Raises KubeError, RecordError.

        False if it has to wait until the nodes have less to do, see `Pace`; if it may not, it is put off.
        """
        situation, record = candidate.situation, candidate.situation.record
        if time.monotonic() < self._until and self.launched.total() < self._options.launches_per_sweep:
            goes_on = record is not None and record.phase in ACTIVE  # in the place that it has
            if not goes_on and self._wanted(candidate) is not None and not self._is_carried(situation.namespace):
                self._counts["put off for want of room on the nodes"] += not may_wait
                return not may_wait
        self._launch(candidate)
        return True

    def _is_carried(self, namespace: str) -> bool:
        return self.launched[namespace] < FIRST or self._pace.fits(self._effects.cluster, namespace)

    def _launch(self, candidate: Candidate) -> None:
        situation = candidate.situation
        if time.monotonic() >= self._until:
            self._counts["put off"] += 1
            return
        wanted = self._wanted(candidate)
        if wanted is None:
            self._carry_out(candidate)
            return
        if (problem := self._trouble(wanted, candidate)) is not None:
            self._hear_or_put_off(candidate, problem)
            return
        if self.launched.total() >= self._options.launches_per_sweep:
            self._counts["put off"] += 1
            return
        if (problem := self._too_many(wanted, situation)) is not None:
            self._refuse(situation, wanted, problem)
            return
        if not self._has_room(situation):
            return
        order = self._new_order(wanted, candidate)
        if order is not None and (held := self._held(situation, order)):
            self._hold(candidate, wanted, held)
            return
        if self._carry_out(candidate):
            first = self.launched[situation.namespace] < FIRST
            self._pace.add(situation.namespace, wanted.name, first=first)
            self.launched[situation.namespace] += 1
            self._uses[situation.namespace] += use_of(wanted) - _use(situation)
            if order is not None:  # only now: what was refused must not take the place of another's order
                self._effects.known.ledger.count(order, self._effects.now)

    def _too_many(self, wanted: Record, situation: Situation) -> Problem | None:
        """Why it is more than its namespace, or all together, may have; None for what is there already."""
        others = self._uses[situation.namespace] - _use(situation)
        return beyond(self._options, wanted, others) or (None if adds_nothing(wanted) else scarce(self._free))

    def _refuse(self, situation: Situation, wanted: Record, problem: Problem) -> None:
        """Say so; nothing is written down for it, and the next pass finds it again."""
        self._counts["too many"] += 1
        self._told[situation.namespace] += 1
        if self._told[situation.namespace] <= MOST_TOLD:
            unique = (situation.namespace, situation.secret_name, problem.type)
            note, now = f"{problem.detail} ({problem.type})", self._effects.now
            self._effects.tell(situation, wanted, "CertificateHeldBack", note, unique, problem=problem, until=now)

    def _has_room(self, situation: Situation) -> bool:
        """Whether its namespace may have one more attempt under way, and the cluster one more Job."""
        record, namespace = situation.record, situation.namespace
        active, launched = self._uses[namespace].active, self.launched.total()
        jobs, pods = self._free.free(quota.JOBS, JOBS_SHARE), self._free.free(quota.PODS)
        if jobs is not None and launched >= jobs:
            self._counts["put off for want of Jobs"] += 1
            return False
        if record is not None and record.phase in ACTIVE:
            return True  # it goes on in the place that it has
        if active >= self._options.active_orders_per_namespace or (pods is not None and active >= pods - launched):
            self._counts["put off for their namespace"] += 1
            return False
        return True

    def _wanted(self, candidate: Candidate) -> Record | None:
        """The record as the launch would write it; None if Ingress and record only have to be brought together."""
        situation, record = candidate.situation, candidate.situation.record
        if record is not None and candidate.verdict.action is not Action.LAUNCH:
            made = _arrow(candidate)(record, self._effects.now)
            return made if made.phase is Phase.LAUNCHED else None
        # One with a problem is only written down.
        plans = (situation.plan(entry) for entry in situation.entries if entry.problem is None)
        return next((decided.record for decided in plans if decided.launch), None)

    def _carry_out(self, candidate: Candidate) -> bool:
        """Whether an attempt was launched."""
        merges = candidate.verdict.action is Action.LAUNCH
        return self._merge(candidate.situation) if merges else self._relaunch(candidate)

    def _merge(self, situation: Situation) -> bool:
        """Bring each Ingress and the record together; whether an attempt was launched."""
        launched = False
        for entry in situation.entries:
            outcome = self._launcher.launch(entry, namespace=situation.namespace, deadline=self._effects.deadline)
            self._counts[str(outcome.reason)] += outcome.reason is not OutcomeReason.UNCHANGED
            launched |= outcome.reason is OutcomeReason.LAUNCHED
            said = outcome.refused.note if outcome.refused else outcome.warning
            if said and (outcome.refused or outcome.reason in _OPERATORS):
                source, secret = entry.source, (situation.namespace, entry.secret_name)
                unique = (source.uid, entry.secret_name, said)
                kind, now = outcome.refused.type if outcome.refused else "", self._effects.now
                news = events.News("CertificateFailed", said, now, unique, problem=kind, until=now)
                events.tell_sources(self._effects.cluster, secret, (source,), news)
            if outcome.reason is not OutcomeReason.UNCHANGED:
                about = {"namespace": situation.namespace, "secret": entry.secret_name}
                log.info("launch", **about, reason=outcome.reason, warning=outcome.warning)
        return launched

    def _trouble(self, wanted: Record, candidate: Candidate) -> Problem | None:
        """What is wrong with the issuer of a record: nothing of an attempt can be made without it."""
        name, issuers = wanted.issuer, self._effects.issuers
        if candidate.verdict.action is Action.LAUNCH or name in issuers.valid:
            return None
        if name in issuers.broken:
            return Problem(type="brokenIssuer", detail=issuers.broken[name], step="issuer")
        return Problem(type="unknownIssuer", detail=f"there is no issuer {name}", step="issuer")

    def _hear_or_put_off(self, candidate: Candidate, problem: Problem) -> None:
        """No Job comes to ask a Secret that asks for itself, and nobody lists it: what it says now goes first."""
        record = candidate.situation.record
        if record is None:
            return
        situation, word = self._effects.hear(candidate.situation, record, candidate.verdict)
        if word is None:
            self._effects.put_off(situation, record, candidate.verdict, problem)
        elif word.action is Action.LAUNCH:
            self._launch(Candidate(situation, word))  # of which the launcher knows whether it can be met
        else:
            self._effects.settle(situation, record, word)

    def _relaunch(self, candidate: Candidate) -> bool:
        """Take an epoch for a record as it is, or the same one again; whether an attempt was launched."""
        record, reason = candidate.situation.record, candidate.verdict.reason
        stored = record and self._effects.write(record, _arrow(candidate))
        if stored is None:
            return False
        self._counts[str(reason)] += 1
        if stored.phase not in ACTIVE:
            return False
        log.info("launch", record=stored.name, epoch=stored.epoch, reason=reason)
        try:
            self._starter.start(stored)
        except LaunchRefused as refused:
            self._counts["Jobs refused"] += 1
            self._effects.tell_refused(candidate.situation, refused.problem)
            return False
        return True

    def _new_order(self, wanted: Record, candidate: Candidate) -> PlannedOrder | None:
        """What the attempt will order; None if it goes on with an order that it has, or may find what is wanted."""
        name = wanted.issuer
        issuer = self._effects.issuers.valid.get(name)
        if issuer is None or not type_of(issuer).counts_orders or candidate.verdict.action is Action.SAME_EPOCH:
            return None
        attempt, now = wanted.attempt, self._effects.now
        ordered = attempt if attempt is not None and attempt.order_url else None
        if ordered and ordered.directory == issuer.server and (ordered.order_expires or now) > now:
            return None
        if candidate.verdict.action is Action.LAUNCH and serves(wanted) and asked_at(wanted) is None:
            return None  # as far as is known: its Job looks, and has the last word
        return planned_order(wanted, name, issuer, now=now)

    def _held(self, situation: Situation, order: PlannedOrder) -> OverLimit | None:
        """Which limit of its issuer's CA the order would exceed now; None for one that is pressing."""
        record, now = situation.record, self._effects.now
        if record is not None and is_pressing(record, now=now, interval=situation.interval):
            return None
        return self._effects.known.ledger.allowed(record, order, now)

    def _hold(self, candidate: Candidate, wanted: Record, held: OverLimit) -> None:
        """Let it wait until the limit leaves room, and say so."""
        situation, now = candidate.situation, self._effects.now
        sources = tuple(entry.source for entry in situation.entries)
        version = self._effects.issuers.version(wanted.issuer)
        renews = candidate.verdict.reason.bearing is Bearing.REPLACES

        def held_back(record: Record, now: datetime) -> Record:
            record = intents.asked(candidate.verdict.left(record, now), *sources)
            return transitions.held_back(
                record, now, problem=held.problem, until=held.until, issuer=version, renews=renews
            )

        if situation.record is None:
            made = transitions.wanted(
                namespace=situation.namespace, secret_name=situation.secret_name, sources=sources, now=now
            )
            stored = self._starter.write_down(held_back(made, now))
        else:
            stored = self._effects.write(situation.record, held_back)
        if stored is None:
            return
        self._counts["held back"] += 1
        self._effects.warn_of_limits(situation, stored)


def _use(situation: Situation) -> Use:
    """What its certificate has of its namespace's share so far."""
    return Use() if situation.record is None else use_of(situation.record)


_OPERATORS = frozenset({OutcomeReason.HOST_CLAIMED, OutcomeReason.HOST_NOT_LISTED, OutcomeReason.UNREADABLE})
"""What no retry mends, and no attempt would tell."""


def _arrow(candidate: Candidate) -> Callable[[Record, datetime], Record]:
    """What becomes of a record that takes an epoch as it is, or the same one again."""
    situation, verdict = candidate.situation, candidate.verdict
    if verdict.action is Action.SAME_EPOCH:
        return transitions.relaunched
    turn = situation.fallback if verdict.reason is LaunchReason.FALLBACK else ""  # else the intent's issuer's

    def launched(record: Record, now: datetime) -> Record:
        left, interval = verdict.left(record, now), situation.interval
        dropped = verdict.action is Action.DROP_SOURCES
        same = left.intent.hash == record.intent.hash or is_enough(record, left.intent)
        if dropped and (same or is_held_back(left, now)):
            return left
        return transitions.launched(left, now, reason=verdict.reason, interval=interval, issuer=turn)

    return launched
