"""`make cli-bench`: what `kubectl certjob status` takes with 100 and with 10,000 certificates, beside kubectl itself.

The records are in a namespace of their own, which the command takes for certjob's: nothing acts on them.
"""

from __future__ import annotations

import argparse
import os
import secrets
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from msgspec.structs import replace

from certs.placeholder import make_placeholder
from issuer_job import vocabulary as v
from issuer_job.cluster.api import CONFIGMAPS, NAMESPACES
from issuer_job.record.record import HISTORY_LENGTH, HistoryEntry, Record
from issuer_job.record.store import to_config_map
from tests.e2e.observe import cluster
from tests.load.lifecycle import THREADS
from tests.worlds import seen

GOALS = {100: (0.5, None), 10_000: (4.0, 200)}
"""Seconds, less kubectl's own, and MiB, by how many certificates there are."""
HELP_GOAL = 0.25


@dataclass(frozen=True)
class Taken:
    """One run of a command, and its descendants': seconds by the wall's and the CPUs' clocks, MiB of the largest."""

    wall: float
    cpu: float
    peak: float


def main() -> int:
    """The exit code is 1 if a goal was missed."""
    parser = argparse.ArgumentParser(prog="make cli-bench", description=__doc__)
    parser.add_argument("--runs", type=int, default=5, help="of each command; the median counts")
    parser.add_argument("--counts", type=int, nargs="+", default=sorted(GOALS), help="certificates")
    options = parser.parse_args()
    certjob = [sys.executable, "-m", "issuer_job.cli"]
    good = report("--help", [*certjob, "--help"], options.runs, goal=(HELP_GOAL, None)) > 0
    with own_namespace() as space:
        made = 0
        for count in sorted(options.counts):
            make(space, range(made, count))
            made = count
            records = f"{v.RECORD}=true"
            own = ["kubectl", "get", "configmaps", "-n", space, "-l", records, "-o", "name"]
            kubectls = report(f"kubectl get, of {count}", own, options.runs)
            asked = [*certjob, "status", "-A", "--certjob-namespace", space]
            goal = GOALS.get(count, (None, None))
            good &= report(f"status of {count}", asked, options.runs, less=kubectls, goal=goal) > 0
            one = [*certjob, "why", "-n", "bench-0", "tls-0", "--certjob-namespace", space]
            report(f"why of one of {count}", one, options.runs)
    return 0 if good else 1


def report(
    what: str,
    command: Sequence[str],
    runs: int,
    *,
    less: float = 0.0,
    goal: tuple[float | None, float | None] = (None, None),
) -> float:
    """Print the medians; seconds by the wall's clock, less what is to be taken off. 0 if a goal was missed."""
    taken = [run(command) for _ in range(runs + 1)][1:]
    wall, cpu, peak = (statistics.median(getattr(one, field) for one in taken) for field in ("wall", "cpu", "peak"))
    own = wall - less
    missed = (goal[0] is not None and own > goal[0]) or (goal[1] is not None and peak > goal[1])
    beside = f", {own:.2f} s beside kubectl's" if less else ""
    verdict = "  MISSED" if missed else ""
    print(f"{what:<26} {wall:.2f} s{beside}, CPU {cpu:.2f} s, peak {peak:.0f} MiB{verdict}", flush=True)
    return 0.0 if missed else max(own, 0.001)


def run(command: Sequence[str]) -> Taken:
    """Run it, its output thrown away. Ends the benchmark if it fails."""
    # What pip has installed is compiled.
    environment = {name: text for name, text in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    start, silent = time.monotonic(), subprocess.DEVNULL
    with subprocess.Popen(command, stdout=silent, stderr=silent, env=environment) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(command)} ended with {process.returncode}")
    return Taken(time.monotonic() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


@contextmanager
def own_namespace() -> Iterator[str]:
    """With an issuer in it; deleted with all that is there."""
    name = f"cli-bench-{secrets.token_hex(3)}"
    cluster().create(NAMESPACES, None, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    try:
        cluster().create(CONFIGMAPS, name, seen.issuer())
        yield name
    finally:
        cluster().delete(NAMESPACES, None, name)


def make(space: str, numbers: range) -> None:
    """The records of these certificates, as large as real ones."""
    leaf = make_placeholder(["www.certjob.test"], now=datetime.now(UTC)).cert_chain_pems.decode()

    def create(number: int) -> None:
        body = to_config_map(record(number, leaf))
        cluster().create(CONFIGMAPS, space, body | {"metadata": body["metadata"] | {"namespace": space}})

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(create, numbers))


def record(number: int, leaf: str) -> Record:
    """One that was renewed a few times; every hundredth fails."""
    host, now = f"{number}.certjob.test", datetime.now(UTC)
    new = seen.wanted(f"bench-{number % 50}", f"tls-{number}", host, f"www.{host}")
    if number % 100 == 0:
        return seen.failing(new)
    made = seen.issued(new, left=timedelta(days=60))
    story = tuple(
        HistoryEntry(at=now - timedelta(days=at), epoch=number + at, event="issued", detail="until then, serial 0a1b")
        for at in range(HISTORY_LENGTH)
    )
    assert made.issued is not None
    return replace(made, issued=replace(made.issued, leaf=leaf), history=story)


if __name__ == "__main__":
    sys.exit(main())
