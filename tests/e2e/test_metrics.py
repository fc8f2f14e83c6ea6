"""Metrics of the running installation: true, well-formed, and of nobody who may do more than read."""

from __future__ import annotations

import subprocess
import time
import urllib.error
import urllib.request
from datetime import datetime

import pytest

from issuer_job import vocabulary as v
from issuer_job.cluster.api import INGRESSES
from tests.cluster.monitoring import prometheus
from tests.cluster.settings import from_environment
from tests.e2e import world
from tests.e2e.api import Api, kubectl, wait_for
from tests.e2e.metrics import PORTS, scrape, series, told_by_view
from tests.e2e.observe import PODS, added_secret, cluster


@pytest.mark.parametrize("component", list(PORTS))
def test_promtool_finds_nothing_wrong(component: str) -> None:
    for name, text in scrape(component).items():
        promtool = [str(prometheus(from_environment()) / "promtool"), "check", "metrics"]
        done = subprocess.run(promtool, input=text, capture_output=True, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b""), name


def test_a_certificate_is_told_from_its_placeholder_to_its_end(namespace: str) -> None:
    host = f"told.{namespace}.test"
    secret = added_secret(host)
    own = {"namespace": namespace, "name": secret, "issuer_name": "pebble"}
    before = told_by_view()
    world.create(namespace, world.manifest("told", [host], bare=True, tls_acme="true"))
    wait_for(lambda: series("certificate_ready", **own) is not None, what="it is told")
    record = world.wait_issued(namespace, secret, [host])
    wait_for(lambda: series("certificate_ready", **own) == 1, what="it is told to be ready")
    assert record.issued is not None
    assert series("certificate_not_after_timestamp_seconds", **own) == record.issued.not_after.timestamp()
    assert series("certificate_not_before_timestamp_seconds", **own) == record.issued.not_before.timestamp()
    due = series("certificate_renewal_timestamp_seconds", **own)
    assert due is not None
    assert record.issued.not_before.timestamp() < due < record.issued.not_after.timestamp()
    labels = tuple(sorted({"issuer_name": "pebble", "reason": "new", "outcome": "issued"}.items()))
    counted = told_by_view()
    assert counted["attempts_total"][labels] > before.get("attempts_total", {}).get(labels, 0)
    kind = (("issuer_name", "pebble"), ("kind", "new"))
    assert counted["issuance_seconds_count"][kind] >= counted["attempts_total"][labels]
    wait_for(
        lambda: (
            (series("issuance_step_seconds_count", step="Authorizing") or 0)
            > before.get("issuance_step_seconds_count", {}).get((("step", "Authorizing"),), 0)
        ),
        what="its Job's last word is told",
    )
    cluster().delete(INGRESSES, namespace, "told")


def test_what_fails_is_told_with_its_type(namespace: str) -> None:
    host = f"fails.{namespace}.test"
    own = {"namespace": namespace, "name": added_secret(host), "issuer_name": "pebble"}
    world.break_dns(host)
    world.create(namespace, world.manifest("fails", [host], bare=True, tls_acme="true"))

    def failing() -> list[dict[str, str]]:
        found = told_by_view().get("certificate_failures", {})
        return [dict(labels) for labels in found if dict(labels)["name"] == own["name"]]

    wait_for(lambda: bool(failing()), what="its failure is told", seconds=180)
    [labels] = failing()
    assert labels.keys() == {*own, "type"}
    assert series("certificate_ready", **own) == 0
    assert sum(told_by_view()["problems_total"].values()) > 0
    cluster().delete(INGRESSES, namespace, "fails")


def test_the_sweeps_are_told() -> None:
    told = told_by_view()
    assert told["sweep_interval_seconds"] == {(): 300}
    command = ("get", "cronjob", v.SWEEP_CRON_JOB, "-n", v.NAMESPACE, "-o", "jsonpath={.status.lastSuccessfulTime}")
    wait_for(lambda: bool(kubectl(*command)), what="a sweep has ended", seconds=330)
    success = datetime.fromisoformat(kubectl(*command)).timestamp()
    wait_for(lambda: (series("sweep_last_success_timestamp_seconds") or 0) >= success, what="its success is told")
    assert told["policies_in_force"] == {(): 1}
    assert told["sweep_items"][(("what", "records"),)] > 0
    assert told["issuer_ready"][(("issuer_name", "pebble"),)] == 1


def test_what_was_seen_is_young() -> None:
    wait_for(
        lambda: time.time() - (series("view_snapshot_timestamp_seconds") or 0) < 60, what="the snapshot is young"
    )


def test_webhook_and_responder_tell_of_themselves(namespace: str) -> None:
    host = f"asked.{namespace}.test"
    world.create(namespace, world.manifest("asked", [host], bare=True, tls_acme="true"))
    world.wait_issued(namespace, added_secret(host), [host])
    texts = b"".join(scrape("webhook").values())
    assert b'certjob_webhook_requests_total{reason="Wanted"}' in texts
    assert b"certjob_webhook_serving_certificate_not_after_timestamp_seconds 1" in texts
    texts = b"".join(scrape("responder").values())
    assert b'certjob_responder_requests_total{result="answered"}' in texts
    cluster().delete(INGRESSES, namespace, "asked")


def test_at_the_webhooks_other_port_nothing_can_be_launched(namespace: str) -> None:
    [pod, *_] = cluster().items(PODS, v.NAMESPACE, labels=f"{v.APP_COMPONENT}=webhook")
    address = f"http://{pod['status']['podIP']}:{PORTS['webhook']}"
    for path in ("/mutate/annotated", "/livez", "/"):
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(urllib.request.Request(f"{address}{path}", data=b"{}"), timeout=10)


def test_the_view_may_read_here_and_nothing_else(identity: object, admin: Api) -> None:
    user = f"--as=system:serviceaccount:{v.NAMESPACE}:view"

    def can(*what: str) -> bool:
        command = ["kubectl", "auth", "can-i", *what, user]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() == "yes"

    for what in ("configmaps", "pods", "jobs.batch"):
        assert can("list", what, "-n", v.NAMESPACE)
        assert can("watch", what, "-n", v.NAMESPACE)
        for verb in ("create", "update", "patch", "delete"):
            assert not can(verb, what, "-n", v.NAMESPACE)
        assert not can("list", what, "-A")
    assert not can("get", "secrets", "-A")
    assert not can("list", "secrets", "-n", v.NAMESPACE)
    assert can("get", f"cronjobs.batch/{v.SWEEP_CRON_JOB}", "-n", v.NAMESPACE)
    assert not can("list", "cronjobs.batch", "-n", v.NAMESPACE)
