"""What others wrote is text and no more. Pure."""

from __future__ import annotations


def clean(text: str) -> str:
    """On one line, with all that is not printable as an escape."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii", "replace") for char in text
    )
