"""`make fairness`: what a namespace's certificates take, alone and beside another that applies hundreds.

Each round applies a few Ingresses at once; what each takes is the time to the trusted certificate in its Secret. An
ingress controller needs its time for hundreds of new Ingresses, too, until it has the route of anybody's challenge:
so beside as many that ask for no certificate it is measured as well.
"""

from __future__ import annotations

import argparse
import secrets
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from issuer_job import vocabulary as v
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
    without = beside(options, "false")
    row(f"beside {options.many} that ask for none", without)
    took = beside(options, "true")
    row(f"beside {options.many} that ask for one each", took)
    whole = options.few * options.rounds
    print(f"  issued: {len(alone)}, {len(without)} and {len(took)} of {whole}")
    if alone and without and took:
        print(f"  p95 beside: {percentile(took) / percentile(alone):.2f} times as long as alone,", end=" ")
        print(f"{percentile(took) / percentile(without):.2f} times as beside those that ask for none")
    return 0 if len(took) == whole else 1


def beside(options: argparse.Namespace, asks: str) -> list[float]:
    """What each certificate takes beside the many, whose annotation has that value."""
    with namespace(f"many-{secrets.token_hex(3)}") as other, Observer(other) as seen, ThreadPoolExecutor(8) as pool:
        start = time.monotonic()
        applied = [pool.submit(apply, f"m{number}", other, asks) for number in range(options.many)]
        while sum(future.done() for future in applied) < 8 and time.monotonic() < start + PATIENCE:
            time.sleep(0.1)  # the first of them are on their way
        took = rounds(options.few, options.rounds)
        for future in applied:
            future.result()
        done = [at - start for key, at in dict(seen.moments.at).items() if key.startswith("issued ")]
    print(f"  of the others {len(done)} of {options.many} are issued by then, {time.monotonic() - start:.0f} s")
    return took


def apply(name: str, space: str, asks: str = "true") -> None:
    """An Ingress of one host."""
    body = ingress(name, [f"{name}-{space}.certjob.test"])
    body["metadata"]["annotations"][v.TLS_ACME] = asks
    cluster().create(INGRESSES, space, body)


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
                pool.submit(apply, name, own)
            keys = [f"issued {name}-tls" for name in names]
            took += [seen.moments.at[key] - start for key in keys if seen.moments.wait(key, PATIENCE)]
    return took


def percentile(seconds: list[float]) -> float:
    """The 95th."""
    ordered = sorted(seconds)
    return ordered[min(int(len(ordered) * 0.95), len(ordered) - 1)]


if __name__ == "__main__":
    sys.exit(main())
