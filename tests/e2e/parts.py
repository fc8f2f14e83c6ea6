"""certjob's own parts on the cluster, as their operator: Deployments scaled, the cluster's own program run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from issuer_job import vocabulary as v
from issuer_job.cluster import bodies, changes
from issuer_job.cluster.api import CONFIGMAPS, Json, KubeError, Resource
from tests.cluster import processes
from tests.cluster.settings import Settings, from_environment
from tests.e2e.api import Api, kubectl, wait_for
from tests.e2e.observe import PODS, cluster
from tests.e2e.sweeps import sweep_is_active

DEPLOYMENTS = Resource("/apis/apps/v1", "deployments")


@contextmanager
def scaled(deployment: str, replicas: int) -> Iterator[None]:
    """A Deployment with that many replicas, two again afterwards."""
    scale(deployment, replicas)
    try:
        yield
    finally:
        scale(deployment, 2)


def scale(deployment: str, replicas: int) -> None:
    """Returns once just so many pods are there and ready."""
    kubectl("scale", "-n", v.NAMESPACE, f"deployment/{deployment}", f"--replicas={replicas}")
    component = deployment.removeprefix("certjob-")

    def settled() -> bool:
        pods = list(cluster().items(PODS, v.NAMESPACE, labels=f"{v.APP_COMPONENT}={component}"))
        ready = cluster().get(DEPLOYMENTS, v.NAMESPACE, deployment).get("status", {}).get("readyReplicas", 0)
        return len(pods) == replicas and ready == replicas

    wait_for(settled, what=f"{replicas} replicas of {deployment}", seconds=180)


@contextmanager
def options() -> Iterator[Callable[[Json], None]]:
    """Sets the operator's options; afterwards they are as before, and without any nothing of these is in force."""
    names = (v.OPTIONS_CONFIG_MAP, v.OPTIONS_IN_FORCE)
    former = cluster().find(CONFIGMAPS, v.NAMESPACE, v.OPTIONS_CONFIG_MAP)

    def put(data: Json) -> None:
        body = bodies.config_map({"name": v.OPTIONS_CONFIG_MAP, "namespace": v.NAMESPACE}, data)
        changes.change(cluster(), CONFIGMAPS, v.NAMESPACE, v.OPTIONS_CONFIG_MAP, lambda held: body)

    yield lambda chosen: put({v.OPTIONS_KEY: json.dumps(chosen)})
    if former is not None:
        put(former["data"])
        return

    def gone() -> bool:
        for name in names:
            cluster().delete(CONFIGMAPS, v.NAMESPACE, name)
        return not sweep_is_active()  # it may have read them, and would write down that they are in force

    wait_for(gone, what="no options are in force", seconds=60)


CHECKOUT = Path(__file__).absolute().parents[2]


def control(*arguments: str, **environment: str) -> None:
    """Run the cluster's own program, for example `restart pebble`, with these settings."""
    command = ["python3", "-m", "tests.cluster", *arguments]
    subprocess.run(command, cwd=CHECKOUT, env=os.environ | environment, check=True, capture_output=True, timeout=180)


def settings() -> Settings:
    """Of the cluster that this process runs in."""
    return from_environment(os.environ)


@contextmanager
def frozen(part: str) -> Iterator[None]:
    """A part of the cluster stands still: its connections stay open and nobody answers."""
    record = processes.read_records(settings().state)[part]
    os.kill(record.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(record.pid, signal.SIGCONT)


def evict(admin: Api, pod: str) -> bool:
    """As `kubectl drain` does it to a pod of certjob; False if a disruption budget says not now. Raises KubeError."""
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": v.NAMESPACE}}
    answer = admin.call("POST", f"/api/v1/namespaces/{v.NAMESPACE}/pods/{pod}/eviction", body)
    if answer.status not in {201, 404, 429}:
        raise KubeError(f"eviction of {pod}: {answer}")
    return answer.status != 429
