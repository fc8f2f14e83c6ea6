"""Where a redirect may lead the self-check: what a tenant cannot reach himself, it must not reach for him."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from issuer_job.http01 import probe as probing
from issuer_job.http01.probe import ProbeResult, probe_host
from issuer_job.http01.probe_addresses import METADATA, is_of_others, is_public, never_asked
from issuer_job.http01.probe_http import ProbeReason
from tests.fakes.clock import QuickTime
from tests.fakes.internet import FakeInternet
from tests.fakes.site import Page, Site

TOKEN = "t" * 43
EXPECTED = f"{TOKEN}.{'h' * 43}"
PATH = f"/.well-known/acme-challenge/{TOKEN}"
RIGHT: Page = (200, {}, EXPECTED.encode())
HOST, ELSEWHERE = "tenant.example.org", "elsewhere.example.org"
PUBLIC, OTHER_PUBLIC, PRIVATE, OTHER_PRIVATE = "93.184.216.34", "2606:2800:220:1::1", "10.4.5.6", "10.9.8.7"


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


@pytest.fixture
def internet(monkeypatch: pytest.MonkeyPatch) -> FakeInternet:
    monkeypatch.setattr(probing, "time", QuickTime())
    return FakeInternet().install(monkeypatch)


def put(internet: FakeInternet, stack: ExitStack, name: str, address: str, *answers: Page) -> Site:
    """A site at a name and an address, on port 80."""
    site = stack.enter_context(Site(list(answers)))
    internet.names[name] = [[address]]
    internet.sites[address, 80] = site.port
    return site


def redirect(location: str) -> Page:
    return 302, {"Location": location}, b""


def probe() -> ProbeResult:
    return probe_host(HOST, TOKEN, EXPECTED, deadline=0.0, foreign_budget=0.0, connect_budget=0.0)


@pytest.mark.parametrize(
    "path", ["/", "/admin/reset?x=1", f"{PATH}?x=1", f"{PATH}/../../admin", f"{PATH}%2e%2e", "/x" + PATH]
)
@pytest.mark.parametrize("first", [PUBLIC, PRIVATE])
def test_elsewhere_no_path_is_asked_but_a_challenges(
    internet: FakeInternet, stack: ExitStack, first: str, path: str
) -> None:
    put(internet, stack, HOST, first, redirect(f"http://{ELSEWHERE}{path}"))
    victim = put(internet, stack, ELSEWHERE, OTHER_PRIVATE, RIGHT)
    result = probe()
    assert (result.reason, victim.asked) == (ProbeReason.FOREIGN, [])
    assert internet.called == [(first, 80)]


def test_a_redirect_to_another_hosts_challenge_path_is_followed(internet: FakeInternet, stack: ExitStack) -> None:
    put(internet, stack, HOST, PUBLIC, redirect(f"http://{ELSEWHERE}{PATH}"))
    other = put(internet, stack, ELSEWHERE, OTHER_PUBLIC, RIGHT)
    assert probe().ok
    assert other.asked == [PATH]


def test_a_public_host_leads_to_no_private_one(internet: FakeInternet, stack: ExitStack) -> None:
    put(internet, stack, HOST, PUBLIC, redirect(f"http://{ELSEWHERE}{PATH}"))
    victim = put(internet, stack, ELSEWHERE, PRIVATE, RIGHT)
    result = probe()
    assert (result.reason, victim.asked) == (ProbeReason.UNREACHABLE, [])
    assert internet.called == [(PUBLIC, 80)]


def test_a_private_host_may_lead_to_a_private_one(internet: FakeInternet, stack: ExitStack) -> None:
    put(internet, stack, HOST, PRIVATE, redirect(f"http://{ELSEWHERE}{PATH}"))
    put(internet, stack, ELSEWHERE, OTHER_PRIVATE, RIGHT)
    assert probe().ok


def test_of_a_name_with_both_only_the_public_addresses_are_asked(internet: FakeInternet, stack: ExitStack) -> None:
    put(internet, stack, HOST, PUBLIC, redirect(f"http://{ELSEWHERE}{PATH}"))
    put(internet, stack, ELSEWHERE, OTHER_PUBLIC, RIGHT)
    internet.names[ELSEWHERE] = [[PRIVATE, OTHER_PRIVATE, "127.0.0.1", OTHER_PUBLIC]]
    assert probe().ok
    assert internet.called == [(PUBLIC, 80), (OTHER_PUBLIC, 80)]


def test_at_its_own_address_a_host_may_redirect_to_any_path(internet: FakeInternet, stack: ExitStack) -> None:
    own = put(internet, stack, HOST, PUBLIC, redirect("/next?a=b"), RIGHT)
    assert probe().ok
    assert own.asked == [PATH, "/next?a=b"]


def test_a_name_that_changes_its_address_meanwhile_leads_nowhere_else(
    internet: FakeInternet, stack: ExitStack
) -> None:
    own = put(internet, stack, HOST, PUBLIC, redirect("/admin/reset?x=1"), RIGHT)
    victim = put(internet, stack, ELSEWHERE, PRIVATE, RIGHT)
    internet.names[HOST] = [[PUBLIC], [PRIVATE]]
    probe()
    assert victim.asked == []
    assert own.asked == [PATH, "/admin/reset?x=1"]


# fmt: off
METADATA_SERVERS = [
    "169.254.169.254", "169.254.170.23", "169.254.42.42", "fe80::a9fe:a9fe", "fd00:ec2::254", "fd00:ec2::23",
    "fd20:ce::254", "fd00:42::42", "100.100.100.200", "168.63.129.16", "192.0.0.192", "::ffff:169.254.169.254",
    "64:ff9b::a9fe:a9fe", "64:ff9b:1::a9fe:a9fe", "2002:a9fe:a9fe::1",
]
LOCAL = [
    "10.0.0.1", "172.16.0.1", "192.168.0.1", "100.64.0.1", "127.0.0.1", "0.0.0.0", "192.0.2.1", "198.18.0.1",
    "224.0.0.1", "240.0.0.1", "255.255.255.255", "::", "::1", "fd00::1", "fe80::1%1", "fec0::1", "ff0e::1",
    "::ffff:10.0.0.1", "64:ff9b::a00:1", "2002:a00:1::1", "2001:db8::1", "4000::1", "2001:0:1:2::f5ff:fffe",
]
# fmt: on


@pytest.mark.parametrize("address", METADATA_SERVERS)
def test_metadata_servers_are_never_asked(internet: FakeInternet, stack: ExitStack, address: str) -> None:
    assert never_asked(address)
    server = put(internet, stack, HOST, address, RIGHT)
    assert probe().reason is ProbeReason.UNREACHABLE
    put(internet, stack, HOST, PRIVATE, redirect(f"http://{ELSEWHERE}{PATH}"))
    internet.names[ELSEWHERE] = [[address]]
    assert probe().reason is ProbeReason.UNREACHABLE
    assert (internet.called, server.asked) == ([(PRIVATE, 80)], [])


@pytest.mark.parametrize("address", LOCAL)
def test_these_are_not_of_the_internet(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "address", [PUBLIC, OTHER_PUBLIC, "8.8.8.8", "::ffff:8.8.8.8", "64:ff9b::808:808", "2a00::1"]
)
def test_these_are(address: str) -> None:
    assert is_public(address)
    assert is_of_others(address)
    assert not never_asked(address)


def test_the_metadata_networks_are_whole() -> None:
    assert len(METADATA) == len(set(METADATA))
    assert all(never_asked(str(network[0])) and never_asked(str(network[-1])) for network in METADATA)
