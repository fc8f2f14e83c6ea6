"""The documents' blocks as they can be run: each page is a session on the local cluster.

A block of `sh` is run with its placeholders filled in; one that cannot be says why in a comment before it,
`<!-- not run: WHY -->`. A block of `text` is what a command prints, and is compared with that; a drawing says so,
`<!-- not run: a drawing -->`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.worlds.documents import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
_BLOCK = re.compile(
    r"(?:^<!-- not run: (?P<why>[^\n]+) -->\n\n?)?^```(?P<kind>sh|text)\n(?P<text>.*?)^```", re.M | re.S
)


@dataclass(frozen=True)
class Block:
    """One block of a page; `why` it is not run, empty if it is."""

    page: Path
    line: int
    kind: str
    text: str
    why: str = ""

    def __str__(self) -> str:
        return f"{self.page.stem}:{self.line}"


def blocks(page: Path) -> Iterator[Block]:
    """All of `sh` and `text`, in order."""
    whole = page.read_text()
    for found in _BLOCK.finditer(whole):
        line = whole[: found.start("kind")].count("\n") + 1
        yield Block(page, line, found["kind"], found["text"], found["why"] or "")


def filled(text: str, values: Mapping[str, str]) -> str:
    """With every placeholder replaced, the longest first."""
    names = sorted(values, key=len, reverse=True)
    pattern = re.compile("|".join(rf"(?<![A-Za-z0-9_-]){re.escape(name)}(?![A-Za-z0-9_-])" for name in names))
    return pattern.sub(lambda found: values[found[0]], text)


_MASKS = (
    (re.compile(r"\b[0-9a-f]{6,}(-[0-9a-f]{4,})*\b"), "ID"),
    (re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?"), "TIME"),
    (re.compile(r"\d+"), "N"),
    (re.compile(r"\bID-N\b|\bN-ID\b"), "ID"),
    (re.compile(r"[ \t]+"), " "),
)


def masked(text: str) -> list[str]:
    """Its lines without what differs each time: ids, times, numbers, and how wide columns are."""
    for pattern, word in _MASKS:
        text = pattern.sub(word, text)
    return [line.strip() for line in text.splitlines() if line.strip()]
