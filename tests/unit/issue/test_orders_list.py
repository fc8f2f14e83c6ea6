"""The account's list of orders: asked for after a crash alone, and one that cannot be used is no list."""

from __future__ import annotations

import pytest

from issuer_job import vocabulary as v
from issuer_job.cluster.api import CONFIGMAPS
from issuer_job.record.store import to_config_map
from issuer_job.record.transitions import with_attempt
from tests.fakes.acme import Reply, Request, problem
from tests.fakes.ca import NO_ANSWER
from tests.fakes.odd import ANSWERS
from tests.worlds.check import check
from tests.worlds.crash import killed_after
from tests.worlds.job import JobWorld, assert_good_secret, ingress

pytestmark = pytest.mark.exhaustive


class Smallstep:
    """As its CAs do it: the list is a bare array, and one that is asked for while no order is pending takes the
    account with it: from then on neither the list nor newOrder works.
    """

    def __init__(self, world: JobWorld) -> None:
        self.ca, self.asked, self.broken = world.ca, 0, False
        self.ca.before = self.before

    def before(self, request: Request) -> Reply | None:
        if request.path.endswith("/orders"):
            self.asked += 1
            pending = [f"{self.ca.base}/order/{one.number}" for one in self.ca.ordered if one.status == "pending"]
            self.broken = self.broken or not pending
            return Reply(200, pending)
        if self.broken and request.path == "/order":
            return problem("serverInternal", "unexpected end of JSON input", status=500)
        return None


@pytest.fixture
def smallstep(world: JobWorld) -> Smallstep:
    return Smallstep(world)


REFUSALS = [
    problem("rejectedIdentifier", "policy", status=403),
    problem("malformed", "bad request"),
    problem("serverInternal", "database locked", status=500),
    Reply(502, raw=b"<html>"),
    Reply(201, None),
    NO_ANSWER,
]


@pytest.mark.parametrize("refusal", REFUSALS, ids=["policy", "malformed", "500", "a gateway", "empty", "cut"])
def test_after_an_order_that_failed_nobody_asks_for_the_list(
    world: JobWorld, smallstep: Smallstep, refusal: Reply
) -> None:
    world.ca.before = lambda request: refusal if request.path == "/order" else smallstep.before(request)
    world.apply(ingress())
    assert world.run() in {v.ExitCode.LATER, v.ExitCode.PERMANENT}
    world.ca.before = smallstep.before
    world.relaunch()
    assert world.run() is v.ExitCode.DONE
    assert (smallstep.asked, len(world.ca.ordered)) == (0, 1)


@pytest.mark.usefixtures("smallstep")
def test_a_profile_that_was_wrong_can_be_corrected_in_the_issuer(world: JobWorld) -> None:
    """Nothing was sent; and the others of the account go on."""
    world.set_issuer(profile="nosuch")
    world.apply(ingress())
    assert world.run() is v.ExitCode.PERMANENT
    world.set_issuer()
    world.apply(ingress("two", hosts=("two.certjob.dev",), secret="two-tls"))
    assert world.run(secret="two-tls") is v.ExitCode.DONE
    world.relaunch()
    assert world.run() is v.ExitCode.DONE
    world.apply(ingress("three", hosts=("three.certjob.dev",), secret="three-tls"))
    assert world.run(secret="three-tls") is v.ExitCode.DONE


def test_a_record_of_an_earlier_certjob_that_failed_says_too_much(world: JobWorld, smallstep: Smallstep) -> None:
    """It left `ordered` as it was, whatever had become of newOrder."""
    world.ca.script("/order", problem("rejectedIdentifier", "policy", status=403))
    world.apply(ingress())
    world.run()
    world.cluster.update(CONFIGMAPS, v.NAMESPACE, to_config_map(with_attempt(world.record(), ordered=True)))
    world.relaunch()
    assert world.run() is v.ExitCode.DONE
    assert smallstep.asked == 0


@pytest.fixture
def crashed(world: JobWorld) -> JobWorld:
    """A pod died when the CA had made the order, and before the record had its URL."""
    world.apply(ingress())
    killed_after(world, "/order")
    return world


def test_after_a_crash_the_order_is_found_in_a_bare_array_too(crashed: JobWorld) -> None:
    smallstep = Smallstep(crashed)
    assert crashed.run() is v.ExitCode.DONE
    assert (smallstep.asked, smallstep.broken, len(crashed.ca.ordered)) == (1, False, 1)


LISTS = {
    "null": Reply(200, None),
    "null in it": Reply(200, {"orders": None}),
    "a text": Reply(200, {"orders": "all"}),
    "numbers": Reply(200, [7]),
    "a page": Reply(200, raw=b"<html>"),
    "a refusal": problem("unauthorized", status=403),
    "an internal error": Reply(500, {"status": 500, "message": "broken"}),
    "cut": NO_ANSWER,
    "somebody else's": Reply(200, {"orders": ["https://elsewhere.example/order/1"]}),
    "an order that is none": Reply(200, {"orders": ["https://127.0.0.1:2/dir"]}),
}


@pytest.mark.parametrize("what", LISTS)
def test_a_list_that_cannot_be_used_is_no_list(crashed: JobWorld, what: str) -> None:
    """Once more it is ordered, and then the certificate is there."""
    crashed.ca.before = lambda request: LISTS[what] if request.path.endswith("/orders") else None
    assert crashed.run() is v.ExitCode.DONE
    assert_good_secret(crashed)
    assert len(crashed.ca.ordered) == 2


@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("what", ["the account", "its list", "an order of it"])
def test_whatever_is_wrong_on_the_way_to_the_order_it_is_made_anew(crashed: JobWorld, what: str, answer: str) -> None:
    effect = crashed.ca._answer

    def odd(request: Request) -> Reply | None:
        places = {"an order of it": request.path == "/order/1", "its list": request.path.endswith("/orders")}
        found = places.get(what, request.path.startswith("/acct/") and not request.path.endswith("/orders"))
        return ANSWERS[answer](effect(request)) if found else None

    crashed.ca.before = odd
    if crashed.run() is not v.ExitCode.DONE:
        assert (what, answer) == ("an order of it", "other URLs")  # it was found, and leads elsewhere as long as that
        crashed.ca.before = lambda request: None
        crashed.relaunch()
        assert crashed.run() is v.ExitCode.DONE
    assert len(crashed.ca.ordered) <= 2


@pytest.mark.parametrize("noticed", [False, True])
def test_an_account_that_was_just_made_has_no_orders_to_look_for(crashed: JobWorld, noticed: bool) -> None:
    """The CA has lost its database, with order and account. Perhaps a test of the issuer has seen it first."""
    smallstep = Smallstep(crashed)
    crashed.ca.forget_account(crashed.ca.accounts[0])
    crashed.ca.ordered.clear()
    if noticed:
        check(crashed)
    assert crashed.run() is v.ExitCode.DONE
    assert (smallstep.asked, len(crashed.ca.ordered)) == (0, 1)
