"""Leases are locks on names in DNS, and only issue Jobs hold them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from issuer_job import vocabulary
from tests.e2e.api import Api, Json, path

LEASES = "leases.coordination.k8s.io/v1"
NAME = "dns-" + "0" * 20
Identity = Callable[[str], Api]


def lease(name: str, **metadata: object) -> Json:
    """A Lease that somebody holds."""
    spec = {"holderIdentity": "pod", "leaseDurationSeconds": 70}
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": name} | metadata,
        "spec": spec,
    }


def create(api: Api, body: Json, *, namespace: str = vocabulary.NAMESPACE) -> int:
    """Status of a dry run."""
    return api.call("POST", path(LEASES, namespace), body, dryRun="All").status


def test_an_issue_job_holds_locks(identity: Identity) -> None:
    job = identity("job")
    assert create(job, lease(NAME)) == 201
    made = job.call("POST", path(LEASES, vocabulary.NAMESPACE), lease(NAME))
    assert made.status == 201
    taken_over = lease(NAME, resourceVersion=made.json["metadata"]["resourceVersion"])
    assert job.call("PUT", path(LEASES, vocabulary.NAMESPACE, NAME), taken_over).status == 200
    assert job.call("DELETE", path(LEASES, vocabulary.NAMESPACE, NAME)).status == 200


@pytest.mark.parametrize("name", ["leader", "dns-1", "dns-" + "0" * 21, "xdns-" + "0" * 20, "dns-" + "g" * 20])
def test_no_other_lease_can_be_made(identity: Identity, name: str) -> None:
    assert create(identity("job"), lease(name)) == 403


def test_a_lock_has_no_finalizer(identity: Identity) -> None:
    assert create(identity("job"), lease(NAME, finalizers=["example.org/stay"])) == 403


@pytest.mark.parametrize("service_account", ["webhook", "sweep", "responder"])
def test_nobody_else_holds_locks(identity: Identity, service_account: str) -> None:
    assert create(identity(service_account), lease(NAME)) == 403


@pytest.mark.parametrize("namespace", ["kube-node-lease", "kube-system", "default"])
def test_leases_elsewhere_are_nobodys(identity: Identity, namespace: str) -> None:
    assert create(identity("job"), lease(NAME), namespace=namespace) == 403
