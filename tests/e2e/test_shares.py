"""Whatever one namespace has launched, a sweep and other namespaces have room: with real ResourceQuotas."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from copy import deepcopy

import pytest

from issuer_job import vocabulary as v
from issuer_job.cluster import quota
from issuer_job.cluster.api import JOBS, POD_TEMPLATES, ApiError, Json, Resource
from issuer_job.cluster.changes import change
from issuer_job.cluster.quota import RESOURCE_QUOTAS
from issuer_job.launch.room import JOBS_SHARE
from tests.e2e import world
from tests.e2e.api import NewNamespace, kubectl, wait_for
from tests.e2e.observe import PODS, cluster
from tests.e2e.sweeps import run_sweep

ENOUGH = 60
"""Jobs, so that a fifth of them is a number to tell apart."""


def opted_in(name: str, namespace: str) -> Json:
    """An Ingress for one host with one certificate."""
    host = f"{name}.{namespace}.test"
    return world.manifest(name, [host], tls=[{"hosts": [host], "secretName": f"{name}-tls"}], tls_acme="true")


def put_off(name: str, namespace: str) -> bool:
    """Apply such an Ingress; whether it has to wait."""
    command, body = ["kubectl", "apply", "-n", namespace, "-f", "-"], json.dumps(opted_in(name, namespace))
    said = subprocess.run(command, input=body, capture_output=True, text=True, check=True).stderr
    return "has its turn later" in said


def used(name: str, kind: str) -> int:
    return int(cluster().get(RESOURCE_QUOTAS, v.NAMESPACE, name)["status"]["used"][kind])


@contextmanager
def bounded(name: str, kind: str, most: int) -> Iterator[None]:
    """No more than so many meanwhile."""

    def set_hard(number: str) -> None:
        def edited(body: Json | None) -> Json:
            assert body is not None
            body["spec"]["hard"][kind] = number
            return body

        change(cluster(), RESOURCE_QUOTAS, v.NAMESPACE, name, edited)  # what is used is written there all the time

    def in_force() -> bool:
        stored = cluster().get(RESOURCE_QUOTAS, v.NAMESPACE, name)
        return bool(stored["status"]["hard"][kind] == stored["spec"]["hard"][kind])

    before = cluster().get(RESOURCE_QUOTAS, v.NAMESPACE, name)["spec"]["hard"][kind]
    set_hard(str(most))
    try:
        wait_for(in_force, what="the quota is in force")
        yield
    finally:
        set_hard(before)


def idle_pod(name: str) -> Json:
    """With what the pods of issue Jobs have, a deadline above all."""
    spec = deepcopy(cluster().get(POD_TEMPLATES, v.NAMESPACE, v.POD_TEMPLATE)["template"]["spec"])
    spec["containers"][0] |= {"command": ["python", "-c", "import time; time.sleep(100)"], "env": []}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


@contextmanager
def idle(kind: Resource, bodies: Iterable[Json], run: str) -> Iterator[None]:
    """Objects of a kind in certjob's namespace, as many as the quota takes; they go at the end."""
    try:
        for body in bodies:
            body["metadata"]["labels"] = {"tests/run": run}
            try:
                cluster().create(kind, v.NAMESPACE, body)
            except ApiError as problem:
                if "exceeded quota" not in str(problem):
                    raise
                break
        yield
    finally:
        kubectl("delete", kind.plural, "-n", v.NAMESPACE, "-l", f"tests/run={run}", "--wait=false")


def test_a_sweep_runs_while_issue_jobs_have_all_their_pods(namespace: str, no_sweeps: None) -> None:
    most = used("certjob-issue", quota.PODS) + 2
    pods = (idle_pod(f"{namespace}-{number}") for number in range(most + 1))
    with bounded("certjob-issue", quota.PODS, most), idle(PODS, pods, namespace):
        with pytest.raises(ApiError, match="exceeded quota"):
            cluster().create(PODS, v.NAMESPACE, idle_pod(f"{namespace}-more"))
        assert run_sweep().line("swept")


def test_when_jobs_run_short_the_sweep_still_launches_in_every_namespace(
    new_namespace: NewNamespace, no_sweeps: None
) -> None:
    many, few = new_namespace("many"), new_namespace("few")
    spec = {"suspend": True, "template": {"spec": idle_pod("x")["spec"]}}
    jobs = (
        {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": f"{many}-{number}"}, "spec": spec}
        for number in range(ENOUGH)
    )
    with idle(JOBS, jobs, many):
        wait_for(lambda: used("certjob", quota.JOBS) >= ENOUGH, what="they are counted")
        with bounded("certjob", quota.JOBS, int(used("certjob", quota.JOBS) / JOBS_SHARE)):
            waiting = {namespace: first_that_waits(namespace) for namespace in (many, few)}
            assert world.holds_placeholder(few, f"{waiting[few]}-tls")
            assert run_sweep().line("swept")
            for namespace, name in waiting.items():
                world.wait_issued(namespace, f"{name}-tls", [f"{name}.{namespace}.test"])


def first_that_waits(namespace: str) -> str:
    """The first Ingress that has to wait: each pod of the webhook has read the quota at another moment.

    Finished Jobs of tests some minutes ago go meanwhile, and make room.
    """
    name = next((name for name in map("m{}".format, range(15)) if waits(name, namespace)), "")
    assert name, "the webhook launched more than its share of the Jobs"
    return name


def waits(name: str, namespace: str) -> bool:
    """Whether it has to wait; one that does not is issued first, so that the webhook comes to read the quota."""
    if put_off(name, namespace):
        return True
    world.wait_issued(namespace, f"{name}-tls", [f"{name}.{namespace}.test"])
    return False
