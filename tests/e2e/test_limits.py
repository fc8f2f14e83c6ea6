"""Limits and shared Secrets on the real cluster: orders as Pebble has them, names as kubectl leaves them."""

from __future__ import annotations

import json
import secrets
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from issuer_job.cluster.api import INGRESSES, SECRETS, Json
from issuer_job.launch.outcome import PUT_OFF
from issuer_job.record.record import ACTIVE
from tests.e2e import world
from tests.e2e.api import wait_for
from tests.e2e.observe import added_secret, cluster
from tests.e2e.own_issuer import orders_of, own_issuer
from tests.e2e.sweeps import run_sweep, sweep_as_job, sweeps_suspended

SIX = range(6)


@pytest.fixture
def limited() -> Iterator[str]:
    """An issuer with two certificates for one set of hosts."""
    with own_issuer(f"limited-{secrets.token_hex(3)}", limits={"perExactSet": 2}) as issuer:
        yield issuer


def applied(namespace: str, *bodies: Json) -> str:
    """All of them by one `kubectl apply`; what it warned of."""
    documents = "\n---\n".join(json.dumps(body) for body in bodies)
    done = subprocess.run(
        ["kubectl", "apply", "-n", namespace, "-f", "-"], input=documents, capture_output=True, text=True, check=True
    )
    return done.stderr


def test_six_ingresses_of_one_host_share_one_secret_and_one_order(namespace: str, limited: str) -> None:
    host = f"split.{namespace}.test"
    bodies = [world.manifest(f"path{n}", [host], bare=True, issuer=limited) for n in SIX]
    for number, body in enumerate(bodies):
        body["spec"]["rules"][0]["http"]["paths"][0]["path"] = f"/{number}"
    applied(namespace, *bodies)
    name = added_secret(host, issuer=limited)
    world.wait_issued(namespace, name, [host])
    stored = [world.live(namespace, f"path{n}")["spec"]["tls"] for n in SIX]
    assert stored == [[{"hosts": [host], "secretName": name}]] * 6
    assert [order.identifiers for order in orders_of(limited)] == [(host,)]
    assert [secret["metadata"]["name"] for secret in cluster().items(SECRETS, namespace)] == [name]


def test_six_secrets_for_one_host_are_two_orders_and_the_others_are_told_until_when(
    namespace: str, limited: str
) -> None:
    """Whether admission or the Job finds out: by both webhook pods, within a second."""
    host, names = f"own.{namespace}.test", [f"own{n}-tls" for n in SIX]
    with sweeps_suspended():
        said = applied(namespace, *(world.manifest(f"own{n}", [host], issuer=limited) for n in SIX))
        wait_for(
            lambda: sorted(world.phase(namespace, name) for name in names) == ["Issued"] * 2 + ["Waiting"] * 4,
            what="two are issued, four wait",
            seconds=world.ISSUED_WITHIN,
        )
        assert len(orders_of(limited)) == 2
        held = [name for name in names if world.phase(namespace, name) == "Waiting"]
        assert all(world.holds_placeholder(namespace, name) for name in held)
        if PUT_OFF in said:  # held back when they had their turn: that is the sweep's to tell
            run_sweep()

        def are_told() -> bool:
            return all(
                f"Secret {name}: held back until" in said
                or world.events(namespace, name.removesuffix("-tls"), "CertificateHeldBack")
                for name in held
            )

        wait_for(are_told, what="each that is held back is told so")  # by Jobs once it is written down
    again = applied(namespace, world.manifest(held[0].removesuffix("-tls"), [host], issuer=limited))
    assert not again or "UTC" in again
    assert len(orders_of(limited)) == 2


def test_no_way_to_ask_again_leads_beyond_a_limit(namespace: str, limited: str) -> None:
    host = f"again.{namespace}.test"

    def asks(name: str, secret: str, **annotations: str) -> Json:
        body = world.manifest(name, [host], tls=[{"hosts": [host], "secretName": secret}], issuer=limited)
        body["metadata"]["annotations"] |= {f"certjob.io/{key}": text for key, text in annotations.items()}
        return body

    with sweeps_suspended():
        applied(namespace, asks("one", "one"), asks("two", "two"))
        for name in ("one", "two"):
            world.wait_issued(namespace, name, [host])
        ways = (
            lambda: applied(namespace, asks("three", "three")),
            lambda: applied(namespace, asks("three", "three", retry="1")),
            lambda: applied(namespace, asks("three", "renamed")),
            lambda: applied(namespace, asks("one", "one", **{"key-algorithm": "rsa-2048"})),
            lambda: applied(namespace, asks("one", "one")),
            lambda: applied(namespace, asks("two", "two", renew=f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}")),
            lambda: cluster().delete(SECRETS, namespace, "two"),
            lambda: cluster().delete(INGRESSES, namespace, "one"),
            lambda: cluster().delete(SECRETS, namespace, "one"),
            lambda: applied(namespace, asks("one", "one")),
            sweep_as_job,
        )
        for way in ways:
            way()
        names = ("one", "two", "three", "renamed")
        wait_for(
            lambda: all(world.phase(namespace, name) not in ACTIVE for name in names),
            what="no attempt is under way",
            seconds=60,
        )
    assert [order.identifiers for order in orders_of(limited)] == [(host,)] * 2
    for name in ("one", "two", "renamed"):
        assert world.leaf(namespace, name) is not None, f"HTTPS has nothing for {name}"
    assert "UTC" in world.wait_event(namespace, "two", "CertificateHeldBack")


@pytest.mark.parametrize("how", ["apply", "server-side", "replace"])
def test_the_added_name_stays_however_and_with_whatever_hosts_it_is_applied_again(namespace: str, how: str) -> None:
    one, two = f"one.{namespace}.test", f"two.{namespace}.test"
    command = ["apply", "--server-side"] if how == "server-side" else [how]

    def again(*hosts: str) -> list[Json]:
        body = world.manifest("again", hosts, bare=True, tls_acme="true")
        body["spec"]["ingressClassName"] = "traefik"
        first = cluster().find(INGRESSES, namespace, "again") is None
        kubectl(namespace, *(["create"] if first and how == "replace" else command), body=body)
        found: list[Json] = world.live(namespace, "again")["spec"]["tls"]
        if how != "replace":
            difference = kubectl(namespace, "diff", *command[1:], body=body)
            assert difference == "", difference
        return found

    name = added_secret(one)
    for hosts in ([one], [one], [one, two], [one, two], [two], [one]):
        assert again(*hosts) == [{"hosts": hosts, "secretName": name}]
    world.wait_phase(namespace, name, "Issued")


def kubectl(namespace: str, *arguments: str, body: Json) -> str:
    done = subprocess.run(
        ["kubectl", *arguments, "-n", namespace, "-f", "-"],
        input=json.dumps(body), capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout
