"""ACME servers that others wrote: at each an order, a failure and its correction. `make peers` tries much more."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from issuer_job import vocabulary as v
from tests.cluster import settings as s
from tests.e2e import dns_world
from tests.e2e.api import NewNamespace
from tests.e2e.peers.acme2certifier import Acme2certifier
from tests.e2e.peers.caddy import Caddy
from tests.e2e.peers.place import place, somewhere_else
from tests.e2e.peers.server import Server, running
from tests.e2e.peers.step_ca import StepCa


@pytest.fixture(scope="module", params=[StepCa, Caddy, Acme2certifier], ids=lambda kind: kind.name)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(request.param, tmp_path_factory.mktemp(request.param.name)) as made:
        yield made


@pytest.fixture(scope="module")
def another(new_namespace: NewNamespace) -> Iterator[str]:
    """The address of a web server that knows nothing of challenges."""
    with somewhere_else(new_namespace()) as address:
        yield address


def test_an_order_then_a_failed_validation_that_is_put_right(server: Server, namespace: str, another: str) -> None:
    root, wrong = server.root_pem(), f"wrong.{namespace}.dns.test"
    with server.proxied() as proxy, place(server, namespace) as where:
        issuer = where.issuer(proxy=proxy)
        where.ready(issuer)
        where.ask(issuer, count=3).issued(root)
        assert len(proxy.orders) == 1

        dns_world.set_address(wrong, another)
        asked = where.ask(issuer, wrong)
        assert wrong in asked.fails()
        dns_world.set_address(wrong, s.NODE_IP)
        asked.annotate(v.RETRY)
        asked.issued(root)
        assert len(proxy.orders) <= 3
