"""The operator's commands: test an issuer, give its account a new key. Both launch the issuer's own Job and wait."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from issuer_job import vocabulary as v
from issuer_job.checks.check import (
    CHECKED_EPOCH,
    READY,
    RESULT,
    STOPPED,
    STOPPED_EPOCH,
    finding_line,
    read_findings,
)
from issuer_job.checks.launch import CheckedIssuer, CheckStillRuns, find_issuer, launch_check, with_state
from issuer_job.cluster import changes
from issuer_job.cluster.api import CONFIGMAPS, JOBS, Cluster, Json
from issuer_job.issuers.load import is_issuer
from issuer_job.issuers.state import IssuerState, load_state
from issuer_job.launch.jobs import is_finished
from issuer_job.polling import Poll

PATIENCE = timedelta(minutes=6)
"""A pod of the Job has five minutes."""


@dataclass(frozen=True, kw_only=True)
class IssuerCommand:
    """A command on the issuer `name`, which tells people with `say` what it does. Its methods raise KubeError."""

    cluster: Cluster
    name: str
    clock: Callable[[], datetime]
    sleep: Callable[[float], None] = time.sleep
    say: Callable[[str], None] = print

    def check(self) -> v.ExitCode:
        """Test the issuer; PERMANENT if it is not ready, LATER if its Job did not say in time."""
        checked = find_issuer(self.cluster, self.name)
        if checked is None:
            return self._unknown()
        state = self._run(checked)
        return v.ExitCode.LATER if state is None else self._told(state)

    def roll_over(self) -> v.ExitCode:
        """Ask for a new account key by the annotation, and see it done; exit codes as of `check`."""
        request = self.clock().isoformat(timespec="milliseconds")
        checked = self._annotated(v.ROLLOVER, request)
        if checked is None:
            return self._unknown()
        before = checked.state.number
        state = self._run(checked)
        if state is None:
            return v.ExitCode.LATER
        done = state.number != before
        told = f"account key {state.number} took the place of key {before}" if done else "not rolled over"
        self.say(f"{self.name}: {told}")
        code = self._told(state)
        return code if done else v.ExitCode.PERMANENT

    def _run(self, checked: CheckedIssuer) -> IssuerState | None:
        """Launch the Job and wait for what it writes; None if that did not come."""
        job = self.launched(checked)
        if job is None:
            return None
        self.say(f"{self.name}: Job {job} (kubectl logs -n {v.NAMESPACE} job/{job})")
        epoch, poll = job.rpartition("-")[2], self.poll()
        while True:
            found = self.cluster.find(JOBS, v.NAMESPACE, job)
            state = load_state(self.cluster, self.name, checked.directory)
            if state.data.get(CHECKED_EPOCH) == epoch:
                return state
            ended, delay = found is None or is_finished(found), poll.delay(now=self.clock())
            if ended or delay is None:
                what = "has ended without a word" if ended else f"has said nothing for {PATIENCE}"
                if state.data.get(STOPPED_EPOCH) == epoch:
                    what = f"has ended: {state.data.get(STOPPED, '')}"
                hint = f"see its log, and kubectl describe job -n {v.NAMESPACE} {job}"
                self.say(f"{self.name}: Job {job} {what}: {hint}")
                return None
            self.sleep(delay.total_seconds())

    def launched(self, checked: CheckedIssuer, *, only_clean: bool = False) -> str | None:
        """Name of the Job, launched once the one that still runs has ended; None if that does not end."""
        former, poll = "", self.poll()
        while True:
            try:
                return launch_check(self.cluster, checked, only_clean=only_clean, now=self.clock())
            except CheckStillRuns as running:
                if not former:
                    self.say(f"{self.name}: waits until Job {running} has ended")
                former = str(running)
            delay = poll.delay(now=self.clock())
            if delay is None:
                self.say(f"{self.name}: Job {former} still runs: kubectl logs -n {v.NAMESPACE} job/{former}")
                return None
            self.sleep(delay.total_seconds())

    def poll(self) -> Poll:
        """For as long as a Job may take."""
        started = self.clock()
        return Poll(started=started, deadline=started + PATIENCE)

    def _annotated(self, annotation: str, value: str) -> CheckedIssuer | None:
        """The issuer with the annotation; None if there is no such issuer."""

        def annotated(held: Json | None) -> Json | None:
            if held is not None and is_issuer(held):
                held["metadata"]["annotations"] = {**(held["metadata"].get("annotations") or {}), annotation: value}
            return held

        done = changes.change(self.cluster, CONFIGMAPS, v.NAMESPACE, self.name, annotated)
        return with_state(self.cluster, done.after)

    def _told(self, state: IssuerState) -> v.ExitCode:
        ready = state.data.get(RESULT) == READY
        self.say(f"{self.name}: {'ready' if ready else 'not ready'}")
        for finding in read_findings(state.data):
            self.say(f"  {finding_line(finding)}")
        return v.ExitCode.DONE if ready else v.ExitCode.PERMANENT

    def _unknown(self) -> v.ExitCode:
        list_them = f"kubectl get configmap -n {v.NAMESPACE} -l {v.ISSUER}=true"
        self.say(f"there is no issuer {self.name[:253]}: {list_them}")
        return v.ExitCode.PERMANENT
