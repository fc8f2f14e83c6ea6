"""certjob's own parts on the cluster, as their operator: Deployments scaled, the cluster's own program run."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from issuer_job import vocabulary as v
from issuer_job.cluster.api import Resource
from tests.e2e.api import kubectl, wait_for
from tests.e2e.observe import PODS, cluster

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

    wait_for(settled, what=f"{replicas} replicas of {deployment}", seconds=90)


CHECKOUT = Path(__file__).absolute().parents[2]


def control(*arguments: str, **environment: str) -> None:
    """Run the cluster's own program, for example `restart pebble`, with these settings."""
    command = ["python3", "-m", "tests.cluster", *arguments]
    subprocess.run(command, cwd=CHECKOUT, env=os.environ | environment, check=True, capture_output=True, timeout=180)
