"""What must not be overwritten, and what happens when an order cannot succeed."""

from __future__ import annotations

from base64 import b64encode
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from certs.placeholder import make_placeholder
from issuer_job.cluster.api import INGRESSES, SECRETS, Json, Resource
from issuer_job.record.record import Record
from tests.e2e import world
from tests.e2e.api import NewNamespace, kubectl, wait_for
from tests.e2e.observe import cluster


def _secret(name: str, kind: str, data: dict[str, bytes], **more: bool) -> Json:
    encoded = {key: b64encode(value).decode() for key, value in data.items()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "type": kind, "data": encoded} | more


def ordered(record: Record) -> bool:
    """Whether newOrder may have happened: that is written down before it is sent."""
    return record.attempt is not None and (record.attempt.ordered or bool(record.attempt.order_url))


def _tls_data() -> dict[str, bytes]:
    made = make_placeholder(["someone.else.test"], now=datetime.now(UTC))
    return {"tls.crt": made.cert_chain_pems, "tls.key": made.key_pem}


@pytest.mark.parametrize("kind", ["Opaque", "kubernetes.io/tls"])
def test_foreign_secret_is_untouched_and_the_event_says_so(namespace: str, kind: str) -> None:
    data = _tls_data() if kind == "kubernetes.io/tls" else {"password": b"hunter2"}
    before = cluster().create(SECRETS, namespace, _secret("taken-tls", kind, data))
    world.create(namespace, world.manifest("taken", [f"taken.{namespace}.test"], tls_acme="true"))
    record = world.wait_phase(namespace, "taken-tls", "Failed")
    event = world.wait_event(namespace, "taken", "CertificateFailed")
    assert event.startswith("Warning")
    assert "taken-tls" in event
    assert record.retry is not None
    assert record.retry.problem.type == "foreignSecret"
    assert cluster().get(SECRETS, namespace, "taken-tls") == before
    assert not ordered(record), "no order is spent"


def test_secret_handed_over_by_its_owner_is_used(namespace: str) -> None:
    host = f"handed.{namespace}.test"
    handed = _secret("handed-tls", "kubernetes.io/tls", _tls_data())
    handed["metadata"] |= {"labels": {"certjob.io/managed": "true", "team": "blue"}, "annotations": {"note": "keep"}}
    cluster().create(SECRETS, namespace, handed)
    world.create(namespace, world.manifest("handed", [host], tls_acme="true"))
    world.wait_issued(namespace, "handed-tls", [host])
    metadata = cluster().get(SECRETS, namespace, "handed-tls")["metadata"]
    assert metadata["labels"]["team"] == "blue"
    assert metadata["annotations"]["note"] == "keep"


def test_failed_validation_names_host_and_type(namespace: str) -> None:
    host = f"broken.{namespace}.test"
    world.break_dns(host)
    world.create(namespace, world.manifest("broken", [host], tls_acme="true"))
    record = world.wait_phase(namespace, "broken-tls", "Waiting")
    event = world.wait_event(namespace, "broken", "CertificateFailed")
    world.mend_dns(host)
    assert event.startswith("Warning")
    assert record.retry is not None
    problem = record.retry.problem
    assert problem.host == host
    assert host in event
    assert problem.type in event
    assert problem.detail[:60] in event
    assert record.retry.not_before is not None
    logged = next(line for line in world.job_logs(namespace) if line["event"] == "failed")
    assert (logged["host"], logged["type"]) == (host, problem.type)
    assert world.holds_placeholder(namespace, "broken-tls")


def test_one_of_two_hosts_failing_leaves_the_placeholder(namespace: str) -> None:
    good, bad = f"good.{namespace}.test", f"bad.{namespace}.test"
    world.break_dns(bad)
    world.create(namespace, world.manifest("pair", [good, bad], tls_acme="true"))
    record = world.wait_phase(namespace, "pair-tls", "Waiting")
    world.mend_dns(bad)
    assert record.retry is not None
    assert record.retry.problem.host == bad
    assert world.holds_placeholder(namespace, "pair-tls")


def test_added_host_failing_leaves_the_good_certificate(namespace: str) -> None:
    good, bad = f"good.{namespace}.test", f"bad.{namespace}.test"
    world.apply(namespace, world.manifest("kept", [good], tls_acme="true"))
    world.wait_issued(namespace, "kept-tls", [good])
    before = cluster().get(SECRETS, namespace, "kept-tls")
    world.break_dns(bad)
    world.apply(namespace, world.manifest("kept", [good, bad], tls_acme="true"))
    record = world.wait_phase(namespace, "kept-tls", "Waiting")
    world.mend_dns(bad)
    assert record.state == "Issued", "the label says what is in the Secret"
    assert cluster().get(SECRETS, namespace, "kept-tls") == before


def test_rejected_host_is_permanent(namespace: str) -> None:
    host = f"{namespace}.blocked-domain.example"
    world.create(namespace, world.manifest("blocked", [host], tls_acme="true"))
    record = world.wait_phase(namespace, "blocked-tls", "Failed")
    assert record.retry is not None
    assert record.retry.problem.type == "rejectedIdentifier"
    assert host in world.wait_event(namespace, "blocked", "CertificateFailed")


def test_ingress_deleted_before_the_job_ran_makes_no_order(namespace: str) -> None:
    world.create(namespace, world.manifest("gone", [f"gone.{namespace}.test"], tls_acme="true"))
    cluster().delete(INGRESSES, namespace, "gone")
    assert not ordered(world.wait_phase(namespace, "gone-tls", "Unconfirmed", seconds=90))
    assert not [line for line in world.job_logs(namespace) if line["event"] == "order-created"]


def test_ingress_refused_after_admission_makes_no_order(namespace: str) -> None:
    """Quota is checked after the webhook has run."""
    kubectl("create", "quota", "none", "-n", namespace, "--hard=count/ingresses.networking.k8s.io=0")
    quota = Resource("/api/v1", "resourcequotas")
    wait_for(
        lambda: "hard" in (cluster().get(quota, namespace, "none").get("status") or {}), what="the quota is in force"
    )
    with pytest.raises(RuntimeError, match="exceeded quota"):
        world.apply(namespace, world.manifest("refused", [f"refused.{namespace}.test"], tls_acme="true"))
    assert not ordered(world.wait_phase(namespace, "refused-tls", "Unconfirmed", seconds=90))


def test_first_claim_of_a_host_wins(new_namespace: NewNamespace) -> None:
    one, two = new_namespace("claim"), new_namespace("claim")
    host = f"contested.{one}.test"
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda ns: world.create(ns, world.manifest("site", [host], tls_acme="true")), (one, two)))
    wait_for(
        lambda: "Issued" in {world.phase(one, "site-tls"), world.phase(two, "site-tls")},
        what="one of the two has its certificate",
        seconds=120,
    )
    winner, loser = (one, two) if world.phase(one, "site-tls") == "Issued" else (two, one)
    world.wait_issued(winner, "site-tls", [host])
    assert world.record(loser, "site-tls") is None
    assert world.leaf(loser, "site-tls") is None
