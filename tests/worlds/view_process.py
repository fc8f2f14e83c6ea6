"""The view as a process of its own, at a cluster that is served on loopback."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.request import Request, urlopen

from tests.fakes.api import FakeApi
from tests.fakes.api_server import served_api

PATIENCE = 120.0
RUN = """
import sys
from pathlib import Path
from issuer_job.cluster import transport
transport.SERVICE_ACCOUNT = Path(sys.argv[1])
from webhook.view.__main__ import main
sys.exit(main())
"""


@dataclass(frozen=True)
class Running:
    """A view's process, and its ports."""

    process: subprocess.Popen[bytes]
    metrics: int
    page: int

    def get(self, port: int, path: str) -> str:
        """Raises HTTPError, URLError."""
        with urlopen(Request(f"http://127.0.0.1:{port}{path}"), timeout=30) as answer:
            return str(answer.read().decode())

    def memory(self) -> dict[str, int]:
        """MiB: now, and the most so far."""
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return {name: int(re.findall(rf"{name}:\s+(\d+)", text)[0]) // 1024 for name in ("VmRSS", "VmHWM")}


@contextmanager
def running(api: FakeApi) -> Iterator[Running]:
    """A view of that cluster, once everything was listed."""
    with served_api(api) as server, tempfile.TemporaryDirectory() as directory:
        account = server.service_account(Path(directory))
        environment = {
            **os.environ,
            **server.environment,
            "CERTJOB_METRICS_PORT": "0",
            "CERTJOB_PAGE_PORT": "0",
            "MALLOC_ARENA_MAX": "2",  # as in the manifest
            "MALLOC_MMAP_THRESHOLD_": "131072",
        }
        log = Path(directory) / "log"
        with log.open("wb") as out:
            process = subprocess.Popen([sys.executable, "-c", RUN, account], env=environment, stdout=out)
        try:
            yield _started(process, log)
        finally:
            process.terminate()
            process.wait(10)


def _started(process: subprocess.Popen[bytes], log: Path) -> Running:
    """Waits until everything was listed."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and process.poll() is None:
        for line in log.read_text().splitlines():
            said = json.loads(line)
            if said["event"] == "view-started":
                view = Running(process, said["port"], said["page"])
                with suppress(OSError):
                    view.get(view.metrics, "/readyz")
                    return view
        time.sleep(0.05)
    raise TimeoutError(f"the view was not ready in time: {log.read_text()[-2000:]}")
