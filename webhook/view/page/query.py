"""What is asked for in the address of a page. Pure: whatever stands there is refused, or a bounded `Query`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from urllib.parse import urlencode

from issuer_job.status.shown import State

MOST_CHARACTERS = 253
"""Of a text: no name of a host or an object is longer."""
MOST_PAGES = 100_000
SORTS = ("name", "state", "issuer", "expires", "renewal")
"""What a list can be in the order of; with a minus before it the other way round."""
SPANS = {"24h": 86_400, "7d": 7 * 86_400}
"""Seconds."""
REFRESH = (5, 3600)
"""Seconds, the least and the most."""
_WORDS: Mapping[str, tuple[str, ...]] = {
    "state": tuple(State),
    "ready": ("yes", "no", "unknown"),
    "sort": (*SORTS, *(f"-{sort}" for sort in SORTS)),
    "due": tuple(SPANS),
    "ends": tuple(SPANS),
}


class BadQuery(ValueError):
    """Something in the address has no meaning; the sentence says what."""


@dataclass(frozen=True)
class Query:
    """Which certificates, in which order, and which hundred of them; empty is any.

    `problem` is a type of problem; `due` and `ends` say within which of the `SPANS` the renewal is due, or what is
    issued ends. `refresh`: seconds after which the browser is to ask again, 0 for never.
    """

    namespace: str = ""
    state: str = ""
    ready: str = ""
    issuer: str = ""
    problem: str = ""
    due: str = ""
    ends: str = ""
    q: str = ""
    sort: str = "name"
    page: int = 1
    refresh: int = 0

    @property
    def is_narrowed(self) -> bool:
        """Whether it is about some certificates only."""
        return replace(self, sort="name", page=1, refresh=0) != Query()

    def but(self, **changes: str | int) -> str:
        """The address, after the path, of the same with these changes; it begins with the first page."""
        changed = replace(self, **{"page": 1, **changes})  # type: ignore[arg-type]
        given = {f.name: getattr(changed, f.name) for f in fields(self)}
        said = {name: value for name, value in given.items() if value != getattr(Query, name)}
        return f"?{urlencode(said)}" if said else ""


def read_query(given: Mapping[str, str]) -> Query:
    """What was asked for; what nobody knows is left alone. Raises BadQuery."""
    said = {f.name: given[f.name].strip() for f in fields(Query) if given.get(f.name, "").strip()}
    for name, text in said.items():
        if len(text) > MOST_CHARACTERS:
            raise BadQuery(f"{name} is longer than {MOST_CHARACTERS} characters")
        if name in _WORDS and text not in _WORDS[name]:
            raise BadQuery(f"{name} can be {', '.join(_WORDS[name])}")
    numbers = {
        "page": _number(said.pop("page", "1"), "page", 1, MOST_PAGES),
        "refresh": _number(said.pop("refresh", "0"), "refresh", *REFRESH, nothing="0"),
    }
    return Query(**said, **numbers)  # type: ignore[arg-type]


def _number(text: str, name: str, least: int, most: int, *, nothing: str = "") -> int:
    if text == nothing:
        return 0
    if text.isascii() and text.isdecimal() and len(text) < 10 and least <= int(text) <= most:
        return int(text)
    raise BadQuery(f"{name} is a number from {least} to {most}")
