"""What `check` and `doctor` find: one line each, and how the command ends because of them. Pure but for `show`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Literal

from issuer_job.cli.base.endings import Exit
from issuer_job.cli.out.terminal import Cell, Style, Terminal
from issuer_job.status.shown import Shown


class Mark(StrEnum):
    """How one thing stands."""

    OK = "ok"
    WARN = "warn"
    FAIL = "FAIL"
    UNKNOWN = "?"
    """It could not be found out: no right, no answer."""


_STYLES = {Mark.OK: Style.GOOD, Mark.WARN: Style.WARN, Mark.FAIL: Style.BAD, Mark.UNKNOWN: Style.DIM}


class Judged(Shown, frozen=True):
    """One line: what it is `about`, and a sentence. `docs` is where more is said."""

    verdict: Mark
    about: str
    says: str
    docs: str = ""


def ok(about: str, says: str) -> Judged:
    """All is well."""
    return Judged(verdict=Mark.OK, about=about, says=says)


def warn(about: str, says: str, *, docs: str = "") -> Judged:
    """It may be well."""
    return Judged(verdict=Mark.WARN, about=about, says=says, docs=docs)


def fail(about: str, says: str, *, docs: str = "") -> Judged:
    """A fault."""
    return Judged(verdict=Mark.FAIL, about=about, says=says, docs=docs)


def unknown(about: str, says: str) -> Judged:
    """It could not be found out."""
    return Judged(verdict=Mark.UNKNOWN, about=about, says=says)


class JudgedSubject(Shown, frozen=True, kw_only=True):
    """What is found about one thing, as "Ingress shop/pay"."""

    name: str
    findings: tuple[Judged, ...]


class Report(Shown, frozen=True, kw_only=True):
    """The published form; `kind` is CheckReport or DoctorReport."""

    api_version: Literal["certjob.io/v1"] = "certjob.io/v1"
    kind: str
    subjects: tuple[JudgedSubject, ...]


def about(found: tuple[str, Iterable[Judged]]) -> JudgedSubject:
    """The published form of what is found about one thing."""
    return JudgedSubject(name=found[0], findings=tuple(found[1]))


def show(terminal: Terminal, findings: Iterable[Judged]) -> None:
    """A line each, the verdict first."""
    every = list(findings)
    width = max((len(found.about) for found in every), default=0)
    for found in every:
        docs = f" -> {found.docs}" if found.docs else ""
        verdict = Cell(f" {found.verdict:<5}", _STYLES[found.verdict])
        terminal.line(verdict, f" {found.about:<{width}}  {found.says}{docs}")


def failures(findings: Iterable[Judged]) -> int:
    """How many of them are faults."""
    return sum(found.verdict is Mark.FAIL for found in findings)


def exit_code(findings: Sequence[Judged]) -> Exit:
    """1 with a fault; 3 if nothing at all could be found out."""
    if failures(findings):
        return Exit.NO
    nothing = findings and all(found.verdict is Mark.UNKNOWN for found in findings)
    return Exit.UNKNOWN if nothing else Exit.DONE


def counted(number: int, what: str) -> str:
    """ "1 host", "2 hosts"."""
    return f"{number} {what}{'s' * (number != 1)}"


def of_all(number: int, what: str) -> str:
    """ "the host", "both hosts", "all 3 hosts"."""
    return f"the {what}" if number == 1 else f"both {what}s" if number == 2 else f"all {number} {what}s"
