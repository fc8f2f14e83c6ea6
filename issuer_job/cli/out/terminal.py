"""What a command prints. Data goes to stdout, all else to stderr.

Whatever others wrote passes `clean` on its way, and only this module writes: control characters never reach a
terminal, nor can a text pretend to be several lines.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import TextIO

from issuer_job.status.plain import clean


class Style(Enum):
    """What a text is; the value is its SGR code (ECMA-48, section 8.3.117). A word always says the same."""

    PLAIN = ""
    GOOD = "32"
    BAD = "31"
    WARN = "33"
    DIM = "2"
    BOLD = "1"


@dataclass(frozen=True)
class Cell:
    """A text with a style."""

    text: str
    style: Style = Style.PLAIN


Part = str | Cell


@dataclass
class Terminal:
    """Where a command prints. `rich`: stdout is a terminal, so tables fit its width; `colour` besides."""

    out: TextIO
    err: TextIO
    rich: bool = False
    colour: bool = False
    err_colour: bool = False
    _said: set[str] = field(default_factory=set)
    _widths: list[int] = field(default_factory=list)
    _drawn: int = 0

    @classmethod
    def of(cls, out: TextIO, err: TextIO, environment: Mapping[str, str]) -> Terminal:
        """For these streams: no colour without a terminal, nor with NO_COLOR (https://no-color.org)."""
        coloured = not environment.get("NO_COLOR") and environment.get("TERM", "dumb") != "dumb"
        return cls(out, err, out.isatty(), out.isatty() and coloured, err.isatty() and coloured)

    def line(self, *parts: Part) -> None:
        """One line of data."""
        self._write(self.out, self._styled(parts, self.colour))

    def note(self, *parts: Part) -> None:
        """One line on stderr: what is not data."""
        self._write(self.err, self._styled(parts, self.err_colour))

    def note_once(self, text: str) -> None:
        """The same, if the command has not said it yet."""
        if text not in self._said:
            self._said.add(text)
            self.note(text)

    def table(
        self, headers: Sequence[str], rows: Iterable[Sequence[Part]], below: Sequence[Sequence[str]] = ()
    ) -> None:
        """A table of data, as kubectl prints it; on a terminal within its width. `below` has lines under each row."""
        for number, text in enumerate(self.table_lines(headers, rows), -1):
            self._write(self.out, text)
            for more in below[number : number + 1] if number >= 0 else ():
                for line in more:
                    self.line(f"  {line}")

    def table_lines(self, headers: Sequence[str], rows: Iterable[Sequence[Part]]) -> list[str]:
        """Its lines, for `live`."""
        if self.rich:
            from issuer_job.cli.out.rich_tables import table_lines

            return table_lines(headers, rows, width=self._size(self.out).columns, colour=self.colour)
        self._widths = [0] * len(headers)
        return self._columns([headers, *rows])

    def more_rows(self, rows: Iterable[Sequence[Part]]) -> None:
        """Rows that belong to the table before them."""
        for text in self._columns(list(rows)):
            self._write(self.out, text)

    def fits(self, lines: Sequence[str]) -> bool:
        """Whether lines that were made for the terminal are no longer than it."""
        from issuer_job.cli.out.rich_tables import cropped

        width = self._size(self.out).columns
        return all(cropped(line, width) == line for line in lines)

    def live(self, lines: Sequence[str], *, err: bool = False) -> None:
        """Draw lines in the place of those that were drawn so before; nothing where that is no terminal."""
        stream = self.err if err else self.out
        if not stream.isatty():
            return
        from issuer_job.cli.out.rich_tables import cropped

        width, height = self._size(stream).columns, max(2, self._size(stream).lines - 1)
        if len(lines) > height:
            lines = [*lines[: height - 1], f"... and {len(lines) - height + 1} more"]
        lines = [cropped(line, width) for line in lines]
        up = f"\x1b[{self._drawn}A" if self._drawn else ""
        self._drawn = len(lines)
        stream.write(f"{up}\x1b[J" + "".join(f"{line}\n" for line in lines))
        stream.flush()

    def facts(self, facts: Iterable[tuple[str, Part]]) -> None:
        """What is known of one thing: a name before each line, unless it is the same as before."""
        if self.rich:
            from issuer_job.cli.out.rich_tables import fact_lines

            for text in fact_lines(_named_once(facts), width=self._size(self.out).columns, colour=self.colour):
                self._write(self.out, text)
            return
        for name, part in _named_once(facts):
            self._write(self.out, f"{name:<12} {clean(_text(part))}".rstrip())

    def raw(self, text: str) -> None:
        """Lines of JSON or YAML, which have escapes of their own."""
        for text_line in text.rstrip("\n").split("\n"):
            self._write(self.out, clean(text_line))

    def _columns(self, rows: Sequence[Sequence[Part]]) -> list[str]:
        every = [[clean(_text(part)) for part in row] for row in rows]
        self._widths = [max(map(len, column)) for column in zip(map(" ".__mul__, self._widths), *every, strict=True)]
        return ["  ".join(map(str.ljust, row, self._widths)).rstrip() for row in every]

    @staticmethod
    def _size(stream: TextIO) -> os.terminal_size:
        """Columns and lines of the terminal; of one that does not say, 80 by 24."""
        try:
            columns, lines = os.get_terminal_size(stream.fileno())
        except (OSError, ValueError):
            columns, lines = 0, 0
        return os.terminal_size((columns or 80, lines or 24))

    def _styled(self, parts: Iterable[Part], colour: bool) -> str:
        return "".join(_coloured(part) if colour else clean(_text(part)) for part in parts)

    def _write(self, stream: TextIO, text: str) -> None:
        stream.write(f"{text}\n")
        stream.flush()


def _named_once(facts: Iterable[tuple[str, Part]]) -> Iterator[tuple[str, Part]]:
    """Without a name where it is that of the fact before."""
    before = ""
    for name, part in facts:
        yield "" if name == before else name, part
        before = name


def _text(part: Part) -> str:
    return part if isinstance(part, str) else part.text


def _coloured(part: Part) -> str:
    if isinstance(part, str) or part.style is Style.PLAIN:
        return clean(_text(part))
    return f"\x1b[{part.style.value}m{clean(part.text)}\x1b[0m"
