"""A pod dies right after any write of the flow, its answer lost: the next pods end it with one order."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import pytest

from issuer_job import vocabulary as v
from issuer_job.cluster.api import SECRETS, Response, Transport
from issuer_job.issue.issue import issue
from issuer_job.record.record import Phase
from tests.fakes.acme import Reply, Request
from tests.fakes.api import FakeApi
from tests.fakes.ca import NO_ANSWER
from tests.unit.conftest import NewCa
from tests.unit.issue.test_issue import assert_good_secret
from tests.worlds.job import JobWorld, ingress

T = TypeVar("T")

HOSTS = ("a.certjob.dev", "b.certjob.dev")


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
    code, count = killed_at(world, kill_at, lambda transport: issue(world.pod(transport=transport)))
    assert code is None or kill_at > count
    return count


def fresh(new_ca: NewCa, root: Path) -> JobWorld:
    world = JobWorld(root, *new_ca())
    world.apply(ingress(hosts=HOSTS))
    return world


@pytest.fixture(scope="module")
def length(new_ca: NewCa, tmp_path_factory: pytest.TempPathFactory) -> int:
    """Writes of an attempt that nothing disturbs."""
    return run_until(fresh(new_ca, tmp_path_factory.mktemp("whole")), 10**6)


@pytest.mark.parametrize("part", range(4))
def test_killed_after_every_write(new_ca: NewCa, tmp_path: Path, length: int, part: int) -> None:
    assert length > 20
    for kill_at in range(1 + part, length + 1, 4):
        world = fresh(new_ca, tmp_path / str(kill_at))
        run_until(world, kill_at)
        codes = [world.run()]
        where = f"killed at write {kill_at} of {length}"
        while codes[-1] is v.ExitCode.OTHER_POD and len(codes) < 4:
            codes.append(world.run())
        assert codes[-1] is v.ExitCode.DONE, where
        assert world.record().phase is Phase.ISSUED, where
        assert len(world.ca.ordered) == 1, where
        assert world.ca.finalized == 1, where
        assert_good_secret(world, HOSTS)
        keys = [r for r in world.api.requests if r.method == "POST" and "/certjob/secrets" in r.path]
        stored = {r.body["metadata"]["name"] for r in keys if r.body and v.PENDING in r.body["metadata"]["labels"]}
        assert len(stored) == 1, where
        assert len(world.api.all(SECRETS, v.NAMESPACE)) <= 2, where  # the account key; the pending one if killed late
        assert len(world.events()) == 1, where
        world.close()


def test_a_new_epoch_takes_the_order_and_the_key_over(new_ca: NewCa, tmp_path: Path, length: int) -> None:
    for kill_at in range(length // 3, length - 6):
        world = fresh(new_ca, tmp_path / str(kill_at))
        run_until(world, kill_at)
        world.relaunch()
        while (code := world.run()) is v.ExitCode.OTHER_POD:
            pass
        assert code is v.ExitCode.DONE
        assert len(world.ca.ordered) == 1, f"killed at write {kill_at}"
        assert world.ca.finalized == 1
        assert_good_secret(world, HOSTS)
        world.close()
