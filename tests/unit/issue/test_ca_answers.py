"""Each request of an attempt, answered in each odd way: it is told, and a later good answer gives the certificate."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from typing import Any

import pytest

from issuer_job import vocabulary as v
from issuer_job.acme_client.orders import read_authorization
from tests.fakes.acme import Reply, Request, problem
from tests.fakes.odd import ANSWERS, NOBODY, WORDS
from tests.worlds.job import HOST, JobWorld, assert_good_secret, ingress

pytestmark = pytest.mark.exhaustive

STEPS: dict[str, Callable[[list[str]], bool]] = {
    "directory": lambda path: path == ["dir"],
    "newNonce": lambda path: path == ["nonce"],
    "newAccount": lambda path: path == ["account"],
    "newOrder": lambda path: path == ["order"],
    "order": lambda path: path[0] == "order" and len(path) == 2,
    "authorization": lambda path: path[0] == "authz",
    "challenge": lambda path: path[0] == "chall",
    "finalize": lambda path: path[0] == "finalize",
    "certificate": lambda path: path[0] == "cert" and len(path) == 2,
    "an alternate chain": lambda path: path[0] == "cert" and len(path) == 3,
}


STEP_NAMES = {"an alternate chain": "certificate"}


NO_ORDER_MADE = {"a refusal", "an internal error", "an error in words of its own", "too late", "cut"}
"""As far as these say."""


class Odd:
    """A CA that does what it is asked for, and then answers one step in this way."""

    def __init__(self, world: JobWorld, step: str, answer: str) -> None:
        self.world, self.step, self.answer, self.given = world, step, answer, 0
        world.ca.before = self.before

    def before(self, request: Request) -> Reply:
        path = request.path.split("/")[1:]
        good = self.world.ca._answer(request)
        if path[0] == "cert" and len(path) == 2:
            good = replace(good, headers={"Link": f'<{request.path}/1>;rel="alternate"'})
        if not STEPS[self.step](path):
            return good
        self.given += 1
        return replace(ANSWERS[self.answer](good), nonce=self.step != "newNonce")


@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("step", STEPS)
def test_an_odd_answer_is_told_and_does_no_harm(world: JobWorld, step: str, answer: str) -> None:
    world.set_issuer(preferredChain="Another Root")
    odd = Odd(world, step, answer)
    world.apply(ingress())
    code = world.run()
    assert odd.given
    ordered = len(world.ca.ordered)
    assert ordered <= (4 if answer in NO_ORDER_MADE else 1)  # what was answered with 2xx has made one
    if code is not v.ExitCode.DONE:
        [(reason, note)] = world.events()
        assert reason == "CertificateFailed"
        named = f"{STEP_NAMES.get(step, step)}: " in note
        assert named or answer == "other URLs"  # then it is told where they are asked for
        assert any(words in note for words in (WORDS, "the answer of 127.0.0.1:2 (HTTP", " 127.0.0.1:2 ", NOBODY[8:]))
        world.ca.before = lambda request: None
        world.relaunch()
        assert world.run() is v.ExitCode.DONE
    assert_good_secret(world)
    assert len(world.ca.ordered) <= max(ordered, 1) + 1


def note(world: JobWorld) -> str:
    """Of the one Event."""
    [(_, text)] = world.events()
    return text


def test_what_the_ca_says_about_finalize_is_told_though_the_order_does_not(world: JobWorld) -> None:
    """And it is ordered once."""

    def before(request: Request) -> Reply | None:
        if not request.path.startswith("/finalize"):
            return None
        world.ca.ordered[-1].status = "invalid"
        return problem("serverInternal", "enrollment failed", status=500)

    world.ca.before = before
    world.apply(ingress())
    assert world.run() is v.ExitCode.LATER
    assert "finalize: enrollment failed (serverInternal)" in note(world)
    retry = world.record().retry
    assert retry is not None
    assert (retry.problem.step, "enrollment failed" in retry.problem.detail) == ("finalize", True)
    assert len(world.ca.ordered) == 1
    world.ca.before = lambda request: None
    world.relaunch()
    assert world.run() is v.ExitCode.DONE
    assert len(world.ca.ordered) == 2


@pytest.mark.parametrize(
    ("lifetime", "step", "status", "asks"),
    [
        ("168h", "/finalize", 500, True),
        ("168h", "/finalize", 403, False),
        ("168h", "/order", 500, False),
        ("", "/finalize", 500, False),
    ],
)
def test_an_internal_error_at_finalize_may_be_about_the_lifetime_that_is_asked_for(
    world: JobWorld, lifetime: str, step: str, status: int, asks: bool
) -> None:
    """As of step-ca, which looks at notAfter only there, and tells its log alone."""
    refusal = problem("serverInternal" if status == 500 else "malformed", "an internal error", status=status)
    world.ca.before = lambda request: refusal if request.path.startswith(step) else None
    world.set_issuer(lifetime=lifetime)
    world.apply(ingress())
    assert world.run() is v.ExitCode.LATER
    said = "an internal error; the issuer asks for lifetime 168h: does the CA allow it? (serverInternal)"
    assert (said in note(world)) is asks
    assert ("lifetime" in note(world)) is asks


def test_the_words_of_a_subproblem_are_told(world: JobWorld) -> None:
    refused = {"type": "urn:ietf:params:acme:error:rejectedIdentifier", "detail": "forbidden by policy"}
    parts = [refused | {"identifier": {"type": "dns", "value": HOST}}]
    world.ca.script("/order", problem("malformed", "Some were rejected", status=403, subproblems=parts))
    world.apply(ingress())
    assert world.run() is v.ExitCode.PERMANENT
    assert f"{HOST}: newOrder: Some were rejected; {HOST}: forbidden by policy (rejectedIdentifier)" in note(world)


@pytest.mark.parametrize("hosts", [(HOST,), (HOST, "a.certjob.dev", "b.certjob.dev", "c.certjob.dev")])
def test_hosts_of_which_the_ca_names_none_are_named(world: JobWorld, hosts: tuple[str, ...]) -> None:
    world.ca.script("/order", problem("rejectedIdentifier", "not allowed", status=403))
    world.apply(ingress(hosts=hosts))
    assert world.run() is v.ExitCode.PERMANENT
    one_of = "newOrder: not allowed (one of a.certjob.dev, b.certjob.dev, c.certjob.dev and 1 more)"
    assert (f"{HOST}: newOrder: not allowed" if len(hosts) == 1 else one_of) in note(world)


def test_a_wildcard_has_the_name_that_was_ordered() -> None:
    for order_of in ([HOST], [f"*.{HOST}"]):
        document = {"identifier": {"value": HOST}, "status": "valid", "wildcard": order_of != [HOST]}
        assert read_authorization(document, url="u", retry_after=None).name == order_of[0]


# What is asked for and not given


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"lifetime": "30d"}, "; the CA lets it live for 1 day, 1:00:00, not 30d as its issuer asks"),
        ({"lifetime": "1h"}, "not 1h as its issuer asks"),
        ({"preferredChain": "No Such Root"}, "; the CA offers no chain to No Such Root, only to Fake Root"),
        ({"lifetime": "24h", "preferredChain": "Fake Root"}, ""),
        ({}, ""),
    ],
)
def test_what_is_not_given_is_told(
    world: JobWorld, caplog: pytest.LogCaptureFixture, fields: dict[str, Any], words: str
) -> None:
    caplog.set_level(logging.INFO)
    world.set_issuer(**fields)
    world.apply(ingress())
    assert world.run() is v.ExitCode.DONE
    assert (words in note(world)) is True
    assert note(world).endswith(" UTC") is not bool(words)
    assert ("not-given" in [entry.message for entry in caplog.records]) is bool(words)


OF_ONE_ORDER = ("order", "authorization", "challenge", "finalize", "certificate")
NOTHING_GOOD = [*product(OF_ONE_ORDER, ("a refusal", "an internal error")), ("order", "other URLs")]


@pytest.mark.parametrize(("step", "answer"), [*NOTHING_GOOD, ("authorization", "nothing"), ("finalize", "nulls")])
def test_an_order_of_which_the_ca_says_nothing_good_any_more_is_left_for_another(
    world: JobWorld, step: str, answer: str
) -> None:
    """However long the CA keeps it: whoever waits for that one has no certificate."""
    effect = world.ca._answer

    def before(request: Request) -> Reply:
        path = request.path.split("/")[1:]
        about_it = path[0] in {"order", "authz", "chall", "finalize", "cert"} and path[1:2] == ["1"]
        if about_it and STEPS[step](path) and step in {"challenge", "finalize"}:
            return ANSWERS[answer](Reply(200, {"status": "pending", "url": f"{world.ca.base}/x"}))  # nor is it done
        return ANSWERS[answer](effect(request)) if about_it and STEPS[step](path) else effect(request)

    world.ca.before = before
    world.apply(ingress())
    codes = [world.run()]
    while codes[-1] is not v.ExitCode.DONE and len(codes) < 3:
        world.relaunch()
        codes.append(world.run())
    assert codes[-1] is v.ExitCode.DONE, world.record().history
    assert len(world.ca.ordered) == 2


LACKING: dict[str, dict[str, Any]] = {
    "no certificate": {"certificate": None},
    "no place for the request": {"finalize": ""},
    "authorizations nowhere": {"authorizations": ["nowhere"]},
    "a token that is none": {
        "challenges": [{"type": "http-01", "url": "https://127.0.0.1:2/chall/1/0", "token": "!"}]
    },
}


@pytest.mark.parametrize("lacking", LACKING)
def test_nor_is_one_kept_that_lacks_what_it_is_for(world: JobWorld, lacking: str) -> None:
    effect = world.ca._answer

    def before(request: Request) -> Reply:
        good, change = effect(request), LACKING[lacking]
        of_first = isinstance(good.body, dict) and (request.path == "/order" or request.path.split("/")[2:3] == ["1"])
        fits = of_first and len(world.ca.ordered) == 1 and good.body.keys() & change.keys()
        return replace(good, body=good.body | change) if fits else good

    world.ca.before = before
    world.apply(ingress())
    codes = [world.run()]
    while codes[-1] is not v.ExitCode.DONE and len(codes) < 3:
        world.relaunch()
        codes.append(world.run())
    assert codes[-1] is v.ExitCode.DONE, world.record().history
    assert len(world.ca.ordered) == 2
