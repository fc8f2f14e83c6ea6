"""The operator's commands: test an issuer, give its account a new key. Both launch the issuer's own Job and wait."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta

from issuer_job import vocabulary as v
from issuer_job.checks.check import CHECKED_EPOCH, READY, RESULT, finding_line, read_findings
from issuer_job.checks.launch import CheckedIssuer, CheckStillRuns, find_issuer, launch_check, with_state
from issuer_job.cluster import changes
from issuer_job.cluster.api import CONFIGMAPS, JOBS, Cluster, Json
from issuer_job.issuers.load import is_issuer
from issuer_job.issuers.state import ROLLED_OVER_FOR, IssuerState, load_state
from issuer_job.launch.jobs import is_finished
from issuer_job.polling import Poll

PATIENCE = timedelta(minutes=6)
"""A pod of the Job has five minutes."""

Clock = Callable[[], datetime]
Say = Callable[[str], None]


def check_now(
    cluster: Cluster, name: str, *, clock: Clock, sleep: Callable[[float], None] = time.sleep, say: Say = print
) -> v.ExitCode:
    """Test the issuer; PERMANENT if it is not ready, LATER if its Job did not say in time. Raises KubeError."""
    checked = find_issuer(cluster, name)
    if checked is None:
        return _unknown(name, say)
    state = _run(cluster, checked, clock=clock, sleep=sleep, say=say)
    return v.ExitCode.LATER if state is None else _told(name, state, say)


def roll_over_now(
    cluster: Cluster, name: str, *, clock: Clock, sleep: Callable[[float], None] = time.sleep, say: Say = print
) -> v.ExitCode:
    """Ask for a new account key by the annotation, and see it done; exit codes as of `check`. Raises KubeError."""
    request = clock().isoformat(timespec="milliseconds")
    checked = _annotated(cluster, name, v.ROLLOVER, request)
    if checked is None:
        return _unknown(name, say)
    before = checked.state.number
    state = _run(cluster, checked, clock=clock, sleep=sleep, say=say)
    if state is None:
        return v.ExitCode.LATER
    done = state.data.get(ROLLED_OVER_FOR) == request
    say(f"{name}: account key {state.number} took the place of key {before}" if done else f"{name}: not rolled over")
    code = _told(name, state, say)
    return code if done else v.ExitCode.PERMANENT


def _run(
    cluster: Cluster, checked: CheckedIssuer, *, clock: Clock, sleep: Callable[[float], None], say: Say
) -> IssuerState | None:
    """Launch the Job and wait for what it writes; None if that did not come."""
    job = _launch(cluster, checked, clock=clock, sleep=sleep, say=say)
    if job is None:
        return None
    started = clock()
    say(f"{checked.name}: Job {job} (kubectl logs -n {v.NAMESPACE} job/{job})")
    epoch = job.rpartition("-")[2]
    poll = Poll(started=started, deadline=started + PATIENCE)
    while True:
        ended = _has_ended(cluster, job)
        state = load_state(cluster, checked.name, checked.directory)
        if state.data.get(CHECKED_EPOCH) == epoch:
            return state
        delay = poll.delay(now=clock())
        if ended or delay is None:
            what = "has ended without a word" if ended else f"has said nothing for {PATIENCE}"
            say(f"{checked.name}: Job {job} {what}: see its log, and kubectl describe job -n {v.NAMESPACE} {job}")
            return None
        sleep(delay.total_seconds())


def _launch(
    cluster: Cluster, checked: CheckedIssuer, *, clock: Clock, sleep: Callable[[float], None], say: Say
) -> str | None:
    """Name of the Job, launched once the one that still runs has ended; None if that does not end."""
    started, former = clock(), ""
    poll = Poll(started=started, deadline=started + PATIENCE)
    while True:
        try:
            return launch_check(cluster, checked, now=clock())
        except CheckStillRuns as running:
            if not former:
                say(f"{checked.name}: waits until Job {running} has ended")
            former = str(running)
        delay = poll.delay(now=clock())
        if delay is None:
            say(f"{checked.name}: Job {former} still runs: kubectl logs -n {v.NAMESPACE} job/{former}")
            return None
        sleep(delay.total_seconds())


def _has_ended(cluster: Cluster, name: str) -> bool:
    job = cluster.find(JOBS, v.NAMESPACE, name)
    return job is None or is_finished(job)


def _annotated(cluster: Cluster, name: str, annotation: str, value: str) -> CheckedIssuer | None:
    """The issuer with the annotation; None if there is no such issuer. Raises KubeError."""

    def annotated(held: Json | None) -> Json | None:
        if held is not None and is_issuer(held):
            held["metadata"]["annotations"] = {**(held["metadata"].get("annotations") or {}), annotation: value}
        return held

    return with_state(cluster, changes.change(cluster, CONFIGMAPS, v.NAMESPACE, name, annotated).after)


def _told(name: str, state: IssuerState, say: Say) -> v.ExitCode:
    ready = state.data.get(RESULT) == READY
    say(f"{name}: {'ready' if ready else 'not ready'}")
    for finding in read_findings(state.data):
        say(f"  {finding_line(finding)}")
    return v.ExitCode.DONE if ready else v.ExitCode.PERMANENT


def _unknown(name: str, say: Say) -> v.ExitCode:
    say(f"there is no issuer {name[:253]}: kubectl get configmap -n {v.NAMESPACE} -l {v.ISSUER}=true")
    return v.ExitCode.PERMANENT
