"""`certjob.io/retry`, set while an attempt is at work: it has its turn when that has failed."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from issuer_job import vocabulary as v
from issuer_job.cluster.api import Json
from issuer_job.launch.outcome import LaunchOutcome
from issuer_job.record.phases import LaunchReason
from issuer_job.record.record import Phase
from tests.fakes.acme import Reply, Request, problem
from tests.worlds.job import HOST, JobWorld, ingress
from tests.worlds.sweep import jobs, run

CONNECTION = {"type": "urn:ietf:params:acme:error:connection", "detail": "no route to host"}
CAA = {"type": "urn:ietf:params:acme:error:caa", "detail": "CAA forbids"}


def asking(value: str = "1") -> Json:
    return ingress(annotations={v.RETRY: value})


def meanwhile(world: JobWorld, act: Callable[[], list[LaunchOutcome]]) -> list[LaunchOutcome]:
    """Once, when the CA is told to look; what came of it."""
    outcomes: list[LaunchOutcome] = []

    def before(request: Request) -> Reply | None:
        if request.path.startswith("/chall") and not outcomes:
            outcomes.extend(act())
        return None

    world.ca.before = before
    return outcomes


@pytest.mark.parametrize("error", [CONNECTION, CAA], ids=["passes", "permanent"])
def test_the_next_sweep_serves_it(swept: JobWorld, error: dict[str, str]) -> None:
    swept.ca.failing = {HOST: error}
    swept.apply(ingress())
    found = meanwhile(swept, lambda: swept.apply(asking()))
    assert swept.run() is not v.ExitCode.DONE
    [told] = found
    assert told.warning == "Secret web-tls: an attempt is under way; if it fails, the next sweep tries again"
    assert swept.record().phase is Phase.WAITING
    swept.ca.failing = {}
    run(swept)
    attempt = swept.record().attempt
    assert attempt is not None
    assert (jobs(swept), attempt.reason, attempt.retry_asked) == (2, LaunchReason.RETRY_DUE, False)
    assert swept.run() is v.ExitCode.DONE


def test_the_event_says_so(swept: JobWorld) -> None:
    swept.ca.failing = {HOST: CONNECTION}
    swept.apply(ingress())
    meanwhile(swept, lambda: swept.apply(asking()))
    swept.run()
    retry = swept.record().retry
    assert retry is not None
    assert retry.not_before is not None
    assert retry.not_before == swept.record().since
    [(_, note)] = swept.events()
    assert note.endswith(f"it is tried again after {retry.not_before:%Y-%m-%d %H:%M:%S} UTC")


def test_once_alone(swept: JobWorld) -> None:
    swept.ca.failing = {HOST: CONNECTION}
    swept.apply(ingress())
    meanwhile(swept, lambda: swept.apply(asking()))
    swept.run()
    run(swept)
    swept.run()
    run(swept)
    assert jobs(swept) == 2, "that one failed, too, and is in its back-off"


def test_what_the_ca_asked_for_is_waited_for_all_the_same(swept: JobWorld) -> None:
    swept.apply(ingress())
    limited = problem("rateLimited", "too many", status=429, headers={"Retry-After": "7200"})

    def before(request: Request) -> Reply | None:
        if request.path != "/order":
            return None
        swept.apply(asking())
        return limited

    swept.ca.before = before
    swept.run()
    run(swept)
    assert jobs(swept) == 1


def test_a_host_that_failed_often_is_not_tried_once_more(swept: JobWorld) -> None:
    """Whatever its issuer's limits are."""
    swept.set_issuer(limits={"failedValidations": 0})
    swept.ca.failing = {HOST: CONNECTION}
    swept.apply(ingress())
    for number in range(4):
        meanwhile(swept, lambda value=str(number): swept.apply(asking(value)))
        assert swept.run() is v.ExitCode.LATER
        retry = swept.record().retry
        assert retry is not None
        assert retry.not_before is not None
        assert (retry.not_before <= swept.clock.read()) is (number < 3)
        run(swept)
    assert jobs(swept) == 4
