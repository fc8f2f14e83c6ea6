"""One sweep in this process, measured: API calls by kind, writes, seconds, CPU and peak memory as the last log line.

It needs nothing but certjob's own image: `tests.load.scale` runs the text of this file in a pod, too. With
CERTJOB_SERVICE_ACCOUNT a directory stands in for the pod's service account; with CERTJOB_TRACE the allocations at the
highest point are listed.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
import tracemalloc
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from issuer_job.__main__ import main
from issuer_job.cluster import transport
from issuer_job.cluster.api import Response

MOST_WRITES = 2000
FRAMES = 12
PLUMBING = ("issuer_job/cluster/api.py", "issuer_job/cluster/transport.py", "issuer_job/cluster/retrying.py")
SAMPLE_SECONDS = 0.2
GROWTH = 1.4
"""A snapshot takes seconds, so it is taken only when the memory has grown by so much since the last one."""


class CountingTransport(transport.HttpTransport):
    """Counts every request, those that are tried again each time."""

    calls: Counter[str] = Counter()
    writes: list[str] = []
    received = 0
    lock = threading.Lock()

    def send(self, method: str, path: str, *, body: bytes | None, timeout: float) -> Response:
        """See Transport."""
        response = super().send(method, path, body=body, timeout=timeout)
        kind, name = _kind(method, path, body)
        changed = method != "GET" and "dryRun=" not in path and response.status < 300
        with self.lock:
            self.calls[kind if response.status < 300 else f"{kind} ({response.status})"] += 1
            CountingTransport.received += len(response.body)
            if changed:
                self.writes.append(f"{kind} {name}")
        return response


def _kind(method: str, path: str, body: bytes | None) -> tuple[str, str]:
    """Verb, resource and selected label of a request, and `NAMESPACE/NAME` of its object."""
    bare, _, query = path.partition("?")
    options = parse_qs(query)
    parts = bare.split("/")[3 if bare.startswith("/api/") else 4 :]
    namespace = ""
    if len(parts) > 2 and parts[0] == "namespaces":
        namespace, parts = parts[1], parts[2:]
    name = parts[1] if len(parts) > 1 else ""
    if not name and body:
        name = json.loads(body).get("metadata", {}).get("name", "")
    verb = "LIST" if method == "GET" and not name else method
    label = options.get("labelSelector", [""])[0].partition("=")[0]
    words = [verb, parts[0], label, "dry run" if "dryRun" in options else ""]
    return " ".join(filter(None, words)), f"{namespace}/{name}"


class HighestPoint:
    """Watches the traced memory in a thread and keeps the allocations near its highest point."""

    def __init__(self) -> None:
        self.snapshot: tracemalloc.Snapshot | None = None
        self._traced = 1
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while True:
            time.sleep(SAMPLE_SECONDS)
            traced, _ = tracemalloc.get_traced_memory()
            if traced > self._traced * GROWTH:
                self._traced, self.snapshot = traced, tracemalloc.take_snapshot()

    def by_place(self, most: int = 12) -> list[str]:
        """MiB by the line of certjob that is nearest to the allocation, and more than sends requests."""
        sizes: Counter[str] = Counter()
        for statistic in (self.snapshot or tracemalloc.take_snapshot()).statistics("traceback"):
            places = [f"{'/'.join(frame.filename.split('/')[-2:])}:{frame.lineno}" for frame in statistic.traceback]
            own = [p for p in places if p.startswith(("issuer_job/", "certs/")) and not p.startswith(PLUMBING)]
            sizes[own[-1] if own else "imports and libraries"] += statistic.size
        return [f"{size / 2**20:.1f} MiB {place}" for place, size in sizes.most_common(most)]


def _peak_mib() -> int:
    """Of this program alone; ru_maxrss begins with what the parent had."""
    text = Path("/proc/self/status").read_text()
    return int(text.partition("VmHWM:")[2].split()[0]) // 1024


def run() -> int:
    """Sweep, then print what it took."""
    if directory := os.environ.get("CERTJOB_SERVICE_ACCOUNT"):
        transport.SERVICE_ACCOUNT = Path(directory)
    vars(transport)["HttpTransport"] = CountingTransport
    trace = "CERTJOB_TRACE" in os.environ
    if trace:
        tracemalloc.start(FRAMES)
    highest = HighestPoint() if trace else None
    start = time.monotonic()
    exit_code = main(["sweep"])
    measured: dict[str, Any] = {
        "event": "measured",
        "exit_code": exit_code,
        "seconds": round(time.monotonic() - start, 2),
        "cpu_seconds": round(time.process_time(), 2),
        "peak_mib": _peak_mib(),
        "received_mib": round(CountingTransport.received / 2**20, 1),
        "calls": dict(CountingTransport.calls.most_common()),
        "writes": CountingTransport.writes[:MOST_WRITES],
        "memory": highest.by_place() if highest else [],
    }
    print(json.dumps(measured), flush=True)
    return exit_code


if __name__ == "__main__":
    sys.exit(run())
