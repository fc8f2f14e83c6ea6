"""The snapshot over an API server that lists, watches, and goes away."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from msgspec.structs import replace

from issuer_job import vocabulary as v
from issuer_job.cluster.api import CONFIGMAPS, PODS, Cluster, Json, Unreachable
from issuer_job.cluster.following import Timing
from issuer_job.metrics.exposition import Exposition
from issuer_job.record.record import Phase, Record, Renewal
from tests.fakes.api import FakeApi, status
from tests.worlds.samples import NOW, issued, record
from tests.worlds.view import issuer_object, stored, told_in
from webhook.view import snapshot as snapshots
from webhook.view.__main__ import scrape_server
from webhook.view.metrics import gauges
from webhook.view.snapshot import Snapshot
from webhook.view.sweeps import CRON_JOBS, schedule_of

QUICK = Timing(watch=(20, 20), backoff=0.01, backoff_max=0.05)
GOOD = record(Phase.ISSUED, issued=issued(not_after=NOW + timedelta(days=90)))


def cron_job(interval: str = "300", success: str | None = "2026-05-05T09:58:01Z") -> Json:
    containers = [{"name": "sweep", "env": [{"name": "CERTJOB_SWEEP_INTERVAL", "value": interval}]}]
    spec = {"jobTemplate": {"spec": {"template": {"spec": {"containers": containers}}}}}
    return {
        "metadata": {"name": v.SWEEP_CRON_JOB},
        "spec": spec,
        "status": {"lastSuccessfulTime": success} if success else {},
    }


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        threading.Event().wait(0.005)


class View:
    """As the process has it, but for the port."""

    def __init__(self, api: FakeApi) -> None:
        self.api = api
        exposition = Exposition()
        self.snapshot = Snapshot(Cluster(api), exposition, clock=lambda: NOW, timing=QUICK)
        exposition.gauges(lambda: gauges(self.snapshot, now=NOW))
        self.exposition = exposition
        self.server = scrape_server(self.snapshot, exposition, port=0)

    def page(self, path: str) -> int:
        return self.server._page("GET", path).status

    def told(self) -> dict[str, list[dict[str, str]]]:
        return {name: [dict(labels) for labels in found] for name, found in told_in(self.exposition.text()).items()}

    def secrets(self) -> set[str]:
        return {labels["name"] for labels in self.told().get("certificate_ready", [])}


def add(api: FakeApi, made: Record, name: str = "") -> None:
    body = stored(replace(made, secret_name=name or made.secret_name))
    api.add(CONFIGMAPS, v.NAMESPACE, body)


@pytest.fixture
def api() -> FakeApi:
    api = FakeApi()
    api.add(CONFIGMAPS, v.NAMESPACE, issuer_object())
    api.add(CRON_JOBS, v.NAMESPACE, cron_job())
    add(api, GOOD)
    return api


@pytest.fixture
def view(api: FakeApi) -> Iterator[View]:
    view = View(api)
    yield view
    view.snapshot.stop()
    api.close_watches()


@pytest.mark.parametrize("kind", ["record%3D", "issuer%3D", "issuer-state%3D", "pods"])
def test_nothing_is_told_before_everything_was_listed(api: FakeApi, view: View, kind: str) -> None:
    api.fail("GET", kind, status(500, "InternalError"), times=10**6)
    view.snapshot.start()
    until(lambda: sum(one.listed.is_set() for one in view.snapshot._followers) == 3)
    assert (view.page("/livez"), view.page("/readyz"), view.page("/metrics")) == (200, 503, 503)
    api.clear_faults()
    until(view.snapshot.is_complete)
    assert (view.page("/livez"), view.page("/readyz"), view.page("/metrics")) == (200, 200, 200)


def test_what_is_written_is_told(api: FakeApi, view: View) -> None:
    view.snapshot.start()
    until(lambda: view.secrets() == {"web-tls"})
    add(api, GOOD, "more-tls")
    until(lambda: view.secrets() == {"web-tls", "more-tls"})
    api.remove(CONFIGMAPS, v.NAMESPACE, GOOD.name)
    until(lambda: view.secrets() == {"more-tls"})


def test_while_the_api_server_is_away_what_was_known_stays_and_says_its_age(api: FakeApi, view: View) -> None:
    view.snapshot.start()
    until(view.snapshot.is_complete)
    api.fail("WATCH", "", Unreachable("away"), times=10**6)
    api.fail("GET", "", Unreachable("away"), times=10**6)
    api.requests.clear()
    api.close_watches()
    until(lambda: sum(request.method == "GET" for request in api.requests) >= 20)
    heard = view.snapshot.heard_at()
    assert heard <= time.time()
    assert view.page("/metrics") == view.page("/livez") == 200
    assert view.secrets() == {"web-tls"}
    assert view.told()["view_snapshot_timestamp_seconds"] == [{}]
    assert view.snapshot.heard_at() == heard
    add(api, GOOD, "more-tls")
    api.clear_faults()
    until(lambda: view.secrets() == {"web-tls", "more-tls"})
    until(lambda: view.snapshot.heard_at() > heard)


def test_a_bug_is_no_silence(api: FakeApi, view: View, monkeypatch: pytest.MonkeyPatch) -> None:
    view.snapshot.start()
    until(view.snapshot.is_complete)
    monkeypatch.setattr(view.snapshot.pods, "put", lambda pod: 1 // 0)
    monkeypatch.setattr(threading, "excepthook", lambda args: None)
    api.add(PODS, v.NAMESPACE, {"metadata": {"name": "p", "labels": {v.APP_NAME: "certjob"}}})
    until(lambda: view.page("/livez") == 503)


def test_the_schedule_is_read_and_another_interval_has_renewals_due_at_other_times(
    api: FakeApi, view: View, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshots, "SCHEDULE_EVERY", 0.01)
    suggested = Renewal(check_after=NOW, at=NOW + timedelta(days=90))
    late = issued(not_after=NOW + timedelta(days=90), renewal=suggested)
    add(api, record(Phase.ISSUED, issued=late), "late")

    def due() -> float:
        return next(row.renewal for row in view.snapshot.certificates.rows() if row.name == "late")

    view.snapshot.start()
    until(view.snapshot.is_complete)
    told = told_in(view.exposition.text())
    assert told["sweep_interval_seconds"] == {(): 300}
    assert told["sweep_last_success_timestamp_seconds"] == {(): NOW.timestamp() - 119}
    before = due()
    api.add(CRON_JOBS, v.NAMESPACE, cron_job("1200", None))
    until(lambda: told_in(view.exposition.text())["sweep_interval_seconds"] == {(): 1200})
    assert "sweep_last_success_timestamp_seconds" not in view.told()
    api.close_watches()
    until(lambda: due() != before)
    api.remove(CRON_JOBS, v.NAMESPACE, v.SWEEP_CRON_JOB)
    until(lambda: "sweep_interval_seconds" not in view.told())


@pytest.mark.parametrize("interval", ["", "0", "9", "86401", "five", "-300", "1e3"])
def test_an_interval_that_no_sweep_takes_is_the_manifests(interval: str) -> None:
    assert schedule_of(cron_job(interval)).interval == timedelta(seconds=300)


def test_the_view_reads_and_nothing_else(api: FakeApi, view: View) -> None:
    view.snapshot.start()
    until(view.snapshot.is_complete)
    until(lambda: sum(request.method == "WATCH" for request in api.requests) >= 4)
    asked = {(request.method, request.path.partition("/namespaces/")[2]) for request in api.requests}
    listed = {(method, f"certjob/{what}") for method in ("GET", "WATCH") for what in ("configmaps", "pods")}
    assert asked == listed | {("GET", f"certjob/cronjobs/{v.SWEEP_CRON_JOB}")}
