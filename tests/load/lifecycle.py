"""What `scale`, `soak` and `chaos` share: one sweep after the other, records, tidying up."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from base64 import b64decode
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import urlencode

from certs.validity import StoredCertificate
from certs.validity import judge_stored as judge_certificate
from issuer_job import vocabulary as v
from issuer_job.acme_client import AcmeError
from issuer_job.cluster.api import (
    CONFIGMAPS,
    INGRESSES,
    JOBS,
    AlreadyExists,
    ApiError,
    Json,
    KubeError,
    Resource,
    Unreachable,
)
from issuer_job.record.record import ACTIVE, Phase, Record
from issuer_job.record.store import from_config_map
from tests.e2e.observe import cluster
from tests.e2e.sweeps import SWEEP_PATIENCE, Swept, sweep_as_job, wait

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


def records_of(namespaces: Sequence[str]) -> list[Record]:
    """The certificate records of these namespaces. Raises KubeError."""
    found = cluster().items(CONFIGMAPS, v.NAMESPACE, labels=_records_in(namespaces))
    return [from_config_map(config_map) for config_map in found]


def wait_until_idle(namespaces: Sequence[str], seconds: float) -> bool:
    """Whether no attempt in these namespaces is under way any more, within `seconds`."""
    return wait(lambda: not any(record.phase in ACTIVE for record in records_of(namespaces)), seconds)


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


def create_patiently(space: str, body: Json, *, patience: float) -> int:
    """Create an Ingress as kubectl in a loop does: tried again while the API server is away; how many tries failed.

    Raises KubeError for anything else, or when `patience` (seconds) is over.
    """
    end, failed = time.monotonic() + patience, 0
    while True:
        try:
            cluster().create(INGRESSES, space, body)
        except AlreadyExists:
            return failed  # the answer to an earlier try was lost
        except (Unreachable, ApiError) as problem:
            away = isinstance(problem, Unreachable) or problem.status >= 429
            if not away or time.monotonic() > end:
                raise
        else:
            return failed
        failed += 1
        time.sleep(1)


def fate(record: Record | None, secret: Json | None) -> str:
    """What became of one certificate: issued (and the Secret is good), failed (somebody was told), or lost."""
    if record is None:
        return "lost"
    data = (secret or {}).get("data") or {}
    held = StoredCertificate(b64decode(data.get("tls.crt", "")), b64decode(data.get("tls.key", "")))
    good = judge_certificate(held, hosts=record.intent.hosts, now=datetime.now(UTC)).ok
    if record.phase is Phase.ISSUED and good:
        return "issued"
    return "failed" if record.retry is not None else "lost"


def _records_in(namespaces: Sequence[str]) -> str:
    return f"{v.RECORD_NAMESPACE} in ({','.join(namespaces)})"


def delete_all(resource: Resource, namespace: str | None, labels: str) -> None:
    """Delete a collection, however long the API server takes for it. Raises KubeError if something stays."""
    query = urlencode({"labelSelector": labels, "propagationPolicy": "Background"})
    end = time.monotonic() + DELETION_PATIENCE
    while next(cluster().pages(resource, namespace, labels=labels, limit=1)).items:
        if time.monotonic() > end:
            raise KubeError(f"{resource.plural} with {labels[:80]} are not all deleted")
        with suppress(Unreachable):  # the API server cuts what takes it longer than a minute, and has done a part
            cluster().transport.send("DELETE", f"{resource.path(namespace)}?{query}", body=None, timeout=90)
