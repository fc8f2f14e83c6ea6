"""What a webhook pod tells of itself."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from certs.authority import make_authority
from issuer_job.launch.outcome import OutcomeReason
from issuer_job.metrics.exposition import Exposition
from tests.fakes.webhook_parts import ANNOTATED, REQUEST, FakeLauncher, fake_metrics, parts
from tests.worlds.reviews import ingress, review
from tests.worlds.view import told_in
from webhook import metrics as of_webhook
from webhook.app import create_app
from webhook.metrics import WebhookMetrics
from webhook.policy import AdmissionReason
from webhook.serving_certificate import ServingCertificate


def test_reviews_and_launches_are_counted_by_closed_lists() -> None:
    metrics = fake_metrics()
    client = create_app(parts(FakeLauncher()), metrics).test_client()
    asking = ingress()
    assert client.post(ANNOTATED, json=review(asking)).status_code == 200
    assert client.post(REQUEST, json=review(asking)).status_code == 200
    assert client.post(ANNOTATED, data="{", content_type="application/json").status_code == 400
    assert client.post(f"/mutate/annotated/{'0' * 64}", json=review(asking)).status_code == 404
    told = told_in(metrics.exposition.text())
    assert told["webhook_requests_total"] == {
        (("reason", "Wanted"),): 1,
        (("reason", "OtherKind"),): 1,
        (("reason", "BadRequest"),): 1,
    }
    assert told["webhook_launches_total"] == {(("outcome", "Unchanged"),): 1}
    timed = {dict(labels)["entry"]: value for labels, value in told["webhook_request_seconds_count"].items()}
    assert timed == {"annotated": 2, "namespace": 0, "request": 1, "lost": 0}
    assert "webhook_serving_certificate_not_after_timestamp_seconds" not in told


def test_there_are_few_series_whatever_is_asked() -> None:
    outcomes = [*OutcomeReason, "Busy", "Timeout"]
    metrics = fake_metrics()
    create_app(parts(), metrics)
    for reason in (*AdmissionReason, of_webhook.BAD_REQUEST, of_webhook.NO_ROOM):
        metrics.answered(str(reason), map(str, outcomes))
    own = {family.full_name for family in of_webhook.FAMILIES}
    lines = metrics.exposition.text().decode().splitlines()
    assert len([line for line in lines if line.startswith(tuple(own))]) < 80


def test_the_certificate_that_is_shown_is_told(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    serving = ServingCertificate(tmp_path / "tls.crt", tmp_path / "tls.key")
    metrics = WebhookMetrics(serving.not_after)
    name = "webhook_serving_certificate_not_after_timestamp_seconds"
    assert name not in told_in(metrics.exposition.text())
    for days in (1, 30):
        made = make_authority(now=now, lifetime=timedelta(days=days))
        (tmp_path / "tls.crt").write_bytes(made.cert_chain_pems)
        (tmp_path / "tls.key").write_bytes(made.key_pem)
        until = told_in(metrics.exposition.text())[name][()]
        assert until == pytest.approx((now + timedelta(days=days)).timestamp(), abs=2)
    (tmp_path / "tls.key").write_text("just being replaced")
    assert told_in(metrics.exposition.text())[name][()] == until


def test_each_process_says_its_version_and_its_memory() -> None:
    told = told_in(Exposition().text())
    assert list(told["build_info"].values()) == [1]
    assert told["process_resident_memory_bytes"][()] > 1 << 20
