"""Two tenants whose Secrets' names were chosen to have one hash, launched within one second."""

from __future__ import annotations

import secrets
import time
from base64 import b64decode
from collections.abc import Iterator
from functools import partial
from hashlib import sha256

import pytest

from issuer_job import names
from issuer_job import vocabulary as v
from issuer_job.cluster.api import CONFIGMAPS, INGRESSES, JOBS, SECRETS, Json
from tests.e2e import world
from tests.e2e.api import Api, path, wait_for
from tests.e2e.checks import at_once
from tests.e2e.observe import cluster

PAIR = {"victim": "shop-f25ba", "evil": "own-2f1d6e"}
"""SHA-256 over namespace and name begins with the same 40 bits."""
ROUNDS = 10


@pytest.fixture
def tenants(admin: Api) -> Iterator[None]:
    """The two namespaces: their names are a part of what was chosen."""
    for namespace in PAIR:
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
        what = f"namespace {namespace}, not that of a former run"
        wait_for(partial(is_made, admin, body), what=what)
    yield
    for namespace, secret in PAIR.items():
        admin.call("DELETE", path("namespaces", None, namespace), propagationPolicy="Background")
        cluster().delete(CONFIGMAPS, v.NAMESPACE, names.record(namespace, secret))


def is_made(admin: Api, body: Json) -> bool:
    """Whether it could be created."""
    return admin.call("POST", path("namespaces"), body).status == 201


def asking(namespace: str, hosts: list[str]) -> Json:
    """Its Ingress."""
    return world.manifest("web", hosts, tls=[{"hosts": hosts, "secretName": PAIR[namespace]}], tls_acme="true")


def key_of(namespace: str) -> str:
    """A digest: no failure shall print a key."""
    data = cluster().get(SECRETS, namespace, PAIR[namespace])["data"]
    return sha256(b64decode(data["tls.key"])).hexdigest()


def test_two_tenants_whose_names_meet_have_nothing_in_common(tenants: None) -> None:
    assert names.digest("victim", PAIR["victim"]) == names.digest("evil", PAIR["evil"])
    run = secrets.token_hex(4)
    hosts: dict[str, list[str]] = {namespace: [] for namespace in PAIR}
    for number in range(ROUNDS):
        for namespace, its in hosts.items():
            its.append(f"n{number}.{namespace}-{run}.test")
        wait_for(lambda: time.time() % 1 < 0.3, what="the beginning of a second")
        at_once(*(partial(world.apply, namespace, asking(namespace, its)) for namespace, its in hosts.items()))
        records = [world.wait_issued(namespace, PAIR[namespace], its) for namespace, its in hosts.items()]
        assert key_of("victim") != key_of("evil")
        if records[0].epoch == records[1].epoch:
            break
    else:
        pytest.fail("they were never launched in one second")
    jobs = [cluster().get(JOBS, v.NAMESPACE, record.job_name) for record in records]
    assert len({job["metadata"]["name"] for job in jobs}) == 2
    left = [(CONFIGMAPS, names.challenge(record.uid, record.epoch)) for record in records]
    left += [(SECRETS, names.pending_key(record.uid, record.epoch)) for record in records]
    wait_for(
        lambda: not any(cluster().find(what, v.NAMESPACE, name) for what, name in left), what="all of it is gone"
    )

    def has_route() -> bool:
        return any(run in str(r["spec"]) for r in cluster().items(INGRESSES, v.NAMESPACE, labels=f"{v.ROUTE}=true"))

    wait_for(lambda: not has_route(), what="the routes are gone")
