"""What the view takes with so many certificates: memory, a scrape, pages. No cluster.

python -m tests.load.view [NUMBER ...]
"""

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

from issuer_job import vocabulary as v
from issuer_job.cluster.api import CONFIGMAPS
from tests.fakes.api import FakeApi
from tests.fakes.api_server import served_api
from tests.worlds.page import fleet, issuer_objects, issuer_states

PAGES = ("/", "/certificates", "/certificates?sort=-expires&page=50", "/certificates?q=host-77", "/certificates.json")
TIMES = 5
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

    pid: int
    metrics: int
    page: int

    def get(self, port: int, path: str) -> tuple[float, int]:
        """Seconds, and bytes of the answer."""
        begun = time.perf_counter()
        with urlopen(Request(f"http://127.0.0.1:{port}{path}"), timeout=30) as answer:
            size = len(answer.read())
        return time.perf_counter() - begun, size

    def memory(self) -> dict[str, int]:
        """MiB: now, and the most so far."""
        text = Path(f"/proc/{self.pid}/status").read_text()
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
                view = Running(process.pid, said["port"], said["page"])
                with suppress(OSError):
                    view.get(view.metrics, "/readyz")
                    return view
        time.sleep(0.05)
    raise TimeoutError(f"the view was not ready in time: {log.read_text()[-2000:]}")


def cluster_of(number: int) -> FakeApi:
    """So many certificates, issuers and what is known of them."""
    api = FakeApi()
    for body in (*fleet(number), *issuer_objects(), *issuer_states()):
        api.add(CONFIGMAPS, v.NAMESPACE, body)
    return api


def main(numbers: list[int]) -> None:
    for number in numbers:
        begun = time.perf_counter()
        with running(cluster_of(number)) as view:
            print(f"{number} certificates: ready after {time.perf_counter() - begun:.1f} s, {view.memory()} MiB")
            for path in PAGES:
                found = [view.get(view.page, path) for _ in range(TIMES)]
                took = sorted(second for second, _ in found)
                print(f"  {path:<40} {took[TIMES // 2]:.3f} s, at most {took[-1]:.3f}, {found[0][1] // 1024} KiB")
            second, size = view.get(view.metrics, "/metrics")
            print(f"  /metrics {second:.3f} s, {size // 1024} KiB; afterwards {view.memory()} MiB")


if __name__ == "__main__":
    main([int(number) for number in sys.argv[1:]] or [100, 10_000])
