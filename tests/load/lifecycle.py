"""What `scale`, `soak` and `chaos` share: sweeps as Jobs, records, tidying up."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode

from issuer_job import vocabulary as v
from issuer_job.acme_client import AcmeError
from issuer_job.cluster.api import CONFIGMAPS, JOBS, Json, KubeError, NotFound, Resource
from issuer_job.record.record import ACTIVE, Record
from issuer_job.record.store import from_config_map
from tests.e2e.api import kubectl
from tests.observe import PODS, cluster

CHECKOUT = Path(__file__).absolute().parents[2]
CRON_JOBS = Resource("/apis/batch/v1", "cronjobs")
SWEEP = "certjob-sweep"
SWEEP_PATIENCE = 300.0
"""Seconds for one sweep: its Job gives up after 240."""
DELETION_PATIENCE = 300.0
THREADS = 8


def run(main: Callable[[], int]) -> int:
    """The exit code of `main`. SIGTERM unwinds like Ctrl-C, so everything is put back; errors are one sentence."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        return main()
    except KeyboardInterrupt:
        print("interrupted; everything is put back", file=sys.stderr)
        return 130
    except subprocess.CalledProcessError as failed:
        print(f"{' '.join(failed.cmd)}: {failed.stderr.decode(errors='replace')[-300:]}", file=sys.stderr)
    except (KubeError, AcmeError, RuntimeError) as problem:
        print(f"{type(problem).__name__}: {problem}", file=sys.stderr)
    return 1


@dataclass(frozen=True)
class Swept:
    """One sweep's Job: seconds from its creation to its end, how its container ended, and what it logged."""

    seconds: float
    ending: str
    lines: tuple[Json, ...]

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
        return Swept(seconds, _ending(name), tuple(_log_of(name)))
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


def _ending(job: str) -> str:
    for pod in cluster().items(PODS, v.NAMESPACE, labels=f"job-name={job}"):
        for status in pod.get("status", {}).get("containerStatuses") or []:
            ended = (status.get("state") or {}).get("terminated") or {}
            return f"{ended.get('reason', 'still running')} {ended.get('exitCode', '')}".strip()
    return "without a pod"


def _log_of(job: str) -> Iterator[Json]:
    done = subprocess.run(
        ["kubectl", "logs", "-n", v.NAMESPACE, f"job/{job}", "--tail=-1"],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    for text in done.stdout.splitlines():
        if text.startswith("{"):
            yield json.loads(text)


@dataclass
class Sweeper:
    """A sweep every `interval` seconds in a thread, none before the last one has ended."""

    interval: float
    runs: list[Swept] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Sweeper:
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join(SWEEP_PATIENCE)

    def _run(self) -> None:
        due = time.monotonic()
        while not self._stop.wait(max(due - time.monotonic(), 0)):
            due = max(due + self.interval, time.monotonic())
            try:
                swept = sweep_as_job(environment={"CERTJOB_SWEEP_INTERVAL": f"{self.interval:.0f}"})
            except (KubeError, subprocess.SubprocessError) as problem:
                self.problems.append(str(problem)[:200])
                continue
            self.runs.append(swept)
            if swept.ending != "Completed 0":
                self.problems.append(f"a sweep ended with {swept.ending}")


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
            wait(lambda: not _active_sweeps(), SWEEP_PATIENCE)
            yield
        finally:
            _suspend(before)


def _suspend(suspended: bool) -> None:
    patch = json.dumps({"spec": {"suspend": suspended}})
    kubectl("patch", "cronjob", "-n", v.NAMESPACE, SWEEP, "--type=merge", "-p", patch)


def _active_sweeps() -> bool:
    return bool(cluster().get(CRON_JOBS, v.NAMESPACE, SWEEP).get("status", {}).get("active"))


def records_of(namespaces: Sequence[str]) -> list[Record]:
    """The certificate records of these namespaces. Raises KubeError."""
    found = cluster().items(CONFIGMAPS, v.NAMESPACE, labels=_records_in(namespaces))
    return [from_config_map(config_map) for config_map in found]


def wait_until_idle(namespaces: Sequence[str], seconds: float) -> bool:
    """Whether no attempt in these namespaces is under way any more, within `seconds`."""
    return wait(lambda: not any(record.phase in ACTIVE for record in records_of(namespaces)), seconds)


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


@contextmanager
def forgotten(namespaces: Sequence[str]) -> Iterator[None]:
    """Afterwards certjob's namespace holds nothing of these namespaces: no records, claims and Jobs."""
    try:
        yield
    finally:
        delete_all(JOBS, v.NAMESPACE, _records_in(namespaces))
        delete_all(CONFIGMAPS, v.NAMESPACE, _records_in(namespaces))
        claims = cluster().items(CONFIGMAPS, v.NAMESPACE, labels=f"{v.CLAIM}=true")
        mine = [c["metadata"]["name"] for c in claims if c["data"].get("namespace") in set(namespaces)]
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(lambda name: cluster().delete(CONFIGMAPS, v.NAMESPACE, name), mine))


def _records_in(namespaces: Sequence[str]) -> str:
    return f"{v.RECORD_NAMESPACE} in ({','.join(namespaces)})"


def delete_all(resource: Resource, namespace: str | None, labels: str) -> None:
    """Delete a collection, however long the API server takes for it. Raises KubeError if something stays."""
    query = urlencode({"labelSelector": labels, "propagationPolicy": "Background"})
    end = time.monotonic() + DELETION_PATIENCE
    while next(cluster().pages(resource, namespace, labels=labels, limit=1)).get("items"):
        if time.monotonic() > end:
            raise KubeError(f"{resource.plural} with {labels[:80]} are not all deleted")
        cluster().transport.send("DELETE", f"{resource.path(namespace)}?{query}", body=None, timeout=90)


def control(*arguments: str, **environment: str) -> None:
    """Run the cluster's own program, for example `restart pebble`, with these settings."""
    command = ["python3", "-m", "tests.cluster", *arguments]
    subprocess.run(command, cwd=CHECKOUT, env=os.environ | environment, check=True, capture_output=True, timeout=180)
