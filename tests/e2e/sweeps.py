"""Sweeps on the cluster: one now, one as a Job with other settings, none for a while."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

from issuer_job import vocabulary as v
from issuer_job.cluster.api import JOBS, Json, KubeError, NotFound, Resource
from issuer_job.launch.jobs import is_finished
from tests.e2e.api import kubectl
from tests.e2e.observe import PODS, cluster

CRON_JOBS = Resource("/apis/batch/v1", "cronjobs")
SWEEP = "certjob-sweep"
MOST_SWEEPS = 10
SWEEP_PATIENCE = 300.0
"""Seconds for one sweep: its Job gives up after 240."""


@dataclass(frozen=True)
class Swept:
    """One sweep's Job: seconds from its creation to its end, how its container ended, what it logged, and the last
    word in its pod's status.
    """

    seconds: float
    ending: str
    lines: tuple[Json, ...]
    message: str

    def line(self, event: str) -> Json:
        """The last line of that event, empty without one."""
        return next((line for line in reversed(self.lines) if line.get("event") == event), {})


def sweep_as_job(*, command: Sequence[str] = (), environment: Mapping[str, str] | None = None) -> Swept:
    """Make a Job from the CronJob, wait for its end, and delete it. Raises KubeError."""
    name = f"{SWEEP}-{secrets.token_hex(3)}"
    body = _sweep_job(cluster().get(CRON_JOBS, v.NAMESPACE, SWEEP), name, command, environment or {})
    start = time.monotonic()
    cluster().create(JOBS, v.NAMESPACE, body)
    try:
        while not _has_ended(name) and time.monotonic() - start < SWEEP_PATIENCE:
            time.sleep(0.2)
        seconds = time.monotonic() - start
        ending, message = _ending(name)
        return Swept(seconds, ending, tuple(_log_of(name)), message)
    finally:
        cluster().delete(JOBS, v.NAMESPACE, name)


def _sweep_job(cron_job: Json, name: str, command: Sequence[str], environment: Mapping[str, str]) -> Json:
    template = deepcopy(cron_job["spec"]["jobTemplate"])
    container = template["spec"]["template"]["spec"]["containers"][0]
    if command:
        container["command"] = list(command)
    kept = [entry for entry in container.get("env") or [] if entry["name"] not in environment]
    container["env"] = [*kept, *({"name": key, "value": value} for key, value in environment.items())]
    metadata = {
        "name": name,
        "labels": template.get("metadata", {}).get("labels") or {},
        "annotations": {"cronjob.kubernetes.io/instantiate": "manual"},
    }
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": template["spec"]}


def _has_ended(name: str) -> bool:
    try:
        conditions = cluster().get(JOBS, v.NAMESPACE, name).get("status", {}).get("conditions") or []
    except NotFound:
        raise
    except KubeError:
        return False  # the API server is away for a moment
    return any(c["type"] in {"Complete", "Failed"} and c["status"] == "True" for c in conditions)


def _ending(job: str) -> tuple[str, str]:
    for pod in cluster().items(PODS, v.NAMESPACE, labels=f"job-name={job}"):
        for status in pod.get("status", {}).get("containerStatuses") or []:
            ended = (status.get("state") or {}).get("terminated") or {}
            ending = f"{ended.get('reason', 'still running')} {ended.get('exitCode', '')}".strip()
            return ending, ended.get("message", "")
    return "without a pod", ""


def _log_of(job: str) -> Iterator[Json]:
    done = subprocess.run(
        ["kubectl", "logs", "-n", v.NAMESPACE, f"job/{job}", "--tail=-1"],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    for text in done.stdout.splitlines():
        if text.startswith("{"):
            yield json.loads(text)


@contextmanager
def sweeps_suspended() -> Iterator[None]:
    """The CronJob starts no sweep meanwhile; one that runs is awaited. Only one program at a time can have it so."""
    with (Path(os.environ["CERTJOB_CLUSTER_STATE"]) / "sweeps-suspended").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.exit("another of scale, soak and chaos runs on this cluster")
        before = bool(cluster().get(CRON_JOBS, v.NAMESPACE, SWEEP)["spec"].get("suspend"))
        if before:
            print(f"CronJob {SWEEP} is suspended already, and stays so")
        _suspend(True)
        try:
            wait(_quiet(), SWEEP_PATIENCE)
            yield
        finally:
            _suspend(before)


def _suspend(suspended: bool) -> None:
    patch = json.dumps({"spec": {"suspend": suspended}})
    kubectl("patch", "cronjob", "-n", v.NAMESPACE, SWEEP, "--type=merge", "-p", patch)


def sweep_is_active() -> bool:
    """Whether the CronJob has one at work. Its status lags behind, most of all while others change it."""
    jobs = cluster().items(JOBS, v.NAMESPACE, labels=f"{v.APP_COMPONENT}=sweep")
    owned = (job for job in jobs if any(o["name"] == SWEEP for o in job["metadata"].get("ownerReferences") or []))
    return not all(map(is_finished, owned))


def _quiet() -> Callable[[], bool]:
    """Whether none is at work at two looks in a row: what was just being created is there then."""
    calm = 0

    def is_quiet() -> bool:
        nonlocal calm
        calm = 0 if sweep_is_active() else calm + 1
        return calm > 1

    return is_quiet


def wait(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether it holds within `seconds`; an API server that is away does not hold it."""
    end = time.monotonic() + seconds
    while True:
        try:
            if condition():
                return True
        except KubeError:
            pass
        if time.monotonic() > end:
            return False
        time.sleep(1)


def run_sweep() -> Swept:
    """One sweep, which ends well.

    Not as the CronJob's own, as `kubectl create job --from` makes it: of these it deletes all but the last at once.
    """
    swept = sweep_as_job()
    assert swept.ending == "Completed 0", swept
    return swept


def sweep_until(condition: Callable[[], bool], *, what: str) -> None:
    """One sweep after the other until it holds: one does some things for a part of the certificates alone."""
    for _ in range(MOST_SWEEPS):
        run_sweep()
        if condition():
            return
    raise AssertionError(f"not after {MOST_SWEEPS} sweeps: {what}")
