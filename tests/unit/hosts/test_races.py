"""Two namespaces at the same moment, request by request in many orders: exactly one may have the host."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest

from issuer_job import names
from issuer_job import vocabulary as v
from issuer_job.attempt.attempt import Attempt, Permanent, Pod
from issuer_job.cluster.api import CONFIGMAPS, INGRESSES, Cluster, Response, Transport
from issuer_job.hosts import at_order
from issuer_job.hosts.claims import claim_body
from issuer_job.hosts.precedence import Claim
from issuer_job.polling import utc_now
from issuer_job.record import transitions
from issuer_job.record.phases import LaunchReason
from issuer_job.record.record import Source
from issuer_job.record.store import to_config_map
from tests.fakes.api import FakeApi
from tests.worlds.job import ingress
from tests.worlds.samples import SETTINGS

pytestmark = pytest.mark.exhaustive

PATIENCE = 20.0


class Turns:
    """A transport for each of two threads; whose request goes next is drawn from a seed while both are at work."""

    def __init__(self, api: FakeApi, seed: int) -> None:
        self._api = api
        self._random = random.Random(seed)
        self._changed = threading.Condition()
        self._at_work = {0, 1}
        self._turn = self._random.randrange(2)

    def of(self, number: int) -> Turn:
        return Turn(self, number)

    def send(self, number: int, method: str, path: str, body: bytes | None) -> Response:
        with self._changed:
            assert self._changed.wait_for(lambda: self._turn == number, PATIENCE)
            answer = self._api.send(method, path, body=body, timeout=1)
            self._next()
            return answer

    def done(self, number: int) -> None:
        with self._changed:
            self._at_work.discard(number)
            self._next()

    def _next(self) -> None:
        if self._at_work:
            self._turn = self._random.choice(sorted(self._at_work))
        self._changed.notify_all()


class Turn:
    """`issuer_job.cluster.api.Transport` of one of the two."""

    def __init__(self, turns: Turns, number: int) -> None:
        self._turns = turns
        self._number = number

    def send(self, method: str, path: str, *, body: bytes | None, timeout: float) -> Response:
        return self._turns.send(self._number, method, path, body)

    def stream(self, path: str, *, timeout: float) -> Iterator[bytes]:
        raise NotImplementedError("a Job watches nothing")


def attempt(api: FakeApi, transport: Transport, namespace: str, hosts: tuple[str, ...], root: Path) -> Attempt:
    """A Job that has confirmed its Ingress."""
    body = ingress(namespace=namespace, hosts=hosts)
    api.add(INGRESSES, namespace, body)
    asks = (Source(hosts=hosts, settings=SETTINGS, name="web"),)
    wanted = transitions.wanted(namespace=namespace, secret_name="web-tls", sources=asks, now=utc_now())
    launched = transitions.launched(wanted, now=utc_now(), reason=LaunchReason.NEW)
    stored = api.add(CONFIGMAPS, v.NAMESPACE, to_config_map(launched))
    pod = Pod(launched.name, stored["metadata"]["uid"], launched.epoch, f"pod-{namespace}")
    job = Attempt(Cluster(api), pod, utc_now() + timedelta(seconds=270), mounts=root)
    job.load()
    job.cluster = Cluster(transport)
    return job


def race(
    api: FakeApi, seed: int, wanted: tuple[tuple[str, ...], tuple[str, ...]], root: Path, *, claimed: bool = False
) -> list[bool]:
    """Whether each of the two namespaces got its hosts."""
    turns = Turns(api, seed)
    jobs = [attempt(api, turns.of(i), ("one", "two")[i], hosts, root) for i, hosts in enumerate(wanted)]
    if claimed:  # by their webhooks, which did not see each other's claims either
        for job in jobs:
            for host in job.record.intent.hosts:
                api.add(CONFIGMAPS, v.NAMESPACE, claim_body(host, job.record.namespace))

    def hold(number: int) -> bool:
        try:
            at_order.hold_hosts(jobs[number])
            return True
        except Permanent:
            return False
        finally:
            turns.done(number)

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(hold, range(2)))


@pytest.mark.parametrize("claimed", [False, True], ids=["nothing claimed yet", "both claimed"])
def test_a_wildcard_and_a_name_below_it(tmp_path: Path, claimed: bool) -> None:
    winners = set()
    for seed in range(150):
        api = FakeApi()
        got = race(api, seed, (("a.x.dev",), ("*.x.dev",)), tmp_path, claimed=claimed)
        assert sorted(got) == [False, True], seed
        stored = [Claim.from_config_map(item) for item in api.all(CONFIGMAPS) if "host" in item["data"]]
        checked = [claim.namespace for claim in stored if claim.checked]
        assert checked == [("one", "two")[got.index(True)]], seed
        assert len(stored) == 1, "the loser's claim is given up"
        winners.add(checked[0])
    if not claimed:
        assert winners == {"one", "two"}, "it depends on the order of the requests who is first"


def test_the_same_host(tmp_path: Path) -> None:
    for seed in range(60):
        assert sorted(race(FakeApi(), seed, (("a.x.dev",), ("a.x.dev",)), tmp_path)) == [False, True], seed


def test_several_hosts_that_cross(tmp_path: Path) -> None:
    """At most one: each of the two may have seen the other first, and then neither has all of its hosts."""
    for seed in range(100):
        api = FakeApi()
        got = race(api, seed, (("*.y.dev", "a.x.dev"), ("*.x.dev", "a.y.dev")), tmp_path)
        assert sum(got) <= 1, seed
        stored = [Claim.from_config_map(item) for item in api.all(CONFIGMAPS) if "host" in item["data"]]
        assert len({claim.namespace for claim in stored if claim.checked}) == sum(got), seed


def test_a_host_that_an_operator_gives_away_before_the_mark_is_not_had(tmp_path: Path) -> None:
    api = FakeApi()
    api.add(CONFIGMAPS, v.NAMESPACE, claim_body("a.x.dev", "one"))

    class Meanwhile(FakeApi):
        """The cluster, in which the first PUT comes too late."""

        def send(self, method: str, path: str, *, body: bytes | None, timeout: float) -> Response:
            if method == "PUT":
                api.add(CONFIGMAPS, v.NAMESPACE, claim_body("a.x.dev", "two", checked=utc_now()))
            return api.send(method, path, body=body, timeout=timeout)

    job = attempt(api, Meanwhile(), "one", ("a.x.dev",), tmp_path)
    with pytest.raises(Permanent) as refused:
        at_order.hold_hosts(job)
    assert (refused.value.problem.type, refused.value.problem.host) == ("hostClaimed", "a.x.dev")
    stored = api.stored(CONFIGMAPS, v.NAMESPACE, names.claim("a.x.dev"))
    assert stored is not None
    assert stored["data"]["namespace"] == "two"
