"""`kubectl certjob why` and `describe`, by who may read records."""

from __future__ import annotations

from datetime import timedelta

import pytest

from issuer_job import vocabulary as v
from issuer_job.cluster.api import CONFIGMAPS, INGRESSES, JOBS, NAMESPACES, PODS, SECRETS, Json
from issuer_job.hosts.claims import claim_body
from tests.worlds import seen
from tests.worlds.cli import NOW, CommandLine

RETRY = "kubectl certjob retry -n shop pay-tls"


@pytest.fixture
def line() -> CommandLine:
    return seen.four_certificates()


def facts(text: str) -> dict[str, list[str]]:
    """By their names; those without one belong to the one above."""
    found: dict[str, list[str]] = {}
    name = ""
    for row in text.splitlines():
        name = row[:12].strip() or name
        found.setdefault(name, []).append(row[13:])
    return found


def test_why_is_four_lines(line: CommandLine) -> None:
    ran = line.run("why", "-n", "shop", "pay-tls")
    assert ran.code == 0
    told = facts(ran.out)
    assert list(told) == ["Certificate", "Why", "Next", "Do"]
    assert told["Certificate"] == ["shop/pay-tls, not ready, asked for by Ingress pay since 2026-11-27 14:02 UTC"]
    assert told["Why"][0].endswith('port 80 (connection, pay.certjob.dev): "203.0.113.9: Timeout during connect"')
    assert told["Next"] == [f"by itself at 14:31 UTC (in 4m, 3rd failure); now: {RETRY}"]
    assert told["Do"][0].endswith("; see docs/troubleshooting.md#connection")


def test_why_without_a_name_tells_of_all_that_are_not_ready(line: CommandLine) -> None:
    told = facts(line.run("why", "-A").out)
    assert [one.partition(",")[0] for one in told["Certificate"]] == ["shop/pay-tls", "team-b/www-tls"]
    assert line.run("why", "-n", "mail").err == "No certificate that is not ready.\n"


INGRESS: Json = {"metadata": {"name": "plain"}, "spec": {"rules": [{"host": "plain.certjob.dev"}]}}


@pytest.mark.parametrize("name", ["ingress/plain", "plain.certjob.dev"])
def test_an_ingress_that_does_not_ask_is_told_what_to_say(line: CommandLine, name: str) -> None:
    line.api.add(INGRESSES, "shop", INGRESS)
    told = facts(line.run("why", "-n", "shop", name).out)
    assert told["Why"] == ["it does not ask for one"]
    assert told["Do"] == ["kubectl annotate ingress -n shop plain kubernetes.io/tls-acme=true"]
    line.api.add(NAMESPACES, None, {"metadata": {"name": "shop", "labels": {v.NAMESPACE_ENABLED: "true"}}})
    assert "a sweep launches what it wants" in line.run("why", "-n", "shop", name).out


def test_an_ingress_that_cannot_have_one_is_told_why_as_at_admission(line: CommandLine) -> None:
    wrong = {"metadata": {"name": "plain", "annotations": {v.ISSUER: "nobody"}}, "spec": INGRESS["spec"]}
    line.api.add(INGRESSES, "shop", wrong)
    told = facts(line.run("why", "-n", "shop", "ingress/plain").out)
    assert told["Why"] == ["unknown issuer nobody; known: letsencrypt (UnknownIssuer)"]
    assert told["Do"] == ["see docs/troubleshooting.md#warnings-at-kubectl-apply"]


def test_a_host_of_another_namespace_is_told(line: CommandLine) -> None:
    line.api.add(CONFIGMAPS, v.NAMESPACE, claim_body("www.certjob.dev", "team-a"))
    told = facts(line.run("why", "-n", "nobody", "www.certjob.dev").out)
    assert told == {"Host": ["www.certjob.dev is held by namespace team-a: see docs/hosts.md"]}


def test_what_is_nowhere_is_no(line: CommandLine) -> None:
    ran = line.run("why", "-n", "shop", "nope.certjob.dev", "pay-tls")
    assert ran.code == 1
    assert ran.err == "error: there is no certificate for nope.certjob.dev in namespace shop\n"
    assert "shop/pay-tls" in ran.out


def test_describe_tells_all(line: CommandLine) -> None:
    seen.with_placeholder(line)
    told = facts(line.run("describe", "-n", "shop", "pay-tls", "--no-lookup").out)
    assert told["Secret"] == ["pay-tls: placeholder until 2026-12-04"]
    assert told["Host"] == ["pay.certjob.dev   HTTP-01 by route   claim: shop, not checked yet"]
    assert told["Issuer"] == ["letsencrypt, not tested yet; left: 300 of 300 orders (3 h)"]
    assert [row.split()[0] for row in told["Timeline"]] == ["14:09:10.0", "14:09:22.0", "14:15:22.0", "14:21:22.0"]
    assert told["Timeline"][1].endswith("waiting        connection: 203.0.113.9: Timeout during connect")
    assert told["Timeline"][3].endswith("the same, 3rd time")


def test_describe_says_of_a_secret_that_is_not_certjobs_that_it_is_not(line: CommandLine) -> None:
    line.api.add(SECRETS, "shop", {"metadata": {"name": "pay-tls"}})
    told = facts(line.run("describe", "-n", "shop", "pay-tls", "--no-lookup").out)
    assert told["Secret"] == ["pay-tls: it is not certjob's: it has no label certjob.io/managed=true"]


STATES: dict[str, tuple[Json, str]] = {
    "ended": ({"terminated": {"exitCode": 11}}, "ended with 11 (later), kept until 14:37"),
    "running": ({"running": {"startedAt": (NOW - timedelta(seconds=9)).isoformat()}}, "has run for 9s"),
    "waiting": ({"waiting": {"reason": "ImagePullBackOff"}}, "waits: ImagePullBackOff"),
}


@pytest.mark.parametrize("state", STATES)
def test_describe_says_what_the_job_does_and_how_to_read_its_log(line: CommandLine, state: str) -> None:
    job = seen.job_of(line, "shop", "pay-tls")
    found, text = STATES[state]
    ended = [{"type": "Failed", "lastTransitionTime": NOW.isoformat()}] if state == "ended" else []
    spec = {"ttlSecondsAfterFinished": 600}
    line.api.add(JOBS, v.NAMESPACE, {"metadata": {"name": job}, "spec": spec, "status": {"conditions": ended}})
    pod = {"metadata": {"name": f"{job}-x", "labels": {"job-name": job}}}
    line.api.add(PODS, v.NAMESPACE, pod | {"status": {"containerStatuses": [{"state": found}]}})
    told = facts(line.run("describe", "-n", "shop", "pay-tls", "--no-lookup").out)
    assert told["Job"] == [f"{job} {text}: kubectl certjob logs -n shop pay-tls"]
