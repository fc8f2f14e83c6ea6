"""How many requests to the API server a certificate takes: each is latency for who waits, and load for everybody."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

import pytest

from issuer_job import vocabulary as v
from issuer_job.cluster.api import Response, Transport
from tests.worlds.job import JobWorld, ingress

CLAIMS_AND_NAMESPACE = r"GET .*(/configmaps/claim-|/namespaces/shop$)"


def asked(world: JobWorld) -> int:
    """How much was asked since the last look."""
    found = len(world.api.requests)
    world.api.requests.clear()
    return found


def test_requests_of_a_certificate_and_of_its_renewal(world: JobWorld) -> None:
    world.set_options()
    asked(world)
    world.apply(ingress())
    assert asked(world) == 18, "a launch; 7 of it once a minute: the canaries"
    assert world.run() is v.ExitCode.DONE
    assert asked(world) == 39, "the first Job, which makes the account, and notes who signs for the issuer"
    world.clock.ahead += timedelta(days=60)
    world.relaunch()
    asked(world)
    assert world.run() is v.ExitCode.DONE
    assert asked(world) == 29, "a renewal"


@dataclass
class Gathering:
    """Answers none of the requests that fit before all `together` are there."""

    inner: Transport
    pattern: str
    together: threading.Barrier

    def send(self, method: str, path: str, *, body: bytes | None, timeout: float) -> Response:
        """See Transport. Raises BrokenBarrierError when they do not come."""
        if re.search(self.pattern, f"{method} {path}") and not self.together.broken:
            self.together.wait(10)
        return self.inner.send(method, path, body=body, timeout=timeout)

    def stream(self, path: str, *, timeout: float) -> Iterator[bytes]:
        """See Transport."""
        return self.inner.stream(path, timeout=timeout)


@pytest.mark.parametrize(
    ("pattern", "number"),
    [(CLAIMS_AND_NAMESPACE, 4), (r"dryRun=All.*certjob-canary|POST .*dryRun=All", 3)],
    ids=["claims", "canaries"],
)
def test_what_does_not_depend_on_each_other_is_asked_at_once(world: JobWorld, pattern: str, number: int) -> None:
    world.apply(ingress(hosts=("a.certjob.dev", "b.certjob.dev", "c.certjob.dev")))
    assert world.run() is v.ExitCode.DONE
    world.clock.ahead += timedelta(days=60)
    world.relaunch()
    gathering = Gathering(world.api, pattern, threading.Barrier(number))
    assert world.issue(world.pod(transport=gathering)) is v.ExitCode.DONE
