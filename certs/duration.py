"""Durations as people write them in annotations, and read them in messages."""

import re
from datetime import timedelta

from certs.errors import CertError

LONGEST = timedelta(days=3653)
_PART = re.compile(r"([0-9]{1,6})(d|h|m|s)")
_UNITS = {"d": timedelta(days=1), "h": timedelta(hours=1), "m": timedelta(minutes=1), "s": timedelta(seconds=1)}


def parse_duration(text: str) -> timedelta:
    """Read "720h", "1h30m" (Go's notation, as cert-manager takes it) or "30d"; more than nothing, at most ten years.

    Raises CertError.
    """
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise CertError(f"{text[:40]!r} is not a duration such as 30d, 720h or 1h30m")
    duration = sum((int(number) * _UNITS[unit] for number, unit in parts), timedelta(0))
    if not timedelta(0) < duration <= LONGEST:
        raise CertError(f"{text[:40]!r} is not between one second and ten years")
    return duration


def format_duration(duration: timedelta) -> str:
    """In the same notation, to the second: "39m", "1d12h"; "0s" for none."""
    parts, left = [], max(duration, timedelta(0))
    for letter, unit in _UNITS.items():
        number, left = divmod(left, unit)
        parts += [f"{number}{letter}"] if number else []
    return "".join(parts) or "0s"
