"""The operator's command that revokes a Secret's certificate, and has another one made with another key."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from issuer_job import vocabulary as v
from issuer_job.checks.command import PATIENCE, IssuerCommand
from issuer_job.checks.launch import find_issuer
from issuer_job.cluster.api import CONFIGMAPS, JOBS, Cluster
from issuer_job.issuers.load import Issuers
from issuer_job.launch.configuration import SettingsCache
from issuer_job.launch.jobs import is_finished
from issuer_job.launch.launcher import Launcher
from issuer_job.polling import Poll
from issuer_job.record import transitions
from issuer_job.record.phases import ACTIVE, GONE, LaunchReason, Phase
from issuer_job.record.record import Record, RecordError
from issuer_job.record.store import change_record, live_record
from issuer_job.upkeep.revocations import (
    HeldRevocation,
    Outcome,
    Revocation,
    ask_for,
    find_revocation,
    issuer_for,
    rewrite,
)

LAUNCH_SECONDS = 30.0
"""For what a launch writes."""
ENDED = frozenset({Phase.ISSUED, Phase.WAITING, Phase.FAILED, Phase.UNCONFIRMED, Phase.ORPHANED})


@dataclass(frozen=True, kw_only=True)
class RevokeCommand:
    """Revokes what `revocation` says, and tells people with `say` what it does.

    All that it has begun, the sweep ends: what was asked for is written down before anything else is done.
    """

    cluster: Cluster
    revocation: Revocation
    clock: Callable[[], datetime]
    sleep: Callable[[float], None] = time.sleep
    say: Callable[[str], None] = print
    _codes: list[v.ExitCode] = field(default_factory=lambda: [v.ExitCode.DONE])

    def run(self) -> v.ExitCode:
        """DONE once it is revoked and, if anybody wants one, another certificate is there; PERMANENT if it cannot be
        revoked, LATER if one of the two is not done yet. Raises KubeError.
        """
        revocation, about = self.revocation, self.revocation.about
        try:
            record = live_record(self.cluster, revocation.record_name)
        except RecordError as problem:
            return self._ends(v.ExitCode.PERMANENT, str(problem))
        if record is None:
            return self._ends(v.ExitCode.PERMANENT, f"{about}: there is no record {revocation.record_name} of it")
        issuers = Issuers.from_config_maps(self.cluster.items(CONFIGMAPS, v.NAMESPACE, labels=f"{v.ISSUER}=true"))
        issuer = issuer_for(self.cluster, revocation, record, issuers)
        if not issuer:
            what = "the issuer that it is from is gone or broken, and no other one has the same CA"
            return self._ends(v.ExitCode.PERMANENT, f"{about}: {what}")
        name = ask_for(self.cluster, revocation, now=self.clock())
        held = find_revocation(self.cluster, name)
        if held is None or rewrite(self.cluster, held, issuer=issuer) is None:
            return self._ends(v.ExitCode.LATER, f"{about}: ConfigMap {name} was changed: the sweep goes on with it")
        held = self._carried_out(name, issuer)
        if held is None or held.revocation.outcome is None:
            why = f" ({held.revocation.problem})" if held is not None and held.revocation.problem else ""
            self._ends(v.ExitCode.LATER, f"{about}: not revoked yet{why}; the sweep has it tried again each hour")
        else:
            done = held.revocation.outcome is Outcome.REVOKED
            code = v.ExitCode.DONE if done else v.ExitCode.PERMANENT
            self._ends(code, f"{held.revocation.about}: {held.revocation.problem}")
        self._replace(held)
        return max(self._codes, key=[v.ExitCode.DONE, v.ExitCode.LATER, v.ExitCode.PERMANENT].index)

    def _ends(self, code: v.ExitCode, what: str) -> v.ExitCode:
        self.say(what)
        self._codes.append(code)
        return code

    def _carried_out(self, name: str, issuer: str) -> HeldRevocation | None:
        """The revocation once a Job of the issuer, launched now, is through with it."""
        command = IssuerCommand(cluster=self.cluster, name=issuer, clock=self.clock, sleep=self.sleep, say=self.say)
        checked = find_issuer(self.cluster, issuer)
        job = None if checked is None else command.launched(checked, only_clean=True)
        poll = command.poll()
        if job is not None:
            self.say(f"{issuer}: Job {job} (kubectl logs -n {v.NAMESPACE} job/{job})")
        while job is not None:
            running = self.cluster.find(JOBS, v.NAMESPACE, job)
            held, delay = find_revocation(self.cluster, name), poll.delay(now=self.clock())
            if held is None or held.revocation.outcome is not None:
                return held
            if running is None or is_finished(running) or delay is None:
                break
            self.sleep(delay.total_seconds())
        return find_revocation(self.cluster, name)

    def _replace(self, held: HeldRevocation | None) -> None:
        """Another key and another certificate, now: whatever else runs for the record is superseded."""
        marked = "" if held is None else held.revocation.serial

        def launched(stored: Record | None) -> Record | None:
            if stored is None or stored.phase in GONE or not self._holds_revoked(stored, marked):
                return None
            attempt = stored.attempt
            if stored.phase in ACTIVE and attempt is not None and attempt.reason == LaunchReason.REVOKED:
                return stored  # a sweep was faster
            return transitions.launched(stored, now=self.clock(), reason=LaunchReason.REVOKED)

        name = self.revocation.record_name
        stored = change_record(self.cluster, name, launched)
        if stored is None:
            self.say(f"{name}: no other certificate is made: nobody asks for one, or it has another already")
            return
        if stored.phase is Phase.LAUNCHED:
            launcher = Launcher(self.cluster, SettingsCache(self.cluster), clock=self.clock)
            launcher.until(time.monotonic() + LAUNCH_SECONDS).start(stored)
        self.say(f"{name}: another key and certificate are on their way")
        self._await(stored)

    def _holds_revoked(self, stored: Record, marked: str) -> bool:
        """Whether the Secret has what was revoked, or an attempt goes on that may put it there."""
        if stored.is_revoked or stored.phase is Phase.ISSUED:
            return stored.is_revoked
        return not self.revocation.serial and bool(marked) and stored.has_revoked(serial=marked)

    def _await(self, launched: Record) -> None:
        poll = Poll(started=self.clock(), deadline=self.clock() + PATIENCE)
        while True:
            found = live_record(self.cluster, launched.name)
            if found is None or found.epoch != launched.epoch or found.phase in ENDED:
                break
            delay = poll.delay(now=self.clock())
            if delay is None:
                break
            self.sleep(delay.total_seconds())
        if found is not None and found.phase is Phase.ISSUED and found.issued is not None and not found.is_revoked:
            self._ends(v.ExitCode.DONE, f"{found.name}: issued anew, {found.issued}")
            return
        why = f": {found.retry.problem.note}" if found is not None and found.retry is not None else ""
        self._ends(v.ExitCode.LATER, f"{launched.name}: not issued anew yet{why}; the sweep goes on with it")
