"""What a CA may answer to any request instead of what it should."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tests.fakes.acme import Reply, problem
from tests.fakes.at_hand import AT_HAND
from tests.fakes.ca import NO_ANSWER

WORDS = "the CA's own words"
NOBODY = "https://127.0.0.1:9"
"""Nobody listens there."""


def each(body: Any, change: Callable[[Any], Any]) -> Any:
    return {name: change(value) for name, value in body.items()} if isinstance(body, dict) else change(body)


def elsewhere(value: Any) -> Any:
    """With other URLs, wherever there are some."""
    if isinstance(value, dict):
        return {name: elsewhere(one) for name, one in value.items()}
    if isinstance(value, list):
        return [elsewhere(one) for one in value]
    return f"{NOBODY}/x" if isinstance(value, str) and value.startswith(AT_HAND) else value


def more(body: Any) -> Any:
    """With members that nobody knows."""
    return body | {"x": None, "another": {"y": [{"z": 7}]}} if isinstance(body, dict) else body


def text(reply: Reply, content: bytes) -> Reply:
    return replace(reply, body=None, raw=content)


ANSWERS: dict[str, Callable[[Reply], Reply]] = {
    "a refusal": lambda good: problem("malformed", WORDS),
    "an internal error": lambda good: problem("serverInternal", WORDS, status=500),
    "an error in words of its own": lambda good: Reply(500, {"status": 500, "message": WORDS}),
    "nothing": lambda good: text(good, b""),
    "nulls": lambda good: replace(good, raw=None, body=each(good.body, lambda value: None)),
    "other types": lambda good: replace(good, raw=None, body=each(good.body, lambda value: [7])),
    "more than it should": lambda good: replace(good, body=more(good.body)),
    "other URLs": lambda good: replace(
        good, body=elsewhere(good.body), headers={name: elsewhere(value) for name, value in good.headers.items()}
    ),
    "too late": lambda good: Reply(slow=True),
    "cut": lambda good: NO_ANSWER,
}
