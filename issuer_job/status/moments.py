"""Times for people. Pure; moments are aware datetimes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

_UNITS = ((86400, "d"), (3600, "h"), (60, "m"), (1, "s"))


def short(span: timedelta) -> str:
    """A length of time in one unit, as kubectl has it: two of the greater one at least, "61d", "36h", "4m", "12s"."""
    seconds = max(0, int(span.total_seconds()))
    for size, unit in _UNITS:
        if seconds >= 2 * size or unit == "s":
            return f"{seconds // size}{unit}"
    return "0s"


def seconds(span: timedelta, *, whole: bool = False) -> str:
    """A length of time that is waited for: "1.1s", "12s", "3m4s"."""
    total = max(0.0, span.total_seconds())
    if total < 10 and not whole:
        return f"{total:.1f}s"
    if total < 120:
        return f"{total:.0f}s"
    return f"{int(total) // 60}m{int(total) % 60}s"


def relative(moment: datetime, now: datetime) -> str:
    """ "in 4m", or "3m ago"."""
    return f"in {short(moment - now)}" if moment >= now else f"{short(now - moment)} ago"


def absolute(moment: datetime, *, seconds: bool = False) -> str:
    """ "2026-11-27 14:02 UTC"."""
    form = "%Y-%m-%d %H:%M:%S UTC" if seconds else "%Y-%m-%d %H:%M UTC"
    return moment.astimezone(UTC).strftime(form)


def ordinal(number: int) -> str:
    """ "3rd"."""
    teen = 10 < number % 100 < 20
    return f"{number}{'th' if teen else {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th')}"
