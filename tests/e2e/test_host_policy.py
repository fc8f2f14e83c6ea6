"""Who may have which host, with the real API server, Jobs and sweeps: races, older Ingresses, transfer, the list."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from issuer_job import names
from issuer_job import vocabulary as v
from issuer_job.attempt.attempt import Attempt, Permanent, Pod
from issuer_job.cluster.api import CONFIGMAPS, INGRESSES, Cluster, Json, Resource
from issuer_job.hosts import at_order, claims
from issuer_job.hosts.claims import claim_body
from issuer_job.launch.pace import FIRST
from issuer_job.polling import utc_now
from issuer_job.record import transitions
from issuer_job.record.record import Settings, Source
from tests.e2e import world
from tests.e2e.api import CONFIGMAPS as CONFIGMAPS_PATH
from tests.e2e.api import Api, Endpoint, NewNamespace, path, wait_for
from tests.e2e.attacks import assert_verdict
from tests.e2e.attempts import Identities
from tests.e2e.checks import at_once
from tests.e2e.observe import cluster
from tests.e2e.parts import options
from tests.e2e.renewals import make_due
from tests.e2e.sweeps import run_sweep
from tests.worlds.hosts import holder

pytestmark = pytest.mark.usefixtures("no_sweeps")

QUOTAS = Resource("/api/v1", "resourcequotas")
DOCUMENT = Path(__file__).resolve().parents[2] / "docs/hosts.md"
OPTIONS_READ_WITHIN = 60.0


def opted_in(name: str, host: str) -> Json:
    """An Ingress for one host with one certificate."""
    tls = [{"hosts": [host], "secretName": f"{name}-tls"}]
    return world.manifest(name, [host], tls=tls, tls_acme="true")


def warnings(namespace: str, ingress: Json, *arguments: str) -> str:
    """What `kubectl apply` says besides."""
    command = ["kubectl", "apply", "-n", namespace, "-f", "-", *arguments]
    done = subprocess.run(command, input=json.dumps(ingress), capture_output=True, text=True, check=True)
    return done.stderr


def trouble(namespace: str, secret: str) -> tuple[str, str]:
    """Type and host of what a record failed for."""
    found = world.wait_phase(namespace, secret, "Failed")
    assert found.retry is not None
    return found.retry.problem.type, found.retry.problem.host


def ordered(namespace: str, secret: str) -> bool:
    """Whether an order may have been made."""
    found = world.record(namespace, secret)
    return found is not None and found.attempt is not None and found.attempt.ordered


def test_of_two_namespaces_at_once_one_gets_a_certificate(new_namespace: NewNamespace) -> None:
    spaces = [new_namespace("left"), new_namespace("right")]
    hosts = [f"wanted{number}.{spaces[0]}.test" for number in range(FIRST)]
    tasks = [
        lambda space=space, number=number, host=host: world.create(space, opted_in(f"w{number}", host))
        for number, host in enumerate(hosts)
        for space in spaces
    ]
    at_once(*tasks)
    for number, host in enumerate(hosts):
        wait_for(
            lambda number=number: "Issued" in [world.phase(space, f"w{number}-tls") for space in spaces],  # type: ignore[misc]
            what=f"one has a certificate for {host}",
            seconds=world.ISSUED_WITHIN,
        )
        issued = [space for space in spaces if world.phase(space, f"w{number}-tls") == "Issued"]
        [loser] = set(spaces) - set(issued)
        assert not ordered(loser, f"w{number}-tls")
        held = claims.claim_of(cluster(), host)
        assert held is not None
        assert held.namespace == issued[0]
        assert held.checked is not None


def job_of(as_job: Cluster, namespace: str, host: str) -> Attempt:
    """An attempt that has confirmed its Ingress, which is not stored as a record."""
    source = Source(hosts=(host,), settings=Settings(issuer="pebble"), name="web")
    attempt = Attempt(as_job, Pod("none", "", 1, "pod"), utc_now() + timedelta(seconds=60))
    attempt.record = transitions.wanted(namespace=namespace, secret_name="web-tls", sources=(source,), now=utc_now())
    return attempt


def test_of_a_wildcard_and_a_host_at_once_exactly_one_is_had(
    cluster: tuple[Endpoint, Api], new_namespace: NewNamespace
) -> None:
    job = Cluster(Identities(cluster[0])["job"])
    left, right = new_namespace("left"), new_namespace("right")
    for number in range(12):
        wanted = {left: f"a.x{number}.{left}.test", right: f"*.x{number}.{left}.test"}
        for space, host in wanted.items():
            world.create(space, world.manifest(f"web{number}", [host]))

        def hold(space: str, host: str) -> bool:
            try:
                at_order.hold_hosts(job_of(job, space, host))
            except Permanent:
                return False
            return True

        got = at_once(*(lambda space=space, host=host: hold(space, host) for space, host in wanted.items()))
        assert sorted(got) == [False, True], number
        held = [claim for host in wanted.values() if (claim := claims.claim_of(job, host)) is not None]
        assert [claim.checked is not None for claim in held] == [True], number


def test_an_older_ingress_of_somebody_else_keeps_a_newcomer_out_until_it_is_gone(new_namespace: NewNamespace) -> None:
    owner, newcomer = new_namespace("owner"), new_namespace("newcomer")
    host = f"served.{owner}.test"
    older = world.create(owner, world.manifest("served", [host]))
    wait_for(lambda: _a_second_later(older), what="the clock of the API server shows the next second")
    world.create(newcomer, opted_in("mine", host))
    assert trouble(newcomer, "mine-tls") == ("hostClaimed", host)
    assert not ordered(newcomer, "mine-tls")
    event = world.wait_event(newcomer, "mine", "CertificateFailed")
    assert host in event
    assert owner not in event.replace(host, "")
    wait_for(lambda: claims.claim_of(cluster(), host) is None, what="the newcomer's claim is given up")
    run_sweep()
    assert world.phase(newcomer, "mine-tls") == "Failed"
    cluster().delete(INGRESSES, owner, "served")
    run_sweep()
    world.wait_issued(newcomer, "mine-tls", [host])


def test_an_ingress_made_anew_keeps_its_host_and_a_day_without_one_loses_it(new_namespace: NewNamespace) -> None:
    victim, squatter = new_namespace("victim"), new_namespace("squatter")
    host = f"redeployed.{victim}.test"
    world.create(victim, opted_in("web", host))
    world.wait_issued(victim, "web-tls", [host])
    assert f"{host} belongs to another namespace: no certificate" in warnings(squatter, opted_in("mine", host))
    cluster().delete(INGRESSES, victim, "web")
    run_sweep()
    marked = claims.claim_of(cluster(), host)
    assert marked is not None
    assert (marked.namespace, marked.unnamed_since is None) == (victim, False)
    assert re.search(rf"{host} belongs to another namespace until .* UTC", warnings(squatter, opted_in("more", host)))
    world.create(victim, opted_in("web", host))
    run_sweep()
    assert holder(cluster(), host) == victim
    assert world.record(squatter, "mine-tls") is None
    # A day later, as the claim says.
    cluster().delete(INGRESSES, victim, "web")
    run_sweep()
    now = utc_now()
    moments = {v.CHECKED: timedelta(days=3), v.UNNAMED_SINCE: timedelta(hours=25), v.UNNAMED_SEEN: timedelta(hours=1)}
    aged = claim_body(host, victim)
    aged["metadata"]["annotations"] = {key: (now - ago).isoformat() for key, ago in moments.items()}
    cluster().update(CONFIGMAPS, v.NAMESPACE, aged)
    run_sweep()
    world.wait_issued(squatter, "mine-tls", [host])
    left = world.record(victim, "web-tls")
    assert left is not None
    assert left.issued is not None
    assert left.issued.forfeited == (host,)


def _a_second_later(stored: Json) -> bool:
    """Whether what is made now is younger."""
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "clock-"}}
    answer = cluster().create(CONFIGMAPS, stored["metadata"]["namespace"], body, dry_run=True)
    return bool(answer["metadata"]["creationTimestamp"] > stored["metadata"]["creationTimestamp"])


def test_an_ingress_that_was_refused_leaves_no_claim_behind(namespace: str) -> None:
    host = f"refused.{namespace}.test"
    spec = {"hard": {"count/ingresses.networking.k8s.io": "0"}}
    cluster().create(QUOTAS, namespace, {"metadata": {"name": "none"}, "spec": spec})
    wait_for(
        lambda: "hard" in (cluster().get(QUOTAS, namespace, "none").get("status") or {}), what="the quota is in force"
    )
    with pytest.raises(Exception, match="exceeded quota"):
        world.create(namespace, opted_in("refused", host))
    assert holder(cluster(), host) == namespace
    world.wait_phase(namespace, "refused-tls", "Unconfirmed", seconds=90)
    wait_for(lambda: claims.claim_of(cluster(), host) is None, what="the claim is given up")


def kubectl_lines(host: str, namespace: str) -> str:
    """The block of the documentation, for this host and namespace."""
    blocks: list[str] = re.findall(r"```sh\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    [block] = [block for block in blocks if "kubectl apply" in block]
    assert "host=www.example.com namespace=team-b" in block
    return block.replace("www.example.com", host).replace("team-b", namespace)


@pytest.mark.parametrize("way", ["command", "kubectl"])
def test_a_transfer_from_end_to_end(new_namespace: NewNamespace, way: str) -> None:
    former, next_one = new_namespace("former"), new_namespace("next")
    host = f"moved.{former}.test"
    world.create(former, opted_in("old", host))
    world.wait_issued(former, "old-tls", [host])
    assert f"{host} belongs to another namespace: no certificate" in warnings(next_one, opted_in("new", host))
    if way == "command":
        command = [sys.executable, "-m", "issuer_job", "transfer-host", host, next_one]
        subprocess.run(command, check=True, timeout=60)
    else:
        subprocess.run(["bash", "-eo", "pipefail", "-c", kubectl_lines(host, next_one)], check=True, timeout=60)
    make_due(former, "old-tls")
    run_sweep()
    world.wait_issued(next_one, "new-tls", [host])
    assert trouble(former, "old-tls") == ("hostClaimed", host)
    run_sweep()
    held = claims.claim_of(cluster(), host)
    assert held is not None
    assert (held.namespace, held.checked is not None, held.former) == (next_one, True, former)
    left = world.record(former, "old-tls")
    assert left is not None
    assert (left.phase, left.issued and left.issued.forfeited) == ("Failed", (host,))
    stored = cluster().get(CONFIGMAPS, v.NAMESPACE, names.claim(host))
    assert stored["metadata"]["labels"][v.CLAIM_PARENT] == names.claim_parent(host)


@pytest.fixture
def allow_list(namespace: str) -> Iterator[Callable[[str], None]]:
    """Sets the list: everybody may have hosts under `test`, this namespace also those under one more suffix."""

    def write(suffix: str) -> None:
        rules = [{"namespaces": ["*"], "suffixes": ["test"]}]
        if suffix:
            rules.append({"namespaces": [namespace], "suffixes": [suffix]})
        put({"hostPolicy": "allow-list", "allowedHosts": rules})

    with options() as put:
        yield write


def test_the_list_decides_and_an_edit_is_enough(namespace: str, allow_list: Callable[[str], None]) -> None:
    """A host that is asked for before the webhook has read the list is the Job's to refuse: both happen here."""
    suffix, refused = f"{namespace}.example", "is not allowed in this namespace: no certificate"
    allow_list("")
    asked: list[str] = []

    def webhook_refuses() -> bool:
        """By a dry run, so that it is not all asked for that was asked: a second webhook may not have read it yet."""
        name = f"a{len(asked)}"
        if asked and refused not in warnings(namespace, opted_in(name, f"{name}.{suffix}"), "--dry-run=server"):
            return False
        asked.append(name)
        return refused in warnings(namespace, opted_in(name, f"{name}.{suffix}"))

    wait_for(webhook_refuses, what="the webhook has read the list", seconds=OPTIONS_READ_WITHIN)
    run_sweep()
    last = asked[-1]
    assert refused in world.wait_event(namespace, last, "CertificateFailed")
    assert world.record(namespace, f"{last}-tls") is None
    if len(asked) > 1:
        assert trouble(namespace, f"{asked[0]}-tls") == ("hostNotAllowed", f"{asked[0]}.{suffix}")
    allow_list(suffix)
    run_sweep()
    for name in {asked[0], last}:
        world.wait_issued(namespace, f"{name}-tls", [f"{name}.{suffix}"])
        assert claims.claim_of(cluster(), f"{last}.{suffix}") is None


@pytest.mark.parametrize("account", ["job", "sweep"])
def test_certjobs_own_identities_move_no_claim(
    admin: Api, identity: Callable[[str], Api], account: str, namespace: str
) -> None:
    host = f"stays.{namespace}.test"
    where = path(CONFIGMAPS_PATH, v.NAMESPACE, names.claim(host))
    stored = admin.call("POST", path(CONFIGMAPS_PATH, v.NAMESPACE), claim_body(host, namespace))
    assert stored.status == 201, stored
    marked = claim_body(host, namespace, checked=utc_now())
    moved = claim_body(host, "elsewhere", checked=utc_now())
    try:
        assert identity(account).call("PUT", where, marked, dryRun="All").status == 200
        assert_verdict(identity(account).call("PUT", where, moved, dryRun="All"), "certjob-cm: a claim is taken")
        assert admin.call("PUT", where, moved, dryRun="All").status == 200
    finally:
        admin.call("DELETE", where)


@pytest.mark.parametrize("account", ["webhook", "job", "sweep"])
def test_nobody_takes_a_claim_that_is_marked_already(
    identity: Callable[[str], Api], account: str, namespace: str
) -> None:
    host, where = f"hint.{namespace}.test", path(CONFIGMAPS_PATH, v.NAMESPACE)
    assert identity(account).call("POST", where, claim_body(host, namespace), dryRun="All").status == 201
    marked = claim_body(host, namespace, checked=utc_now())
    assert_verdict(identity(account).call("POST", where, marked, dryRun="All"), "certjob-cm: a claim is taken")
