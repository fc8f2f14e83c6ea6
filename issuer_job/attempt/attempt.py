"""One attempt as its pod sees it: who we are, the record as we last wrote it, and how an attempt can end."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import ParamSpec

from msgspec.structs import replace

from issuer_job import log
from issuer_job import vocabulary as v
from issuer_job.cluster.api import Cluster
from issuer_job.issuers.schema import Issuer
from issuer_job.issuers.state import IssuerState
from issuer_job.last_word import Tally
from issuer_job.polling import utc_now
from issuer_job.record import transitions
from issuer_job.record.annotations import ANNOTATIONS, Settings
from issuer_job.record.phases import ISSUE_DEADLINE as ISSUE_DEADLINE  # handed on: whoever makes an Attempt needs it
from issuer_job.record.record import ACTIVE, Phase, Problem, Record, Source
from issuer_job.record.store import Arrow, change_record, live_record, write_record
from issuer_job.tenant_secrets import canary
from issuer_job.tenant_secrets.access import Looker, look_by_policy

P = ParamSpec("P")


class Stop(Exception):
    """The attempt ends here, before its certificate is installed."""

    exit_code = v.ExitCode.RETRY


class Superseded(Stop):
    """The record is another's now, or gone: touch nothing."""

    exit_code = v.ExitCode.SUPERSEDED


class OtherPod(Stop):
    """Another pod of this attempt is at work, or the next one will find a Secret mounted that we lack."""

    exit_code = v.ExitCode.OTHER_POD


class Ended(Stop):
    """An earlier pod of this attempt has ended it already."""

    def __init__(self, exit_code: v.ExitCode) -> None:
        super().__init__(f"this attempt has ended already, with code {int(exit_code)}")
        self.exit_code = exit_code


class Unwanted(Stop):
    """Nothing that is live wants the Secret."""

    exit_code = v.ExitCode.LATER


class NamespaceGone(Stop):
    """The Secret's namespace is being deleted."""

    exit_code = v.ExitCode.LATER


class IntentChanged(Stop):
    """Something else is wanted since the record was read, and nothing was ordered yet: begin anew."""


class HeldBack(Stop):
    """An order now would exceed a limit that is the issuer's own: it waits. That is no failure."""

    exit_code = v.ExitCode.LATER

    def __init__(self, problem: Problem, until: datetime) -> None:
        super().__init__(str(problem))
        self.problem = problem
        self.until = until


class Failure(Stop):
    """It failed, for the reason that `problem` says."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


class Later(Failure):
    """Something that passes. `wait` is for how long; None leaves it to the back-off. `by_ca`: the CA asked for it."""

    exit_code = v.ExitCode.LATER

    def __init__(self, problem: Problem, *, wait: timedelta | None = None, by_ca: bool = False) -> None:
        super().__init__(problem)
        self.wait = wait
        self.by_ca = by_ca


class Permanent(Failure):
    """Only a change helps."""

    exit_code = v.ExitCode.PERMANENT


@dataclass(frozen=True)
class Pod:
    """What the downward API tells the process: its attempt and itself."""

    record: str
    record_uid: str
    epoch: int
    uid: str


@dataclass
class Attempt:
    """The record of the attempt, advanced step by step. `confirmed` are its sources as they were found to be live."""

    cluster: Cluster
    pod: Pod
    deadline: datetime
    mounts: Path = Path("/secrets")
    clock: Callable[[], datetime] = utc_now
    sleep: Callable[[float], None] = time.sleep
    looker: Looker = look_by_policy
    stretch: float = 0.0  # see AttemptState
    record: Record = field(init=False)
    issuer_version: str = ""
    """Stands for the issuer's configuration, once it has been read."""
    confirmed: tuple[Source, ...] = ()
    issuer_state: IssuerState | None = None
    """What is known of the issuer, as it was read last."""
    made: dict[str, bytes] = field(default_factory=dict, repr=False)
    """Keys that this pod made, by the volume in which the next one finds them."""
    advice: dict[str, str] = field(default_factory=dict)
    """By host: what helps if the CA does not accept its proof, as this pod has seen why."""
    notes: list[str] = field(default_factory=list)
    """What is told of a certificate besides: something was asked for and not given."""
    tally: Tally = field(default_factory=Tally)  # what the process says of it at its end

    def load(self) -> None:
        """Read the record. Raises Superseded, Ended, RecordError, KubeError."""
        self.record = self._ours(live_record(self.cluster, self.pod.record))
        self._still_active()

    def _still_active(self) -> None:
        code = _ENDED.get(self.record.phase)
        if code is not None:
            raise Ended(code)
        if self.record.phase not in ACTIVE:
            raise Superseded(f"the record is {self.record.phase}")

    def advance(self, arrow: Arrow[P], *args: P.args, **kwargs: P.kwargs) -> None:
        """Write what the arrow makes of the record now, whoever else writes it: a source that joined is kept.

        Raises Superseded when the epoch is not ours any more, OtherPod when the holder is not (ending the Job would
        end the pod that holds the attempt now), Ended, IntentChanged, RecordError, KubeError.
        """
        if isinstance(problem := kwargs.get("problem"), Problem):
            self.tally.problem = problem.type
        self._write(lambda record: arrow(record, self.clock(), *args, **kwargs))

    def require_policies(self) -> None:
        """Raises Later while the admission policies that bound what a Job may do are not in force."""
        if found := next(canary.problems(self.cluster, canary.FOR_JOBS), ""):
            self.step("policies-not-in-force", problem=found)
            detail = "certjob's admission policies are not in force: apply the manifests again"
            raise Later(Problem(type="policiesNotInForce", detail=detail, step="canary"), wait=timedelta(minutes=1))

    def claim(self) -> None:
        """Take the attempt for this pod, also from another pod of the same epoch: its node may be lost."""
        uid, start = self.pod.uid, self.stretch
        self._write(lambda r: transitions.claimed(r, self.clock(), holder=uid, stretch=start), takeover=True)

    def _write(self, arrow: Callable[[Record], Record], *, takeover: bool = False) -> None:
        wanted = arrow(self.record)

        def again(stored: Record | None) -> Record:
            nonlocal wanted
            live = self._ours(stored)
            if not takeover and transitions.attempt_of(live).holder != self.pod.uid:
                raise OtherPod("another pod holds the attempt")
            if replace(live, resource_version="") == replace(wanted, resource_version=""):
                return live  # our own write, whose answer was lost
            former, self.record = self.record, live
            self._still_active()
            if not takeover and live.phase is Phase.CLAIMED and live.generation != former.generation:
                raise IntentChanged("something else is wanted by now")
            wanted = arrow(live)
            return wanted

        # The first write takes place even if it changes nothing: it shows that the attempt is still ours.
        self.record = write_record(self.cluster, wanted) or change_record(self.cluster, self.pod.record, again)
        self.tally.begin_named(self.record.phase)

    def mounted(self, volume: str, key: str) -> bytes | None:
        """A key of an optional Secret volume, None if it is not there and this pod did not make it."""
        if volume in self.made:
            return self.made[volume]
        try:
            return (self.mounts / volume / key).read_bytes()
        except FileNotFoundError:
            return None

    def step(self, name: str, **fields: object) -> None:
        """One log line."""
        log.info(name, record=self.pod.record, epoch=self.pod.epoch, **fields)

    def _ours(self, stored: Record | None) -> Record:
        if stored is None or stored.uid != self.pod.record_uid:
            raise Superseded("the record is gone")
        if stored.epoch != self.pod.epoch:
            raise Superseded(f"the record is at epoch {stored.epoch}")
        return stored


_ENDED = {
    "Issued": v.ExitCode.DONE,
    "Waiting": v.ExitCode.LATER,
    "Unconfirmed": v.ExitCode.LATER,
    "Failed": v.ExitCode.PERMANENT,
    "Orphaned": v.ExitCode.LATER,
}


@dataclass(frozen=True)
class Resolved:
    """The issuer of the attempt and the settings that hold: the user's annotation or else the issuer's own."""

    name: str
    issuer: Issuer
    settings: Settings

    @classmethod
    def of(cls, name: str, issuer: Issuer, wanted: Settings) -> Resolved:
        """With the issuer's own where the user wanted nothing else."""
        fields = (row.field for row in ANNOTATIONS if row.from_issuer)
        own = {field: getattr(wanted, field) or getattr(issuer, field) for field in fields}
        return cls(name, issuer, replace(wanted, **own))
