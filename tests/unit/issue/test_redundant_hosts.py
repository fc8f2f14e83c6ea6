"""Hosts that a wildcard of the same certificate covers: CAs refuse to name both, and the Secret serves them all."""

from __future__ import annotations

from datetime import timedelta

import pytest
from cryptography import x509

from issuer_job import vocabulary as v
from issuer_job.cluster.api import INGRESSES
from issuer_job.issue.issue import issue
from issuer_job.issuers.solvers import ChallengeType
from tests.fakes.acme import Request
from tests.fakes.solver import FakeSolver
from tests.worlds.job import JobWorld, ingress
from tests.worlds.request import ask, asking

WILD, WWW, APEX, DEEPER = "*.shop.dev", "www.shop.dev", "shop.dev", "a.b.shop.dev"
ALL = (WILD, DEEPER, APEX, WWW)
ORDERED = [WILD, DEEPER, APEX]


@pytest.fixture
def world(world: JobWorld) -> JobWorld:
    """Its wildcards are proven by a solver that needs no DNS."""
    wild = {"dns01": {"provider": "ddns"}, "selector": {"dnsNames": [WILD]}}
    world.set_issuer(solvers=[{"http01": {}}, wild])
    return world


def run(world: JobWorld) -> v.ExitCode:
    return issue(world.pod(), {kind: lambda attempt: FakeSolver() for kind in ChallengeType})


def certified(world: JobWorld) -> list[str]:
    leaf = x509.load_pem_x509_certificates(world.secret()["data"]["tls.crt"])[0]
    found = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return found.get_values_for_type(x509.DNSName)


def assert_served(world: JobWorld) -> None:
    """The Secret is good for all hosts, and stays as it is."""
    assert world.secret()["metadata"]["annotations"][v.HOSTS] == ",".join(sorted(ALL))
    issued = world.record().issued
    assert issued is not None
    assert set(issued.hosts) == set(ALL)
    orders = len(world.ca.ordered)
    world.relaunch()
    assert run(world) is v.ExitCode.DONE
    assert len(world.ca.ordered) == orders


def test_an_ingress_that_names_both(world: JobWorld) -> None:
    world.apply(ingress(hosts=ALL))
    assert run(world) is v.ExitCode.DONE
    assert [order.hosts for order in world.ca.ordered] == [ORDERED]
    assert certified(world) == ORDERED
    assert_served(world)


def test_ingresses_of_one_secret_that_name_one_each(world: JobWorld) -> None:
    world.apply(ingress(hosts=(WILD, DEEPER, APEX)))
    world.apply(ingress("other", hosts=(WWW,)))
    assert run(world) is v.ExitCode.DONE
    assert certified(world) == ORDERED
    assert_served(world)


def test_a_secret_that_asks_for_both(world: JobWorld) -> None:
    ask(world, asking(",".join(ALL)))
    assert run(world) is v.ExitCode.DONE
    assert certified(world) == ORDERED
    assert_served(world)


def test_what_is_covered_already_takes_no_order_to_come_or_to_go(world: JobWorld) -> None:
    for hosts in ((WILD,), (WILD, WWW), (WILD,)):
        world.clock.ahead += timedelta(minutes=1)
        world.apply(ingress(hosts=hosts))
        assert run(world) is v.ExitCode.DONE
        issued = world.record().issued
        assert issued is not None
        assert (issued.hosts, world.record().intent.hosts) == ((WILD,), hosts)
    assert [order.hosts for order in world.ca.ordered] == [[WILD]]


def test_a_wildcard_that_comes_takes_one_and_none_when_it_goes(world: JobWorld) -> None:
    for hosts in ((WWW,), (WILD, WWW), (WWW,)):
        world.clock.ahead += timedelta(minutes=1)
        world.apply(ingress(hosts=hosts))
        assert run(world) is v.ExitCode.DONE
    assert [order.hosts for order in world.ca.ordered] == [[WWW], [WILD]]


def test_no_route_for_a_host_that_needs_no_proof(world: JobWorld) -> None:
    world.apply(ingress(hosts=ALL))
    routes = world.api.all(INGRESSES, v.NAMESPACE)
    assert sorted(route["spec"]["rules"][0]["host"] for route in routes) == [DEEPER, APEX]


def test_an_order_that_an_earlier_version_made_is_completed_and_its_certificate_stays(world: JobWorld) -> None:
    """Its CA takes both names."""
    world.apply(ingress(hosts=ALL))

    def before(request: Request) -> None:
        if request.path == "/order":
            request.payload["identifiers"] = [{"type": "dns", "value": host} for host in sorted(ALL)]

    world.ca.before, world.ca.refuses_redundant = before, False
    assert run(world) is v.ExitCode.DONE
    assert [order.hosts for order in world.ca.ordered] == [sorted(ALL)]
    assert certified(world) == sorted(ALL)
    assert_served(world)
