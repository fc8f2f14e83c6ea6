"""A pod dies after any write of an order by DNS-01: what comes next ends it, and no TXT record stays."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from issuer_job import vocabulary as v
from issuer_job.record.record import ACTIVE
from tests.e2e import dns_world, world
from tests.e2e.api import Api, Endpoint
from tests.e2e.attempts import Certificate
from tests.e2e.certificates import NewCertificates, certificates
from tests.e2e.wire import Wire

pytestmark = pytest.mark.usefixtures("no_sweeps")

AT_ONCE = 3
LATER = timedelta(minutes=5)


@pytest.fixture(scope="module")
def new_certificate(cluster: tuple[Endpoint, Api]) -> Iterator[NewCertificates]:
    """Makes what the tests issue."""
    with certificates(cluster[0]) as made:
        yield made


@pytest.fixture(scope="module")
def issuer() -> Iterator[str]:
    """Everything over DNS, at bind9."""
    with dns_world.dns_issuer([dns_world.ddns()]) as name:
        yield name


def made(new_certificate: NewCertificates, issuer: str, namespace: str, name: str) -> Certificate:
    """A wildcard certificate that is wanted."""
    one = new_certificate(namespace, name, [f"*.{name}.{namespace}.dns.test"], issuer=issuer)
    one.apply()
    return one


def check(one: Certificate, codes: list[v.ExitCode | None]) -> None:
    """It ended well; what is left in DNS is written down, and goes."""
    assert codes[-1] is v.ExitCode.DONE, codes
    world.wait_issued(one.namespace, one.secret, one.hosts, seconds=1)
    if dns_world.trace(one.namespace, one.secret) is not None:
        dns_world.clean_leftovers(one.issuer, ahead=LATER)
    assert dns_world.trace(one.namespace, one.secret) is None
    name = "_acme-challenge." + one.hosts[0].removeprefix("*.")
    assert dns_world.texts(name) == frozenset()


@pytest.mark.parametrize("new_epoch", [False, True], ids=["the next pod", "a new epoch"])
def test_killed_after_every_write_nothing_stays_in_dns(
    new_certificate: NewCertificates, issuer: str, namespace: str, new_epoch: bool
) -> None:
    whole = Wire()
    assert made(new_certificate, issuer, namespace, "whole").run(whole) is v.ExitCode.DONE
    assert whole.count("POST .*/configmaps/dns-[0-9a-f-]{36}")
    assert whole.count("DELETE .*/configmaps/dns-[0-9a-f-]{36}")

    def killed(number: int) -> str:
        one = made(new_certificate, issuer, namespace, f"n{number}")
        wire = Wire()
        wire.after_write(number, wire.kill)
        one.run(wire)
        if new_epoch and one.record.phase in ACTIVE:
            one.new_epoch()
        try:
            check(one, one.run_job())
        except AssertionError as problem:
            at = [call.what for call in wire.calls if call.writes][-1]
            return f"write {number} of {whole.writes}, {at}: {problem}"
        return ""

    with ThreadPoolExecutor(AT_ONCE) as pool:
        assert not "\n".join(filter(None, pool.map(killed, range(1, whole.writes + 1))))


MOMENTS: list[tuple[str, Callable[[Wire], None]]] = [
    ("before the TXT record is added", lambda wire: wire.after("POST .*/configmaps/dns-[0-9a-f-]{36}", wire.kill)),
    ("before the TXT record is removed", lambda wire: wire.after("GET .*/configmaps/dns-[0-9a-f-]{36}", wire.kill)),
    ("before it is crossed out", lambda wire: wire.before("DELETE .*/configmaps/dns-[0-9a-f-]{36}", wire.kill)),
]


@pytest.mark.parametrize("kill", [kill for _, kill in MOMENTS], ids=[name for name, _ in MOMENTS])
def test_killed_around_a_change_in_dns(
    new_certificate: NewCertificates, issuer: str, namespace: str, kill: Callable[[Wire], None]
) -> None:
    one = made(new_certificate, issuer, namespace, "moment")
    wire = Wire()
    kill(wire)
    assert one.run(wire) is None
    assert dns_world.trace(namespace, one.secret) is not None
    check(one, one.run_job())


def test_leftovers_of_an_active_attempt_are_not_touched(
    new_certificate: NewCertificates, issuer: str, namespace: str
) -> None:
    one = made(new_certificate, issuer, namespace, "active")
    wire = Wire()
    wire.before("ACME POST /chalZ/", wire.kill)
    assert one.run(wire) is None
    name = "_acme-challenge." + one.hosts[0].removeprefix("*.")
    before = dns_world.texts(name)
    assert len(before) == 1
    dns_world.clean_leftovers(issuer, ahead=LATER)
    assert dns_world.texts(name) == before
    check(one, one.run_job())
