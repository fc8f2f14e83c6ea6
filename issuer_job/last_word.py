"""What a Job's process says of itself at its end: one JSON line that the kubelet reads into the pod's status.

`kubectl describe pod` shows it, and whoever watches pods need not read their logs. It is a courtesy: nothing fails
because it cannot be written. Its words are certjob's own, with numbers: no host, no name of a Secret, nothing secret.
"""

from __future__ import annotations

import os
import re
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated

import msgspec

PATH = "/dev/termination-log"
"""Where each container has the file: the default of `terminationMessagePath`."""
MAX_BYTES = 3072
"""The kubelet reads 4096 of one container, and 12 KiB of a whole pod."""
OTHER = "other"
"""In the place of a type that is too long or has odd characters: some CA has made it up."""

_TYPE = re.compile(r"[A-Za-z][A-Za-z0-9]{0,39}")
_Type = Annotated[str, msgspec.Meta(pattern=rf"^({_TYPE.pattern})?\Z")]
_What = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z][A-Za-z0-9 -]{0,47}\Z")]
_Number = Annotated[int, msgspec.Meta(ge=0, le=10**9)]
_Seconds = Annotated[float, msgspec.Meta(ge=0, le=10**6)]


class Work(StrEnum):
    """What the process was for."""

    ISSUE = "issue"
    CHECK = "check"
    SWEEP = "sweep"
    BOOTSTRAP = "bootstrap"


class Step(StrEnum):
    """What the time went into: an attempt's phases, and the parts of a sweep."""

    START = "Start"
    """Of an attempt: until it is claimed. The record is read, and modules are."""
    CLAIMED = "Claimed"
    ORDERING = "Ordering"
    AUTHORIZING = "Authorizing"
    FINALIZING = "Finalizing"
    INSTALLING = "Installing"

    OPENING = "Opening"
    """Of a sweep: canaries, the webhook's certificate, issuers and options."""
    READING = "Reading"
    """Records, claims, Ingresses and Jobs are listed."""
    SUGGESTIONS = "Suggestions"
    """CAs are asked when to renew."""
    CLAIMS = "Claims"
    LAUNCHES = "Launches"
    """Each certificate is judged, looked at and launched."""
    TIDYING = "Tidying"
    """Leftovers, revocations, tests of issuers."""


class LastWord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """How a process ended, and what it took. All is bounded, whoever wrote it.

    `problem` is the type of what it ended on, empty if nothing was wrong: a record's word, a finding's of an issuer,
    or `environment`, `apiServer`, `internalError` of a process that came to nothing. `steps` says where the `seconds`
    went. `counts` is what a sweep did, `trouble` how often it left something to the next one.
    """

    work: Work
    exit_code: Annotated[int, msgspec.Meta(ge=0, le=255)]
    problem: _Type = ""
    trouble: _Number = 0
    seconds: _Seconds = 0.0
    cpu_seconds: _Seconds = 0.0
    peak_mib: _Number = 0
    steps: dict[str, _Seconds] = {}
    counts: dict[_What, _Number] = {}


def read(message: str) -> LastWord | None:
    """What the `terminated.message` of a container says; None if that is nothing that certjob writes.

    Whoever may write a pod's status, or run in it, may have made it up. Steps that nobody knows are left out.
    """
    try:
        if len(raw := message.encode()) > MAX_BYTES:
            return None
        word = msgspec.json.decode(raw, type=LastWord)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return None
    return msgspec.structs.replace(word, steps={s: word.steps[s] for s in Step if s in word.steps})


def line_of(word: LastWord) -> bytes:
    """The line to write: what counts least is left out of one that would be too long."""
    counts = sorted(word.counts.items(), key=lambda pair: -pair[1])
    while len(line := msgspec.json.encode(msgspec.structs.replace(word, counts=dict(counts)))) > MAX_BYTES:
        counts = counts[: len(counts) * 3 // 4]
    return line


@dataclass
class Tally:
    """What a process will say at its end, as it gathers it; `problem` may be any text."""

    work: Work = Work.ISSUE
    problem: str = ""
    counts: Counter[str] = field(default_factory=Counter)
    clock: Callable[[], float] = time.monotonic
    _seconds: dict[Step, float] = field(default_factory=dict)
    _step: Step | None = None

    def __post_init__(self) -> None:
        self._began = self._since = self.clock()

    def begin(self, step: Step | None) -> None:
        """From here on the time is this step's."""
        now = self.clock()
        if self._step is not None:
            self._seconds[self._step] = self._seconds.get(self._step, 0.0) + now - self._since
        self._step, self._since = step, now

    def begin_named(self, name: str) -> None:
        """The same by the step's name; what is none goes on with the one under way."""
        if name in set(Step):
            self.begin(Step(name))

    def word(self, exit_code: int) -> LastWord:
        """At the end of the process."""
        import resource  # not there on Windows, where last words are read at most

        self.begin(self._step)
        counts = {what: number for what, number in self.counts.items() if number > 0 and what != "trouble"}
        return LastWord(
            work=self.work,
            exit_code=exit_code,
            problem=self.problem if not self.problem or _TYPE.fullmatch(self.problem) else OTHER,
            trouble=max(0, self.counts["trouble"]),
            seconds=round(self._since - self._began, 2),
            cpu_seconds=round(time.process_time(), 2),
            peak_mib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
            steps={str(step): round(seconds, 2) for step, seconds in self._seconds.items()},
            counts=counts,
        )


def leave(word: LastWord, environment: Mapping[str, str] = os.environ) -> str:
    """Write it where the kubelet looks, or where `CERTJOB_TERMINATION_LOG` says; what went wrong with that.

    Where no file is nobody looks, and none is made.
    """
    try:
        file = os.open(environment.get("CERTJOB_TERMINATION_LOG", PATH), os.O_WRONLY | os.O_TRUNC)
        with open(file, "wb") as out:
            out.write(line_of(word) + b"\n")
    except FileNotFoundError:
        return ""
    except OSError as problem:
        return str(problem)
    return ""
