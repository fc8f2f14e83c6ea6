"""Which issuers are to be tested now, and the Jobs that do it. Used by the sweep and by the operator's commands."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from issuer_job import log, names
from issuer_job import vocabulary as v
from issuer_job.account.asked import reset_is_due, rollover_is_due
from issuer_job.cluster import changes
from issuer_job.cluster.api import CONFIGMAPS, JOBS, POD_TEMPLATES, Cluster, Json, KubeError
from issuer_job.issuers.load import IssuerError, is_issuer, issuer_version, parse_issuer
from issuer_job.issuers.state import (
    CHECK_RESULT,
    CHECKED_EPOCH,
    CHECKED_FOR,
    CHECKED_VERSION,
    CLEANED_EPOCH,
    CLEANING_EPOCH,
    LAUNCHED_FOR,
    NOT_READY,
    IssuerState,
    load_state,
    note_in_state,
    write_state,
)
from issuer_job.issuers.types import directory_of, type_of
from issuer_job.launch import jobs
from issuer_job.launch.jobs import is_finished

TRIES = 5
"""Epochs that others took first. Each has a Job of its own that must have ended: more than one object changes."""
LAUNCHED_EPOCH = "checkLaunchedEpoch"
"""Of the last Job that tests: about the unix seconds of its launch. It is written down before the Job is created."""
PER_PASS = 10
"""Jobs in one pass of the sweep."""
AGAIN_AFTER = timedelta(hours=1)
"""For an issuer that was not ready, whose Job ended without a word, or whose last one removed no leftovers."""
RUNS_FOR = timedelta(minutes=10)
"""How long a Job that has not reported is waited for."""
CREATED_WITHIN = timedelta(seconds=30)
"""So long after a launch was written down its Job may be about to be created."""
PAUSE = timedelta(minutes=2)
"""Before leftovers are removed, after another Job."""
_DAY = timedelta(days=1)
NEVER = "never"
"""Value of the annotation on an issuer that the sweep shall not test."""


class CheckStillRuns(Exception):
    """A Job of the issuer's own still runs: two could both give its account a new key. `args[0]` is its name."""


class CheckCause(StrEnum):
    """Why an issuer's Job is launched; the most urgent first."""

    EDITED = "NewOrEdited"
    ASKED = "Asked"
    RESET = "Reset"
    ROLLOVER = "Rollover"
    NOT_READY = "NotReady"
    LEFTOVERS = "Leftovers"


@dataclass(frozen=True)
class CheckedIssuer:
    """An issuer's ConfigMap, the directory that its state is named by, and its state.

    The directory is empty for an issuer that cannot be read.
    """

    config_map: Json
    directory: str
    state: IssuerState

    @property
    def name(self) -> str:
        return str(self.config_map["metadata"]["name"])

    def asked(self, annotation: str) -> str:
        """The value of an annotation, empty without it."""
        return str((self.config_map["metadata"].get("annotations") or {}).get(annotation, ""))

    @property
    def has_account(self) -> bool:
        """Whether it is an issuer with an ACME account."""
        try:
            return type_of(parse_issuer(self.config_map)).has_account
        except IssuerError:
            return False

    @property
    def subject(self) -> str:
        """Stands for what a Job would test now."""
        version = issuer_version(self.config_map)
        reset = filter(None, [self.asked(v.RESET)])  # without one it is the same as of an earlier certjob
        return names.digest(version, self.asked(v.CHECK), self.asked(v.ROLLOVER), *reset)


def check_cause(checked: CheckedIssuer, *, leftovers: bool, now: datetime) -> CheckCause | None:
    """Why a Job is to be launched for the issuer now, None if none is. Pure."""
    state, since = checked.state, _since(checked.state, LAUNCHED_EPOCH, now)
    silent = _epoch(state, CHECKED_EPOCH) < _epoch(state, LAUNCHED_EPOCH)
    if silent and since < RUNS_FOR:
        return None
    is_new = state.data.get(LAUNCHED_FOR) != checked.subject or since >= AGAIN_AFTER
    if checked.asked(v.CHECK) != NEVER and is_new:
        if state.data.get(CHECKED_VERSION) != issuer_version(checked.config_map):
            return CheckCause.EDITED
        if checked.asked(v.CHECK) not in ("", state.data.get(CHECKED_FOR)):
            return CheckCause.ASKED
        if state.data.get(CHECK_RESULT) == NOT_READY:
            return CheckCause.NOT_READY
    if is_new and reset_is_due(state, checked.asked(v.RESET)) and checked.has_account:
        return CheckCause.RESET
    if is_new and rollover_is_due(state, checked.asked(v.ROLLOVER)) and checked.has_account:
        return CheckCause.ROLLOVER
    return CheckCause.LEFTOVERS if leftovers and checked.directory and _may_clean(state, since, now) else None


def _may_clean(state: IssuerState, since: timedelta, now: datetime) -> bool:
    """Whether a Job that removes leftovers may do better than the last one. Pure."""
    since_cleaning = _since(state, CLEANING_EPOCH, now)
    in_vain = _epoch(state, CLEANED_EPOCH) < _epoch(state, CLEANING_EPOCH)
    return since >= PAUSE and since_cleaning >= (AGAIN_AFTER if in_vain else PAUSE)


def launch_due(cluster: Cluster, *, leftovers: Collection[str], now: datetime) -> int:
    """Launch the Jobs that are due, at most `PER_PASS`; how many. `leftovers` names issuers. Raises KubeError."""
    due = sorted(_due(cluster, leftovers, now), key=lambda entry: list(CheckCause).index(entry[1]))
    launched = 0
    for checked, reason in due:
        if launched >= PER_PASS:
            log.info("checks-put-off", issuer=checked.name)
            break
        try:
            job = launch_check(cluster, checked, only_clean=reason is CheckCause.LEFTOVERS, now=now)
        except CheckStillRuns as running:
            log.info("check-waits", issuer=checked.name, job=str(running))
            continue
        except KubeError as problem:
            log.warning("check-failed", issuer=checked.name, problem=str(problem))
            continue
        log.info("check", issuer=checked.name, reason=reason, job=job)
        launched += 1
    return launched


def _due(cluster: Cluster, leftovers: Collection[str], now: datetime) -> Iterator[tuple[CheckedIssuer, CheckCause]]:
    stored = {
        s["metadata"]["name"]: s for s in cluster.items(CONFIGMAPS, v.NAMESPACE, labels=f"{v.ISSUER_STATE}=true")
    }
    for config_map in cluster.items(CONFIGMAPS, v.NAMESPACE, labels=f"{v.ISSUER}=true"):
        if not names.is_issuer_name(config_map["metadata"]["name"]):
            continue  # its name can be no part of a Job's; whoever uses it is told
        checked = _listed(config_map, stored)
        reason = check_cause(checked, leftovers=checked.name in leftovers, now=now)
        if reason is not None:
            yield checked, reason


def launch_check(cluster: Cluster, checked: CheckedIssuer, *, only_clean: bool = False, now: datetime) -> str:
    """Create the Job that tests the issuer, or only removes what it left in DNS; its name.

    It is written down first, by compare-and-swap: of two launchers at once one goes on.
    Raises CheckStillRuns, KubeError.
    """
    template = cluster.get(POD_TEMPLATES, v.NAMESPACE, v.POD_TEMPLATE)
    seconds = int(now.timestamp())
    for _ in range(TRIES):
        state = load_state(cluster, checked.name, checked.directory)
        last = max(_epoch(state, LAUNCHED_EPOCH), _epoch(state, CLEANING_EPOCH))
        _require_ended(cluster, checked.name, last, now)
        epoch = max(seconds, min(last, seconds + 60) + 1)
        if not write_state(cluster, state, {CLEANING_EPOCH if only_clean else LAUNCHED_EPOCH: str(epoch)}):
            continue
        body = jobs.check_job_body(
            checked.config_map, template, account_number=state.number, directory=checked.directory, epoch=epoch
        )
        if changes.swap(cluster, JOBS, v.NAMESPACE, None, body) is None:
            continue
        if not only_clean:
            note_in_state(cluster, checked.name, checked.directory, {LAUNCHED_FOR: checked.subject})
        return str(body["metadata"]["name"])
    raise KubeError(f"Jobs that test issuer {checked.name} are launched all the time")


def _require_ended(cluster: Cluster, issuer: str, epoch: int, now: datetime) -> None:
    """Raises CheckStillRuns if the issuer's last Job, of this epoch, has not ended, or is about to be created."""
    name = names.check_job(issuer, epoch)
    job = cluster.find(JOBS, v.NAMESPACE, name)
    is_young = 0 <= now.timestamp() - epoch < CREATED_WITHIN.total_seconds()
    if is_young if job is None else not is_finished(job):
        raise CheckStillRuns(name)


def find_issuer(cluster: Cluster, name: str) -> CheckedIssuer | None:
    """The issuer and its state as they are stored now, None if there is no such issuer. Raises KubeError."""
    return with_state(cluster, cluster.find(CONFIGMAPS, v.NAMESPACE, name))


def with_state(cluster: Cluster, config_map: Json | None) -> CheckedIssuer | None:
    """The issuer in its ConfigMap and its state as it is stored now, None if that is no issuer. Raises KubeError."""
    if config_map is None or not is_issuer(config_map):
        return None
    directory = _directory(config_map)
    state = load_state(cluster, config_map["metadata"]["name"], directory)
    return CheckedIssuer(config_map, directory, state)


def _listed(config_map: Json, stored: Mapping[str, Json]) -> CheckedIssuer:
    name, directory = config_map["metadata"]["name"], _directory(config_map)
    state = IssuerState(name, directory, stored.get(names.issuer_state(name, directory)))
    return CheckedIssuer(config_map, directory, state)


def _directory(config_map: Json) -> str:
    """What the issuer's state is named by; empty for one that cannot be read."""
    try:
        return directory_of(parse_issuer(config_map))
    except IssuerError:
        return ""


def _since(state: IssuerState, key: str, now: datetime) -> timedelta:
    """The time since a stored epoch; a day if there is none, or one from a clock that was wrong."""
    seconds = now.timestamp() - _epoch(state, key)
    return timedelta(seconds=seconds) if -60 <= seconds < _DAY.total_seconds() else _DAY


def _epoch(state: IssuerState, key: str) -> int:
    """A stored epoch, 0 if there is none."""
    return names.number(state.data.get(key, ""))
