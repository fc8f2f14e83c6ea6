"""Tables within a terminal's width. The only module that imports `rich`, and only on terminals: it takes as long to
import as all the rest.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from io import StringIO
from typing import TextIO

from rich.console import Console
from rich.style import Style as RichStyle
from rich.table import Table
from rich.text import Text

from issuer_job.cli.base.terminal import Part, Style, clean

_STYLES = {
    Style.PLAIN: RichStyle(),
    Style.GOOD: RichStyle(color="green"),
    Style.BAD: RichStyle(color="red"),
    Style.WARN: RichStyle(color="yellow"),
    Style.DIM: RichStyle(dim=True),
    Style.BOLD: RichStyle(bold=True),
}


def table_lines(
    headers: Sequence[str], rows: Iterable[Sequence[Part]], *, out: TextIO, colour: bool
) -> Iterator[str]:
    """The lines of a table; the last column takes what room is left, and goes on in further lines."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=True, header_style="")
    for header in headers:
        table.add_column(header, overflow="fold", no_wrap=header != headers[-1])
    for row in rows:
        table.add_row(*map(_cell, row))
    return _lines(table, out, colour)


def fact_lines(facts: Iterable[tuple[str, Part]], *, out: TextIO, colour: bool) -> Iterator[str]:
    """Names, and beside them what is told, indented where it goes on."""
    table = Table.grid(padding=(0, 1, 0, 0))
    table.add_column(no_wrap=True, min_width=12)
    table.add_column(overflow="fold")
    for name, part in facts:
        table.add_row(Text(name, _STYLES[Style.BOLD]), _cell(part))
    return _lines(table, out, colour)


def _cell(part: Part) -> Text:
    if isinstance(part, str):
        return Text(clean(part))
    return Text(clean(part.text), _STYLES[part.style])


def _lines(table: Table, out: TextIO, colour: bool) -> Iterator[str]:
    page = StringIO()
    console = Console(
        file=page,
        width=_width(out),
        force_terminal=colour,
        color_system="standard" if colour else None,
        no_color=not colour,
        legacy_windows=False,
        highlight=False,
        markup=False,
        emoji=False,
    )
    console.print(table)
    return (line.rstrip() for line in page.getvalue().splitlines())


def _width(out: TextIO) -> int:
    """Columns of the terminal; of one that does not say, 80."""
    try:
        return max(40, os.get_terminal_size(out.fileno()).columns)
    except (OSError, ValueError):
        return 80
