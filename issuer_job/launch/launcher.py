"""Launching an attempt: claims, the record, which is the lock, and what `start` makes. Used by webhook and sweep."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Unpack

from issuer_job import log, names
from issuer_job.backoff import wait_after
from issuer_job.cluster.api import Cluster, KubeError
from issuer_job.cluster.changes import UNREAD
from issuer_job.demand.common import Entry
from issuer_job.demand.plan import Plan, PlanReason, plan
from issuer_job.demand.share import use_of
from issuer_job.demand.unlisted import held_up
from issuer_job.hosts import at_launch
from issuer_job.hosts.limits import OverLimit
from issuer_job.launch.configuration import SettingsCache
from issuer_job.launch.outcome import (
    NOTHING,
    PUT_OFF,
    LaunchOutcome,
    Occasion,
    OutcomeReason,
    SecretLoss,
    Weighed,
    denial_of,
    held_warning,
    life_warning,
    short,
    unreadable_warning,
    waiting_warning,
    warning_of,
)
from issuer_job.launch.recent import RecentOrders, held_plan
from issuer_job.launch.room import Room
from issuer_job.launch.start import LaunchRefused, Starter
from issuer_job.polling import utc_now
from issuer_job.record import intents
from issuer_job.record.phases import GONE
from issuer_job.record.record import Phase, Problem, Record, RecordError
from issuer_job.record.renewal import is_pressing, serves
from issuer_job.record.store import change_record
from issuer_job.tenant_secrets.access import Refusal
from issuer_job.tenant_secrets.canary import LaunchCanaries
from issuer_job.tenant_secrets.refused import refused_problem

_MADE_ANEW = frozenset({PlanReason.UNCHANGED, PlanReason.JOINED, PlanReason.ENOUGH, PlanReason.SEEN_AGAIN})
"""Of an object that is just being made: its Secret may have gone with the one before it."""
_PLACED = frozenset({PlanReason.PUT_OFF, PlanReason.HELD_BACK, PlanReason.OVER_LIMIT})
"""Nothing is launched, and the Secret may not be there."""


class _Stopped(Exception):
    """This entry is not launched now, and the outcome says why; `problem` tells users and the record."""

    def __init__(self, reason: OutcomeReason, word: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.problem = Problem(type=word, detail=detail, step="launch")


class Launcher:
    """Launches attempts. One per process; thread-safe. Every `deadline` is a time.monotonic() value."""

    def __init__(
        self,
        cluster: Cluster,
        settings: SettingsCache,
        *,
        clock: Callable[[], datetime] = utc_now,
        threads: int = 16,
        room: Room | None = None,
    ) -> None:
        """Without `room` it launches what it is told: a sweep has counted before."""
        self._starter = Starter(cluster, settings, clock, ThreadPoolExecutor(threads, thread_name_prefix="launch"))
        self._room = room
        self._recent = None if room is None else RecentOrders(settings)
        self._canaries = LaunchCanaries()

    def launch(self, entry: Entry, *, namespace: str, deadline: float, **occasion: Unpack[Occasion]) -> LaunchOutcome:
        """Make sure that an attempt for this entry exists, if it needs one.

        Never raises KubeError: what could not be done now is an outcome with a warning, and the sweep's work.
        """
        launch = _Launch(self.until(deadline), self._room, self._recent, self._canaries, entry, namespace)
        try:
            if entry.problem is not None:
                return launch.hold_up(entry.problem)
            try:
                return launch.carry_out(**occasion)
            except _Stopped as stop:
                if not entry.source.kind.listed:
                    # The sweep does not find it again if nobody has written it down.
                    launch.hold_up(stop.problem)
                return LaunchOutcome(stop.reason, entry.secret_name, warning=stop.problem.detail)
        except RecordError as problem:
            log.error("record", problem=str(problem))
            warning = unreadable_warning(namespace, entry)
            return LaunchOutcome(OutcomeReason.UNREADABLE, entry.secret_name, warning=warning)
        except KubeError as problem:
            log.warning("launch-failed", secret=entry.secret_name, problem=str(problem))
            reason, refused = OutcomeReason.LATER, refused_problem(problem, step="launch")
            if isinstance(problem, LaunchRefused):
                reason, refused = OutcomeReason.REFUSED, problem.problem
            said = refused.detail if refused else short(problem)
            warning = f"Secret {entry.secret_name[:40]}: certificate will come later ({said})"
            return LaunchOutcome(reason, entry.secret_name, warning=warning, why=str(problem)[:200], refused=refused)

    def until(self, deadline: float) -> Starter:
        """What writes an attempt whose epoch is persisted already."""
        return replace(self._starter, cluster=self._starter.cluster.until(deadline))


@dataclass(frozen=True)
class _Launch:
    """Of one entry, until the deadline of the starter's cluster. What it does raises KubeError, RecordError."""

    starter: Starter
    room: Room | None
    recent: RecentOrders | None
    canaries: LaunchCanaries
    entry: Entry
    namespace: str

    def carry_out(self, **occasion: Unpack[Occasion]) -> LaunchOutcome:
        """Write down what is wanted, and start the attempt if there shall be one. Raises _Stopped, too."""
        weighed, launched = Weighed(**occasion), False
        weighed.lacking = weighed.loss is SecretLoss.EMPTIED
        try:
            stored = self._change(partial(self._decide, weighed), expect_new=weighed.expect_new)
            launched = stored is not None and weighed.plan.launch
        finally:
            if not launched:
                self._give_back(weighed)
        if weighed.still_there:
            return self._outcome(OutcomeReason.STILL_THERE, weighed.existing)
        if launched and stored is not None:
            refused = self.starter.start(stored)
            told = warning_of(self.entry, weighed.plan) or (f"{self._about}: {refused}" if refused else None)
            return self._outcome(
                OutcomeReason.LAUNCHED, stored, told or life_warning(self.entry, self.starter.settings)
            )
        return self._not_launched(weighed, stored)

    @property
    def _about(self) -> str:
        return f"Secret {self.entry.secret_name[:40]}"

    def _decide(self, weighed: Weighed, found: Record | None) -> Record | None:
        """What the record shall be, None to leave it; asked again when somebody else wrote it meanwhile."""
        starter, lacking = self.starter, weighed.lacking
        weighed.existing, weighed.over, decided = found, None, self._plan(found, lacking=lacking)
        # An Ingress made anew: if its Secret went with the old one, the certificate is gone.
        anew = weighed.expect_new and decided.reason in _MADE_ANEW
        if found is not None and not lacking and (anew or weighed.deleted):
            lacking = self._secret_was_missing(found, decided.record or found, deleted=weighed.deleted)
            weighed.lacking = lacking
            if weighed.still_there:
                return None
            decided = self._plan(found, lacking=lacking)
        if decided.launch and (wanted := decided.record) is not None:
            self._refuse_too_many(wanted, found)
            weighed.over = self._over_limit(wanted, lacking=lacking)
            within = weighed.over is None
            weighed.counted = weighed.counted or within
            weighed.room = weighed.room or (within and weighed.at_once and self._takes_room(wanted))
        if weighed.loss is SecretLoss.EMPTIED and decided.launch and not weighed.room:
            # Only a look puts a placeholder there, and only what rests is looked at.
            decided = NOTHING
        elif weighed.over is not None:
            decided = held_plan(found, self.entry, weighed.over, starter, self.namespace)
        elif decided.launch and not weighed.room:
            decided = self._plan(found, lacking=lacking, may_launch=False)
        if decided.launch and decided.record is not None:
            self._preconditions(decided.record)
        elif decided.reason in _PLACED:
            self._require_policies(self.canaries.placing_problem(starter.cluster))
        weighed.plan = decided
        return decided.record

    def _plan(self, found: Record | None, *, lacking: bool, may_launch: bool = True) -> Plan:
        now = self.starter.clock()
        return plan(found, self.entry, namespace=self.namespace, now=now, lacking=lacking, may_launch=may_launch)

    def _give_back(self, weighed: Weighed) -> None:
        """What was taken for an attempt that is not launched after all."""
        name = names.record(self.namespace, self.entry.secret_name)
        if weighed.counted and self.recent is not None:
            self.recent.give_back(name)
        if weighed.room and self.room is not None:
            self.room.give_back(self.namespace, name)

    def _not_launched(self, weighed: Weighed, stored: Record | None) -> LaunchOutcome:
        """A placeholder where one is due, and what the user is told."""
        existing, why = weighed.existing, weighed.plan.reason
        placed = stored or (existing and intents.asked(existing, self.entry.source))
        made_anew = weighed.expect_new and existing is not None and existing.phase is not Phase.ISSUED
        if placed is not None and (made_anew or why in _PLACED):
            self.starter.create_placeholder(placed)  # HTTPS works all the same
        reason = OutcomeReason.UNCHANGED if stored is None else OutcomeReason.MERGED
        warning = warning_of(self.entry, weighed.plan)
        if why is PlanReason.PUT_OFF:
            reason = OutcomeReason.PUT_OFF
            if weighed.at_once:
                warning = warning or f"{self._about}: {PUT_OFF}"
        else:
            warning = warning or waiting_warning(stored or existing)
        if weighed.over is not None:
            reason, warning = OutcomeReason.OVER_LIMIT, held_warning(self.entry, weighed.over)
        return self._outcome(reason, stored or existing, warning or life_warning(self.entry, self.starter.settings))

    def hold_up(self, problem: Problem) -> LaunchOutcome:
        """Write down what is wanted and what stands in its way."""
        entry, starter = self.entry, self.starter
        version = starter.settings.issuers().version(entry.source.settings.issuer)
        existing: Record | None = None

        def held(found: Record | None) -> Record | None:
            nonlocal existing
            existing, now, wait = found, starter.clock(), wait_after(1)
            return held_up(found, entry, problem, namespace=self.namespace, now=now, wait=wait, issuer=version)

        stored = self._change(held)
        reason = OutcomeReason.UNCHANGED if stored is None else OutcomeReason.HELD_UP
        return self._outcome(reason, stored or existing)

    def _outcome(self, reason: OutcomeReason, latest: Record | None, warning: str | None = None) -> LaunchOutcome:
        return LaunchOutcome(reason, self.entry.secret_name, latest.epoch if latest else 0, warning)

    def _change(self, edit: Callable[[Record | None], Record | None], *, expect_new: bool = False) -> Record | None:
        name = names.record(self.namespace, self.entry.secret_name)
        return change_record(self.starter.cluster, name, edit, held=None if expect_new else UNREAD)

    def _secret_was_missing(self, existing: Record, wanted: Record, *, deleted: bool) -> bool:
        """Whether the Secret of what is issued, or one that was deleted, was not there: a placeholder is now, or its
        owner just makes it.
        """
        if deleted:
            self._require_policies(self.canaries.problem(self.starter.cluster))
        elif existing.issued is None or existing.phase not in {Phase.ISSUED} | GONE:
            return False
        if self.entry.source.kind.makes_secret:
            return self.starter.secret_is_missing(wanted)
        return self.starter.create_placeholder(wanted)

    def _takes_room(self, wanted: Record) -> bool:
        room, use = self.room, use_of(wanted)
        return room is None or room.take(self.starter.cluster, wanted.namespace, wanted.name, use)

    def _over_limit(self, wanted: Record, *, lacking: bool) -> OverLimit | None:
        """Which limit of its issuer an order would exceed; if none, it is counted.

        None where the Secret may hold what is wanted, or it has to be ordered whatever the limits are: the Job looks.
        """
        recent, now = self.recent, self.starter.clock()
        replaces = lacking or (wanted.attempt is not None and wanted.attempt.renews)
        holds = serves(wanted) or bool(wanted.renamed_from and wanted.issued is None)
        if recent is None or (holds and not replaces) or is_pressing(wanted, now=now):
            return None
        return recent.take(wanted, now)

    def _refuse_too_many(self, wanted: Record, found: Record | None) -> None:
        problem = None if self.room is None else self.room.refusal(self.starter.cluster, wanted)
        if problem is None:
            return
        if found is None and not self.entry.source.kind.listed:
            raise KubeError(problem.detail)  # to write it down would take what there is no room for
        raise _Stopped(OutcomeReason.TOO_MANY, problem.type, problem.detail)

    def _preconditions(self, wanted: Record) -> None:
        """The policies are in force, and this namespace may have every host."""
        cluster, pool, options = self.starter.cluster, self.starter.pool, self.starter.settings.options()
        canary: Future[str] = pool.submit(self.canaries.problem, cluster)
        denied = at_launch.denied(cluster, options, wanted.intent.hosts, wanted.namespace, pool=pool)
        if denied is not None:
            reason, said = denial_of(denied)
            raise _Stopped(reason, denied.reason, said)
        self._require_policies(canary.result())

    def _require_policies(self, problem: str) -> None:
        if problem:
            log.error("policies-not-in-force", problem=problem)
            detail = "certjob's admission policies are not in force: no certificate until they are"
            raise _Stopped(OutcomeReason.NOT_IN_FORCE, Refusal.NOT_IN_FORCE, detail)
