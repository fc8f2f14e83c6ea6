"""`make fairness`: what a namespace's certificates take, alone and beside another that applies hundreds.

Each round applies a few Ingresses at once; what each takes is the time to the trusted certificate in its Secret.
"""

from __future__ import annotations

import argparse
import secrets
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from issuer_job.cluster.api import INGRESSES
from tests.e2e.observe import Observer, cluster, ingress, namespace
from tests.load.bench import row

PATIENCE = 300.0


def main() -> int:
    """Alone, then beside the others; the 95th percentiles and how many times as long it took."""
    parser = argparse.ArgumentParser(prog="make fairness", description=__doc__)
    parser.add_argument("--few", type=int, default=5, help="Ingresses of the innocent namespace, in each round")
    parser.add_argument("--many", type=int, default=200, help="Ingresses of the other namespace")
    parser.add_argument("--rounds", type=int, default=4, help="rounds, alone and beside the others")
    options = parser.parse_args()
    alone = rounds(options.few, options.rounds)
    row("alone: apply -> trusted certificate", alone)
    with namespace(f"many-{secrets.token_hex(3)}") as other, Observer(other) as seen, ThreadPoolExecutor(8) as pool:
        names = [f"m{number}" for number in range(options.many)]
        start = time.monotonic()
        applied = [
            pool.submit(cluster().create, INGRESSES, other, ingress(name, [f"{name}-{other}.certjob.test"]))
            for name in names
        ]
        while len(seen.moments.at) < 8 and time.monotonic() < start + PATIENCE:
            time.sleep(0.1)  # the first of them are on their way
        beside = rounds(options.few, options.rounds)
        for future in applied:
            future.result()
        done = [seen.moments.at[key] - start for name in names if (key := f"issued {name}-tls") in seen.moments.at]
    row(f"beside {options.many} of another namespace", beside)
    row("the others' that were there by then", done)
    print(f"  issued: {len(beside)} of {options.few * options.rounds}, of the others {len(done)} of {options.many}")
    if alone and beside:
        print(f"  p95 beside: {percentile(beside) / percentile(alone):.2f} times as long as alone")
    return 0 if len(beside) == options.few * options.rounds else 1


def rounds(few: int, count: int) -> list[float]:
    """What each certificate takes, in seconds, of so many rounds one after the other."""
    took: list[float] = []
    for _ in range(count):
        with ExitStack() as stack:
            own = stack.enter_context(namespace(f"few-{secrets.token_hex(3)}"))
            seen = stack.enter_context(Observer(own))
            pool = stack.enter_context(ThreadPoolExecutor(few))
            names = [f"f{number}" for number in range(few)]
            start = time.monotonic()
            for name in names:
                pool.submit(cluster().create, INGRESSES, own, ingress(name, [f"{name}-{own}.certjob.test"]))
            keys = [f"issued {name}-tls" for name in names]
            took += [seen.moments.at[key] - start for key in keys if seen.moments.wait(key, PATIENCE)]
    return took


def percentile(seconds: list[float]) -> float:
    """The 95th."""
    ordered = sorted(seconds)
    return ordered[min(int(len(ordered) * 0.95), len(ordered) - 1)]


if __name__ == "__main__":
    sys.exit(main())
