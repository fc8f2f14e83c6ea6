"""What the view takes with so many certificates: memory, a scrape, pages. No cluster.

python -m tests.load.view [NUMBER ...]
"""

from __future__ import annotations

import sys
import time

from issuer_job import vocabulary as v
from issuer_job.cluster.api import CONFIGMAPS
from tests.fakes.api import FakeApi
from tests.worlds.page import fleet, issuer_objects, issuer_states
from tests.worlds.view_process import Running, running

PAGES = ("/", "/certificates", "/certificates?sort=-expires&page=50", "/certificates?q=host-77", "/certificates.json")
TIMES = 5


def cluster_of(number: int) -> FakeApi:
    """So many certificates, issuers and what is known of them."""
    api = FakeApi()
    for body in (*fleet(number), *issuer_objects(), *issuer_states()):
        api.add(CONFIGMAPS, v.NAMESPACE, body)
    return api


def timed(view: Running, port: int, path: str) -> tuple[float, int]:
    """Seconds, and KiB of the answer."""
    begun = time.perf_counter()
    size = len(view.get(port, path))
    return time.perf_counter() - begun, size // 1024


def main(numbers: list[int]) -> None:
    for number in numbers:
        with running(cluster_of(number)) as view:
            print(f"{number} certificates: {view.memory()} MiB")
            for path in PAGES:
                found = sorted(timed(view, view.page, path) for _ in range(TIMES))
                print(f"  {path:<40} {found[TIMES // 2][0]:.3f} s, at most {found[-1][0]:.3f}, {found[0][1]} KiB")
            seconds, size = timed(view, view.metrics, "/metrics")
            print(f"  {'/metrics':<40} {seconds:.3f} s, {size} KiB; afterwards {view.memory()} MiB")


if __name__ == "__main__":
    main([int(number) for number in sys.argv[1:]] or [100, 10_000])
