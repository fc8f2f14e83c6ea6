"""A pod's way to the API server and to the CA, on which a test can stop, cut off or kill it at any request."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter

FREEZE_AT_MOST = 60.0

T = TypeVar("T")


class Killed(BaseException):
    """kill -9: nothing of the process runs on."""


class AnswerLost(Exception):
    """The request took effect and its answer never came; the process lives on."""


@dataclass
class Call:
    """One request. `what` is `METHOD path`, with the name of what is created, for patterns; `status` 0: no answer."""

    what: str
    writes: bool
    void: bool = False
    """A rejected nonce: nothing happened, and the request comes again."""
    status: int = 0
    answer: Any = field(default=None, repr=False)


@dataclass
class Rule:
    """Do something at the nth call that fits."""

    fits: Callable[[Call], bool]
    act: Callable[[], Any]
    left: int


@dataclass
class Wire:
    """Carries every request of one pod. `calls` took effect, `writes` of them may have changed something."""

    calls: list[Call] = field(default_factory=list)
    writes: int = 0
    pace: Callable[[], None] = lambda: None
    """Called before each request: for tests that mix two pods at random."""
    dead: bool = False
    _before: list[Rule] = field(default_factory=list)
    _instead: list[Rule] = field(default_factory=list)
    _after: list[Rule] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def before(self, pattern: str, act: Callable[[], None], *, nth: int = 1) -> None:
        """`act` just before the nth request whose `what` contains the pattern is sent."""
        self._before.append(Rule(lambda call: re.search(pattern, call.what) is not None, act, nth))

    def instead(self, pattern: str, answer: Callable[[], Any], *, nth: int = 1) -> None:
        """The nth such request is not sent; what `answer` gives is its answer."""
        self._instead.append(Rule(lambda call: re.search(pattern, call.what) is not None, answer, nth))

    def after(self, pattern: str, act: Callable[[], None], *, nth: int = 1) -> None:
        """`act` when the nth such request has taken effect, before its answer is handed on."""
        self._after.append(Rule(lambda call: re.search(pattern, call.what) is not None, act, nth))

    def after_write(self, number: int, act: Callable[[], None]) -> None:
        """`act` when the nth write has taken effect, before its answer is handed on."""
        self._after.append(Rule(lambda call: call.writes, act, number))

    def kill(self) -> None:
        """End the pod here. For `before` and `after`."""
        self.dead = True
        raise Killed

    @staticmethod
    def lose() -> None:
        """Lose the answer. For `after`."""
        raise AnswerLost

    def sleep(self, seconds: float) -> None:
        """For the attempt: a dead process does not go on after its sleep."""
        time.sleep(seconds)
        self._check()

    def count(self, pattern: str) -> int:
        """Requests that fit the pattern and were accepted."""
        return sum(1 for call in self.calls if re.search(pattern, call.what) and call.status < 300)

    def carry(self, call: Call, send: Callable[[], T], status: Callable[[T], int]) -> T:
        """Send one request by the rules. Raises Killed, AnswerLost."""
        self.pace()
        self._check()
        for rule in self._due(self._before, call):
            rule.act()
        self._check()
        others = self._due(self._instead, call)
        answer: T = others[0].act() if others else send()
        call.status = status(answer)
        call.answer = answer
        with self._lock:
            self.calls.append(call)
            self.writes += call.writes
        for rule in self._due(self._after, call):
            rule.act()
        self._check()
        return answer

    def first(self, pattern: str) -> Call:
        """The first answered request that fits the pattern and was accepted."""
        return next(call for call in self.calls if re.search(pattern, call.what) and call.status < 300)

    def _due(self, rules: list[Rule], call: Call) -> list[Rule]:
        due = []
        with self._lock:
            for rule in rules:
                if rule.fits(call) and not call.void:
                    rule.left -= 1
                    if rule.left == 0:
                        due.append(rule)
        return due

    def _check(self) -> None:
        if self.dead:
            raise Killed


class Gate:
    """A place where a pod stands still until the test opens it."""

    def __init__(self) -> None:
        self._reached = threading.Event()
        self._open = threading.Event()

    def stop(self) -> None:
        """For `Wire.before` and `Wire.after`."""
        self._reached.set()
        if not self._open.wait(FREEZE_AT_MOST):
            raise Killed

    def wait(self, seconds: float = 30) -> None:
        """Until a pod stands here."""
        assert self._reached.wait(seconds), "the pod never came here"

    def open(self) -> None:
        """Let it go on."""
        self._open.set()


_wire: ContextVar[Wire | None] = ContextVar("wire", default=None)
_plain_send = HTTPAdapter.send


@contextmanager
def on_wire(wire: Wire) -> Iterator[None]:
    """Requests to the CA that this thread makes go over the Wire too, once `_wired_send` is in place."""
    token = _wire.set(wire)
    try:
        yield
    finally:
        _wire.reset(token)


def wired_send(adapter: HTTPAdapter, request: requests.PreparedRequest, **options: Any) -> requests.Response:
    """HTTPAdapter.send, over the Wire of the thread if it has one."""
    wire = _wire.get()
    if wire is None:
        return _plain_send(adapter, request, **options)
    call = Call(f"ACME {request.method} {urlsplit(request.url or '').path}", writes=False)

    def send() -> requests.Response:
        answer = _plain_send(adapter, request, **options)
        call.void = b":badNonce" in answer.content
        call.writes = _has_payload(request) and not call.void
        return answer

    try:
        return wire.carry(call, send, lambda answer: answer.status_code)
    except AnswerLost:
        raise requests.ConnectionError("the answer was lost") from None


def _has_payload(request: requests.PreparedRequest) -> bool:
    return bool(request.body) and bool(json.loads(request.body or "{}").get("payload"))
