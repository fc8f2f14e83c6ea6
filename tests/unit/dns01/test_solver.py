"""Orders by DNS-01, from the record to a clean zone. CA, provider and DNS servers are fakes, the flow is real."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace
from requests import ConnectionError as Lost

from issuer_job import names
from issuer_job import vocabulary as v
from issuer_job.attempt.attempt import Attempt, Pod
from issuer_job.background import AT_ONCE
from issuer_job.cluster.api import CONFIGMAPS, INGRESSES, SECRETS, Json, Unreachable
from issuer_job.dns01 import changes, lookup
from issuer_job.dns01 import solver as dns01
from issuer_job.dns01 import trace as dns_leftovers
from issuer_job.dns01.lock import LEASES
from issuer_job.dns01.providers import registry
from issuer_job.dns01.providers.provider import DnsProvider, Scope
from issuer_job.issuers.load import parse_issuer
from issuer_job.issuers.schema import Dns01
from issuer_job.launch.outcome import LaunchOutcome
from issuer_job.polling import utc_now
from tests.fakes.dns import FakeDns, fake_dns
from tests.fakes.provider import NAME as PROVIDER
from tests.fakes.provider import FakeProvider, fake_provider
from tests.worlds.job import ISSUER, JobWorld, ingress

ONE, TWO = "127.0.0.2", "127.0.0.3"
APEX, WILD = "shop.example.org", "*.shop.example.org"
NAME = f"_acme-challenge.{APEX}"
TOKEN = "very-secret-token"


@dataclass
class DnsWorld:
    """A JobWorld whose issuer proves everything over DNS."""

    jobs: JobWorld
    dns: FakeDns
    provider: FakeProvider

    def set_issuer(self, *solvers: Json, name: str = ISSUER) -> None:
        """Without solvers given: one for everything."""
        self.jobs.set_issuer(name, solvers=list(solvers or [self.solver()]), privateNames=True)

    def solver(self, **fields: object) -> Json:
        host, port = self.dns.recursive
        return {"dns01": {"provider": PROVIDER, "nameservers": [f"{host}:{port}"], **fields}}

    def apply(self, *hosts: str, secret: str = "web-tls") -> list[LaunchOutcome]:
        return self.jobs.apply(ingress(secret, hosts=hosts, secret=secret))

    def traces(self) -> list[Json]:
        """What is written down about TXT records."""
        found = self.jobs.api.all(CONFIGMAPS, v.NAMESPACE)
        return [one for one in found if v.DNS_CHALLENGE in one["metadata"].get("labels", {})]

    def is_clean(self) -> bool:
        """Nothing in DNS, nothing written down, no lock."""
        return not (self.dns.values(NAME) or self.traces() or self.jobs.api.all(LEASES, v.NAMESPACE))

    def clean_leftovers(self, *, within: timedelta = timedelta(seconds=300)) -> int:
        """As a Job of the issuer, five minutes later."""
        config = self.jobs.api.stored(CONFIGMAPS, v.NAMESPACE, ISSUER)
        assert config is not None
        clock, credentials = self.jobs.clock, self.jobs.root / "of-the-issuer" / "credentials"
        credentials.mkdir(parents=True, exist_ok=True)
        (credentials / "auth_token").write_text(TOKEN)
        clock.ahead += timedelta(minutes=5)
        deadline, pod = clock.read() + within, Pod(ISSUER, "", 1, "cleaner")
        mounts = credentials.parent
        attempt = Attempt(self.jobs.cluster, pod, deadline, mounts=mounts, clock=clock.read, sleep=clock.sleep)
        return dns01.Dns01Solver(attempt).leftovers(parse_issuer(config), ISSUER, deadline=deadline)


@pytest.fixture
def dns_world(world: JobWorld, monkeypatch: pytest.MonkeyPatch) -> Iterator[DnsWorld]:
    with fake_dns() as dns, fake_provider(dns) as provider:
        monkeypatch.setattr(lookup, "AUTHORITY_PORT", dns.port)
        dns.zone("example.org", servers=[ONE, TWO])
        secret = {"metadata": {"name": names.credentials(ISSUER)}, "data": {"auth_token": "dmVyeS1zZWNyZXQtdG9rZW4="}}
        world.api.add(SECRETS, v.NAMESPACE, secret)
        made = DnsWorld(world, dns, provider)
        made.set_issuer()
        yield made


def test_a_wildcard_and_its_apex_have_two_values_side_by_side(dns_world: DnsWorld) -> None:
    at_the_ca: list[set[str]] = []
    dns_world.jobs.ca.before = lambda request: (
        at_the_ca.append(dns_world.dns.values(NAME)) if request.path.startswith("/chall/") else None
    )
    dns_world.apply(APEX, WILD)
    assert dns_world.jobs.run() is v.ExitCode.DONE
    assert len(at_the_ca[0]) == 2
    assert all(len(value) == 43 for value in at_the_ca[0])
    assert dns_world.is_clean()


def test_the_value_is_the_digest_of_the_key_authorization() -> None:
    # The key authorization of RFC 8555, section 8.1; the digest is openssl's.
    key_authorization = "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA.9jg46WB3rR_AHD-EBXdN7cBkH1WOu0tA3M9fm21mqTI"
    assert dns01.value_of(key_authorization) == "lCM7cZyQXcVHK2nnW3jjAhNT3Fvm18UN-kWZZknKoYM"


def test_no_route_and_no_probe_for_hosts_that_are_proven_over_dns(dns_world: DnsWorld) -> None:
    dns_world.apply(APEX)
    assert dns_world.jobs.api.all(INGRESSES, v.NAMESPACE) == []
    assert dns_world.jobs.run() is v.ExitCode.DONE
    assert dns_world.jobs.probed == []


def test_hosts_of_one_order_may_be_proven_differently(dns_world: DnsWorld) -> None:
    dns_world.set_issuer({"http01": {}}, dns_world.solver() | {"selector": {"dnsNames": [WILD]}})
    dns_world.apply("www.example.org", WILD)
    assert len(dns_world.jobs.api.all(INGRESSES, v.NAMESPACE)) == 1
    assert dns_world.jobs.run() is v.ExitCode.DONE
    assert dns_world.jobs.probed == ["www.example.org"]
    assert [what for what, *_ in dns_world.provider.calls] == ["login", "add", "login", "remove"]
    assert dns_world.jobs.left_over() == []


def test_a_host_without_a_solver_is_said(dns_world: DnsWorld) -> None:
    dns_world.apply(WILD)
    dns_world.set_issuer(dns_world.solver() | {"selector": {"dnsZones": ["example.net"]}})
    dns_world.jobs.run()
    retry = dns_world.jobs.record().retry
    assert retry is not None
    assert "solver" in retry.problem.detail or "DNS-01" in retry.problem.detail


def test_all_hosts_of_a_zone_take_one_login(dns_world: DnsWorld) -> None:
    dns_world.apply(*(f"h{number}.example.org" for number in range(12)))
    assert dns_world.jobs.run() is v.ExitCode.DONE
    assert [what for what, *_ in dns_world.provider.calls].count("login") == 2  # to add, and to remove


def test_the_ca_is_not_told_before_the_slowest_server_has_the_value(dns_world: DnsWorld) -> None:
    dns_world.provider.servers = (ONE,)
    told: list[set[str]] = []

    def catch_up() -> None:
        for value in dns_world.dns.values(NAME):
            dns_world.dns.add_text(NAME, value)

    dns_world.jobs.clock.on_sleep = catch_up
    dns_world.jobs.ca.before = lambda request: (
        told.append(set(dns_world.dns.texts[TWO, lookup._name(NAME)])) if request.path == "/chall/1/0" else None
    )
    dns_world.apply(WILD)
    assert dns_world.jobs.run() is v.ExitCode.DONE
    assert len(told[0]) == 1


def test_after_the_timeout_the_ca_is_asked_all_the_same(dns_world: DnsWorld) -> None:
    dns_world.provider.servers = (ONE,)
    dns_world.set_issuer(dns_world.solver(propagationTimeout="20s"))
    dns_world.apply(WILD)
    assert dns_world.jobs.run() is v.ExitCode.DONE
    assert 19 < sum(dns_world.jobs.clock.slept) < 30
    assert dns_world.is_clean()


def test_an_alias_that_a_tenant_chose_writes_nothing(dns_world: DnsWorld) -> None:
    dns_world.dns.zone("deleg.example", servers=[TWO])
    dns_world.dns.set(NAME, "CNAME", "x.www.victim.deleg.example.")
    dns_world.apply(WILD)
    assert dns_world.jobs.run() is v.ExitCode.LATER
    retry = dns_world.jobs.record().retry
    assert retry is not None
    assert (retry.problem.type, retry.problem.host) == ("dnsLookup", WILD)
    assert "aliasZones" in retry.problem.detail
    assert dns_world.provider.calls == []


def test_an_alias_is_written_at_its_end(dns_world: DnsWorld) -> None:
    dns_world.set_issuer(dns_world.solver(aliasZones=["deleg.example"]))
    dns_world.dns.zone("deleg.example", servers=[TWO])
    dns_world.dns.set(NAME, "CNAME", "target.deleg.example.")
    dns_world.apply(WILD)
    assert dns_world.jobs.run() is v.ExitCode.DONE
    assert {call[1] for call in dns_world.provider.calls if call[0] == "add"} == {"target.deleg.example"}
    assert {call[1] for call in dns_world.provider.calls if call[0] == "login"} == {"deleg.example"}
    assert not dns_world.dns.values("target.deleg.example")


@pytest.mark.parametrize(
    ("error", "kind"),
    [(Lost(f"https://api.example/?token={TOKEN}"), "dnsProvider"), (KeyError(TOKEN), "dnsProvider")],
    ids=["not reachable", "a fault in its code"],
)
def test_a_provider_that_fails_puts_the_order_off(dns_world: DnsWorld, error: Exception, kind: str) -> None:
    dns_world.provider.raises = [error] * 99
    dns_world.apply(WILD)
    assert dns_world.jobs.run() is v.ExitCode.LATER
    record = dns_world.jobs.record()
    assert record.retry is not None
    assert (record.retry.problem.type, record.retry.problem.host) == (kind, WILD)
    assert TOKEN not in f"{record} {dns_world.jobs.events()}"
    assert sum(dns_world.jobs.clock.slept) < 30


def test_a_passing_error_is_tried_again(dns_world: DnsWorld) -> None:
    dns_world.provider.raises = [Lost("cut")]
    dns_world.apply(WILD)
    assert dns_world.jobs.run() is v.ExitCode.DONE
    assert dns_world.is_clean()


def test_dns_that_cannot_be_asked_puts_the_order_off(dns_world: DnsWorld) -> None:
    dns_world.dns.silent = {dns_world.dns.recursive[0]}
    dns_world.apply(WILD)
    assert dns_world.jobs.run() is v.ExitCode.LATER
    retry = dns_world.jobs.record().retry
    assert retry is not None
    assert retry.problem.type == "dnsLookup"
    assert dns_world.is_clean()


def test_a_refused_validation_leaves_nothing(dns_world: DnsWorld) -> None:
    dns_world.jobs.ca.failing[WILD] = {"type": "urn:ietf:params:acme:error:dns", "detail": "no TXT record"}
    dns_world.apply(WILD)
    assert dns_world.jobs.run() is not v.ExitCode.DONE
    assert dns_world.is_clean()


@pytest.mark.exhaustive
@pytest.mark.parametrize("number", range(12))
def test_whatever_write_fails_nothing_stays_in_dns(dns_world: DnsWorld, number: int) -> None:
    """The API server is lost after some write of the attempt, for good; later the issuer's Job cleans up."""
    dns_world.apply(WILD)
    attempt = dns_world.jobs.pod()
    writes = iter(range(number))

    class Cut:
        """Carries some writes, and then nothing."""

        def send(self, method: str, path: str, *, body: bytes | None, timeout: float) -> object:
            if method != "GET" and "dryRun" not in path and next(writes, None) is None:
                self.cut = True
            if getattr(self, "cut", False):
                raise Unreachable("cut")
            return dns_world.jobs.api.send(method, path, body=body, timeout=timeout)

    object.__setattr__(attempt.cluster, "transport", Cut())
    with suppress(Unreachable):
        dns_world.jobs.issue(attempt)
    if dns_world.jobs.record().phase != "Issued":
        dns_world.jobs.relaunch()
        assert dns_world.jobs.run() is v.ExitCode.DONE
    dns_world.clean_leftovers()
    assert dns_world.is_clean()


def test_an_earlier_attempts_value_is_removed_by_the_next(dns_world: DnsWorld) -> None:
    dns_world.apply(WILD)
    record = dns_world.jobs.record()
    old = leftover(dns_world, epoch=record.epoch - 100)
    assert dns_world.jobs.run() is v.ExitCode.DONE
    assert old.value not in dns_world.dns.values(NAME)
    assert dns_world.is_clean()


def test_another_issuers_value_is_left_to_that_issuer(dns_world: DnsWorld) -> None:
    dns_world.apply(WILD)
    other = leftover(dns_world, epoch=1, issuer="other")
    assert dns_world.jobs.run() is v.ExitCode.DONE
    assert dns_world.dns.values(NAME) == {other.value}
    assert dns_world.clean_leftovers() == 0


def test_a_later_attempts_value_is_not_touched(dns_world: DnsWorld) -> None:
    dns_world.apply(WILD)
    later = leftover(dns_world, epoch=dns_world.jobs.record().epoch + 100)
    assert dns_world.jobs.run() is v.ExitCode.DONE
    assert dns_world.dns.values(NAME) == {later.value}


def test_leftovers_of_attempts_at_work_are_left_alone(dns_world: DnsWorld) -> None:
    dns_world.apply(WILD)
    leftover(dns_world, epoch=dns_world.jobs.record().epoch)
    assert dns_world.clean_leftovers() == 0
    assert len(dns_world.dns.values(NAME)) == 1


def test_what_a_provider_does_not_remove_is_kept_in_mind(dns_world: DnsWorld) -> None:
    dns_world.apply(WILD)
    leftover(dns_world, epoch=1)
    dns_world.jobs.api.remove(CONFIGMAPS, v.NAMESPACE, dns_world.jobs.record().name)
    dns_world.set_issuer(dns_world.solver(provider="ddns"))
    assert dns_world.clean_leftovers() == 1, "no solver of the issuer has that provider any more"
    assert dns_world.traces() == []


def test_a_provider_that_is_down_keeps_the_trace(dns_world: DnsWorld) -> None:
    dns_world.apply(WILD)
    leftover(dns_world, epoch=int(dns_world.jobs.clock.read().timestamp()) - 1000)
    dns_world.jobs.api.remove(CONFIGMAPS, v.NAMESPACE, dns_world.jobs.record().name)
    dns_world.provider.raises = [KeyError("no")]
    assert dns_world.clean_leftovers() == 0
    assert len(dns_world.traces()) == 1
    assert dns_world.clean_leftovers() == 1
    assert dns_world.is_clean()


@pytest.mark.parametrize("others", [(), ("www.example.org",)], ids=["alone", "beside HTTP-01"])
def test_a_change_that_hangs_is_left_to_who_comes_later(
    dns_world: DnsWorld, monkeypatch: pytest.MonkeyPatch, others: tuple[str, ...]
) -> None:
    dns_world.set_issuer({"http01": {}}, dns_world.solver() | {"selector": {"dnsNames": [WILD]}})
    monkeypatch.setattr(changes, "CALL_SECONDS", 0.3)
    gate, added = threading.Event(), threading.Event()
    change = dns_world.provider.change

    def slow(*call: str) -> bool:
        gate.wait(20)
        done = change(*call)
        added.set()
        return done

    monkeypatch.setattr(dns_world.provider, "change", slow)
    dns_world.apply(WILD, *others)
    assert dns_world.jobs.run() is v.ExitCode.LATER
    gate.set()
    assert added.wait(20)
    assert len(dns_world.dns.values(NAME)) == 1
    assert dns_world.clean_leftovers() == 1
    assert dns_world.is_clean()


def test_a_value_that_another_order_is_using_stays(dns_world: DnsWorld) -> None:
    """Some CAs give the same order, and so the same value, to all who ask for the same hosts."""
    dns_world.apply(WILD, secret="other")

    def shared() -> None:
        mine = dns_leftovers.find(dns_world.jobs.cluster, dns_world.jobs.record())
        assert mine is not None
        theirs = [replace(txt, holder="other-pod") for txt in mine.txt_records]
        dns_leftovers.write_down(dns_world.jobs.cluster, dns_world.jobs.record("other"), theirs)

    dns_world.jobs.ca.before = lambda request: shared() if request.path == "/chall/1/0" else None
    dns_world.apply(WILD)
    assert dns_world.jobs.run() is v.ExitCode.DONE
    assert len(dns_world.dns.values(NAME)) == 1
    assert [trace["metadata"]["annotations"][v.RECORD] for trace in dns_world.traces()] == [
        dns_world.jobs.record("other").name
    ]
    dns_world.jobs.api.remove(CONFIGMAPS, v.NAMESPACE, dns_world.jobs.record("other").name)
    assert dns_world.clean_leftovers() == 1
    assert dns_world.is_clean()


def test_cleaning_up_ends_by_its_deadline(dns_world: DnsWorld) -> None:
    dns_world.apply(WILD)
    leftover(dns_world, epoch=1)
    dns_world.jobs.api.remove(CONFIGMAPS, v.NAMESPACE, dns_world.jobs.record().name)
    assert dns_world.clean_leftovers(within=timedelta(0)) == 0
    assert len(dns_world.traces()) == 1
    assert dns_world.clean_leftovers(within=timedelta(seconds=30)) == 1


@pytest.mark.exhaustive
def test_silent_servers_take_little_of_an_orders_time(dns_world: DnsWorld) -> None:
    dns_world.dns.silent = {ONE, TWO}
    dns_world.apply(*(f"h{number}.example.org" for number in range(30)))
    attempt = dns_world.jobs.pod()
    waited: list[str] = []

    def count() -> None:
        waited[:] = waited or dns_world.dns.unanswered

    dns_world.provider.before_write = count
    assert dns_world.jobs.issue(attempt) is v.ExitCode.DONE
    assert len(waited) <= 2 * AT_ONCE, "before anything was added"


def leftover(
    dns_world: DnsWorld, *, epoch: int, issuer: str = ISSUER, provider: str = PROVIDER, value: str = "x"
) -> dns_leftovers.TxtRecord:
    """A value in DNS that an attempt of this epoch wrote down."""
    txt = dns_leftovers.TxtRecord(
        name=NAME, zone="example.org", value=value * 43, host=WILD, provider=provider, issuer=issuer, epoch=epoch
    )
    dns_leftovers.write_down(dns_world.jobs.cluster, dns_world.jobs.record(), [txt])
    dns_world.dns.add_text(NAME, txt.value)
    return txt


@pytest.mark.exhaustive
def test_orders_of_one_name_at_once_take_turns_at_the_provider(dns_world: DnsWorld) -> None:
    dns_world.apply("first.example.org", secret="first")
    dns_world.jobs.run(secret="first")  # it makes the account
    secrets = [f"web-{number}" for number in range(3)]
    for secret in secrets:
        dns_world.apply(WILD, secret=secret)
    attempts = [dns_world.jobs.pod(secret=secret) for secret in secrets]
    for attempt in attempts:
        attempt.clock, attempt.sleep = utc_now, time.sleep  # a lock is lost by the clock of who waits
    gate = threading.Event()
    dns_world.provider.before_write = lambda: gate.wait(0.05) and None
    threads = [threading.Thread(target=dns_world.jobs.issue, args=(attempt,)) for attempt in attempts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [dns_world.jobs.record(secret).phase for secret in secrets] == ["Issued"] * 3
    assert dns_world.provider.most_at_once == 1
    assert dns_world.is_clean()


def test_without_a_provider_for_dns_nothing_of_it_is_asked(world: JobWorld) -> None:
    world.apply(ingress())
    assert world.run() is v.ExitCode.DONE
    asked = [request.path for request in world.api.requests]
    assert not [path for path in asked if "/dns-" in path or "/leases" in path]


@dataclass
class InMemory:
    """A provider of certjob's own, as somebody may add one: it writes into FakeDns."""

    dns: FakeDns
    opened: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)

    def open(self, dns01: Dns01, zone: str, secrets: Mapping[str, str]) -> InMemory:
        self.opened.append((zone, {**dns01.options, **secrets}))
        return self

    def add(self, name: str, value: str) -> None:
        self.dns.add_text(name, value)

    def remove(self, name: str, value: str) -> None:
        self.removed.append(value)
        self.dns.remove_text(name, value)


@pytest.fixture
def mine(dns_world: DnsWorld, monkeypatch: pytest.MonkeyPatch) -> Callable[..., InMemory]:
    """Adds one row, and an issuer that uses it."""

    def add(**fields: Any) -> InMemory:
        made = InMemory(dns_world.dns)
        known: dict[str, Any] = {"options": ("place", "auth_token"), "secrets": frozenset({"auth_token"}), **fields}
        monkeypatch.setitem(registry.OWN, "in-memory", DnsProvider(name="in-memory", open=made.open, **known))
        dns_world.set_issuer(dns_world.solver(provider="in-memory", options={"place": "here"}))
        return made

    return add


@pytest.mark.parametrize(("scope", "locks"), [(Scope.VALUE, 0), (Scope.NAME, 2), (Scope.ZONE, 1)])
def test_a_provider_is_one_row(dns_world: DnsWorld, mine: Callable[..., InMemory], scope: Scope, locks: int) -> None:
    added = mine(scope=scope)
    dns_world.apply(APEX, WILD, "other.example.org")
    assert dns_world.jobs.run() is v.ExitCode.DONE
    assert added.opened == [("example.org", {"place": "here", "auth_token": TOKEN})] * 2
    leases = [one for one in dns_world.jobs.api.requests if one.method == "POST" and one.path.endswith("/leases")]
    assert len({one.body["metadata"]["name"] for one in leases if one.body}) == locks
    assert dns_world.is_clean()


def test_what_a_provider_forgets_by_itself_is_not_written_down(
    dns_world: DnsWorld, mine: Callable[..., InMemory]
) -> None:
    mine(keeps=2, scope=Scope.VALUE)
    dns_world.apply(APEX, WILD)
    assert dns_world.jobs.run() is v.ExitCode.DONE
    assert (len(dns_world.dns.values(NAME)), dns_world.traces()) == (2, [])


def test_more_aliases_than_a_provider_keeps_values_are_said(
    dns_world: DnsWorld, mine: Callable[..., InMemory]
) -> None:
    mine(keeps=1)
    dns_world.apply(APEX, WILD)
    assert dns_world.jobs.run() is v.ExitCode.LATER
    retry = dns_world.jobs.record().retry
    assert retry is not None
    assert "in-memory keeps 1 values" in retry.problem.detail
    assert dns_world.is_clean()


def test_a_provider_that_is_there_no_more_puts_the_order_off(dns_world: DnsWorld) -> None:
    dns_world.set_issuer(dns_world.solver(provider="in-memory"))
    dns_world.apply(WILD)
    assert dns_world.jobs.run() is v.ExitCode.LATER
    retry = dns_world.jobs.record().retry
    assert retry is not None
    assert (retry.problem.type, retry.problem.host) == ("dnsProvider", WILD)
    assert "no provider" in retry.problem.detail


def test_values_of_one_host_are_removed_by_the_provider_that_has_them(
    dns_world: DnsWorld, mine: Callable[..., InMemory]
) -> None:
    """The issuer's solver for it was another one meanwhile."""
    added = mine()
    dns_world.set_issuer(dns_world.solver(provider="in-memory"), dns_world.solver())
    dns_world.apply(WILD)
    leftover(dns_world, epoch=1, value="x")
    leftover(dns_world, epoch=2, value="y", provider="in-memory")
    dns_world.jobs.api.remove(CONFIGMAPS, v.NAMESPACE, dns_world.jobs.record().name)
    assert dns_world.clean_leftovers() == 2
    assert [call[2] for call in dns_world.provider.calls if call[0] == "remove"] == ["x" * 43]
    assert added.removed == ["y" * 43]
    assert dns_world.is_clean()
