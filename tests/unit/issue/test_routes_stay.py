"""Challenge routes stay for all orders of an attempt: a controller that gathers changes would miss them else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from issuer_job import vocabulary as v
from issuer_job.cluster.api import INGRESSES
from tests.fakes.acme import Reply, Request, problem
from tests.fakes.ca import NO_ANSWER
from tests.worlds.job import HOST, JobWorld, ingress

OTHER = "other.certjob.dev"


def stolen(world: JobWorld) -> None:
    """Two orders come to nothing only when their certificates are there."""
    world.ca.stolen = 2


def invalid_after_finalize(world: JobWorld) -> None:
    """The CA takes the proof, and then the order is invalid."""

    def before(request: Request) -> Reply | None:
        if request.path == "/finalize/1":
            world.ca.ordered[0].status = "invalid"
            return problem("orderNotReady", "it is invalid", status=403)
        return None

    world.ca.before = before


def away_while_validating(world: JobWorld) -> None:
    """So long that the pod takes the order up once more."""
    lost: list[str] = []

    def before(request: Request) -> Reply | None:
        told = any(asked.path.startswith("/chall") for asked in world.ca.requests)
        if not told or request.path != "/authz/1/0" or len(lost) > 5:
            return None
        lost.append(request.path)
        return NO_ANSWER

    world.ca.before = before


@dataclass
class Watch:
    """Sees the routes at each request to the CA."""

    world: JobWorld
    seen: list[tuple[str, list[str]]] = field(default_factory=list)

    def latency(self, path: str) -> None:
        uids = [route["metadata"]["uid"] for route in self.world.api.all(INGRESSES, v.NAMESPACE)]
        self.seen.append((path, sorted(uids)))


@pytest.mark.parametrize("trouble", [stolen, invalid_after_finalize, away_while_validating])
def test_the_same_routes_stay_until_the_certificate_is_there(
    world: JobWorld, trouble: Callable[[JobWorld], None]
) -> None:
    trouble(world)
    watch = Watch(world)
    world.ca.latency = watch.latency
    world.apply(ingress(hosts=(HOST, OTHER)))
    assert world.run() is v.ExitCode.DONE
    [routes] = {tuple(uids) for _, uids in watch.seen}
    assert len(routes) == 2
    assert world.left_over() == []


def test_they_are_given_back_before_the_certificate_is_installed(world: JobWorld) -> None:
    world.apply(ingress())
    world.run()
    asked = [(request.method, request.path) for request in world.api.requests]
    gone = next(i for i, (method, path) in enumerate(asked) if method == "DELETE" and "/ingresses/" in path)
    put = [i for i, (method, path) in enumerate(asked) if method == "PUT" and path.endswith("/secrets/web-tls")]
    assert gone < max(put)
