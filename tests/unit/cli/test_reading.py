"""`issuers`, `logs` and `version`."""

from __future__ import annotations

import json

import jsonschema
import pytest

from issuer_job import vocabulary as v
from issuer_job.cluster.api import CONFIGMAPS, DEPLOYMENTS, JOBS, POD_TEMPLATES, PODS, Json
from tests.schema import DOCS
from tests.worlds import seen
from tests.worlds.cli import CommandLine, words

ISSUERS = """
NAME        DEFAULT READY CA                          SOLVERS CERTIFICATES ORDERS LEFT CHECKED
letsencrypt yes     yes   acme-v02.api.letsencrypt.org http01 4            300/300     3m
zerossl     no            acme.zerossl.com            dns01   0            300/300     2m
  ExternalAccountKey $.externalAccount: Secret credentials-zerossl lacks eab-hmac-key
"""


@pytest.fixture
def line() -> CommandLine:
    return seen.two_issuers(seen.four_certificates())


def test_issuers_and_what_their_tests_found(line: CommandLine) -> None:
    ran = line.run("issuers")
    assert (ran.code, ran.err) == (0, "")
    assert words(ran.out) == words(ISSUERS)


def test_issuers_as_a_document(line: CommandLine) -> None:
    document = json.loads(line.run("issuers", "-o", "json").out)
    jsonschema.validate(document, json.loads((DOCS / "status.schema.json").read_text()))
    assert [(one["name"], one["ready"], one["certificates"]) for one in document["items"]] == [
        ("letsencrypt", True, 4),
        ("zerossl", False, 0),
    ]
    assert line.run("issuers", "-o", "name").out == "configmap/letsencrypt\nconfigmap/zerossl\n"


def test_a_broken_issuer_is_a_row(line: CommandLine) -> None:
    line.api.add(CONFIGMAPS, v.NAMESPACE, seen.issuer("odd", "servre: x"))
    told = line.run("issuers").out
    assert "  Broken $: " in told
    assert "unknown field `servre`" in told


def test_of_one_namespace_only_its_certificates_are_counted(line: CommandLine) -> None:
    assert line.run("issuers", "-n", "shop").out.splitlines()[1].split()[5] == "2"


LOG = [
    {"time": "2026-11-27T14:02:12.812+00:00", "level": "info", "event": "order-created", "record": "shop.pay-tls"},
    {
        "time": "2026-11-27T14:02:13.017+00:00",
        "level": "info",
        "event": "probe-host",
        "host": "pay.certjob.dev",
        "reason": "Ok",
        "seconds": 0.2,
        "sources": ["Ingress/pay"],
    },
]


def job_with_pod(line: CommandLine, *, phase: str = "Succeeded", pod: str = "a") -> str:
    job = seen.job_of(line, "shop", "pay-tls")
    metadata: Json = {"name": f"{job}-{pod}", "labels": {"job-name": job}}
    line.api.add(PODS, v.NAMESPACE, {"metadata": metadata, "status": {"phase": phase}})
    return f"{job}-{pod}"


def test_logs_are_a_line_for_each_step_of_all_pods(line: CommandLine) -> None:
    line.api.logs[job_with_pod(line)] = [json.dumps(LOG[0]), "not JSON \x1b[31m"]
    line.api.logs[job_with_pod(line, pod="b")] = [json.dumps(LOG[1])]
    ran = line.run("logs", "-n", "shop", "pay-tls")
    assert (ran.code, ran.err) == (0, "")
    assert words(ran.out) == [
        ["14:02:12.8", "order-created"],
        ["not", "JSON", "\\x1b[31m"],
        ["14:02:13.0", "probe-host", "pay.certjob.dev", "Ok", "seconds=0.2", "sources=Ingress/pay"],
    ]
    assert line.run("logs", "-n", "shop", "pay-tls", "--raw").out.splitlines()[0] == json.dumps(LOG[0])


def test_logs_that_are_gone_or_not_there_yet_are_told(line: CommandLine) -> None:
    ran = line.run("logs", "-n", "shop", "pay-tls")
    assert ran.code == 1
    assert "has no pods any more" in ran.err
    job_with_pod(line, phase="Pending")
    assert "has not started yet: use -f" in line.run("logs", "-n", "shop", "pay-tls").err
    assert line.run("logs", "-n", "shop", "shop-tls").err == "error: shop/shop-tls has had no attempt yet\n"


def set_job(line: CommandLine, *, ended: bool) -> str:
    job = seen.job_of(line, "shop", "pay-tls")
    conditions = [{"type": "Complete", "status": "True"}] if ended else []
    line.api.add(JOBS, v.NAMESPACE, {"metadata": {"name": job}, "status": {"conditions": conditions}})
    return job


def test_followed_logs_wait_for_the_next_pod_of_a_job_until_that_has_ended(line: CommandLine) -> None:
    """One has crashed, and the Job takes its time until it makes another."""
    set_job(line, ended=False)
    line.api.logs[job_with_pod(line, phase="Failed")] = ["the first"]
    pauses = 0

    def sleep(seconds: float) -> None:
        nonlocal pauses
        pauses += 1
        if pauses == 2:
            job_with_pod(line, phase="Pending", pod="b")
        elif pauses == 3:
            line.api.logs[job_with_pod(line, phase="Running", pod="b")] = ["the second"]
        elif pauses == 4:
            set_job(line, ended=True)

    line.sleep = sleep
    ran = line.run("logs", "-n", "shop", "pay-tls", "-f")
    assert (ran.code, ran.out, pauses) == (0, "the first\nthe second\n", 4)


def test_followed_logs_of_a_job_that_is_gone_end_and_of_one_that_comes_do_not(line: CommandLine) -> None:
    ran = line.run("logs", "-n", "shop", "pay-tls", "-f")
    assert (ran.code, "has no pods any more" in ran.err) == (1, True)
    seen.put(line.api, seen.launched(seen.wanted("shop", "pay-tls", "pay.certjob.dev")))

    def sleep(seconds: float) -> None:
        set_job(line, ended=True)
        line.api.logs[job_with_pod(line)] = ["it came"]

    line.sleep = sleep
    assert line.run("logs", "-n", "shop", "pay-tls", "-f").out == "it came\n"


def test_version(line: CommandLine) -> None:
    spec = {"containers": [{"image": "registry.certjob.dev:5000/certjob-webhook:0.2.0@sha256:00"}]}
    template = {"spec": spec}
    webhook: Json = {"metadata": {"name": v.WEBHOOK_SERVICE}, "spec": {"template": template}}
    line.api.add(DEPLOYMENTS, v.NAMESPACE, webhook)
    by_digest = {"spec": {"containers": [{"image": "registry.certjob.dev:5000/certjob-job@sha256:00"}]}}
    line.api.add(POD_TEMPLATES, v.NAMESPACE, {"metadata": {"name": v.POD_TEMPLATE}, "template": by_digest})
    ran = line.run("version")
    assert ran.code == 0
    assert ran.out == f"client {v.VERSION}   webhook 0.2.0   job ?   records 2   Kubernetes 1.36.4\n"
    assert line.run("version", "--client").out == f"client {v.VERSION}   records 2\n"
