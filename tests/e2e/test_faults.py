"""Faults that take seconds to make; `make faults` has the others, and these under load."""

from __future__ import annotations

import secrets
import time

import pytest

from issuer_job import vocabulary as v
from issuer_job.cluster.api import CONFIGMAPS
from tests.e2e import parts, sweeps, world
from tests.e2e.api import Api, wait_for
from tests.e2e.observe import PODS, cluster
from tests.e2e.own_issuer import orders_of, own_issuer
from tests.e2e.parts import frozen, scaled

pytestmark = pytest.mark.usefixtures("no_sweeps")


def issue(namespace: str, issuer: str, *names: str) -> list[str]:
    """Certificates of these names, each for one host; their serial numbers."""
    for name in names:
        world.create(namespace, world.manifest(name, [f"{name}.{namespace}.test"], issuer=issuer))
    return serials(namespace, *names)


def serials(namespace: str, *names: str) -> list[str]:
    """Of the certificates, once all are issued."""
    records = [world.wait_issued(namespace, f"{name}-tls", [f"{name}.{namespace}.test"]) for name in names]
    return [record.issued.serial for record in records if record.issued is not None]


def test_records_that_were_deleted_are_made_again_without_an_order(namespace: str) -> None:
    names = ("one", "two", "three")
    with own_issuer(f"lost-{secrets.token_hex(3)}") as issuer:
        before = issue(namespace, issuer, *names)
        for name in names:
            cluster().delete(CONFIGMAPS, v.NAMESPACE, f"{namespace}.{name}-tls")
        sweeps.run_sweep()
        assert serials(namespace, *names) == before
        assert len(orders_of(issuer)) == len(names)


def test_an_etcd_that_stands_still_loses_nothing(namespace: str) -> None:
    with own_issuer(f"still-{secrets.token_hex(3)}") as issuer:
        world.create(namespace, world.manifest("before", [f"before.{namespace}.test"], issuer=issuer))
        with frozen("etcd"):
            time.sleep(5)
        world.wait_admitting(namespace)
        issue(namespace, issuer, "after")
        serials(namespace, "before")
        assert len(orders_of(issuer)) == 2


def test_an_evicted_pod_is_followed_by_one_that_goes_on(namespace: str, admin: Api) -> None:
    with own_issuer(f"evicted-{secrets.token_hex(3)}") as issuer:
        with scaled("certjob-responder", 0):  # holds the order: nobody answers its challenge
            world.create(namespace, world.manifest("evicted", [f"evicted.{namespace}.test"], issuer=issuer))
            wait_for(lambda: world.phase(namespace, "evicted-tls") == "Authorizing", what="the order is made")
            for pod in cluster().items(PODS, v.NAMESPACE, labels=f"{v.RECORD_NAMESPACE}={namespace}"):
                assert parts.evict(admin, pod["metadata"]["name"])
        serials(namespace, "evicted")
        assert len(orders_of(issuer)) == 1
