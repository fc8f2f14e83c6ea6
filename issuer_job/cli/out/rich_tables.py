"""Tables within a terminal's width. The only module that imports `rich`, and only on terminals: it takes as long to
import as all the rest.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from io import StringIO

from rich.cells import cell_len
from rich.console import Console
from rich.style import Style as RichStyle
from rich.table import Table
from rich.text import Text

from issuer_job.cli.out.terminal import Part, Style
from issuer_job.status.plain import clean

_STYLES = {
    Style.PLAIN: RichStyle(),
    Style.GOOD: RichStyle(color="green"),
    Style.BAD: RichStyle(color="red"),
    Style.WARN: RichStyle(color="yellow"),
    Style.DIM: RichStyle(dim=True),
    Style.BOLD: RichStyle(bold=True),
}


LAST = 20
"""Columns that the last one of a table has at least: it is prose, and goes on in further lines."""
_SGR = re.compile(r"\x1b\[[0-9;]*m")


def table_lines(headers: Sequence[str], rows: Iterable[Sequence[Part]], *, width: int, colour: bool) -> list[str]:
    """The lines of a table. Where a terminal is too narrow for its columns they are longer than it, as kubectl's."""
    cells = [list(map(_cell, row)) for row in (headers, *rows)]
    widths = [max(cell.cell_len for cell in column) for column in zip(*cells, strict=True)]
    fixed = sum(widths[:-1]) + 2 * (len(widths) - 1)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    for _ in headers[:-1]:
        table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for row in cells:
        table.add_row(*row)
    return _lines(table, width if fixed + LAST <= width else fixed + widths[-1], colour)


def cropped(line: str, width: int) -> str:
    """A line, perhaps with styles, that is no longer than `width` columns."""
    if cell_len(_SGR.sub("", line)) <= width:
        return line
    text = Text.from_ansi(line)
    text.truncate(width)
    return text.plain


def fact_lines(facts: Iterable[tuple[str, Part]], *, width: int, colour: bool) -> list[str]:
    """Names, and beside them what is told, indented where it goes on."""
    table = Table.grid(padding=(0, 1, 0, 0))
    table.add_column(no_wrap=True, min_width=12)
    table.add_column(overflow="fold")
    for name, part in facts:
        table.add_row(Text(name, _STYLES[Style.BOLD]), _cell(part))
    return _lines(table, width, colour)


def _cell(part: Part) -> Text:
    if isinstance(part, str):
        return Text(clean(part))
    return Text(clean(part.text), _STYLES[part.style])


def _lines(table: Table, width: int, colour: bool) -> list[str]:
    page = StringIO()
    console = Console(
        file=page,
        width=max(40, width),
        force_terminal=colour,
        color_system="standard" if colour else None,
        no_color=not colour,
        legacy_windows=False,
        highlight=False,
        markup=False,
        emoji=False,
    )
    console.print(table)
    return [line.rstrip() for line in page.getvalue().splitlines()]
