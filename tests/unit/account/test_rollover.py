"""A new key for an issuer's account (RFC 8555, section 7.3.5), whenever its Job dies."""

from __future__ import annotations

from base64 import b64decode
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from josepy.jwk import JWKEC

from issuer_job import names
from issuer_job import vocabulary as v
from issuer_job.account.asked import rollover_is_due
from issuer_job.account.keys import account_secret
from issuer_job.acme_client import AcmeClient, AcmeError, new_account_key
from issuer_job.attempt.attempt import Attempt
from issuer_job.attempt.findings import CheckReason
from issuer_job.checks.check import check_issuer
from issuer_job.cluster.api import SECRETS
from issuer_job.issuers.state import (
    ACCOUNT_NUMBER,
    ACCOUNT_URL,
    ROLLED_OVER_FOR,
    ROLLING_OVER,
    IssuerState,
    note_in_state,
)
from tests.fakes.acme import Reply, Request, problem, signing_key
from tests.fakes.api import status
from tests.fakes.ca import NO_ANSWER, NewCa
from tests.fakes.odd import ANSWERS
from tests.worlds.account import another, retry
from tests.worlds.check import account_numbers, annotate, check, credentials, due, found, launch, one, pod, state
from tests.worlds.crash import killed_at
from tests.worlds.job import ISSUER, JobWorld, ingress

pytestmark = pytest.mark.exhaustive


@pytest.fixture
def rolled(world: JobWorld) -> JobWorld:
    """An issuer with an account, whose key shall be replaced."""
    assert check(world) is v.ExitCode.DONE
    annotate(world, rollover="one")
    return world


def key(world: JobWorld, number: int) -> bytes:
    secret = world.api.stored(SECRETS, v.NAMESPACE, names.account(ISSUER, world.server, number))
    assert secret is not None
    return b64decode(secret["data"][v.ACCOUNT_KEY])


def client(world: JobWorld, number: int) -> AcmeClient:
    return AcmeClient.connect(
        world.server,
        ca_bundle_pem=world.ca_pem,
        account_key_pem=key(world, number),
        account_url=None,
        user_agent="test",
    )


def assert_rolled_over(world: JobWorld, number: int = 2) -> None:
    """The same account, with the next key, and the former is worth nothing."""
    [url] = world.ca.accounts
    assert (state(world).number, state(world).account_url) == (number, url)
    assert (state(world).data[ROLLING_OVER], state(world).data[ROLLED_OVER_FOR]) == ("", "one")
    assert account_numbers(world) == list(range(1, number + 1))
    with client(world, number) as now, client(world, number - 1) as before:
        account = now.find_account()
        assert account is not None
        assert account.url == url
        assert before.find_account() is None


def test_the_account_gets_the_next_key(rolled: JobWorld) -> None:
    assert check(rolled) is v.ExitCode.DONE
    assert_rolled_over(rolled)
    assert found(rolled) == []


def test_orders_go_on_with_the_new_key_and_the_same_account(rolled: JobWorld) -> None:
    check(rolled)
    rolled.apply(ingress())
    assert rolled.run() is v.ExitCode.DONE
    assert [order.account for order in rolled.ca.ordered] == rolled.ca.accounts


def test_it_is_done_once_for_each_value_of_the_annotation(rolled: JobWorld) -> None:
    check(rolled)
    check(rolled)
    assert_rolled_over(rolled)
    annotate(rolled, rollover="two")
    check(rolled)
    assert state(rolled).number == 3


def test_the_new_key_has_the_issuers_algorithm(rolled: JobWorld) -> None:
    rolled.set_issuer(accountKeyAlgorithm="RS256")
    annotate(rolled, rollover="one")
    check(rolled)
    assert_rolled_over(rolled)
    assert len(key(rolled, 2)) > 1000 > len(key(rolled, 1))


@pytest.mark.parametrize(
    ("data", "request_", "due"),
    [
        ({}, "", False),
        ({}, "one", True),
        ({ROLLED_OVER_FOR: "one"}, "one", False),
        ({ROLLED_OVER_FOR: "one"}, "two", True),
        ({ROLLED_OVER_FOR: "one"}, "", False),
        ({ROLLING_OVER: "2"}, "", True),
    ],
)
def test_when_it_is_due(data: dict[str, str], request_: str, due: bool) -> None:
    assert rollover_is_due(IssuerState("le", "d", {"data": data}), request_) is due


# Other Jobs meanwhile


def test_a_job_launched_before_leaves_it_to_its_next_launch(rolled: JobWorld) -> None:
    second = another(rolled, 1)
    old = rolled.pod(secret=second)
    check(rolled)
    assert rolled.issue(old) is v.ExitCode.LATER
    assert retry(rolled, second).problem.type == "accountReplaced"
    due = retry(rolled, second).not_before
    assert due is not None
    assert (retry(rolled, second).failures, due <= rolled.clock.read()) == (0, True)
    assert "CertificateFailed" not in dict(rolled.events()), "it is nobody's fault, and goes on by itself"
    rolled.relaunch(secret=second)
    assert rolled.run(secret=second) is v.ExitCode.DONE
    assert len(rolled.ca.accounts) == 1


def test_a_rollover_that_does_not_end_is_told_by_the_second_attempt_that_waits_for_it(rolled: JobWorld) -> None:
    note_in_state(rolled.cluster, ISSUER, rolled.server, {ROLLING_OVER: "2"})
    rolled.ca._keys[rolled.ca.accounts[0]] = JWKEC(key=ec.generate_private_key(ec.SECP256R1()).public_key())
    rolled.apply(ingress())
    told = []
    for _ in range(2):
        assert rolled.run() is v.ExitCode.LATER
        assert retry(rolled).problem.type == "accountReplaced"
        told.append(("CertificateFailed" in dict(rolled.events()), retry(rolled).failures))
        rolled.relaunch()
    assert told == [(False, 0), (True, 1)]


@pytest.mark.parametrize("step", ["/order", "/authz/", "/finalize/"])
@pytest.mark.parametrize("recorded", [True, False])
@pytest.mark.parametrize("refusal", ["malformed", "unauthorized", "accountDoesNotExist"])
def test_a_job_whose_key_is_replaced_on_the_way_makes_no_account(
    rolled: JobWorld, step: str, recorded: bool, refusal: str
) -> None:
    """Whatever the CA says of a signature with the former key, and whether the issuer's state says so yet."""
    rolled.apply(ingress())
    changed: list[bool] = []

    def between(request: Request) -> Reply | None:
        if not changed and not request.path.startswith(step):
            return None
        if not changed:
            changed.append(True)
            rolled.ca._lock.release()
            change = {"accountNumber": "2"} if recorded else {ROLLING_OVER: "2"}
            note_in_state(rolled.cluster, ISSUER, rolled.server, change)
            rolled.ca._lock.acquire()
        return problem(refusal, "JWS verification error")

    rolled.ca.before = between
    assert rolled.run() is v.ExitCode.LATER
    assert retry(rolled).problem.type == "accountReplaced"
    assert len(rolled.ca.accounts) == 1
    assert state(rolled).account_url == rolled.ca.accounts[0]


def test_a_job_whose_key_is_refused_because_another_has_told_the_ca_ends_what_that_one_began(
    rolled: JobWorld,
) -> None:
    """The other one stored the key, told the CA, and died; this one had asked just before whether the CA knows."""
    rolled.api.add(SECRETS, v.NAMESPACE, account_secret(ISSUER, rolled.server, 2, new_account_key()))
    note_in_state(rolled.cluster, ISSUER, rolled.server, {ROLLING_OVER: "2"})
    effect = rolled.ca._answer
    once = iter([True])

    def asked_too_early(request: Request) -> Reply | None:
        if request.path != "/account" or not next(once, False):
            return None
        reply = effect(request)
        rolled.ca._keys[rolled.ca.accounts[0]] = signing_key(request.protected["jwk"])
        return reply

    rolled.ca.before = asked_too_early
    assert check(rolled) is v.ExitCode.DONE
    assert next(once, None) is None
    assert_rolled_over(rolled)


def test_a_test_beside_a_rollover_makes_no_account(world: JobWorld) -> None:
    """With the key that the account has no more it seems to be gone."""
    check(world)

    def meanwhile(request: Request) -> Reply | None:
        if not request.path.startswith("/acct/"):
            return None
        note_in_state(world.cluster, ISSUER, world.server, {ROLLING_OVER: "2"})
        world.ca._keys[world.ca.accounts[0]] = JWKEC(key=ec.generate_private_key(ec.SECP256R1()))
        return problem("accountDoesNotExist", "not by this key")

    world.ca.before = meanwhile
    assert check(world) is v.ExitCode.LATER
    assert len(world.ca.accounts) == 1
    assert state(world).account_url == world.ca.accounts[0]


def test_it_ends_whoever_writes_the_issuers_state_meanwhile(rolled: JobWorld) -> None:
    """Also once the CA knows the new key, when a Job without it can do nothing."""

    def meanwhile(request: Request) -> None:
        if request.path == "/key-change":
            rolled.api.fail("PUT", "/configmaps/issuer-state", status(409, "Conflict", "changed"), times=3)

    rolled.ca.before = meanwhile
    assert check(rolled) is v.ExitCode.DONE
    assert_rolled_over(rolled)


def test_malformed_for_another_reason_is_told_as_it_is(world: JobWorld) -> None:
    world.ca.script("/order", problem("malformed", "bad payload"))
    world.apply(ingress())
    assert world.run() is v.ExitCode.LATER
    assert "bad payload" in retry(world).problem.detail


# Refusals


SMALLSTEP = problem("rejectedIdentifier", "The requested operation is not implemented", status=501)
CANNOT = {"501": SMALLSTEP, "404": Reply(404, raw=b"<html>"), "405": Reply(405, raw=b""), "no URL": None}


@pytest.mark.parametrize("how", CANNOT)
@pytest.mark.parametrize("began", [False, True], ids=["asked for", "begun by an earlier certjob"])
def test_a_ca_that_cannot_change_keys_ends_the_rollover(rolled: JobWorld, how: str, began: bool) -> None:
    answer = CANNOT[how]
    if answer is None:
        del rolled.ca.directory["keyChange"]
    else:
        rolled.ca.script("/key-change", *[answer] * 9)
    if began:
        rolled.api.add(SECRETS, v.NAMESPACE, account_secret(ISSUER, rolled.server, 2, new_account_key()))
        note_in_state(rolled.cluster, ISSUER, rolled.server, {ROLLING_OVER: "2"})
        annotate(rolled, rollover="")
    assert check(rolled) is v.ExitCode.DONE
    [finding] = found(rolled)
    assert (finding.reason, finding.warning) == (CheckReason.ROLLOVER, True)
    assert finding.message.startswith("this CA cannot change account keys (")
    assert (state(rolled).number, state(rolled).data[ROLLING_OVER]) == (1, "")
    asked = len(rolled.ca.requests)
    assert check(rolled) is v.ExitCode.DONE
    assert "/key-change" not in [request.path for request in rolled.ca.requests[asked:]]
    assert due(rolled, after=timedelta(hours=2)) is None


def test_and_what_is_ordered_then_waits_for_no_other_key(rolled: JobWorld) -> None:
    """Not even when the CA forgets its accounts."""
    rolled.ca.script("/key-change", SMALLSTEP)
    check(rolled)
    rolled.ca.forget_account(rolled.ca.accounts[0])
    rolled.apply(ingress())
    assert rolled.run() is v.ExitCode.DONE
    assert state(rolled).number == 1


NOT_NOW = [
    *(problem(kind, "not now") for kind in ("badPublicKey", "malformed", "unauthorized")),
    problem("serverInternal", "not now", status=500),
    Reply(403, {"message": "not now"}),
]


@pytest.mark.parametrize("refusal", NOT_NOW)
def test_whatever_else_the_ca_says_the_account_goes_on_with_its_key(rolled: JobWorld, refusal: Reply) -> None:
    """It is asked again, as it may be able to."""
    rolled.ca.script("/key-change", refusal)
    assert check(rolled) is v.ExitCode.DONE
    [finding] = found(rolled)
    assert (finding.reason, finding.warning) == (CheckReason.ROLLOVER, True)
    assert "not now" in finding.message
    assert state(rolled).data[ROLLING_OVER] == ""
    assert check(rolled) is v.ExitCode.DONE
    assert_rolled_over(rolled)


@pytest.mark.parametrize("answer", [Reply(slow=True), NO_ANSWER, Reply(502, raw=b"<html>")])
def test_while_nobody_knows_whether_the_ca_is_at_it_the_rollover_goes_on(rolled: JobWorld, answer: Reply) -> None:
    rolled.ca.script("/key-change", *[answer] * 3)
    first = rolled.pod_of(launch(rolled))
    assert check_issuer(first) is v.ExitCode.OTHER_POD  # it is asked again, by one that has the next key mounted
    assert to_the_end(rolled, first) is v.ExitCode.PERMANENT
    [finding] = found(rolled)
    assert (finding.reason, finding.warning) == (CheckReason.ROLLOVER, False)
    assert state(rolled).data[ROLLING_OVER] == "2"
    assert check(rolled) is v.ExitCode.DONE
    assert_rolled_over(rolled)


@pytest.mark.parametrize("answer", ANSWERS)
def test_a_ca_that_has_changed_the_key_may_say_what_it_likes(rolled: JobWorld, answer: str) -> None:
    effect = rolled.ca._answer

    def odd(request: Request) -> Reply | None:
        return ANSWERS[answer](effect(request)) if request.path == "/key-change" else None

    rolled.ca.before = odd
    assert check(rolled) is v.ExitCode.DONE
    assert_rolled_over(rolled)


def test_an_account_that_is_gone_is_no_sign_of_a_ca_that_cannot_change_keys(rolled: JobWorld) -> None:
    gone: list[bool] = []

    def before(request: Request) -> Reply | None:
        if request.path != "/key-change" or gone:
            return None
        gone.append(True)
        rolled.ca.forget_account(rolled.ca.accounts[0])
        return problem("accountDoesNotExist", "no such account", status=404)

    rolled.ca.before = before
    assert to_the_end(rolled, rolled.pod_of(launch(rolled))) is v.ExitCode.DONE
    assert_rolled_over(rolled)


def test_a_ca_that_has_lost_its_accounts_in_between_makes_one_and_changes_its_key(rolled: JobWorld) -> None:
    rolled.ca.forget_account(rolled.ca.accounts[0])
    assert to_the_end(rolled, rolled.pod_of(launch(rolled))) is v.ExitCode.DONE
    assert_rolled_over(rolled)


def test_a_key_that_has_another_account(rolled: JobWorld) -> None:
    taken = new_account_key()
    rolled.api.add(SECRETS, v.NAMESPACE, account_secret(ISSUER, rolled.server, 2, taken))
    with client(rolled, 2) as other:
        other.ensure_account(terms_agreed=True)
    finding = one(rolled)
    assert finding.reason == CheckReason.ROLLOVER
    [ours, others] = rolled.ca.accounts
    assert (
        f"Secret {names.account(ISSUER, rolled.server, 2)} belongs to another account, {others}: keep it"
        in finding.message
    )
    assert "delete" not in finding.message
    assert (state(rolled).number, state(rolled).account_url, state(rolled).data[ROLLING_OVER]) == (1, ours, "")


def test_and_what_is_said_of_it_leads_to_that_account(rolled: JobWorld) -> None:
    rolled.api.add(SECRETS, v.NAMESPACE, account_secret(ISSUER, rolled.server, 2, new_account_key()))
    with client(rolled, 2) as other:
        url = other.ensure_account(terms_agreed=True).url
    assert "set accountNumber to 2 and accountUrl to nothing" in one(rolled).message
    note_in_state(rolled.cluster, ISSUER, rolled.server, {ACCOUNT_NUMBER: "2", ACCOUNT_URL: ""})
    assert check(rolled) is v.ExitCode.DONE
    assert (state(rolled).number, state(rolled).account_url) == (3, url)


def test_a_refusal_leaves_the_issuer_with_its_key(rolled: JobWorld) -> None:
    rolled.ca.script("/key-change", problem("badPublicKey", "not this one"))
    assert one(rolled).reason == CheckReason.ROLLOVER
    rolled.apply(ingress())
    assert rolled.run() is v.ExitCode.DONE


def test_an_answer_that_is_lost_is_found_out_within_the_job(rolled: JobWorld) -> None:
    effect = rolled.ca._answer

    def lose(request: Request) -> Reply | None:
        if request.path == "/key-change":
            effect(request)
            return NO_ANSWER
        return None

    rolled.ca.before = lose
    assert check(rolled) is v.ExitCode.DONE
    assert_rolled_over(rolled)


# Crashes


def run_until(world: JobWorld, kill_at: int) -> int:
    """The first pod of the Job, to its death right after a write; how many it made."""
    return killed_at(world, kill_at, lambda transport: check_issuer(pod(world, transport=transport)))[1]


def to_the_end(world: JobWorld, first: Attempt) -> v.ExitCode:
    """Pods of one Job: one that lacks a Secret is followed by one that has it."""
    code, name = check_issuer(first), names.check_job(ISSUER, first.pod.epoch)
    while code is v.ExitCode.OTHER_POD:
        code = check_issuer(world.pod_of(name))
    return code


def fresh(new_ca: NewCa, root: Path) -> JobWorld:
    world = JobWorld(root, *new_ca())
    check(world)
    annotate(world, rollover="one")
    return world


def test_killed_after_every_write_the_next_pod_ends_it(new_ca: NewCa, tmp_path: Path) -> None:
    length = run_until(fresh(new_ca, tmp_path / "whole"), 10**6)
    assert length >= 6
    for kill_at in range(1, length + 1):
        world = fresh(new_ca, tmp_path / str(kill_at))
        run_until(world, kill_at)
        assert to_the_end(world, world.pod_of(launch(world))) is v.ExitCode.DONE, kill_at
        assert_rolled_over(world)
        world.apply(ingress())
        assert world.run() is v.ExitCode.DONE
        assert len(world.ca.accounts) == 1, kill_at
        world.close()


def test_an_order_in_between_makes_no_account(new_ca: NewCa, tmp_path: Path) -> None:
    """The rollover's pod is dead, its Job not yet back: orders work, or wait for it."""
    length = run_until(fresh(new_ca, tmp_path / "whole"), 10**6)
    for kill_at in range(1, length + 1):
        world = fresh(new_ca, tmp_path / str(kill_at))
        run_until(world, kill_at)
        world.apply(ingress())
        code = world.run()
        assert code in {v.ExitCode.DONE, v.ExitCode.LATER}
        assert len(world.ca.accounts) == 1, kill_at
        if code is v.ExitCode.LATER:
            assert retry(world).problem.type == "accountReplaced"
        assert to_the_end(world, world.pod_of(launch(world))) is v.ExitCode.DONE
        if code is v.ExitCode.LATER:
            world.relaunch()
            assert world.run() is v.ExitCode.DONE
        assert len(world.ca.accounts) == 1, kill_at
        world.close()


def test_it_is_ended_even_if_the_annotation_was_taken_back(new_ca: NewCa, tmp_path: Path) -> None:
    world = fresh(new_ca, tmp_path)
    note_in_state(world.cluster, ISSUER, world.server, {ROLLING_OVER: "2"})
    annotate(world, rollover="")
    assert check(world) is v.ExitCode.DONE
    assert state(world).number == 2
    assert len(world.ca.accounts) == 1


def test_a_taken_over_key_is_not_taken_over_again_after_a_rollover(rolled: JobWorld) -> None:
    credentials(rolled, {"tls.key": key(rolled, 1)})
    rolled.set_issuer(existingAccountKey="tls.key")
    check(rolled)
    annotate(rolled, rollover="one")
    check(rolled)
    assert_rolled_over(rolled)
    check(rolled)
    assert state(rolled).number == 2


def test_the_former_key_really_is_worth_nothing(rolled: JobWorld) -> None:
    [url] = rolled.ca.accounts
    check(rolled)
    with (
        AcmeClient.connect(
            rolled.server,
            ca_bundle_pem=rolled.ca_pem,
            account_key_pem=key(rolled, 1),
            account_url=url,
            user_agent="test",
        ) as former,
        pytest.raises(AcmeError),
    ):
        former.account()
