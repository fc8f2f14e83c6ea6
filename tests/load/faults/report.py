"""The rows of `make faults`: what each says, and what it has to reach."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Report:
    """What one row has seen; each figure is printed at once. `ok`: every reach was reached."""

    row: str
    ok: bool = True
    started: float = field(default_factory=time.monotonic)
    ended: float | None = None

    def most(self, what: str, seen: float, reach: float, unit: str = "") -> None:
        """A figure that may be at most `reach`."""
        self._figure(what, f"{seen:g}{unit}", f"at most {reach:g}{unit}", good=seen <= reach)

    def exactly(self, what: str, seen: float, reach: float) -> None:
        """A figure that has to be `reach`."""
        self._figure(what, f"{seen:g}", f"{reach:g}", good=seen == reach)

    def holds(self, what: str, seen: object, *, good: bool) -> None:
        """Something that has to be so."""
        self._figure(what, str(seen), "", good=good)

    def note(self, text: str) -> None:
        """What is worth knowing, and no reach."""
        print(f"  {self.row}: {text}", flush=True)

    @property
    def seconds(self) -> float:
        """How long the row took, or has taken by now."""
        return (self.ended or time.monotonic()) - self.started

    def _figure(self, what: str, seen: str, reach: str, *, good: bool) -> None:
        self.ok &= good
        of = f" ({reach})" if reach else ""
        print(f"  {self.row}: {what}: {seen}{of} {'ok' if good else 'NOT REACHED'}", flush=True)


@dataclass(frozen=True)
class Row:
    """One row: `run` prepares, breaks, measures, heals and reports."""

    name: str
    what: str
    run: Callable[[Report], None]


ROWS: dict[str, Row] = {}


def row(name: str) -> Callable[[Callable[[Report], None]], Callable[[Report], None]]:
    """Registers a function as a row; the first line of its docstring says what it does."""

    def register(run: Callable[[Report], None]) -> Callable[[Report], None]:
        ROWS[name] = Row(name, (run.__doc__ or "").partition("\n")[0], run)
        return run

    return register
