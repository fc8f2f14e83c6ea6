"""What tests of commands compare."""

from __future__ import annotations


def lines(text: str) -> list[list[str]]:
    """The words of each line: how wide columns are is not the point."""
    return [line.split() for line in text.strip().splitlines()]
