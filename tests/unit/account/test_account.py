"""The issuer's account when the CA no longer takes it: forgotten, or deactivated (RFC 8555, section 7.3.6)."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from issuer_job import names
from issuer_job import vocabulary as v
from issuer_job.account.keys import HeldKey, account_secret
from issuer_job.cluster.api import CONFIGMAPS, SECRETS
from issuer_job.issuers.state import state_body
from issuer_job.record.record import Phase
from tests.fakes.acme import Reply, Request, problem, signing_key
from tests.fakes.ca import FakeOrders
from tests.worlds.account import another, retry
from tests.worlds.check import check
from tests.worlds.job import HOST, ISSUER, JobWorld, ingress

GIVEN_UP = problem("unauthorized", "the account is deactivated", status=403)


@dataclass
class Deactivating:
    """Makes the CA refuse accounts that were given up, at every request of theirs and at newAccount."""

    ca: FakeOrders
    gone: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.ca.before = self.before

    def deactivate(self, url: str) -> None:
        self.gone.add(url)

    def before(self, request: Request) -> Reply | None:
        if "kid" in request.protected:
            return GIVEN_UP if request.protected["kid"] in self.gone else None
        if request.path != "/account":
            return None
        key = signing_key(request.protected["jwk"])
        known = next((url for url in self.ca.accounts if self.ca._keys[url] == key), None)
        if known is None and request.payload.get("onlyReturnExisting"):
            return problem("accountDoesNotExist")
        return GIVEN_UP if known in self.gone else None


@pytest.fixture
def accounts(world: JobWorld) -> Deactivating:
    """A CA at which a first certificate was issued, whose account is then deactivated."""
    deactivating = Deactivating(world.ca)
    world.apply(ingress())
    assert world.run() is v.ExitCode.DONE
    deactivating.deactivate(world.ca.accounts[0])
    return deactivating


def state(world: JobWorld) -> dict[str, str]:
    found = world.api.stored(CONFIGMAPS, v.NAMESPACE, names.issuer_state(ISSUER, world.server))
    assert found is not None
    data: dict[str, str] = found["data"]
    return data


def account_secrets(world: JobWorld) -> list[str]:
    found = [s for s in world.api.all(SECRETS, v.NAMESPACE) if v.ACCOUNT in s["metadata"].get("labels", {})]
    return [secret["metadata"]["name"] for secret in found]


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    "said", ["malformed", "unauthorized", "accountDoesNotExist", "Verification failed for all signatures['...']"]
)
@pytest.mark.parametrize("examined", [False, True])
def test_an_account_whose_key_was_lost_gives_way_to_one_with_a_new_key(
    world: JobWorld, said: str, examined: bool
) -> None:
    """The issuer's state still names the former one, and CAs have many words for a wrong signature."""
    world.ca.bad_signature = said
    world.apply(ingress())
    assert world.run() is v.ExitCode.DONE
    lost = names.account(ISSUER, world.server, 1)
    world.api.remove(SECRETS, v.NAMESPACE, lost)
    if examined:
        assert check(world) is v.ExitCode.DONE
    assert world.run(secret=another(world, 1)) is v.ExitCode.DONE
    assert (account_secrets(world), len(world.ca.accounts)) == ([lost], 2)
    assert state(world)["accountUrl"] == world.ca.accounts[1]


def test_a_deactivated_account_is_replaced_by_one_with_a_new_key_within_the_job(
    world: JobWorld, accounts: Deactivating
) -> None:
    assert world.run(secret=another(world, 1)) is v.ExitCode.DONE
    assert account_secrets(world) == [names.account(ISSUER, world.server, number) for number in (1, 2)]
    old, new = world.ca.accounts
    assert (state(world)["accountNumber"], state(world)["accountUrl"]) == ("2", new)
    issued = world.record("more1-tls").issued
    assert issued is not None
    assert issued.account == new != old


def test_the_next_job_has_the_new_key_mounted(world: JobWorld, accounts: Deactivating) -> None:
    world.run(secret=another(world, 1))
    world.clock.ahead += timedelta(seconds=2)
    assert world.run(secret=another(world, 2)) is v.ExitCode.DONE
    assert len(world.ca.accounts) == 2
    assert len(account_secrets(world)) == 2


def test_a_job_with_the_old_key_mounted_leaves_it_to_its_next_launch(world: JobWorld, accounts: Deactivating) -> None:
    second = another(world, 2)
    old = world.pod(secret=second)
    world.run(secret=another(world, 1))
    asked = len(world.ca.requests)
    assert world.issue(old) is v.ExitCode.LATER
    assert len(world.ca.requests) == asked, "the CA is not asked with a key that is of no use"
    assert retry(world, second).problem.type == "accountReplaced"
    not_before = retry(world, second).not_before
    assert not_before is not None
    assert not_before - world.clock.read() < timedelta(minutes=2)
    world.relaunch(secret=second)
    assert world.run(secret=second) is v.ExitCode.DONE
    assert len(world.ca.accounts) == 2


def test_of_two_jobs_that_find_out_at_once_one_makes_the_new_account(world: JobWorld, accounts: Deactivating) -> None:
    first, second = another(world, 1), another(world, 2)
    pods = [world.pod(secret=first), world.pod(secret=second)]
    outcomes: list[v.ExitCode] = []

    def between(request: Request) -> Reply | None:
        reply = accounts.before(request)
        if reply is GIVEN_UP and request.path == "/account" and not outcomes:
            outcomes.append(v.ExitCode.RETRY)
            world.ca._lock.release()
            outcomes[0] = world.issue(pods[1])  # all of it, while the first one's newAccount is on its way
            world.ca._lock.acquire()
        return reply

    world.ca.before = between
    assert world.issue(pods[0]) is v.ExitCode.LATER
    assert outcomes == [v.ExitCode.DONE]
    assert len(world.ca.accounts) == 2
    assert state(world)["accountNumber"] == "2"
    assert retry(world, first).problem.type == "accountReplaced"


def test_an_order_of_the_old_account_is_dropped_and_ordered_again(world: JobWorld, accounts: Deactivating) -> None:
    accounts.gone.clear()
    second = another(world, 1)

    def dies_while_authorizing(request: Request) -> Reply | None:
        if request.path.startswith("/authz/"):
            accounts.deactivate(world.ca.accounts[0])
        return accounts.before(request)

    world.ca.before = dies_while_authorizing
    assert world.run(secret=second) is v.ExitCode.DONE
    assert [order.account for order in world.ca.ordered[1:]] == world.ca.accounts
    assert world.left_over() == []


def test_a_second_deactivation_within_a_day_holds_the_issuer_back_and_says_what_to_do(
    world: JobWorld, accounts: Deactivating
) -> None:
    world.run(secret=another(world, 1))
    accounts.deactivate(world.ca.accounts[1])
    world.clock.ahead += timedelta(hours=3)
    assert world.run(secret=another(world, 2)) is v.ExitCode.LATER
    found = retry(world, "more2-tls")
    assert found.problem.type == "accountDeactivated"
    assert "the account is deactivated" in found.problem.detail
    assert f"remove accountReplacedAt and blockedUntil from ConfigMap {names.issuer_state(ISSUER, world.server)}" in (
        found.problem.detail
    )
    assert found.not_before is not None
    assert found.not_before - world.clock.read() > timedelta(hours=20)
    assert len(account_secrets(world)) == 2

    asked = len(world.ca.requests)
    world.clock.ahead += timedelta(seconds=2)
    assert world.run(secret=another(world, 3)) is v.ExitCode.LATER
    assert len(world.ca.requests) == asked
    assert "Ask the CA why" in retry(world, "more3-tls").problem.detail


def test_and_after_a_day_the_account_is_replaced_again(world: JobWorld, accounts: Deactivating) -> None:
    world.run(secret=another(world, 1))
    accounts.deactivate(world.ca.accounts[1])
    data = state(world) | {"accountReplacedAt": (world.clock.read() - timedelta(hours=25)).isoformat()}
    world.api.remove(CONFIGMAPS, v.NAMESPACE, names.issuer_state(ISSUER, world.server))
    world.api.add(CONFIGMAPS, v.NAMESPACE, state_body(ISSUER, world.server, data))
    assert world.run(secret=another(world, 2)) is v.ExitCode.DONE
    assert state(world)["accountNumber"] == "3"


def test_an_edit_of_the_issuer_ends_the_hold(world: JobWorld) -> None:
    world.ca.script("/account", problem("rateLimited", "too many", status=429))
    assert world.run(secret=another(world, 1)) is v.ExitCode.LATER
    asked = len(world.ca.requests)
    assert world.run(secret=another(world, 2)) is v.ExitCode.LATER
    assert retry(world, "more2-tls").problem.type == "issuerBlocked"
    assert len(world.ca.requests) == asked
    world.set_issuer(profile="tlsserver")
    assert world.run(secret=another(world, 3)) is v.ExitCode.DONE


def test_a_hold_that_names_no_configuration_is_of_every_one(world: JobWorld) -> None:
    until = (world.clock.read() + timedelta(hours=1)).isoformat()
    world.api.add(CONFIGMAPS, v.NAMESPACE, state_body(ISSUER, world.server, {"blockedUntil": until}))
    assert world.run(secret=another(world, 1)) is v.ExitCode.LATER
    assert world.ca.requests == []


@pytest.mark.parametrize("stored", ["2090-01-01T00:00:00+00:00", "yesterday", "2026-01-01T00:00:00"])
def test_a_time_that_no_clock_wrote_holds_nobody(world: JobWorld, accounts: Deactivating, stored: str) -> None:
    data = state(world) | {"accountReplacedAt": stored, "blockedUntil": stored}
    world.api.add(CONFIGMAPS, v.NAMESPACE, state_body(ISSUER, world.server, data))
    assert world.run(secret=another(world, 1)) is v.ExitCode.DONE


def test_unauthorized_for_another_reason_costs_no_account(world: JobWorld) -> None:
    world.ca.script("/account", problem("unauthorized", "not from your network", status=403))
    world.ca.script("/account", problem("accountDoesNotExist"))
    world.apply(ingress())
    assert world.run() is v.ExitCode.LATER
    assert "not from your network" in retry(world).problem.detail
    assert account_secrets(world) == [names.account(ISSUER, world.server, 1)]


def test_newaccount_that_is_refused_is_asked_once_per_attempt(world: JobWorld) -> None:
    """Not as often as a Job tries again: the first attempt had an account, so there is something to forget."""
    world.apply(ingress())
    world.run()
    world.ca.forget_account(world.ca.accounts[0])
    for _ in range(4):
        world.ca.script("/account", problem("unauthorized", "closed", status=403), problem("accountDoesNotExist"))
    before = world.ca.paths().count("POST /account")
    assert world.run(secret=another(world, 1)) is v.ExitCode.LATER
    assert world.ca.paths().count("POST /account") - before == 2
    assert retry(world, "more1-tls").problem.detail == "newAccount: closed"


def test_an_account_that_newaccount_shows_as_revoked_is_replaced(world: JobWorld, accounts: Deactivating) -> None:
    def revoked(request: Request) -> Reply | None:
        reply = accounts.before(request)
        if reply is GIVEN_UP and request.path == "/account" and request.payload.get("onlyReturnExisting"):
            return Reply(200, {"status": "revoked"}, {"Location": world.ca.accounts[0]})
        return reply

    world.ca.before = revoked
    assert world.run(secret=another(world, 1)) is v.ExitCode.DONE
    assert state(world)["accountNumber"] == "2"


def test_an_account_that_the_ca_forgot_keeps_its_key(world: JobWorld) -> None:
    world.apply(ingress())
    world.run()
    world.ca.forget_account(world.ca.accounts[0])
    assert world.run(secret=another(world, 1)) is v.ExitCode.DONE
    assert "accountNumber" not in state(world)
    assert account_secrets(world) == [names.account(ISSUER, world.server, 1)]


def test_a_key_whose_number_was_taken_but_never_stored_is_made_by_the_next_job(world: JobWorld) -> None:
    data = {"accountNumber": "2", "accountReplacedAt": datetime.now(UTC).isoformat()}
    world.api.add(CONFIGMAPS, v.NAMESPACE, state_body(ISSUER, world.server, data))
    world.apply(ingress())
    assert world.run() is v.ExitCode.DONE
    assert account_secrets(world) == [names.account(ISSUER, world.server, 2)]


def test_a_new_key_that_another_job_has_just_stored_is_mounted_in_the_next_launch(
    world: JobWorld, accounts: Deactivating
) -> None:
    second = another(world, 1)
    secret = account_secret(ISSUER, world.server, 2, b"stored by another")
    world.api.add(SECRETS, v.NAMESPACE, secret)
    assert world.run(secret=second) is v.ExitCode.LATER
    assert retry(world, second).problem.type == "accountReplaced"
    assert world.record(second).phase is Phase.WAITING


def test_the_number_lies_beside_the_key_and_a_key_without_one_is_the_first(world: JobWorld) -> None:
    secret = account_secret(ISSUER, world.server, 7, b"key")
    assert {key: b64decode(value) for key, value in secret["data"].items()} == {"key.pem": b"key", "number": b"7"}
    world.apply(ingress())
    world.run()
    name = names.account(ISSUER, world.server, 1)
    stored = world.api.stored(SECRETS, v.NAMESPACE, name)
    assert stored is not None
    assert stored["data"].pop("number") == b64encode(b"1").decode()
    world.api.remove(SECRETS, v.NAMESPACE, name)
    world.api.add(SECRETS, v.NAMESPACE, stored)
    assert world.run(secret=another(world, 1)) is v.ExitCode.DONE
    assert len(world.ca.accounts) == 1


def test_an_account_key_is_in_no_repr() -> None:
    assert "the-key" not in repr(HeldKey(b"the-key"))


def refusing(host: str, **details: object) -> Callable[[Request], Reply | None]:
    """A CA that has this account order nothing for the host."""

    def before(request: Request) -> Reply | None:
        if request.path != "/order":
            return None
        return problem("unauthorized", f"this account may not order {host}", status=403, **details)

    return before


@pytest.mark.parametrize(
    ("details", "asked"),
    [
        ({"identifier": {"type": "dns", "value": HOST}}, 0),
        ({"subproblems": [{"type": "x", "detail": "y", "identifier": {"type": "dns", "value": HOST}}]}, 0),
        ({}, 1),
    ],
    ids=["about a host", "in part about a host", "about nobody knows what"],
)
def test_unauthorized_for_a_name_is_no_dead_account(world: JobWorld, details: dict[str, object], asked: int) -> None:
    world.apply(ingress())
    world.run()
    account, before = state(world)["accountUrl"], world.ca.paths().count("POST /account")
    world.ca.before = refusing(HOST, **details)
    assert world.run(secret=another(world, 1)) is v.ExitCode.LATER
    assert (retry(world, "more1-tls").problem.type, state(world)["accountUrl"]) == ("unauthorized", account)
    assert world.ca.paths().count("POST /account") - before == asked


@pytest.fixture
def bound(world: JobWorld) -> JobWorld:
    """An account with an external binding whose key was tidied away since, and whose URL was lost."""
    world.set_issuer(externalAccount={"keyId": "k"})
    credentials = {
        "metadata": {"name": names.credentials(ISSUER)},
        "data": {"eab-hmac-key": "c2VjcmV0c2VjcmV0c2VjcmV0"},
    }
    world.api.add(SECRETS, v.NAMESPACE, credentials)
    world.apply(ingress())
    assert world.run() is v.ExitCode.DONE
    world.api.remove(SECRETS, v.NAMESPACE, names.credentials(ISSUER))
    held = world.api.stored(CONFIGMAPS, v.NAMESPACE, names.issuer_state(ISSUER, world.server))
    assert held is not None
    world.api.add(CONFIGMAPS, v.NAMESPACE, held | {"data": held["data"] | {"accountUrl": ""}})
    return world


def test_a_bound_account_whose_url_was_lost_is_found_by_its_key(bound: JobWorld) -> None:
    """The binding was tidied away, as the documents allow: it was needed to make the account only."""
    assert bound.run(secret=another(bound, 1)) is v.ExitCode.DONE
    assert state(bound)["accountUrl"] == bound.ca.accounts[0]
    assert len(bound.ca.accounts) == 1


def test_without_account_and_binding_it_says_what_is_missing(bound: JobWorld) -> None:
    bound.ca.forget_account(bound.ca.accounts[0])
    assert bound.run(secret=another(bound, 1)) is v.ExitCode.LATER
    assert "there is no key eab-hmac-key" in retry(bound, "more1-tls").problem.detail


def test_a_ca_that_answers_nobody_about_accounts_is_asked_to_make_one(bound: JobWorld) -> None:
    """And a deactivated one is not taken for a live one."""

    def before(request: Request) -> Reply | None:
        asks = request.path == "/account" and request.payload.get("onlyReturnExisting")
        return Reply(200, {"status": "deactivated"}, {"Location": "x"}) if asks else None

    bound.ca.before = before
    assert bound.run(secret=another(bound, 1)) is v.ExitCode.LATER
    assert "there is no key eab-hmac-key" in retry(bound, "more1-tls").problem.detail
