"""A host that the CA finds wrong: what CAs leave behind of the order, and what a host that was put right costs."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

import pytest

from issuer_job import vocabulary as v
from issuer_job.acme_client.orders import read_authorization
from issuer_job.attempt.attempt import Attempt
from issuer_job.attempt.solver import ChallengeSolver
from issuer_job.issue.issue import issue
from issuer_job.issuers.solvers import ChallengeType
from issuer_job.record.record import Counted, Problem
from tests.fakes.acme import Reply, Request, problem
from tests.fakes.ca import Failing
from tests.fakes.solver import FakeSolver
from tests.worlds.job import HOST, JobWorld, ingress

pytestmark = pytest.mark.exhaustive

OTHER, WILD = "other.certjob.dev", "*.certjob.dev"
ERROR = "urn:ietf:params:acme:error:"
WORDS = "the server could not connect"
WRONG = {"type": f"{ERROR}connection", "detail": WORDS}
WITH_WORDS = [fails for fails in Failing if fails is not Failing.AUTHORIZATION]


def wrong_host(world: JobWorld, fails: Failing, *, host: str = HOST, error: dict[str, str] = WRONG) -> None:
    world.ca.fails = fails
    world.ca.failing = {host: error}


def told(world: JobWorld) -> Problem:
    """Why the last attempt failed."""
    retry = world.record().retry
    assert retry is not None
    return retry.problem


def by_dns(world: JobWorld) -> None:
    """Every host is proven by a TXT record."""
    world.set_issuer(solvers=[{"dns01": {"provider": "ddns"}}])


def run(world: JobWorld) -> v.ExitCode:
    """An attempt that puts nothing anywhere, by HTTP or by DNS."""

    def make(kind: ChallengeType, attempt: Attempt) -> ChallengeSolver:
        return FakeSolver(slow_release=kind is ChallengeType.DNS_01)

    return issue(world.pod(), {kind: partial(make, kind) for kind in ChallengeType})


def answers(world: JobWorld) -> list[str]:
    return [request.path for request in world.ca.requests if request.path.startswith("/chall")]


@pytest.mark.parametrize("hosts", [(HOST,), (HOST, OTHER), (WILD, "certjob.dev")], ids=["one", "two", "a wildcard"])
@pytest.mark.parametrize("fails", Failing)
def test_a_host_that_was_wrong_twice_and_then_right_costs_three_orders_at_most(
    world: JobWorld, fails: Failing, hosts: tuple[str, ...]
) -> None:
    if WILD in hosts:
        by_dns(world)
    wrong_host(world, fails, host=hosts[0])
    world.apply(ingress(hosts=hosts))
    for _ in range(2):
        assert run(world) is v.ExitCode.LATER
        assert told(world).host == hosts[0]
        world.relaunch()
    world.ca.failing = {}
    assert run(world) is v.ExitCode.DONE, world.record().retry
    assert len(world.ca.ordered) == (1 if fails is Failing.NOTHING else 3)
    assert sum(entry.kind is Counted.FAILURE for entry in world.record().ledger) == 2


@pytest.mark.parametrize("fails", WITH_WORDS)
def test_what_the_ca_says_of_the_host_is_told(world: JobWorld, fails: Failing) -> None:
    wrong_host(world, fails)
    world.apply(ingress(hosts=(HOST, OTHER)))
    assert run(world) is v.ExitCode.LATER
    assert (told(world).detail, told(world).host, told(world).step) == (WORDS, HOST, "authorization")


def test_an_authorization_that_failed_without_a_reason_says_so(world: JobWorld) -> None:
    wrong_host(world, Failing.AUTHORIZATION)
    world.apply(ingress())
    assert run(world) is v.ExitCode.LATER
    assert (told(world).detail, told(world).host) == (
        "the authorization is invalid and the CA gave no reason",
        HOST,
    )


@pytest.mark.parametrize("kind", ["rejectedIdentifier", "unsupportedIdentifier", "unauthorized"])
def test_a_host_that_answers_something_else_may_be_put_right_whatever_the_ca_calls_that(
    world: JobWorld, kind: str
) -> None:
    wrong_host(world, Failing.CHALLENGE, error={"type": f"{ERROR}{kind}", "detail": "no"})
    world.apply(ingress())
    assert run(world) is v.ExitCode.LATER
    assert told(world).type == kind


@pytest.mark.parametrize("kind", ["http", "dns"])
def test_a_look_that_left_all_pending_is_asked_for_again_for_a_minute(world: JobWorld, kind: str) -> None:
    if kind == "dns":
        by_dns(world)
    wrong_host(world, Failing.NOTHING)
    world.apply(ingress(hosts=(HOST, OTHER)))
    assert run(world) is v.ExitCode.LATER
    assert answers(world).count("/chall/1/1") == 6
    assert answers(world).count("/chall/1/0") == 1, "the other host was right"
    assert 50 <= sum(world.clock.slept) <= 90


@pytest.mark.parametrize("seconds", [5, 45])
def test_a_host_that_becomes_right_meanwhile_is_noticed(world: JobWorld, seconds: int) -> None:
    wrong_host(world, Failing.NOTHING)

    def mend() -> None:
        if sum(world.clock.slept) >= seconds:
            world.ca.failing = {}

    world.clock.on_sleep = mend
    world.apply(ingress())
    assert run(world) is v.ExitCode.DONE
    assert len(world.ca.ordered) == 1
    assert sum(world.clock.slept) < seconds + 13


def test_a_ca_that_will_not_be_told_twice_has_said_enough(world: JobWorld) -> None:
    wrong_host(world, Failing.NOTHING)
    refusal = problem("malformed", "told already")
    world.ca.before = lambda request: refusal if answers(world)[1:] and request.path in answers(world) else None
    world.apply(ingress())
    assert run(world) is v.ExitCode.LATER
    assert told(world).detail == WORDS
    assert len(answers(world)) == 2


def looking(world: JobWorld, request: Request, *, error: dict[str, str] | None) -> Reply | None:
    """A CA that has not decided when the Job ends."""
    if not request.path.startswith(("/authz", "/chall")):
        return None
    document = world.ca._authorization(world.ca.ordered[0], HOST)
    for challenge in document["challenges"]:
        challenge |= {"status": "processing"} | ({"error": error} if error else {})
    return Reply(200, document["challenges"][0] if request.path.startswith("/chall") else document)


def test_what_a_ca_that_still_looks_has_found_so_far_is_told_at_the_end(world: JobWorld) -> None:
    world.ca.before = partial(looking, world, error=WRONG)
    world.apply(ingress())
    assert run(world) is v.ExitCode.LATER
    assert (told(world).detail, told(world).host) == (WORDS, HOST)
    assert answers(world) == [], "it looks by itself"


def test_a_ca_that_has_said_nothing_at_the_end_is_late_with_these_hosts(world: JobWorld) -> None:
    world.ca.before = partial(looking, world, error=None)
    world.apply(ingress())
    assert run(world) is v.ExitCode.LATER
    assert told(world).type == "timeout"
    assert told(world).detail.endswith(f": {HOST}")


def test_what_this_pod_has_failed_with_itself_is_no_reason_for_another_order(world: JobWorld) -> None:
    """The answer to the challenge is lost for long, so that the pod takes the order up once more: it has failed."""
    wrong_host(world, Failing.CHALLENGE)
    lost: list[str] = []

    def before(request: Request) -> Reply | None:
        if request.path.startswith("/authz") and answers(world) and len(lost) < 4:
            lost.append(request.path)
            return problem("serverInternal", status=500)
        return None

    world.ca.before = before
    world.apply(ingress())
    assert run(world) is v.ExitCode.LATER
    assert len(lost) == 4
    assert told(world).detail == WORDS
    assert len(world.ca.ordered) == 1


def test_an_order_that_offers_no_more_what_is_wanted_by_now_is_dropped(world: JobWorld) -> None:
    """For instance one that was begun by HTTP, at a CA that shows no other challenge from then on."""
    wrong_host(world, Failing.NOTHING)
    world.apply(ingress())
    run(world)
    by_dns(world)
    world.relaunch()
    world.ca.failing = {}

    def before(request: Request) -> Reply | None:
        if request.path != "/authz/1/0":
            return None
        document = world.ca._authorization(world.ca.ordered[0], HOST)
        return Reply(
            200, document | {"challenges": [one for one in document["challenges"] if one["type"] == "http-01"]}
        )

    world.ca.before = before
    assert run(world) is v.ExitCode.DONE
    assert len(world.ca.ordered) == 2


def test_another_challenge_of_the_host_may_have_failed() -> None:
    failed = {"type": "http-01", "url": "https://ca/1", "status": "invalid", "error": WRONG}
    open_yet = {"type": "dns-01", "url": "https://ca/2", "status": "pending"}
    document = {"identifier": {"value": HOST}, "status": "pending", "challenges": [failed, open_yet]}
    read = read_authorization(document, url="u", retry_after=timedelta(0))
    assert (read.is_open("http-01"), read.is_open("dns-01")) == (False, True)
    assert read.problem_with("dns-01") is None
    seen = read.problem_with("http-01")
    assert seen is not None
    assert seen.detail == WORDS
