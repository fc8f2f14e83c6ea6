"""Which issuers are to be tested now, and the Jobs that do it. Used by the sweep and by the operator's commands."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from issuer_job import account_state, issuers, names, objects, rollover
from issuer_job import vocabulary as v
from issuer_job.account_state import IssuerState
from issuer_job.check_issuer import CHECKED_EPOCH, CHECKED_FOR, CHECKED_VERSION, LAUNCHED_FOR, NOT_READY, RESULT
from issuer_job.issuers import IssuerError
from issuer_job.kube import CONFIGMAPS, JOBS, POD_TEMPLATES, AlreadyExists, Cluster, Json, KubeError

logger = logging.getLogger(__name__)

TRIES = 5
LAUNCHED_EPOCH = "checkLaunchedEpoch"
"""Of the last Job: about the unix seconds of its launch."""
PER_PASS = 10
"""Jobs in one pass of the sweep."""
AGAIN_AFTER = timedelta(hours=1)
"""For an issuer that was not ready, or whose Job ended without a word."""
RUNS_FOR = timedelta(minutes=10)
"""How long a Job that has not reported counts as running."""
PAUSE = timedelta(minutes=2)
"""Between two Jobs that remove leftovers."""
NEVER = "never"
"""Value of the annotation on an issuer that the sweep shall not test."""


class Why(StrEnum):
    """Why an issuer is tested."""

    EDITED = "NewOrEdited"
    ASKED = "Asked"
    ROLLOVER = "Rollover"
    NOT_READY = "NotReady"
    LEFTOVERS = "Leftovers"


@dataclass(frozen=True)
class CheckedIssuer:
    """An issuer's ConfigMap, the directory that its state is named by, and its state."""

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
    def subject(self) -> str:
        """Stands for what a Job would test now."""
        version = issuers.version(self.config_map)
        return names.digest(version, self.asked(v.CHECK), self.asked(v.ROLLOVER))


def why(issue: CheckedIssuer, *, leftovers: bool, now: datetime) -> Why | None:
    """Why the issuer is to be tested now, None if it is not. Pure."""
    state, epoch = issue.state, _epoch(issue.state, LAUNCHED_EPOCH)
    since = timedelta(seconds=now.timestamp() - epoch)
    if since < -timedelta(minutes=1):  # from a clock that was wrong
        epoch, since = 0, AGAIN_AFTER
    silent = _epoch(state, CHECKED_EPOCH) < epoch
    if silent and since < RUNS_FOR:
        return None
    is_new = state.data.get(LAUNCHED_FOR) != issue.subject or since >= AGAIN_AFTER
    if issue.asked(v.CHECK) != NEVER and is_new:
        if state.data.get(CHECKED_VERSION) != issuers.version(issue.config_map):
            return Why.EDITED
        if issue.asked(v.CHECK) not in ("", state.data.get(CHECKED_FOR)):
            return Why.ASKED
        if state.data.get(RESULT) == NOT_READY:
            return Why.NOT_READY
    if rollover.is_due(state, issue.asked(v.ROLLOVER)) and is_new:
        return Why.ROLLOVER
    return Why.LEFTOVERS if leftovers and since >= PAUSE else None


def launch_due(cluster: Cluster, *, leftovers: Collection[str], now: datetime) -> int:
    """Launch the Jobs that are due, at most `PER_PASS`; how many. Raises KubeError."""
    stored = {
        s["metadata"]["name"]: s for s in cluster.items(CONFIGMAPS, v.NAMESPACE, labels=f"{v.ISSUER_STATE}=true")
    }
    launched = 0
    for config_map in cluster.items(CONFIGMAPS, v.NAMESPACE, labels=f"{v.ISSUER}=true"):
        if not issuers.is_issuer_name(config_map["metadata"]["name"]):
            continue  # its name can be no part of a Job's; whoever uses it is told
        issue = _issue(config_map, stored)
        reason = why(issue, leftovers=issue.name in leftovers, now=now)
        if reason is None:
            continue
        if launched >= PER_PASS:
            logger.info("checks-put-off", extra={"fields": {"issuer": issue.name}})
            break
        try:
            job = launch(cluster, issue, now=now)
        except KubeError as problem:
            logger.warning("check-failed", extra={"fields": {"issuer": issue.name, "problem": str(problem)}})
            continue
        logger.info("check", extra={"fields": {"issuer": issue.name, "reason": reason, "job": job}})
        launched += 1
    return launched


def launch(cluster: Cluster, issue: CheckedIssuer, *, now: datetime) -> str:
    """Create the Job that tests the issuer; its name. Raises KubeError."""
    template = cluster.get(POD_TEMPLATES, v.NAMESPACE, v.POD_TEMPLATE)
    first = max(int(now.timestamp()), min(_epoch(issue.state, LAUNCHED_EPOCH), int(now.timestamp()) + 60) + 1)
    for epoch in range(first, first + TRIES):
        body = objects.check_job(
            issue.config_map, template, account_number=issue.state.number, directory=issue.directory, epoch=epoch
        )
        try:
            cluster.create(JOBS, v.NAMESPACE, body)
        except AlreadyExists:
            continue
        change = {LAUNCHED_EPOCH: str(epoch), LAUNCHED_FOR: issue.subject}
        account_state.note(cluster, issue.name, issue.directory, change)
        return str(body["metadata"]["name"])
    raise KubeError(f"Jobs that test issuer {issue.name} are launched all the time")


def find(cluster: Cluster, name: str) -> CheckedIssuer | None:
    """The issuer and its state as they are stored now, None if there is no such issuer. Raises KubeError."""
    found = cluster.find(CONFIGMAPS, v.NAMESPACE, name)
    if found is None or (found["metadata"].get("labels") or {}).get(v.ISSUER) != "true":
        return None
    directory = _directory(found)
    return CheckedIssuer(found, directory, account_state.load(cluster, name, directory))


def _issue(config_map: Json, stored: Mapping[str, Json]) -> CheckedIssuer:
    name, directory = config_map["metadata"]["name"], _directory(config_map)
    state = account_state.read(name, directory, stored.get(names.issuer_state(name, directory)))
    return CheckedIssuer(config_map, directory, state)


def _directory(config_map: Json) -> str:
    """What the issuer's state is named by; empty for one that cannot be read."""
    try:
        return issuers.parse(config_map).directory
    except IssuerError:
        return ""


def _epoch(state: IssuerState, key: str) -> int:
    """A stored epoch, 0 if there is none."""
    text = state.data.get(key, "")
    return int(text) if text.isdigit() and len(text) < 20 else 0
