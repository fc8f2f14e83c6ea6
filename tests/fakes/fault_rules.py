"""What a misbehaving CA can be told to do to a request: the words of the fault proxy's rules. Pure."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

STEPS = {
    "/dir": "directory",
    "/nonce-plz": "newNonce",
    "/sign-me-up": "newAccount",
    "/my-account/": "account",
    "/list-orderz/": "orders",
    "/order-plz": "newOrder",
    "/my-order/": "order",
    "/authZ/": "authorization",
    "/chalZ/": "challenge",
    "/finalize-order/": "finalize",
    "/certZ/": "certificate",
    "/draft-ietf-acme-ari-03/renewalInfo/": "renewalInfo",
}
"""Pebble's paths; one that ends in a slash stands for all below it."""
ELSEWHERE = {
    "directory": "directory",
    "new-order": "newOrder",
    "neworders": "newOrder",
    "finalize": "finalize",
}
"""The last part of paths at step-ca, Caddy and acme2certifier."""


@dataclass(frozen=True)
class Request:
    """What a client sent. `payload` is the parsed content of the JWS: "" for POST-as-GET, None without one."""

    step: str
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def payload(self) -> Any:
        if not self.body:
            return None
        content = urlsafe_b64decode(json.loads(self.body)["payload"] + "==")
        return json.loads(content) if content else ""

    @property
    def hosts(self) -> list[str]:
        """The names that a newOrder asks for."""
        return [item["value"] for item in (self.payload or {}).get("identifiers", [])]


@dataclass(frozen=True)
class Answer:
    """An answer, the CA's or one given instead. `fresh_nonce`: with a Replay-Nonce that the CA has just made."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    fresh_nonce: bool = False

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def with_json(self, headers: Mapping[str, str] | None = None, **members: Any) -> Answer:
        """The same answer with other members in its JSON body, and other headers."""
        body = json.dumps(self.json | members).encode()
        return Answer(self.status, body, {**self.headers, **(headers or {})}, self.fresh_nonce)


@dataclass(frozen=True)
class Cut:
    """End the connection without an answer, before the request was passed on or after it."""

    forward: bool


@dataclass(frozen=True)
class Delay:
    """Pass the request on after so many seconds; on a slow machine not before `until` says so, but after `most`."""

    seconds: float
    until: Callable[[], bool] = lambda: True
    most: float = 12.0  # certjob waits for 15 s


@dataclass(frozen=True)
class Change:
    """Pass the request on and answer with what `change` makes of the CA's answer."""

    change: Callable[[Request, Answer], Answer]


Action = Answer | Cut | Delay | Change
CUT = Cut(forward=False)
SWALLOW = Cut(forward=True)


def problem(kind: str, detail: str = "said the proxy", *, status: int, **headers: str) -> Answer:
    """A problem document of ACME's namespace. Headers as keywords: `Retry_After="30"`."""
    document = {"type": f"urn:ietf:params:acme:error:{kind}", "detail": detail, "status": status}
    spelled = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, json.dumps(document).encode(), {"Content-Type": "application/problem+json", **spelled})


def bad_nonce() -> Answer:
    """The refusal of a nonce, with a new one (RFC 8555, section 6.5)."""
    refusal = problem("badNonce", status=400)
    return Answer(refusal.status, refusal.body, refusal.headers, fresh_nonce=True)


def replaced_body(body: bytes) -> Change:
    """The CA's answer with another body; a refusal, as of a nonce, stays one."""
    return Change(
        lambda request, answer: answer if answer.status >= 400 else Answer(answer.status, body, answer.headers)
    )


def step_of(path: str) -> str:
    """Name of what Pebble, or else another server, has at a path; without one the path."""
    below = (step for known, step in STEPS.items() if known.endswith("/") and path.startswith(known))
    return STEPS.get(path) or next(below, ELSEWHERE.get(path.rpartition("/")[2], path))
