"""certjob's own parts on the cluster, as their operator: Deployments scaled, a sweep now."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager

from issuer_job import vocabulary as v
from issuer_job.cluster.api import Resource
from tests.e2e.api import kubectl, wait_for
from tests.observe import PODS, cluster

DEPLOYMENTS = Resource("/apis/apps/v1", "deployments")


@contextmanager
def scaled(deployment: str, replicas: int) -> Iterator[None]:
    """A Deployment with that many replicas, two again afterwards."""
    _scale(deployment, replicas)
    try:
        yield
    finally:
        _scale(deployment, 2)


def _scale(deployment: str, replicas: int) -> None:
    kubectl("scale", "-n", v.NAMESPACE, f"deployment/{deployment}", f"--replicas={replicas}")
    component = deployment.removeprefix("certjob-")

    def settled() -> bool:
        pods = list(cluster().items(PODS, v.NAMESPACE, labels=f"{v.APP_COMPONENT}={component}"))
        ready = cluster().get(DEPLOYMENTS, v.NAMESPACE, deployment).get("status", {}).get("readyReplicas", 0)
        return len(pods) == replicas and ready == replicas

    wait_for(settled, what=f"{replicas} replicas of {deployment}", seconds=90)


def run_sweep() -> str:
    """Start the CronJob's Job now and wait for its end; its log."""
    name = f"sweep-now-{secrets.token_hex(3)}"
    kubectl("create", "job", "-n", v.NAMESPACE, name, "--from=cronjob/certjob-sweep")
    kubectl("wait", "-n", v.NAMESPACE, f"job/{name}", "--for=condition=complete", "--timeout=120s")
    return kubectl("logs", "-n", v.NAMESPACE, f"job/{name}")
