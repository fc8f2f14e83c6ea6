"""Ingresses that join one Secret one after the other, and what changes before the Job has ordered."""

from __future__ import annotations

from datetime import timedelta

import pytest

from issuer_job import vocabulary as v
from issuer_job.cluster.api import CONFIGMAPS, Json
from issuer_job.hosts.claims import claim_body
from issuer_job.record.record import Phase
from tests.fakes.acme import Reply, Request
from tests.worlds.job import HOST, JobWorld, assert_good_secret, ingress
from tests.worlds.sweep import orders, passes

TWELVE = 12


def joining(number: int) -> Json:
    return ingress(f"w{number}", hosts=(host(number),))


def host(number: int) -> str:
    return f"h{number}.certjob.dev"


@pytest.mark.exhaustive
@pytest.mark.parametrize("apart", [0.0, 1.0, 2.5])
def test_twelve_joins_one_after_the_other_settle_before_they_are_ordered(swept: JobWorld, apart: float) -> None:
    swept.apply(joining(0))
    assert swept.run() is v.ExitCode.DONE
    swept.apply(joining(1))
    left = list(range(2, TWELVE))

    def one_more() -> None:
        if left:
            swept.apply(joining(left.pop(0)))

    # The Job sleeps until it is quiet; meanwhile the next one comes.
    real = swept.clock.sleep

    def sleep(seconds: float) -> None:
        real(min(seconds, apart) if left else seconds)
        one_more()

    attempt = swept.pod()
    attempt.sleep = sleep
    assert swept.issue(attempt) is v.ExitCode.DONE
    passes(swept, 1)
    assert left == []
    assert orders(swept) == 2
    assert_good_secret(swept, tuple(host(number) for number in range(TWELVE)))


def test_who_joins_all_the_time_keeps_nobody_waiting_for_long(world: JobWorld) -> None:
    world.apply(joining(0))
    world.apply(joining(1))
    number, started = 2, world.clock.read()

    def sleep(seconds: float) -> None:
        nonlocal number
        world.clock.ahead += timedelta(seconds=min(seconds, 2))
        if world.record().phase is Phase.CLAIMED:
            world.apply(joining(number))
            number += 1

    attempt = world.pod()
    attempt.sleep = sleep
    assert world.issue(attempt) is v.ExitCode.DONE
    assert world.clock.read() - started < timedelta(seconds=45)


def test_an_ingress_of_its_own_is_ordered_at_once(world: JobWorld) -> None:
    world.apply(ingress())
    assert world.run() is v.ExitCode.DONE
    world.apply(ingress(hosts=(HOST, "more.certjob.dev")))
    assert world.run() is v.ExitCode.DONE
    assert max(world.clock.slept, default=0) < 1


def meanwhile(world: JobWorld, body: Json) -> None:
    """Apply it while the Job, which has confirmed what it saw, asks for the CA's directory: once."""
    bodies = [body]

    def apply(request: Request) -> Reply | None:
        if request.path == "/dir" and bodies:
            world.apply(bodies.pop())
        return None

    world.ca.before = apply


@pytest.mark.parametrize("name", ["web", "second"])
def test_what_changes_just_before_the_order_is_in_it(world: JobWorld, name: str) -> None:
    world.apply(ingress())
    both = (HOST, "more.certjob.dev")
    meanwhile(world, ingress(name, hosts=both))
    assert world.run() is v.ExitCode.DONE
    assert orders(world) == 1
    assert_good_secret(world, both)
    assert world.record().phase is Phase.ISSUED


def test_a_host_that_comes_just_before_the_order_is_asked_about_like_any_other(world: JobWorld) -> None:
    world.api.add(CONFIGMAPS, v.NAMESPACE, claim_body("more.certjob.dev", "elsewhere"))
    world.apply(ingress())
    meanwhile(world, ingress("second", hosts=("more.certjob.dev",)))
    assert world.run() is v.ExitCode.PERMANENT
    assert orders(world) == 0
    record = world.record()
    assert record.retry is not None
    assert (record.retry.problem.type, record.retry.problem.host) == ("hostClaimed", "more.certjob.dev")
