"""What `check` and `doctor` find: one line each, and how the command ends because of them. Pure but for `show`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Literal

from issuer_job.cli.base.endings import Exit
from issuer_job.cli.out.terminal import Cell, Style, Terminal
from issuer_job.status.status import Shown


class Verdict(StrEnum):
    """How one thing stands."""

    OK = "ok"
    WARN = "warn"
    FAIL = "FAIL"
    UNKNOWN = "?"
    """It could not be found out: no right, no answer."""


_STYLES = {Verdict.OK: Style.GOOD, Verdict.WARN: Style.WARN, Verdict.FAIL: Style.BAD, Verdict.UNKNOWN: Style.DIM}


class Finding(Shown, frozen=True):
    """One line: what it is `about`, and a sentence. `docs` is where more is said."""

    verdict: Verdict
    about: str
    says: str
    docs: str = ""


class Subject(Shown, frozen=True, kw_only=True):
    """What is found about one thing, as "Ingress shop/pay"."""

    name: str
    findings: tuple[Finding, ...]


class Report(Shown, frozen=True, kw_only=True):
    """The published form; `kind` is CheckReport or DoctorReport."""

    api_version: Literal["certjob.io/v1"] = "certjob.io/v1"
    kind: str
    subjects: tuple[Subject, ...]


def about(found: tuple[str, Iterable[Finding]]) -> Subject:
    """The published form of what is found about one thing."""
    return Subject(name=found[0], findings=tuple(found[1]))


def show(terminal: Terminal, findings: Iterable[Finding]) -> None:
    """A line each, the verdict first."""
    every = list(findings)
    width = max((len(found.about) for found in every), default=0)
    for found in every:
        docs = f" -> {found.docs}" if found.docs else ""
        verdict = Cell(f" {found.verdict:<5}", _STYLES[found.verdict])
        terminal.line(verdict, f" {found.about:<{width}}  {found.says}{docs}")


def failures(findings: Iterable[Finding]) -> int:
    """How many of them are faults."""
    return sum(found.verdict is Verdict.FAIL for found in findings)


def exit_code(findings: Sequence[Finding]) -> Exit:
    """1 with a fault; 3 if nothing at all could be found out."""
    if failures(findings):
        return Exit.NO
    nothing = findings and all(found.verdict is Verdict.UNKNOWN for found in findings)
    return Exit.UNKNOWN if nothing else Exit.DONE


def counted(number: int, what: str) -> str:
    """ "1 host", "2 hosts"."""
    return f"{number} {what}{'s' * (number != 1)}"


def of_all(number: int, what: str) -> str:
    """ "the host", "both hosts", "all 3 hosts"."""
    return f"the {what}" if number == 1 else f"both {what}s" if number == 2 else f"all {number} {what}s"
