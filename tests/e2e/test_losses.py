"""A managed Secret is deleted or emptied: what the user sees, on the real API server."""

from __future__ import annotations

from base64 import b64encode

import pytest

from issuer_job.cluster.api import SECRETS
from tests.e2e import world
from tests.e2e.api import kubectl, wait_for
from tests.e2e.observe import cluster
from tests.e2e.renewals import issued_of, wait_renewed

pytestmark = pytest.mark.usefixtures("no_sweeps")
"""What is made again is the webhook's work."""


def test_a_deleted_secret_is_made_again_with_a_new_certificate_and_an_emptied_one_filled(namespace: str) -> None:
    host = f"lost.{namespace}.test"
    world.create(namespace, world.manifest("lost", [host], tls_acme="true"))
    first = world.wait_issued(namespace, "lost-tls", [host])
    kubectl("delete", "secret", "-n", namespace, "lost-tls")
    second = wait_renewed(namespace, "lost-tls", first)
    assert [e.detail for e in second.history if e.event == "launched"][-1] == "Secret missing"

    stored = cluster().get(SECRETS, namespace, "lost-tls")
    stored["data"] |= {"tls.crt": "", "tls.key": b64encode(b"nothing").decode()}
    cluster().update(SECRETS, namespace, stored)
    third = wait_renewed(namespace, "lost-tls", second)
    assert len({issued_of(one).serial for one in (first, second, third)}) == 3


def test_whoever_takes_the_ingress_away_too_is_left_in_peace(namespace: str) -> None:
    host = f"both.{namespace}.test"
    for name in ("both", "stays"):
        world.create(namespace, world.manifest(name, [f"{name}.{host}"], tls_acme="true"))
    before = {name: world.wait_issued(namespace, f"{name}-tls", [f"{name}.{host}"]) for name in ("both", "stays")}
    kubectl("delete", "-n", namespace, "ingress/both", "secret/both-tls", "secret/stays-tls")
    wait_renewed(namespace, "stays-tls", before["stays"])
    assert cluster().find(SECRETS, namespace, "both-tls") is None
    found = world.record(namespace, "both-tls")
    assert found is not None
    assert found.epoch == before["both"].epoch


def test_all_of_a_namespace_at_once(namespace: str) -> None:
    """The API server gives the webhook no name in the request then."""
    names = [f"all{number}" for number in range(2)]
    for name in names:
        world.create(namespace, world.manifest(name, [f"{name}.{namespace}.test"], tls_acme="true"))
    before = {name: world.wait_issued(namespace, f"{name}-tls", [f"{name}.{namespace}.test"]) for name in names}
    kubectl("delete", "--raw", f"/api/v1/namespaces/{namespace}/secrets?labelSelector=certjob.io/managed%3Dtrue")
    for name in names:
        wait_renewed(namespace, f"{name}-tls", before[name])
    wait_for(lambda: not world.holds_placeholder(namespace, f"{names[0]}-tls"), what="it is a certificate")
