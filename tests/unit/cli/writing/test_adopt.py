"""`kubectl certjob adopt`: the label alone is written, and no data is read."""

from __future__ import annotations

import pytest

from issuer_job import vocabulary as v
from issuer_job.cli.sight.sweeps import CRON_JOBS, NAME
from issuer_job.cluster.api import INGRESSES, SECRETS, Json
from tests.worlds import seen
from tests.worlds.cli import CommandLine

DATA = {"tls.crt": "Y2VydA==", "tls.key": "a2V5"}


def sweep(scheduled: str = "2026-11-27T14:24:20Z", **spec: object) -> Json:
    """The CronJob, whose last Job was to begin then."""
    containers = [{"name": "sweep", "env": [{"name": "CERTJOB_SWEEP_INTERVAL", "value": "300"}]}]
    template = {"spec": {"template": {"spec": {"containers": containers}}}}
    return {
        "metadata": {"name": NAME},
        "spec": {"jobTemplate": template, **spec},
        "status": {"lastScheduleTime": scheduled} if scheduled else {},
    }


@pytest.fixture
def line() -> CommandLine:
    made = seen.four_certificates()
    made.api.add(CRON_JOBS, v.NAMESPACE, sweep())
    made.api.add(SECRETS, "shop", {"metadata": {"name": "legacy-tls", "labels": {"app": "x"}}, "data": DATA})
    served = {"metadata": {"name": "legacy"}, "spec": {"tls": [{"secretName": "legacy-tls", "hosts": ["a.b.dev"]}]}}
    made.api.add(INGRESSES, "shop", served)
    return made


def labels(line: CommandLine, name: str = "legacy-tls") -> dict[str, str]:
    found = line.api.stored(SECRETS, "shop", name)
    assert found is not None
    assert found["data"] == DATA
    return found["metadata"]["labels"]


def test_the_secret_gets_the_label_and_the_next_sweep_looks(line: CommandLine) -> None:
    ran = line.run("adopt", "-n", "shop", "legacy-tls")
    sentence = "handed over; the sweep in 2m looks: a good certificate stays, without an order"
    assert (ran.code, ran.out, ran.err) == (0, f"shop/legacy-tls: {sentence}\n", "")
    assert labels(line) == {"app": "x", v.MANAGED: "true"}
    [patch] = [request for request in line.api.requests if request.method == "PATCH"]
    assert patch.body == {"metadata": {"labels": {v.MANAGED: "true"}}}


@pytest.mark.parametrize("body", [None, sweep(""), sweep(suspend=True)])
def test_where_nobody_knows_when_it_comes_it_is_the_next_sweep(line: CommandLine, body: Json | None) -> None:
    line.api.remove(CRON_JOBS, v.NAMESPACE, NAME)
    if body is not None:
        line.api.add(CRON_JOBS, v.NAMESPACE, body)
    assert "; the next sweep looks" in line.run("adopt", "-n", "shop", "legacy-tls").out


def test_a_sweep_that_is_late_is_counted_on(line: CommandLine) -> None:
    line.api.add(CRON_JOBS, v.NAMESPACE, sweep("2026-11-27T14:00:00Z"))
    assert "the sweep in 2m looks" in line.run("adopt", "-n", "shop", "legacy-tls").out


def test_done_twice_it_is_said(line: CommandLine) -> None:
    line.run("adopt", "-n", "shop", "legacy-tls")
    ran = line.run("adopt", "-n", "shop", "secret/legacy-tls")
    assert (ran.code, ran.out) == (0, "shop/legacy-tls: it is certjob's already\n")


def test_one_that_cert_manager_writes_is_refused(line: CommandLine) -> None:
    metadata = {"name": "legacy-tls", "labels": {"app": "x"}, "annotations": {v.CERT_MANAGER: "legacy"}}
    line.api.add(SECRETS, "shop", {"metadata": metadata, "data": DATA})
    ran = line.run("adopt", "-n", "shop", "legacy-tls")
    where = "see docs/moving.md#two-masters"
    assert (ran.code, ran.out) == (1, "")
    assert ran.err == f"error: shop/legacy-tls: cert-manager writes it, for Certificate legacy: {where}\n"
    assert labels(line) == {"app": "x"}


def test_one_that_is_not_there_is_1_and_the_others_are_done(line: CommandLine) -> None:
    ran = line.run("adopt", "-n", "shop", "nothing-tls", "legacy-tls")
    assert (ran.code, ran.err) == (1, "error: shop/nothing-tls: there is no such Secret\n")
    assert v.MANAGED in labels(line)


def test_what_nothing_asks_for_is_said(line: CommandLine) -> None:
    line.api.remove(INGRESSES, "shop", "legacy")
    ran = line.run("adopt", "-n", "shop", "legacy-tls")
    assert ran.code == 0
    assert ran.err == "shop/legacy-tls: nothing asks for it: until something does, it is left alone\n"


def test_a_dry_run_labels_nothing(line: CommandLine) -> None:
    for how in ("client", "server"):
        assert "handed over" in line.run("adopt", "-n", "shop", "legacy-tls", f"--dry-run={how}").out
    assert labels(line) == {"app": "x"}


def test_tenants_need_no_right_but_to_patch(line: CommandLine) -> None:
    for what in ("/cronjobs/", "/secrets/", "/ingresses", "/mutatingwebhook"):
        line.api.fail("GET", what, seen.no_right("things", "get"), times=9)
    ran = line.run("adopt", "-n", "shop", "legacy-tls")
    assert (ran.code, ran.err) == (0, "")
    assert v.MANAGED in labels(line)
    line.api.fail("PATCH", "/secrets/", seen.no_right("secrets"))
    ran = line.run("adopt", "-n", "shop", "legacy-tls")
    assert (ran.code, ran.out) == (3, "")
    assert 'cannot patch resource "secrets"' in ran.err
