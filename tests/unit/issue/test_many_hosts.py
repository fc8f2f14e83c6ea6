"""An order of many hosts: what they need is asked, told and polled for several of them at a time."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from issuer_job import names
from issuer_job import vocabulary as v
from issuer_job.background import AT_ONCE
from issuer_job.cluster.api import CONFIGMAPS, Response, Transport
from tests.fakes.acme import Request
from tests.worlds.job import JobWorld, assert_good_secret, ingress

pytestmark = pytest.mark.exhaustive

HOSTS = tuple(f"h{number:03}.certjob.dev" for number in range(100))
PATIENCE = 5.0
"""Seconds in which the requests that are made at the same time arrive, unless they never do."""
ROUNDS = -(-len(HOSTS) // AT_ONCE)


@dataclass
class Slow:
    """Servers on which every answer takes a while: as many requests as may be on their way at once share one round.

    An answer is given when all of its round have arrived; once that takes too long, at once.
    """

    rounds: Counter[str] = field(default_factory=Counter)
    _arrived: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _given_up: bool = False

    def wait(self, kind: str, *, of: int = len(HOSTS)) -> None:
        """One of so many requests of a kind has arrived."""
        with self._changed:
            number = self._arrived[kind]
            self._arrived[kind] += 1
            self._changed.notify_all()
            last = min(number - number % AT_ONCE + AT_ONCE, of)
            if self._given_up or not self._changed.wait_for(lambda: self._arrived[kind] >= last, PATIENCE):
                self._given_up = True
                self.rounds[kind] += 1
            elif number == last - 1:
                self.rounds[kind] += 1


@dataclass
class SlowTransport:
    """To the API server. `kinds` are requests by method and a part of the path."""

    slow: Slow
    inner: Transport
    kinds: tuple[tuple[str, str], ...]

    def send(self, method: str, path: str, *, body: bytes | None, timeout: float) -> Response:
        for kind in self.kinds:
            if method == kind[0] and kind[1] in path:
                self.slow.wait(f"{kind[0]} {kind[1]}")
        return self.inner.send(method, path, body=body, timeout=timeout)

    def stream(self, path: str, *, timeout: float) -> Iterator[bytes]:
        raise NotImplementedError


def test_a_hundred_hosts_take_as_many_rounds_as_go_at_once(world: JobWorld) -> None:
    slow = Slow()
    told: list[int] = []
    seen: Counter[str] = Counter()

    def latency(path: str) -> None:
        kind = path.split("/")[1]
        if kind not in ("authz", "chall"):
            return
        with slow._changed:
            seen[path] += 1
            nth = seen[path]
        slow.wait(f"{kind} {nth}")

    def before(request: Request) -> None:
        if request.path.startswith("/chall/"):
            name = names.challenge(world.record().uid, world.record().epoch)
            told.append(len((world.api.stored(CONFIGMAPS, v.NAMESPACE, name) or {"data": {}})["data"]))

    world.ca.latency, world.ca.before = latency, before
    world.apply(ingress(hosts=HOSTS))
    kinds = (("DELETE", "/ingresses/"),)
    assert world.issue(world.pod(transport=SlowTransport(slow, world.api, kinds))) is v.ExitCode.DONE
    assert slow.rounds == {"authz 1": ROUNDS, "chall 1": ROUNDS, "authz 2": ROUNDS, "DELETE /ingresses/": ROUNDS}
    assert told == [len(HOSTS)] * len(HOSTS), "all of it is in its place before the CA is asked to look"
    assert world.left_over() == []
    assert_good_secret(world, HOSTS)


@pytest.mark.parametrize("backwards", [False, True])
def test_of_hosts_that_fail_the_first_is_told(world: JobWorld, backwards: bool) -> None:
    failing = [HOSTS[number] for number in (3, 40, 41)]
    for host in failing:
        world.ca.failing[host] = {"type": "urn:ietf:params:acme:error:connection", "detail": f"not {host}"}
    world.ca.backwards = backwards
    world.apply(ingress(hosts=HOSTS))
    assert world.run() is v.ExitCode.LATER
    retry = world.record().retry
    assert retry is not None
    assert (retry.problem.host, retry.problem.detail) == (failing[0], f"not {failing[0]}")
