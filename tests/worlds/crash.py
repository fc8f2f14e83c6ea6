"""Pods of a JobWorld that are killed right after a write of theirs, its answer lost."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

import pytest

from issuer_job.cluster.api import Response, Transport
from tests.fakes.acme import Reply, Request
from tests.fakes.api import FakeApi
from tests.fakes.ca import NO_ANSWER
from tests.worlds.job import JobWorld

T = TypeVar("T")


class Killed(BaseException):
    """kill -9: nothing of the process runs on."""


@dataclass
class Reaper:
    """Counts the writes to the API server and to the CA, and kills the pod once the n-th has taken effect."""

    api: FakeApi
    kill_at: int
    count: int = 0
    dead: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)

    def send(self, method: str, path: str, *, body: bytes | None, timeout: float) -> Response:
        """See Transport."""
        self.check()
        due = self.due() if method != "GET" and "dryRun" not in path else False
        answer = self.api.send(method, path, body=body, timeout=timeout)
        if due:
            raise Killed
        return answer

    def stream(self, path: str, *, timeout: float) -> Iterator[bytes]:
        """See Transport."""
        raise NotImplementedError

    def due(self) -> bool:
        """Counts a write, and says whether it is the last."""
        with self.lock:
            self.check()
            self.count += 1
            self.dead = self.count == self.kill_at
            return self.dead

    def check(self) -> None:
        """Raises Killed in a process that is dead."""
        if self.dead:
            raise Killed


def killed_at(world: JobWorld, kill_at: int, pod: Callable[[Transport], T]) -> tuple[T | None, int]:
    """A pod over this transport, to its death right after a write: what it returned, and how many writes it made."""
    reaper = Reaper(world.api, kill_at)
    effect = world.ca._answer

    def before(request: Request) -> Reply | None:
        if reaper.dead:
            return NO_ANSWER
        if request.payload in ("", None) or not reaper.due():  # reads
            return None
        effect(request)
        return NO_ANSWER

    world.ca.before = before
    world.clock.on_sleep = reaper.check
    result: T | None = None
    try:
        result = pod(reaper)
    except Killed:
        pass
    finally:
        world.ca.before = lambda request: None
        world.clock.on_sleep = lambda: None
    return result, reaper.count


def run_until(world: JobWorld, kill_at: int) -> int:
    """The first pod, to its death. Returns how many writes it made."""
    code, count = killed_at(world, kill_at, lambda transport: world.issue(world.pod(transport=transport)))
    assert code is None or kill_at > count
    return count


def killed_after(world: JobWorld, path: str) -> None:
    """A pod that dies once the CA has done what this request asks for, and before it hears of it."""

    def before(request: Request) -> None:
        if request.path == path:
            world.ca._answer(request)
            raise Killed

    world.ca.before = before
    with pytest.raises(Killed):
        world.run()
    world.ca.before = lambda request: None
