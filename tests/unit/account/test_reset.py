"""Another account for an issuer whose former one is of no more use, whenever its Job dies."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from issuer_job import names
from issuer_job import vocabulary as v
from issuer_job.account.asked import reset_is_due
from issuer_job.account.keys import account_secret
from issuer_job.acme_client import AcmeClient, new_account_key
from issuer_job.attempt.attempt import Attempt
from issuer_job.attempt.findings import CheckReason
from issuer_job.checks.check import check_issuer
from issuer_job.checks.launch import CheckCause
from issuer_job.cluster.api import SECRETS
from issuer_job.issuers.state import (
    ACCOUNT_NUMBER,
    ACCOUNT_URL,
    RESET_FOR,
    RESETTING,
    ROLLING_OVER,
    IssuerState,
    note_in_state,
)
from issuer_job.record.record import Phase
from tests.fakes.acme import Reply, Request, problem
from tests.fakes.ca import NewCa
from tests.worlds.account import another, retry
from tests.worlds.check import (
    Operator,
    account_numbers,
    annotate,
    check,
    credentials,
    due,
    end_jobs,
    found,
    launch,
    one,
    pod,
    state,
)
from tests.worlds.crash import killed_at
from tests.worlds.job import ISSUER, JobWorld, ingress
from tests.worlds.sweep import run

pytestmark = pytest.mark.exhaustive

RESET = {"reset-account": "one"}


def destroyed(world: JobWorld) -> None:
    """As at step-ca: every newOrder of the account, and its orders list, is an internal error from now on."""
    [url] = world.ca.accounts

    def broken(request: Request) -> Reply | None:
        ours = request.protected.get("kid") == url
        if ours and (request.path == "/order" or request.path.endswith("/orders")):
            return problem("serverInternal", "error unmarshaling orderIDs", status=500)
        return None

    world.ca.before = broken


@pytest.fixture
def asked(world: JobWorld) -> JobWorld:
    """An issuer with an account, which shall get another one."""
    assert check(world) is v.ExitCode.DONE
    annotate(world, **RESET)
    return world


def assert_reset(world: JobWorld, number: int = 2) -> None:
    """Another account with another key, and nothing left of what was begun."""
    found = state(world)
    assert (found.number, found.data[RESETTING], found.data[RESET_FOR]) == (number, "", "one")
    assert found.account_url == world.ca.accounts[-1]


def with_account(world: JobWorld, number: int) -> None:
    """There is a key with this number already, and the CA has an account for it."""
    key = new_account_key()
    world.api.add(SECRETS, v.NAMESPACE, account_secret(ISSUER, world.server, number, key))
    connected = partial(AcmeClient.connect, world.server, ca_bundle_pem=world.ca_pem, account_url=None)
    with connected(account_key_pem=key, user_agent="test") as client:
        client.ensure_account(terms_agreed=True)


# What it does


def test_the_issuer_gets_another_account_with_another_key(asked: JobWorld) -> None:
    [former] = asked.ca.accounts
    assert due(asked, after=timedelta(minutes=1)) is CheckCause.RESET
    assert check(asked) is v.ExitCode.DONE
    assert_reset(asked)
    assert former != state(asked).account_url
    assert account_numbers(asked) == [1, 2]  # the former key is not lost
    asked.apply(ingress())
    assert asked.run() is v.ExitCode.DONE
    assert [order.account for order in asked.ca.ordered] == [state(asked).account_url]
    check(asked)
    assert len(asked.ca.accounts) == 2
    assert due(asked, after=timedelta(hours=2)) is None


def test_an_account_that_was_destroyed_keeps_nobody_waiting(swept: JobWorld) -> None:
    """Records that failed with it go on by themselves, by the next pass, whatever their back-off says."""
    check(swept)
    destroyed(swept)
    second = another(swept, 1)
    swept.apply(ingress())
    for secret in ("web-tls", second):
        for _ in range(4):
            swept.relaunch(secret=secret)
            assert swept.run(secret=secret) is v.ExitCode.LATER
    operator = Operator(swept)
    assert operator.runs("reset-account") is v.ExitCode.DONE, operator.said
    assert any("another account, whose key is number 2 in the place of 1" in line for line in operator.said)
    run(swept)
    for secret in ("web-tls", second):
        assert swept.record(secret).phase is Phase.LAUNCHED
        assert swept.run(secret=secret) is v.ExitCode.DONE
    assert {order.account for order in swept.ca.ordered} == {state(swept).account_url}


def test_they_are_tried_once_for_each_reset(swept: JobWorld) -> None:
    swept.apply(ingress())
    no = problem("serverInternal", "no", status=500)
    swept.ca.before = lambda request: no if request.path == "/order" else None
    assert swept.run() is v.ExitCode.LATER
    Operator(swept).runs("reset-account")
    run(swept)
    assert swept.run() is v.ExitCode.LATER
    assert retry(swept).failures == 1  # those of the former account do not count
    run(swept)
    assert swept.record().phase is Phase.WAITING


def test_what_holds_the_issuer_back_is_of_the_former_account(asked: JobWorld) -> None:
    until = (asked.clock.read() + timedelta(days=1)).isoformat()
    note_in_state(asked.cluster, ISSUER, asked.server, {"blockedUntil": until, "accountReplacedAt": until})
    check(asked)
    asked.apply(ingress())
    assert asked.run() is v.ExitCode.DONE


def test_a_job_launched_before_leaves_it_to_its_next_launch(asked: JobWorld) -> None:
    asked.apply(ingress())
    old = asked.pod()
    check(asked)
    assert asked.issue(old) is v.ExitCode.LATER
    assert retry(asked).problem.type == "accountReplaced"
    asked.relaunch()
    assert asked.run() is v.ExitCode.DONE
    assert len(asked.ca.accounts) == 2


def test_the_addresses_are_those_of_the_issuer(asked: JobWorld) -> None:
    asked.set_issuer(email="ops@certjob.dev")
    annotate(asked, **RESET)
    check(asked)
    assert asked.ca.contacts.get(state(asked).account_url, ["mailto:ops@certjob.dev"]) == ["mailto:ops@certjob.dev"]
    assert found(asked) == []


def test_a_key_of_an_earlier_installation_is_given_up_with_its_account(world: JobWorld) -> None:
    credentials(world, {"tls.key": new_account_key()})
    world.set_issuer(existingAccountKey="tls.key")
    assert one(world).reason == CheckReason.EXISTING_KEY  # the CA knows no account with it
    annotate(world, **RESET)
    assert check(world) is v.ExitCode.DONE
    number, url = state(world).number, state(world).account_url
    assert check(world) is v.ExitCode.DONE
    assert (state(world).number, state(world).account_url) == (number, url)


@pytest.mark.parametrize(
    ("data", "request_", "is_due"),
    [
        ({}, "", False),
        ({}, "one", True),
        ({RESET_FOR: "one"}, "one", False),
        ({RESET_FOR: "one"}, "two", True),
        ({RESETTING: "2"}, "", True),
    ],
)
def test_when_it_is_due(data: dict[str, str], request_: str, is_due: bool) -> None:
    assert reset_is_due(IssuerState("le", "d", {"data": data}), request_) is is_due


def test_an_issuer_without_account_of_another_type_has_nothing_to_reset(world: JobWorld) -> None:
    world.set_issuer(type="selfsigned")
    for command in ("reset-account", "rollover-account"):
        operator = Operator(world)
        assert operator.runs(command) is v.ExitCode.PERMANENT
        assert operator.said == [f"{ISSUER}: it has no ACME account, or cannot be read"]
    check(world)
    annotate(world, rollover="one", **RESET)
    assert due(world, after=timedelta(hours=2)) is None


def test_an_unknown_issuer(world: JobWorld) -> None:
    operator = Operator(world)
    assert operator.runs("reset-account", "nobody") is v.ExitCode.PERMANENT
    assert "there is no issuer nobody" in operator.said[0]


# Where the CA has its say


@pytest.mark.parametrize("refusal", ["unauthorized", "rateLimited"])
def test_if_the_ca_makes_no_other_account_the_one_before_stays(asked: JobWorld, refusal: str) -> None:
    former = state(asked).account_url

    def refuses(request: Request) -> Reply | None:
        new = request.path == "/account" and not request.payload.get("onlyReturnExisting")
        return problem(refusal, "not another one", status=403) if new else None

    asked.ca.before = refuses
    assert check(asked) is v.ExitCode.DONE
    [finding] = found(asked)
    assert (finding.reason, finding.warning) == (CheckReason.RESET, True)
    assert "not another one" in finding.message
    assert (state(asked).number, state(asked).account_url, state(asked).data[RESETTING]) == (1, former, "")
    asked.clock.ahead += timedelta(hours=2)
    check(asked)
    assert account_numbers(asked) == [1, 2]  # each try takes the same key
    asked.apply(ingress())
    assert asked.run() is v.ExitCode.DONE
    asked.ca.before = lambda request: None
    check(asked)
    assert_reset(asked)


def test_nor_if_the_issuer_lacks_what_another_one_needs(asked: JobWorld) -> None:
    former = state(asked).account_url
    asked.set_issuer(externalAccount={"keyId": "k1"})
    annotate(asked, **RESET)
    assert check(asked) is v.ExitCode.DONE
    assert CheckReason.RESET in {finding.reason for finding in found(asked) if finding.warning}
    assert (state(asked).account_url, state(asked).data[RESETTING]) == (former, "")
    asked.set_issuer()
    annotate(asked, **RESET)
    check(asked)
    assert_reset(asked)


def test_where_the_issuers_state_was_lost_a_number_that_is_free_is_found(asked: JobWorld) -> None:
    for number in range(2, 13):
        asked.api.add(SECRETS, v.NAMESPACE, account_secret(ISSUER, asked.server, number, new_account_key()))
    with_account(asked, 2)
    assert check(asked) is v.ExitCode.DONE
    assert_reset(asked, number=17)


def test_a_ca_that_is_away_is_asked_again(asked: JobWorld) -> None:
    asked.ca.before = lambda request: problem("serverInternal", "away", status=503)
    assert check(asked) is v.ExitCode.PERMANENT
    assert one(asked).reason == CheckReason.UNREACHABLE
    asked.ca.before = lambda request: None
    assert due(asked, after=timedelta(hours=2)) is not None
    assert check(asked) is v.ExitCode.DONE
    assert_reset(asked)
    assert len(asked.ca.accounts) == 2


def test_the_key_of_a_rollover_that_went_wrong_is_left_alone(asked: JobWorld) -> None:
    """It may be another account's, or this one's: nobody but the CA knows."""
    with_account(asked, 2)
    note_in_state(asked.cluster, ISSUER, asked.server, {ROLLING_OVER: "2"})
    assert check(asked) is v.ExitCode.DONE
    assert_reset(asked, number=3)
    assert state(asked).data[ROLLING_OVER] == ""
    assert len(asked.ca.accounts) == 3


def test_one_that_nobody_has_used_is_taken(asked: JobWorld) -> None:
    asked.api.add(SECRETS, v.NAMESPACE, account_secret(ISSUER, asked.server, 2, new_account_key()))
    assert check(asked) is v.ExitCode.DONE
    assert_reset(asked)
    assert account_numbers(asked) == [1, 2]


def test_a_rollover_after_it_works(asked: JobWorld) -> None:
    check(asked)
    url = state(asked).account_url
    annotate(asked, rollover="two")
    assert check(asked) is v.ExitCode.DONE
    assert (state(asked).number, state(asked).account_url) == (3, url)


def test_an_issuer_that_never_had_an_account_gets_its_first(world: JobWorld) -> None:
    annotate(world, **RESET)
    assert check(world) is v.ExitCode.DONE
    assert len(world.ca.accounts) == 1
    assert state(world).data[ACCOUNT_URL] == world.ca.accounts[0]
    assert state(world).data[ACCOUNT_NUMBER] == str(state(world).number)


# Crashes


def run_until(world: JobWorld, kill_at: int) -> int:
    """The first pod of the Job, to its death right after a write; how many it made."""
    return killed_at(world, kill_at, lambda transport: check_issuer(pod(world, transport=transport)))[1]


def to_the_end(world: JobWorld, first: Attempt) -> v.ExitCode:
    """Pods of one Job: one that lacks a Secret is followed by one that has it."""
    code, name = check_issuer(first), names.check_job(ISSUER, first.pod.epoch)
    while code is v.ExitCode.OTHER_POD:
        code = check_issuer(world.pod_of(name))
    end_jobs(world)
    return code


def begun(new_ca: NewCa, root: Path) -> JobWorld:
    world = JobWorld(root, *new_ca())
    check(world)
    annotate(world, **RESET)
    return world


def test_killed_after_every_write_the_next_job_ends_it(new_ca: NewCa, tmp_path: Path) -> None:
    """With one more account at the most, orders in between, and a rollover that still works."""
    length = run_until(begun(new_ca, tmp_path / "whole"), 10**6)
    assert length >= 5
    for kill_at in range(1, length + 1):
        world = begun(new_ca, tmp_path / f"{kill_at}")
        run_until(world, kill_at)
        world.apply(ingress())
        assert world.run() is v.ExitCode.DONE, kill_at
        assert to_the_end(world, world.pod_of(launch(world))) is v.ExitCode.DONE, kill_at
        assert (state(world).data[RESETTING], state(world).data[RESET_FOR]) == ("", "one")
        assert (len(world.ca.accounts), state(world).account_url) == (2, world.ca.accounts[-1]), kill_at
        annotate(world, rollover="then")
        assert to_the_end(world, world.pod_of(launch(world))) is v.ExitCode.DONE, kill_at
        assert (found(world), len(world.ca.accounts)) == ([], 2), kill_at
        world.close()


def test_once_the_ca_was_asked_it_is_ended_even_if_nobody_asks_for_it_any_more(asked: JobWorld) -> None:
    """Its key may have an account by then, which a rollover would come across."""

    with_account(asked, 2)
    note_in_state(asked.cluster, ISSUER, asked.server, {RESETTING: "2"})
    annotate(asked, **{"reset-account": ""})
    check(asked)
    assert (state(asked).number, state(asked).account_url) == (2, asked.ca.accounts[-1])
    assert len(asked.ca.accounts) == 2
    assert due(asked, after=timedelta(hours=2)) is None
