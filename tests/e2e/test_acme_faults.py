"""A CA that fails, limits, lies or forgets, as a proxy in front of Pebble plays it: how each order ends."""

from __future__ import annotations

import http.client
import os
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from certs.placeholder import make_placeholder
from issuer_job import names
from issuer_job import vocabulary as v
from issuer_job.cluster.api import CONFIGMAPS, Json
from tests.e2e import world
from tests.e2e.api import NewNamespace, wait_for
from tests.e2e.observe import cluster
from tests.e2e.site import ENDS_WITHIN, NewSite, Site, client_of, trouble
from tests.e2e.sweeps import run_sweep
from tests.fakes.fault_proxy import FaultProxy
from tests.fakes.fault_rules import (
    CUT,
    SWALLOW,
    Action,
    Answer,
    Change,
    Delay,
    Request,
    bad_nonce,
    problem,
    replaced_body,
)

STEPS = (
    "directory",
    "newNonce",
    "newAccount",
    "newOrder",
    "order",
    "authorization",
    "challenge",
    "finalize",
    "certificate",
)
PLACES = {step: (step, 0) for step in STEPS} | {"poll": ("authorization", 1)}
"""Steps that go wrong, and how often they go right before; at the poll the CA is validating."""
pytestmark = pytest.mark.usefixtures("no_sweeps")
"""One that asks an issuer for its suggestions would be counted with the issuer's own requests."""

ASKED = timedelta(hours=2)
VALIDATION = 15.0
SERVER_ERROR = problem("serverInternal", "on fire", status=500)


# What passes within the Job


@pytest.mark.parametrize("fault", [SERVER_ERROR, CUT, SWALLOW], ids=["500", "cut before", "cut after"])
def test_one_fault_at_any_step_costs_neither_the_certificate_nor_a_second_order(
    namespace: str, new_site: NewSite, fault: Action
) -> None:
    """But for an answer to newOrder that is lost: that order is not looked for, and another is made."""
    sites = {name: new_site(namespace, name.lower()) for name in PLACES}
    for name, site in sites.items():
        step, skip = PLACES[name]
        site.proxy.on(step, fault, skip=skip)
        site.apply()
    for site in sites.values():
        site.issued()
    once = dict.fromkeys(PLACES, 1)
    orders = {name: len(site.proxy.orders) for name, site in sites.items()}
    assert orders == (once | {"newOrder": 2} if fault is SWALLOW else once)
    assert {name: [one.action for one in site.proxy.passed].count(fault) for name, site in sites.items()} == once


# What does not: everything at once, and a test for each


def limited(kind: str, *, status: int, date: bool) -> Answer:
    """Asks to wait, in seconds or until a date."""
    now = datetime.now(UTC)
    asked = format_datetime(now + ASKED, usegmt=True) if date else str(int(ASKED.total_seconds()))
    return problem(kind, "come back later", status=status, Retry_After=asked, Date=format_datetime(now, usegmt=True))


class Slowly:
    """Shows the authorization as pending for a while after the challenge was answered."""

    def __init__(self) -> None:
        self.started = 0.0

    def start(self, request: Request, answer: Answer) -> Answer:
        self.started = self.started or time.monotonic()
        return answer

    def hold(self, request: Request, answer: Answer) -> Answer:
        if answer.status == 200 and (not self.started or time.monotonic() - self.started < VALIDATION):
            return answer.with_json({"Retry-After": "3"}, status="pending")
        return answer


def slow_validation(proxy: FaultProxy) -> None:
    slowly = Slowly()
    proxy.on("challenge", Change(slowly.start), times=None)
    proxy.on("authorization", Change(slowly.hold), times=None)


def leads_elsewhere(proxy: FaultProxy) -> None:
    for step in ("newOrder", "order"):
        proxy.on(step, Change(lambda request, answer: answer.with_json(authorizations=["http://[::1"])), times=None)


FOREIGN_CHAIN = make_placeholder(["foreign.test"], now=datetime.now(UTC)).cert_chain_pems
HUGE = b'{"status": "' + b"x" * (2 << 20) + b'"}'
TROUBLES: dict[str, Callable[[FaultProxy], None]] = {
    "down": lambda proxy: proxy.on("directory", CUT, times=None),
    "429-seconds": lambda proxy: proxy.on("newOrder", limited("rateLimited", status=429, date=False), times=None),
    "429-date": lambda proxy: proxy.on("newOrder", limited("rateLimited", status=429, date=True), times=None),
    "503-seconds": lambda proxy: proxy.on("newOrder", limited("serverInternal", status=503, date=False), times=None),
    "503-date": lambda proxy: proxy.on("newOrder", limited("serverInternal", status=503, date=True), times=None),
    "blocked": lambda proxy: proxy.on("newAccount", limited("rateLimited", status=429, date=False), times=None),
    "foreign-chain": lambda proxy: proxy.on("certificate", replaced_body(FOREIGN_CHAIN), times=None),
    "dns": lambda proxy: None,
    "huge": lambda proxy: proxy.on("authorization", replaced_body(HUGE), times=None),
    "huge-chain": lambda proxy: proxy.on("certificate", replaced_body(FOREIGN_CHAIN * 400), times=None),
    "nested": lambda proxy: proxy.on("directory", replaced_body(b"[" * 200_000), times=None),
    "mistyped": lambda proxy: proxy.on("authorization", replaced_body(b'{"status": ["pending"]}'), times=None),
    "html": lambda proxy: proxy.on("newNonce", Answer(502, b"<html>Bad gateway</html>"), times=None),
    "elsewhere": leads_elsewhere,
    "nonces": lambda proxy: proxy.on("newOrder", bad_nonce(), times=8),
    "slow": slow_validation,
}


@pytest.fixture(scope="module")
def troubled(new_namespace: NewNamespace, new_site: NewSite) -> Iterator[dict[str, Site]]:
    """Every kind of trouble, under way."""
    namespace = new_namespace()
    sites = {name: new_site(namespace, name) for name in TROUBLES}
    world.break_dns(sites["dns"].host())
    for name, site in sites.items():
        TROUBLES[name](site.proxy)
        site.apply()
    yield sites
    world.mend_dns(sites["dns"].host())


def test_a_ca_that_is_down_longer_than_the_job_waits_is_said_to_be(troubled: dict[str, Site]) -> None:
    site = troubled["down"]
    record = site.waits()
    assert trouble(record).step == "directory"
    assert f"the connection to {site.proxy.url.removeprefix('https://')} failed" in trouble(record).detail
    assert "failed" in world.wait_event(site.namespace, site.name, "CertificateFailed")
    assert site.proxy.count("directory") >= 4
    assert world.holds_placeholder(site.namespace, "down-tls")


@pytest.mark.parametrize("name", ["429-seconds", "429-date", "503-seconds", "503-date"])
def test_the_wait_that_the_ca_asks_for_is_kept(troubled: dict[str, Site], name: str) -> None:
    site = troubled[name]
    record = site.waits()
    assert record.retry is not None
    assert record.retry.not_before is not None
    asked_at = record.since
    assert record.retry.not_before - asked_at >= ASKED - timedelta(seconds=30)
    assert record.retry.not_before - asked_at <= 1.25 * ASKED + timedelta(seconds=30)
    assert trouble(record).detail == "newOrder: come back later"
    assert site.proxy.count("newOrder") == 1
    assert "come back later" in world.wait_event(site.namespace, site.name, "CertificateFailed")


def test_a_limit_on_new_accounts_blocks_the_issuer(troubled: dict[str, Site]) -> None:
    site = troubled["blocked"]
    limited_at = site.waits()
    assert trouble(limited_at).type == "rateLimited"
    until = datetime.fromisoformat(cluster().get(CONFIGMAPS, v.NAMESPACE, site.state)["data"]["blockedUntil"])
    assert until - limited_at.since > ASKED - timedelta(seconds=30)
    asked = len(site.proxy.passed)
    site.apply("next")
    record = site.waits("next")
    assert trouble(record).type == "issuerBlocked"
    assert "come back later" in trouble(record).detail
    assert record.retry is not None
    assert record.retry.not_before is not None
    assert record.retry.not_before >= until - timedelta(seconds=1)
    assert len(site.proxy.passed) == asked


def test_a_chain_for_another_key_is_dropped_twice_and_never_installed(troubled: dict[str, Site]) -> None:
    site = troubled["foreign-chain"]
    record = site.waits()
    assert trouble(record).type == "orderDropped"
    assert len(site.proxy.orders) == 3
    assert "another key" in next(entry.detail for entry in record.history if entry.event == "order dropped")
    assert world.holds_placeholder(site.namespace, "foreign-chain-tls")


def test_an_order_that_turns_invalid_names_the_host(troubled: dict[str, Site]) -> None:
    site = troubled["dns"]
    record = site.waits()
    assert trouble(record).host == site.host()
    assert trouble(record).step == "authorization"
    assert site.host() in world.wait_event(site.namespace, site.name, "CertificateFailed")
    assert [entry["status"] for entry in _orders_at_pebble(site)] == ["invalid"]


def _orders_at_pebble(site: Site) -> list[Json]:
    """The orders of the issuer's account as Pebble has them."""
    with client_of(site) as client:
        return [{"status": client.order(url).status} for url in site.proxy.orders]


@pytest.mark.parametrize(
    ("name", "step", "detail"),
    [
        ("huge", "authorization", "too big"),
        ("huge-chain", "certificate", "too big for a chain"),
        ("nested", "directory", "is not JSON"),
        ("mistyped", "authorization", "is malformed: Expected `str`, got `array` - at `$.status`"),
        ("html", "newNonce", "(HTTP 502) gives no reason"),
        ("elsewhere", "authorization", "no usable https URL"),
    ],
)
def test_an_answer_that_is_no_use_is_refused_with_a_clear_problem(
    troubled: dict[str, Site], name: str, step: str, detail: str
) -> None:
    site = troubled[name]
    record = site.waits()
    assert (trouble(record).step, detail in trouble(record).detail) == (step, True), trouble(record)
    assert len(trouble(record).detail) < 500
    assert detail in world.wait_event(site.namespace, site.name, "CertificateFailed")
    assert len(site.proxy.orders) <= 1


def test_eight_rejected_nonces_in_a_row_cost_nothing(troubled: dict[str, Site]) -> None:
    site = troubled["nonces"]
    site.issued()
    assert site.proxy.count("newOrder") >= 9
    assert len(site.proxy.orders) == 1
    assert site.proxy.count("directory") == 1, "it all happened in one go"


def test_a_slow_validation_is_waited_for_as_the_ca_asks(troubled: dict[str, Site]) -> None:
    site = troubled["slow"]
    site.issued()
    assert len(site.proxy.orders) == 1
    assert site.proxy.count("authorization") <= 2 + VALIDATION / 3 + 3


def test_and_each_is_issued_by_the_next_sweep_once_the_ca_behaves(troubled: dict[str, Site]) -> None:
    waiting = [name for name in TROUBLES if name not in ("nonces", "slow")]
    world.mend_dns(troubled["dns"].host())
    for name in waiting:
        troubled[name].waits()
        troubled[name].proxy.clear()
        troubled[name].make_due()
    cluster().delete(CONFIGMAPS, v.NAMESPACE, troubled["blocked"].state)
    run_sweep()
    for name in waiting:
        troubled[name].issued()
    assert len(troubled["huge"].proxy.orders) == 1, "the order of the first try is taken up again"


# Routes


def answering(host: str) -> str:
    """Who answers for the challenge path at the cluster's front door."""
    connection = http.client.HTTPConnection(os.environ["CERTJOB_TRAEFIK_ADDRESS"], timeout=5)
    try:
        connection.request("GET", f"{v.CHALLENGE_PATH}{'x' * 43}", headers={"Host": host})
        return connection.getresponse().headers.get("Server", "nobody")
    finally:
        connection.close()


def test_an_order_that_follows_a_dropped_one_is_proven_over_the_same_route(namespace: str, new_site: NewSite) -> None:
    """Traefik gathers changes for two seconds: it would apply a moment without the route when the CA looks again."""
    site = new_site(namespace, "dropped")
    site.proxy.on("certificate", replaced_body(FOREIGN_CHAIN))
    between: list[str] = []
    site.proxy.on("newOrder", Delay(4.0, until=lambda: len(between) > 10), skip=1)
    site.apply()
    wait_for(lambda: site.proxy.count("certificate") == 1, what="the first order is dropped", seconds=ENDS_WITHIN)
    between.append(answering(site.host()))
    while len(site.proxy.orders) < 2:
        time.sleep(0.1)  # a sample, not a wait
        between.append(answering(site.host()))
    assert set(between) == {"certjob"}
    assert len(between) > 10
    site.issued()


# Authorizations that are valid already


def test_a_host_that_is_proven_already_is_not_challenged_again(namespace: str, new_site: NewSite) -> None:
    """Pebble reuses half of the valid authorizations of an account: so order until it has reused one."""
    site = new_site(namespace, "proven")
    site.apply()
    site.issued()

    def authorizations() -> list[str]:
        return [url for answer in site.proxy.answers("newOrder", status=201) for url in answer.json["authorizations"]]

    added: list[str] = []
    while len(set(authorizations())) == len(authorizations()):
        assert len(added) < 30  # of a thousand runs one needs more than ten
        name = f"again{len(added)}"
        hosts = [site.host(), site.host(name)]
        world.create(namespace, world.manifest(name, hosts, issuer=site.issuer))
        added.append(name)
        world.wait_issued(namespace, f"{name}-tls", hosts, seconds=ENDS_WITHIN)
    assert len(site.proxy.answers("challenge", status=200)) == len(set(authorizations()))
    last = names.record(namespace, f"{added[-1]}-tls")
    lines = [line for line in world.job_logs(namespace) if line.get("record") == last]
    assert [line["hosts"] for line in lines if line["event"] == "challenges-answered"] == [[site.host(added[-1])]]
