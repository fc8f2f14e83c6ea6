"""Launching an attempt: claims, the record, which is the lock, and what `start` makes. Used by webhook and sweep."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial

from issuer_job import log, names
from issuer_job.backoff import wait_after
from issuer_job.cluster.api import ApiError, Cluster, KubeError
from issuer_job.cluster.changes import UNREAD
from issuer_job.demand.common import Entry
from issuer_job.demand.plan import Plan, PlanReason, plan
from issuer_job.demand.unlisted import held_up
from issuer_job.hosts import at_launch
from issuer_job.hosts.precedence import Denial
from issuer_job.issuers.load import ABSENT
from issuer_job.launch.bound import LaunchBound
from issuer_job.launch.configuration import SettingsCache
from issuer_job.launch.start import Starter, left
from issuer_job.record import transitions
from issuer_job.record.phases import LaunchReason
from issuer_job.record.record import Phase, Problem, Record, RecordError
from issuer_job.record.store import change_record, write_record
from issuer_job.tenant_secrets import access as secrets


class OutcomeReason(StrEnum):
    """How a launch ended."""

    LAUNCHED = "Launched"
    UNCHANGED = "Unchanged"
    MERGED = "Merged"
    PUT_OFF = "PutOff"
    HELD_UP = "HeldUp"
    """Written down, with what an operator has to put right first."""
    HOST_CLAIMED = "HostClaimed"
    HOST_NOT_LISTED = "HostNotListed"
    NOT_IN_FORCE = "PoliciesNotInForce"
    UNREADABLE = "RecordUnreadable"
    LATER = "Later"


@dataclass(frozen=True)
class LaunchOutcome:
    """What became of one entry; `warning` is for the user, `why` what kept it from being written down."""

    reason: OutcomeReason
    secret_name: str
    epoch: int = 0
    warning: str | None = None
    why: str = ""


class _Stopped(Exception):
    """This entry is not launched now, and the outcome says why."""

    def __init__(self, reason: OutcomeReason, warning: str) -> None:
        super().__init__(warning)
        self.reason = reason
        self.warning = warning


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Launcher:
    """Launches attempts. One per process; thread-safe."""

    def __init__(
        self,
        cluster: Cluster,
        settings: SettingsCache,
        *,
        clock: Callable[[], datetime] = _utc_now,
        threads: int = 16,
        bound: LaunchBound | None = None,
    ) -> None:
        self._cluster = cluster
        self._settings = settings
        self._clock = clock
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="launch")
        self._starter = Starter(cluster, settings, clock, self._pool)
        self._bound = bound or LaunchBound()

    def launch(self, entry: Entry, *, namespace: str, deadline: float, expect_new: bool = False) -> LaunchOutcome:
        """Make sure that an attempt for this entry exists, if it needs one.

        `expect_new` saves a request when there is no record yet. `deadline` is a time.monotonic() value.
        Never raises KubeError: what could not be done now is an outcome with a warning, and the sweep's work.
        """
        try:
            if entry.problem is not None:
                return self._hold_up(entry, entry.problem, namespace, deadline)
            try:
                return self._launch(entry, namespace, deadline, expect_new=expect_new)
            except _Stopped as stop:
                if not entry.source.kind.listed:
                    # The sweep does not find it again if nobody has written it down.
                    problem = Problem(type=_STOPS[stop.reason][0], detail=stop.warning, step="launch")
                    self._hold_up(entry, problem, namespace, deadline)
                return LaunchOutcome(stop.reason, entry.secret_name, warning=stop.warning)
        except RecordError as problem:
            log.error("record", problem=str(problem))
            name = names.record(namespace, entry.secret_name)
            warning = f"its record cannot be read: an operator has to delete ConfigMap {name}"
            return LaunchOutcome(OutcomeReason.UNREADABLE, entry.secret_name, warning=warning[:119])
        except KubeError as problem:
            log.warning("launch-failed", secret=entry.secret_name, problem=str(problem))
            warning = f"Secret {entry.secret_name[:40]}: certificate will come later ({_short(problem)})"
            return LaunchOutcome(OutcomeReason.LATER, entry.secret_name, warning=warning, why=str(problem)[:200])

    def _launch(self, entry: Entry, namespace: str, deadline: float, *, expect_new: bool) -> LaunchOutcome:
        existing: Record | None = None
        decided: Plan
        missing = room = launched = False
        planned = partial(plan, source=entry.source, namespace=namespace, secret_name=entry.secret_name)

        def merged(found: Record | None) -> Record | None:
            nonlocal existing, decided, missing, room
            existing, decided = found, planned(found, now=self._clock())
            if expect_new and found is not None and decided.reason in {PlanReason.UNCHANGED, PlanReason.JOINED}:
                # An Ingress made anew: if its Secret went with the old one, the certificate is gone.
                missing = missing or self._secret_was_missing(found, entry, deadline)
                decided = _for_missing_secret(found, decided, self._clock()) if missing else decided
            most = self._settings.options().active_orders_per_namespace
            room = room or (decided.launch and self._bound.take(namespace, most))
            if decided.launch and not room and not missing:
                decided = planned(found, now=self._clock(), may_launch=False)
            if decided.launch and decided.record is not None:
                self._preconditions(decided.record, deadline)
            return decided.record

        try:
            name, held = names.record(namespace, entry.secret_name), None if expect_new else UNREAD
            stored = change_record(self._cluster, name, merged, held=held, timeout=lambda: left(deadline))
            launched = stored is not None and decided.launch
        finally:
            if room and not launched:
                self._bound.give_back(namespace)
        reason, warning = OutcomeReason.UNCHANGED, _warning(entry, decided)
        if stored is None:
            warning = warning or _host_warning(existing)
        elif launched:
            reason, stored = OutcomeReason.LAUNCHED, self._starter.start(stored, deadline)
        else:
            reason = OutcomeReason.MERGED
            if decided.reason in {PlanReason.PUT_OFF, PlanReason.HELD_BACK}:
                self._starter.create_placeholder(stored, deadline)  # HTTPS works all the same
        if decided.reason is PlanReason.PUT_OFF:
            reason = OutcomeReason.PUT_OFF
        latest = stored or existing
        return LaunchOutcome(reason, entry.secret_name, latest.epoch if latest else 0, warning)

    def write_down(self, wanted: Record, deadline: float) -> Record | None:
        """Store a record that is not launched, with a placeholder; None if somebody else was faster."""
        stored = write_record(self._cluster, wanted, timeout=lambda: left(deadline))
        if stored is not None:
            self._starter.create_placeholder(stored, deadline)
        return stored

    def start(self, stored: Record, deadline: float) -> Record:
        """The effects of an attempt whose epoch is persisted; see `Starter.start`. Raises KubeError."""
        return self._starter.start(stored, deadline)

    def _hold_up(self, entry: Entry, problem: Problem, namespace: str, deadline: float) -> LaunchOutcome:
        """Write down what is wanted and what stands in its way. Raises KubeError, RecordError."""
        version = self._settings.issuers().versions.get(entry.source.settings.issuer, ABSENT)
        existing: Record | None = None

        def held(found: Record | None) -> Record | None:
            nonlocal existing
            existing, now, wait = found, self._clock(), wait_after(1)
            return held_up(found, entry, problem, namespace=namespace, now=now, wait=wait, issuer=version)

        name = names.record(namespace, entry.secret_name)
        stored = change_record(self._cluster, name, held, timeout=lambda: left(deadline))
        if stored is None:
            return LaunchOutcome(OutcomeReason.UNCHANGED, entry.secret_name, existing.epoch if existing else 0)
        return LaunchOutcome(OutcomeReason.HELD_UP, entry.secret_name, stored.epoch)

    def _secret_was_missing(self, existing: Record, entry: Entry, deadline: float) -> bool:
        """Whether the Secret of what is issued was not there: a placeholder is now, or its owner just makes it."""
        if existing.phase is not Phase.ISSUED:
            return False
        if entry.source.kind.makes_secret:
            return self._starter.secret_is_missing(existing, deadline)
        return self._starter.create_placeholder(existing, deadline)

    def _preconditions(self, wanted: Record, deadline: float) -> None:
        """The policies are in force, and this namespace may have every host."""
        canary: Future[bool] = self._pool.submit(secrets.policies_in_force, self._cluster, timeout=left(deadline))
        denied = at_launch.denied(
            self._cluster,
            self._settings.options(),
            wanted.intent.hosts,
            wanted.namespace,
            pool=self._pool,
            timeout=lambda: left(deadline),
        )
        if denied is not None:
            reason = _DENIALS[denied.reason]
            raise _Stopped(reason, f"{denied.host[:70]} {_STOPS[reason][1]}")
        if not canary.result():
            raise _Stopped(OutcomeReason.NOT_IN_FORCE, _STOPS[OutcomeReason.NOT_IN_FORCE][1])


_DENIALS = {Denial.CLAIMED: OutcomeReason.HOST_CLAIMED, Denial.NOT_ALLOWED: OutcomeReason.HOST_NOT_LISTED}
_STOPS = {
    OutcomeReason.HOST_CLAIMED: ("hostClaimed", "belongs to another namespace: no certificate"),
    OutcomeReason.HOST_NOT_LISTED: ("hostNotAllowed", "is not allowed in this namespace: no certificate"),
    OutcomeReason.NOT_IN_FORCE: (
        "policiesNotInForce",
        "certjob's admission policies are not in force: no certificate until they are",
    ),
}
"""What keeps an entry from being launched: the type of its problem, and what is said of it, or of its host."""


def _for_missing_secret(existing: Record, decided: Plan, now: datetime) -> Plan:
    record = decided.record or existing
    if record.phase is not Phase.ISSUED:
        return decided  # launched meanwhile
    launched = transitions.launched(record, now=now, reason=LaunchReason.SECRET_MISSING)
    return Plan(PlanReason.SEEN_AGAIN, launched, launch=True, minor=decided.minor)


def _warning(entry: Entry, decided: Plan) -> str | None:
    if decided.minor:
        return f"Secret {entry.secret_name[:40]}: an older Ingress decides issuer and key algorithm"
    if decided.reason is PlanReason.PUT_OFF:
        return f"Secret {entry.secret_name[:40]}: many orders in this namespace just now, the sweep orders it"
    return None


def _host_warning(existing: Record | None) -> str | None:
    """What a Job found out after the first apply, said at the next one."""
    if existing is None or existing.retry is None or existing.phase is not Phase.FAILED:
        return None
    problem = existing.retry.problem
    said = dict(_STOPS[reason] for reason in _DENIALS.values())
    return f"{problem.host[:70]} {said[problem.type]}" if problem.type in said else None


def _short(problem: Exception) -> str:
    if isinstance(problem, ApiError):
        return f"API server: {problem.status} {problem.reason}"[:60]
    return str(problem)[:60]
