"""As many names as the API server takes, beside somebody who just wants a certificate."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from issuer_job.cluster.api import INGRESSES, Json
from issuer_job.demand.ingress_spec import MAX_NAMES
from tests.e2e import world
from tests.e2e.api import NewNamespace, wait_for
from tests.e2e.observe import cluster
from tests.e2e.sweeps import sweep_as_job, sweeps_suspended
from tests.worlds.costs import hostile_ingress

LARGE = 20
HOSTS = 30_000
"""In each: 0.8 MiB, of at most 1.5 that are stored."""


@pytest.fixture(scope="module")
def hostile(new_namespace: NewNamespace) -> Iterator[str]:
    """Their namespace, also with rules and entries that are only many together. They go at once: others read them."""
    namespace = new_namespace("hostile")
    cluster()  # once, before threads want it
    bodies = [hostile_ingress(rules=HOSTS, name=f"hosts-{number}") for number in range(LARGE)]
    for body in bodies[: LARGE // 2]:
        body["metadata"]["annotations"] = {}  # not opted in: they count for the precedence of others
    bodies += [hostile_ingress(rules=n, entries=n, name=f"product-{n}") for n in (1000, 2000)]
    try:
        with ThreadPoolExecutor(4) as pool:
            assert len(list(pool.map(lambda body: _create(namespace, body), bodies))) == len(bodies)
        yield namespace
    finally:
        for body in bodies:
            cluster().delete(INGRESSES, namespace, body["metadata"]["name"])


def _create(namespace: str, body: Json) -> Json:
    body["metadata"] |= {"namespace": namespace}
    body["spec"] |= {"defaultBackend": {"service": {"name": "none", "port": {"number": 80}}}}
    return cluster().create(INGRESSES, namespace, body)


def test_neither_a_sweep_nor_a_new_host_of_somebody_else_suffers(hostile: str, namespace: str) -> None:
    """The sweep reads them all, and so does the Job of a host that nobody has had checked yet."""
    with sweeps_suspended():
        host = f"innocent.{namespace}.test"
        world.create(namespace, world.manifest("innocent", [host], tls_acme="true"))
        world.wait_issued(namespace, "innocent-tls", [host])
        swept = sweep_as_job()
    assert swept.ending == "Completed 0"
    assert swept.line("swept")["ingresses"] >= LARGE + 3
    assert "trouble" not in swept.line("swept")
    told = world.wait_event(hostile, "product-2000", "CertificateFailed")
    assert f"more than {MAX_NAMES} rules and tls hosts" in told


def test_admission_of_others_goes_on_under_dry_runs_of_them(hostile: str, namespace: str) -> None:
    """A dry run leaves no trace, and costs as much as any other admission."""

    def dry_run(number: int) -> None:
        body = hostile_ingress(rules=1000, entries=1000, name=f"dry-{number}")
        body["metadata"] |= {"namespace": hostile}
        cluster().create(INGRESSES, hostile, body, dry_run=True)

    with ThreadPoolExecutor(8) as pool:
        running = [pool.submit(dry_run, number) for number in range(24)]
        wait_for(lambda: any(future.done() for future in running), what="the first dry run has passed")
        started = time.monotonic()
        patched = cluster().create(INGRESSES, namespace, world.manifest("beside", ["beside.test"], tls_acme="true"))
        seconds = time.monotonic() - started
        for future in running:
            future.result()
    assert patched["spec"]["tls"], "the webhook was in time"
    assert seconds < 10
