"""The operator's commands on an issuer: test it, give its account a new key or it another account, which launch the
issuer's own Job and wait; and have all that it has given replaced, which is the sweeps' work.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from issuer_job import vocabulary as v
from issuer_job.attempt.findings import finding_line
from issuer_job.attempt.vouching import givers
from issuer_job.checks.launch import CheckedIssuer, CheckStillRuns, find_issuer, launch_check, with_state
from issuer_job.cluster import changes
from issuer_job.cluster.api import CONFIGMAPS, JOBS, Cluster, Json
from issuer_job.issuers.load import Issuers, is_issuer
from issuer_job.issuers.state import (
    CHECK_RESULT,
    CHECKED_EPOCH,
    READY,
    STOPPED,
    STOPPED_EPOCH,
    IssuerState,
    load_state,
    read_findings,
)
from issuer_job.launch.jobs import is_finished
from issuer_job.polling import Poll
from issuer_job.record.annotations import read_moment
from issuer_job.record.phases import GONE
from issuer_job.record.renewal import is_older
from issuer_job.record.store import list_all

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
        return self._done(v.ROLLOVER, "account key {} took the place of key {}", "not rolled over")

    def reset_account(self) -> v.ExitCode:
        """Ask for another account by the annotation, and see it done; exit codes as of `check`."""
        done = (
            "it has another account, whose key is number {} in the place of {}; what waits is tried by the next sweep"
        )
        return self._done(v.RESET, done, "the account is the one before")

    def replace_all(self, *, only_status: bool = False) -> v.ExitCode:
        """Ask by the annotation that the sweeps replace all that the issuer has given, unless they are at that, and
        say how much is left; `only_status` asks for nothing. DONE, or PERMANENT if there is no such issuer.
        """
        checked = find_issuer(self.cluster, self.name)
        if checked is None:
            return self._unknown()
        asked = read_moment(checked.asked(v.RENEW))
        left, all_ = self._older(asked)
        if not left and not only_status:
            asked = (self.cluster.server_time() or self.clock()).replace(microsecond=0)
            self._annotated(v.RENEW, f"{asked:%Y-%m-%dT%H:%M:%SZ}")
            left, all_ = self._older(asked)
        since = (
            "nothing was asked for" if asked is None else f"{left} of them from before {asked:%Y-%m-%d %H:%M:%S %Z}"
        )
        self.say(f"{self.name}: {all_} certificates, {since}")
        if left:
            self.say(f"{self.name}: sweeps replace them, within the issuer's limits; until then they are served")
        return v.ExitCode.DONE

    def _older(self, asked: datetime | None) -> tuple[int, int]:
        """How many certificates that the issuer has given and somebody wants are older than is asked for, and how
        many there are.
        """
        issuers = Issuers.from_config_maps(self.cluster.items(CONFIGMAPS, v.NAMESPACE, labels=f"{v.ISSUER}=true"))
        given = [
            record.issued
            for record in list_all(self.cluster)
            if record.issued is not None and record.phase not in GONE and self.name in givers(record, issuers.valid)
        ]
        return sum(asked is not None and is_older(issued, asked) for issued in given), len(given)

    def _done(self, annotation: str, done: str, not_done: str) -> v.ExitCode:
        """Ask for something by the annotation, and see it done: then another account key is in use."""
        request = self.clock().isoformat(timespec="milliseconds")
        checked = find_issuer(self.cluster, self.name)
        if checked is not None and not checked.has_account:
            self.say(f"{self.name}: it has no ACME account, or cannot be read")
            return v.ExitCode.PERMANENT
        checked = self._annotated(annotation, request)
        if checked is None:
            return self._unknown()
        before = checked.state.number
        state = self._run(checked)
        if state is None:
            return v.ExitCode.LATER
        is_done = state.number != before
        self.say(f"{self.name}: {done.format(state.number, before) if is_done else not_done}")
        code = self._told(state)
        return code if is_done else v.ExitCode.PERMANENT

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
        ready = state.data.get(CHECK_RESULT) == READY
        self.say(f"{self.name}: {'ready' if ready else 'not ready'}")
        for finding in read_findings(state.data):
            self.say(f"  {finding_line(finding)}")
        return v.ExitCode.DONE if ready else v.ExitCode.PERMANENT

    def _unknown(self) -> v.ExitCode:
        list_them = f"kubectl get configmap -n {v.NAMESPACE} -l {v.ISSUER}=true"
        self.say(f"there is no issuer {self.name[:253]}: {list_them}")
        return v.ExitCode.PERMANENT
