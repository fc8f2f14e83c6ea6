"""What the tests of documents and manifests read: where they are, the code's text, tables."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MANIFESTS = ROOT / "manifests"


@cache
def source() -> str:
    """All code, with string literals that continue on the next line joined."""
    files = sorted(p for package in ("certs", "issuer_job", "webhook") for p in (ROOT / package).rglob("*.py"))
    return re.sub(r'"\s*\n\s*f?"', "", "\n".join(p.read_text() for p in files))


def first_column(text: str, head: str) -> list[str]:
    """The words in backticks in the first column of every table whose first column is headed so."""
    words: list[str] = []
    inside = False
    for line in text.splitlines():
        cells = line.split("|")
        if len(cells) < 3:
            inside = False
        elif cells[1].strip() == head:
            inside = True
        elif inside:
            words += re.findall(r"`([^`]+)`", cells[1])
    return words


def anchors(path: Path) -> set[str]:
    """The fragments that a page's headings can be linked by."""
    page = path.read_text()
    heads = re.findall(r"^#+ (.+)$", page, re.MULTILINE)
    return set(re.findall(r'<a id="([^"]+)"></a>', page)) | {
        re.sub(r"[^a-z0-9 -]", "", head.lower()).replace(" ", "-") for head in heads
    }
