"""Only the API server moves the webhook: a forged review makes nothing, and admissions go on whatever is rotated."""

from __future__ import annotations

import http.client
import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import pytest

from issuer_job import names
from issuer_job import vocabulary as v
from issuer_job.cluster.api import CONFIGMAPS, INGRESSES, JOBS, MUTATING_WEBHOOKS, SECRETS, Json, Resource
from tests.e2e import world
from tests.e2e.api import kubectl, wait_for
from tests.e2e.observe import added_secret, cluster, webhook_path
from tests.e2e.sweeps import run_sweep, sweep_as_job, sweeps_suspended
from tests.worlds.reviews import review

SERVICES = Resource("/api/v1", "services")
FIXED = "/mutate/annotated"
MADE_UP = f"{FIXED}/{'5' * 64}"


def sent(path: str, document: Json) -> int:
    """Straight to the Service, as from any pod of the cluster; the status."""
    address = cluster().get(SERVICES, v.NAMESPACE, v.WEBHOOK_SERVICE)["spec"]["clusterIP"]
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    connection = http.client.HTTPSConnection(address, 443, context=context, timeout=10)
    connection.request("POST", path, json.dumps(document), {"Content-Type": "application/json"})
    status = connection.getresponse().status
    connection.close()
    return status


@pytest.fixture(autouse=True)
def settled(namespace: str) -> None:
    """An upgrade on this cluster has come to its end: what 0.1.0 left is sent nothing, and nobody remembers it."""
    former = cluster().find(MUTATING_WEBHOOKS, None, v.FORMER_WEBHOOK_CONFIGURATION) or {}
    if any("rules" in entry for entry in former.get("webhooks", ())):
        run_sweep()
    unknown = partial(sent, FIXED, forged(namespace, dry_run=True))

    def are_forgotten() -> bool:
        try:
            return unknown() == 404
        except OSError:
            return False  # the way to pods that are new

    wait_for(are_forgotten, what="the paths of 0.1.0 are forgotten", seconds=90)


def forged(namespace: str, *, dry_run: bool = False) -> Json:
    """A review of an Ingress that is nowhere."""
    ghost = world.manifest("ghost", [f"squat.{namespace}.test"], tls_acme="true")
    ghost["metadata"]["namespace"] = namespace
    return review(ghost, namespace=namespace, name="ghost", dryRun=dry_run)


def made_in(namespace: str) -> list[Json | None]:
    return [
        cluster().find(SECRETS, namespace, "ghost-tls"),
        cluster().find(CONFIGMAPS, v.NAMESPACE, names.record(namespace, "ghost-tls")),
        *cluster().items(JOBS, v.NAMESPACE, labels=f"{v.RECORD_NAMESPACE}={namespace}"),
    ]


def test_a_forged_review_makes_nothing_and_ordinary_admissions_go_on(namespace: str) -> None:
    for path in (FIXED, "/mutate/namespace", "/mutate/request", MADE_UP, "/"):
        assert sent(path, forged(namespace)) == 404
    assert made_in(namespace) == [None, None]
    host = f"own.{namespace}.test"
    stored = world.create(namespace, world.manifest("own", [host], bare=True, tls_acme="true"))
    assert stored["spec"]["tls"] == [{"hosts": [host], "secretName": added_secret(host)}]
    assert sent(webhook_path("annotated"), forged(namespace, dry_run=True)) == 200


@contextmanager
def no_admission_lost(namespace: str) -> Iterator[list[str]]:
    """Ingresses are applied all the time, as dry runs; each must get its spec.tls. Yields the names so far."""
    lost: list[str] = []
    made: list[str] = []
    done = threading.Event()

    def apply_all_the_time() -> None:
        while not done.is_set():
            name = f"load{len(made)}"
            ingress = world.manifest(name, [f"{name}.{namespace}.test"], bare=True, tls_acme="true")
            stored = cluster().create(INGRESSES, namespace, ingress, dry_run=True)
            made.append(name)
            if "tls" not in stored["spec"]:
                lost.append(name)

    worker = threading.Thread(target=apply_all_the_time)
    worker.start()
    try:
        yield made
    finally:
        done.set()
        worker.join()
    assert len(made) > 10
    assert lost == []


def bundle_of(name: str) -> set[str]:
    return {entry["clientConfig"]["caBundle"] for entry in cluster().get(MUTATING_WEBHOOKS, None, name)["webhooks"]}


def test_from_the_paths_of_0_1_0_to_those_with_a_token_without_a_lost_admission(namespace: str) -> None:
    """As after an upgrade: its configuration is there and is sent everything."""
    installed = cluster().get(MUTATING_WEBHOOKS, None, v.WEBHOOK_CONFIGURATION)
    entries = json.loads(json.dumps(installed["webhooks"]))
    for entry in entries:
        entry["clientConfig"]["service"]["path"] = "/mutate/" + entry["name"].partition(".")[0]
    metadata = {"name": v.FORMER_WEBHOOK_CONFIGURATION}
    former = {key: installed[key] for key in ("apiVersion", "kind")} | {"metadata": metadata, "webhooks": entries}
    cluster().delete(MUTATING_WEBHOOKS, None, v.FORMER_WEBHOOK_CONFIGURATION)  # what an upgrade has left
    try:
        with sweeps_suspended(), no_admission_lost(namespace):
            cluster().create(MUTATING_WEBHOOKS, None, former)
            assert sent(FIXED, forged(namespace, dry_run=True)) == 200
            run_sweep()
        left = cluster().get(MUTATING_WEBHOOKS, None, v.FORMER_WEBHOOK_CONFIGURATION)
        assert not any("rules" in entry for entry in left["webhooks"])
        assert bundle_of(v.FORMER_WEBHOOK_CONFIGURATION) == bundle_of(v.WEBHOOK_CONFIGURATION)
    finally:
        cluster().delete(MUTATING_WEBHOOKS, None, v.FORMER_WEBHOOK_CONFIGURATION)


def test_a_stolen_ca_is_dropped_by_a_command_without_a_lost_admission(namespace: str) -> None:
    before, path = bundle_of(v.WEBHOOK_CONFIGURATION), webhook_path("annotated")
    with sweeps_suspended(), no_admission_lost(namespace) as made:
        # The kubelet brings the new certificate in a minute or so, new pods have it at once.
        restart = threading.Timer(5, kubectl, ("rollout", "restart", "-n", v.NAMESPACE, "deployment/certjob-webhook"))
        restart.start()
        done = sweep_as_job(command=["python", "-m", "issuer_job", "replace-webhook-ca"])
        restart.join()
        assert done.ending == "Completed 0", done
        so_far = len(made)
        wait_for(lambda: len(made) >= so_far + 10, what="admissions go on")
    assert not before & bundle_of(v.WEBHOOK_CONFIGURATION)
    assert webhook_path("annotated") != path
    kubectl("rollout", "status", "-n", v.NAMESPACE, "deployment/certjob-webhook", "--timeout=110s")
    assert sent(MADE_UP, forged(namespace)) == 404
