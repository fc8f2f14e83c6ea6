"""What a row does under the cluster: parts stopped and killed, pods' processes killed, sweeps beside it."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import time
from collections.abc import Callable
from contextlib import closing
from datetime import datetime, timedelta

from issuer_job import vocabulary as v
from issuer_job.cluster.api import Cluster, KubeError, Resource
from issuer_job.cluster.retrying import RetryingTransport
from issuer_job.polling import utc_now
from issuer_job.sweep.sweep import sweep
from tests.cluster import cgroups, images, namespace, processes, start
from tests.cluster.processes import Record
from tests.e2e import parts, sweeps
from tests.e2e.api import admin, kubectl
from tests.e2e.attempts import Identities
from tests.e2e.observe import PODS, cluster
from tests.e2e.parts import settings
from tests.e2e.pods import processes_of

NODES = Resource("/api/v1", "nodes")
SWEEP_SECONDS = 120.0
READY_SECONDS = 120.0


def kill_part(name: str) -> None:
    """kill -9 a part of the cluster; `start_part` brings it back."""
    processes.kill(processes.read_records(settings().state)[name])


def start_part(name: str) -> None:
    """Start it, again if it still runs, and wait until it answers."""
    parts.control("restart", name)


def start_quietly(name: str) -> None:
    """Start it and wait for nothing: what it answers is the row's business."""
    start.start_part(settings(), name, _holder())


def _holder() -> Record:
    """Of the cluster's network namespace."""
    holder = namespace.current(settings().state)
    if holder is None:
        raise KubeError("the cluster does not run")
    return holder


def start_node() -> None:
    """containerd, and the kubelet once it answers: without it the kubelet ends."""
    start_quietly("containerd")
    place = str(settings().state / "containerd.sock")

    def answers() -> bool:
        with socket.socket(socket.AF_UNIX) as connection:
            return connection.connect_ex(place) == 0

    if not sweeps.wait(answers, READY_SECONDS):
        raise KubeError("containerd does not answer")
    start_quietly("kubelet")


def load_images() -> None:
    """Bring all images back to a node that may have lost them, the pod sandbox's, too."""
    shutil.rmtree(settings().state / "images", ignore_errors=True)
    images.load(settings(), [images.build_pause(settings())], _holder())
    parts.control("images")


def pressures() -> list[str]:
    """What the node is short of, by its conditions."""
    (node,) = cluster().items(NODES)
    return [c["type"] for c in node["status"]["conditions"] if c["status"] == "True" and c["type"] != "Ready"]


def kill_pods_processes() -> None:
    """kill -9 everything that runs in any pod."""
    mine = {record.pid for record in processes.read_records(settings().state).values()}
    for pid in cgroups.members(settings().cgroup) - mine:
        _kill(pid)


def pods_of(component: str) -> list[str]:
    """Names of the component's pods; evicted ones stay, and are none any more."""
    found = cluster().items(PODS, v.NAMESPACE, labels=f"{v.APP_COMPONENT}={component}")
    return [pod["metadata"]["name"] for pod in found if pod["status"].get("phase") not in {"Failed", "Succeeded"}]


def kill_pod(name: str) -> None:
    """kill -9 the pod's processes; the kubelet starts its container again."""
    for pid in processes_of(cluster().get(PODS, v.NAMESPACE, name)["metadata"]["uid"]):
        _kill(pid)


def evict(name: str) -> bool:
    """See parts.evict."""
    with closing(admin()[1]) as api:
        return parts.evict(api, name)


def ready(component: str, replicas: int = 2, seconds: float = READY_SECONDS) -> bool:
    """Whether just so many pods of the Deployment are there, all of them ready, within so many seconds."""

    def is_ready() -> bool:
        status = cluster().get(parts.DEPLOYMENTS, v.NAMESPACE, f"certjob-{component}").get("status", {})
        return bool(len(pods_of(component)) == status.get("readyReplicas", 0) == replicas)

    return sweeps.wait(is_ready, seconds)


def restart_deployments() -> None:
    """New pods for the two Deployments, so that nothing of them holds an old connection."""
    names = ("deployment/certjob-webhook", "deployment/certjob-responder")
    kubectl("rollout", "restart", "-n", v.NAMESPACE, *names)
    for name in names:
        kubectl("rollout", "status", "-n", v.NAMESPACE, name, "--timeout=110s")


def sweep_beside(*, ahead: timedelta = timedelta(0)) -> v.ExitCode:
    """A sweep in this process with the sweep's own identity: as if on another node, its clock ahead of the others."""

    def clock() -> datetime:
        return utc_now() + ahead

    deadline = time.monotonic() + SWEEP_SECONDS
    transport = RetryingTransport(Identities(admin()[0])["sweep"], deadline)
    return sweep(Cluster(transport), deadline=deadline, clock=clock)


def seconds_until(condition: Callable[[], bool], at_most: float) -> float:
    """How long it took until it held; infinite if it did not."""
    began = time.monotonic()
    return time.monotonic() - began if sweeps.wait(condition, at_most) else float("inf")


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
