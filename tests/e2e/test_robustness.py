"""Parts that go away, come back, or answer badly."""

from __future__ import annotations

import json
import secrets
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from issuer_job import names
from issuer_job import vocabulary as v
from issuer_job.cluster.api import CONFIGMAPS, JOBS, MUTATING_WEBHOOKS, SECRETS, Json, KubeError
from tests.e2e import world
from tests.e2e.api import Api, kubectl, path, wait_for
from tests.e2e.observe import PODS, added_secret, cluster
from tests.e2e.parts import control, scale, scaled
from tests.e2e.renewals import sweep_until_asked
from tests.e2e.sweeps import run_sweep, sweep_as_job, sweeps_suspended

CHECKOUT = Path(__file__).resolve().parents[2]


def test_webhook_down_the_ingress_is_admitted_and_the_sweep_does_the_rest(namespace: str) -> None:
    host, other = f"away.{namespace}.test", f"bare.{namespace}.test"
    with sweeps_suspended():
        with scaled("certjob-webhook", 0):
            tls = [{"hosts": [host], "secretName": "away-tls"}]
            world.create(namespace, world.manifest("away", [host], tls=tls, tls_acme="true"))
            world.create(namespace, world.manifest("bare", [other], bare=True, tls_acme="true"))
        assert world.record(namespace, "away-tls") is None
        swept = run_sweep()
    assert swept.lines[-1]["event"] == "swept"
    world.wait_issued(namespace, "away-tls", [host])
    assert "kubectl annotate" in world.wait_event(namespace, "bare", "CertificateMissed")
    kubectl("annotate", "ingress", "-n", namespace, "bare", "touched=now")
    world.wait_issued(namespace, added_secret(other), [other])


def test_sweep_with_nothing_to_do_writes_nothing(namespace: str) -> None:
    host = f"calm.{namespace}.test"
    world.create(namespace, world.manifest("calm", [host], tls_acme="true"))
    world.wait_issued(namespace, "calm-tls", [host])
    sweep_until_asked(namespace, "calm-tls")
    before = world.record(namespace, "calm-tls")
    run_sweep()
    assert world.record(namespace, "calm-tls") == before


def test_no_admission_is_lost_while_webhook_pods_are_replaced(namespace: str) -> None:
    """Every Ingress applied meanwhile is patched: with failurePolicy Ignore a lost request would show as no tls."""
    lost: list[str] = []
    done = threading.Event()
    made = 0

    def apply_all_the_time() -> None:
        nonlocal made
        while not done.is_set():
            name = f"roll{made}"
            ingress = world.manifest(name, [f"{name}.{namespace}.test"], bare=True, tls_acme="true")
            stored = json.loads(world.apply(namespace, ingress, "--dry-run=server", "-o", "json"))
            made += 1
            if "tls" not in stored["spec"]:
                lost.append(name)

    worker = threading.Thread(target=apply_all_the_time)
    worker.start()
    kubectl("rollout", "restart", "-n", v.NAMESPACE, "deployment/certjob-webhook")
    kubectl("rollout", "status", "-n", v.NAMESPACE, "deployment/certjob-webhook", "--timeout=110s")
    scale("certjob-webhook", 2)  # until the old pods are gone
    done.set()
    worker.join()
    assert made > 10
    assert lost == []


def test_responder_and_jobs_live_through_an_api_server_restart(namespace: str) -> None:
    host = f"restart.{namespace}.test"
    world.create(namespace, world.manifest("restart", [host], tls_acme="true"))
    control("restart", "kube-apiserver")

    def back() -> bool:
        try:
            return cluster().ready()
        except KubeError:
            return False

    wait_for(back, what="the API server is back", seconds=60)
    world.wait_issued(namespace, "restart-tls", [host])
    world.wait_admitting(namespace)
    after = f"after.{namespace}.test"
    world.create(namespace, world.manifest("after", [after], tls_acme="true"))
    world.wait_issued(namespace, "after-tls", [after])


@pytest.fixture
def half_of_the_nonces_rejected() -> Iterator[None]:
    """Pebble started anew, which also forgets every account and order. No sweep has another account made."""
    with sweeps_suspended():
        control("restart", "pebble", CERTJOB_PEBBLE_NONCEREJECT="50")
        yield
        control("restart", "pebble", CERTJOB_PEBBLE_NONCEREJECT="5")


@pytest.mark.usefixtures("half_of_the_nonces_rejected")
def test_every_order_completes_with_half_of_the_nonces_rejected_and_with_one_new_account(namespace: str) -> None:
    """The CA has lost the account, and several Jobs find that out at once: one new account, used by all."""
    hosts = [f"nonce{number}.{namespace}.test" for number in range(12)]
    for number, host in enumerate(hosts):
        world.create(namespace, world.manifest(f"nonce{number}", [host], tls_acme="true"))
    records = [
        world.wait_issued(namespace, f"nonce{number}-tls", [host], seconds=240) for number, host in enumerate(hosts)
    ]
    accounts = {record.issued.account for record in records if record.issued}
    assert len(accounts) == 1
    assert world.accounts() == 1


def test_account_key_made_by_the_first_job_is_one_for_all(namespace: str) -> None:
    """An issuer that was added after bootstrap, with two Jobs at once."""
    pebble = cluster().get(CONFIGMAPS, v.NAMESPACE, "pebble")
    name = f"second-{secrets.token_hex(3)}"
    metadata = {
        "name": name,
        "namespace": v.NAMESPACE,
        "labels": {v.ISSUER: "true"},
        "annotations": {v.CHECK: "never"},
    }
    cluster().create(CONFIGMAPS, v.NAMESPACE, pebble | {"metadata": metadata})
    hosts = [f"acct{number}.{namespace}.test" for number in range(2)]
    for number, host in enumerate(hosts):
        world.create(namespace, world.manifest(f"acct{number}", [host], issuer=name))
    records = [
        world.wait_issued(namespace, f"acct{number}-tls", [host], seconds=240) for number, host in enumerate(hosts)
    ]
    assert len({record.issued.account for record in records if record.issued}) == 1
    server = pebble["data"][v.ISSUER_KEY].split("server: ")[1].split()[0]
    assert cluster().find(SECRETS, v.NAMESPACE, names.account(name, server, 1)) is not None
    assert cluster().find(SECRETS, v.NAMESPACE, names.account(name, server, 2)) is None
    cluster().delete(CONFIGMAPS, v.NAMESPACE, name)


def test_pod_killed_in_the_middle_goes_on_with_the_same_order(namespace: str, admin: Api) -> None:
    host = f"killed.{namespace}.test"
    with scaled("certjob-responder", 0):  # holds the order: nobody answers its challenge
        world.create(namespace, world.manifest("killed", [host], tls_acme="true"))
        wait_for(lambda: world.phase(namespace, "killed-tls") == "Authorizing", what="the order is made")
        before = world.record(namespace, "killed-tls")
        pods = list(cluster().items(PODS, v.NAMESPACE, labels=f"{v.RECORD_NAMESPACE}={namespace}"))
        for pod in pods:
            gone = admin.call("DELETE", path("pods", v.NAMESPACE, pod["metadata"]["name"]), gracePeriodSeconds="0")
            assert gone.status == 200, gone
    after = world.wait_issued(namespace, "killed-tls", [host], seconds=240)
    assert before is not None
    assert [entry.detail for entry in after.history if entry.event == "ordered"] == [
        entry.detail for entry in before.history if entry.event == "ordered"
    ]


def test_ca_bundle_survives_another_apply() -> None:
    def bundles() -> list[str]:
        configuration = cluster().get(MUTATING_WEBHOOKS, None, v.WEBHOOK_CONFIGURATION)
        return [webhook["clientConfig"].get("caBundle", "") for webhook in configuration["webhooks"]]

    before = bundles()
    assert all(before)
    subprocess.run([str(CHECKOUT / "tests/cluster/install")], check=True, capture_output=True)
    assert bundles() == before


def test_who_had_which_host_is_looked_for_before_the_webhook_is_asked_anything() -> None:
    """As after a new installation, when nothing is sent to it yet."""
    with sweeps_suspended():
        configuration = cluster().get(MUTATING_WEBHOOKS, None, v.WEBHOOK_CONFIGURATION)
        rules = [entry.pop("rules") for entry in configuration["webhooks"]]
        cluster().update(MUTATING_WEBHOOKS, None, configuration)
        lines = [line["event"] for line in sweep_as_job().lines]
        stored = cluster().get(MUTATING_WEBHOOKS, None, v.WEBHOOK_CONFIGURATION)
    assert [entry.get("rules") for entry in stored["webhooks"]] == rules
    assert lines.index("hosts-kept") < lines.index("webhook-configuration")


def test_job_is_cleaned_up_after_ten_minutes(namespace: str) -> None:
    host = f"ttl.{namespace}.test"
    world.create(namespace, world.manifest("ttl", [host], tls_acme="true"))
    record = world.wait_issued(namespace, "ttl-tls", [host])
    job: Json = cluster().get(JOBS, v.NAMESPACE, record.job_name)
    assert job["spec"]["ttlSecondsAfterFinished"] == 600
    assert job["spec"]["template"]["spec"]["activeDeadlineSeconds"] == 300
