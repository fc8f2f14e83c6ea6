"""`make chaos`: a burst while Pebble refuses nonces, the webhook's pods are killed and the API server restarts.

The client does what kubectl or a GitOps tool does: it tries again only while the API server is away. An Ingress that
the webhook missed is touched once its Event says so.
"""

from __future__ import annotations

import argparse
import secrets
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field

from issuer_job import vocabulary as v
from issuer_job.acme_client import AcmeError, Order
from issuer_job.cluster.api import EVENTS, INGRESSES, SECRETS, KubeError
from issuer_job.record.record import Phase, Record
from tests.e2e import parts, sweeps
from tests.e2e.api import kubectl
from tests.e2e.observe import added_secret, cluster, ingress, namespace
from tests.e2e.own_issuer import orders_of, own_issuer
from tests.load import lifecycle
from tests.load.lifecycle import Sweeper

MISSED = "CertificateMissed"
LOOK_SECONDS = 2.0
TOUCH_SECONDS = 30.0
"""Between two touches of one Ingress."""
APPLY_PATIENCE = 120.0
ORDER_TRIES = 3


def main() -> int:
    """The exit code is 0 only if every certificate was issued, each with one order."""
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--count", type=int, default=200, help="Ingresses, each with one certificate")
    parser.add_argument("--rate", type=float, default=10, help="Ingresses applied a second")
    parser.add_argument("--nonce-reject", type=int, default=50, help="percent of requests that Pebble refuses")
    parser.add_argument("--interval", type=float, default=30, help="seconds from one sweep to the next")
    parser.add_argument("--minutes", type=float, default=15, help="after which it gives up")
    options = parser.parse_args()
    name = f"chaos-{secrets.token_hex(3)}"
    with ExitStack() as stack:
        stack.callback(parts.control, "restart", "pebble")
        parts.control("restart", "pebble", CERTJOB_PEBBLE_NONCEREJECT=str(options.nonce_reject))
        stack.enter_context(sweeps.sweeps_suspended())
        issuer = stack.enter_context(own_issuer(name))
        stack.enter_context(lifecycle.forgotten([name]))
        burst = Burst(stack.enter_context(namespace(name)), issuer, options.count)
        with Sweeper(options.interval) as sweeper:
            burst.apply(options.rate)
            burst.follow(burst.start + options.minutes * 60)
            seconds = time.monotonic() - burst.start
        lifecycle.wait_until_idle([name], APPLY_PATIENCE)
        good = burst.report(seconds)
        print(f"  sweeps: {len(sweeper.runs)}")
        for problem, times in Counter(sweeper.problems).most_common(10):
            print(f"    {times} x {problem}")
    return 0 if good else 1


@dataclass
class Burst:
    """`count` Ingresses in one namespace, what disturbs them, and what became of them."""

    space: str
    issuer: str
    count: int
    tries_again: int = 0
    missed: set[str] = field(default_factory=set)
    touches: int = 0
    start: float = field(default_factory=time.monotonic)
    _touched: dict[str, float] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def apply(self, rate: float) -> None:
        """All of them at a steady rate, with the disturbances at a quarter, half and three quarters."""
        disturbances = {
            self.count // 4: kill_webhooks,
            self.count // 2: kill_webhooks,
            self.count * 3 // 4: lambda: parts.control("restart", "kube-apiserver"),
        }
        self.start = time.monotonic()
        with ThreadPoolExecutor(32) as pool:
            applied: list[Future[None]] = []
            for number in range(self.count):
                time.sleep(max(self.start + number / rate - time.monotonic(), 0))
                if disturb := disturbances.get(number):
                    applied.append(pool.submit(disturb))
                applied.append(pool.submit(self._apply_one, number))
            for future in applied:
                future.result()
        print(f"{self.count} Ingresses applied in {time.monotonic() - self.start:.1f} s, ", end="")
        print(f"tried again {self.tries_again} times while the API server was away", flush=True)

    def follow(self, end: float) -> None:
        """Until everything is issued or `end` (time.monotonic()); touches what was missed."""
        said = time.monotonic()
        while time.monotonic() < end:
            try:
                records = lifecycle.records_of([self.space])
                if sum(record.phase is Phase.ISSUED for record in records) == self.count:
                    return
                self._touch_the_missed()
            except KubeError:
                continue
            finally:
                time.sleep(LOOK_SECONDS)
            if time.monotonic() - said > 30:
                said = time.monotonic()
                phases = Counter(str(record.phase) for record in records)
                print(f"  {said - self.start:4.0f} s: {dict(phases)}, {self.touches} touches", flush=True)

    def report(self, seconds: float) -> bool:
        """Print what became of them; whether each was issued with one order."""
        records = {record.secret_name: record for record in lifecycle.records_of([self.space])}
        stored = {s["metadata"]["name"]: s for s in cluster().items(SECRETS, self.space, labels=f"{v.MANAGED}=true")}
        orders = with_tries(lambda: orders_of(self.issuer))
        fates = Counter(
            lifecycle.fate(records.get(name), stored.get(name))
            for name in (added_secret(self._host(number), issuer=self.issuer) for number in range(self.count))
        )
        print(f"  issued {fates['issued']}, failed {fates['failed']}, lost {fates['lost']} of {self.count} ", end="")
        print(f"in {seconds:.0f} s; orders {len(orders)}")
        print(f"  missed by the webhook: {len(self.missed)}, touches: {self.touches}")
        twice = {hosts: n for hosts, n in Counter(order.identifiers for order in orders).items() if n > 1}
        for hosts, times in list(twice.items())[:20]:
            states = [order.status for order in orders if order.identifiers == hosts]
            print(f"    {', '.join(hosts)}: {times} orders ({', '.join(states)})")
            print_history(records.get(added_secret(*hosts, issuer=self.issuer)))
        for record in records.values():
            if record.phase is not Phase.ISSUED:
                print(f"    {record.name}: {record.phase}")
                print_history(record)
        return fates["issued"] == len(orders) == self.count

    def _host(self, number: int) -> str:
        return f"c{number}.{self.space}.certjob.test"

    def _apply_one(self, number: int) -> None:
        body = ingress(f"c{number}", [self._host(number)], bare=True)
        body["metadata"]["annotations"][v.ISSUER] = self.issuer
        failed = lifecycle.create_patiently(self.space, body, patience=APPLY_PATIENCE)
        with self._lock:
            self.tries_again += failed

    def _touch_the_missed(self) -> None:
        """As the Event asks: `kubectl annotate`, so that the webhook sees the Ingress again."""
        bare = {i["metadata"]["name"] for i in cluster().items(INGRESSES, self.space) if not i["spec"].get("tls")}
        self.missed |= bare
        events = cluster().items(EVENTS, self.space) if bare else iter(())
        told = {e["regarding"].get("name", "") for e in events if e.get("reason") == MISSED}
        now = time.monotonic()
        due = sorted(name for name in bare & told if now - self._touched.get(name, -TOUCH_SECONDS) >= TOUCH_SECONDS)
        if not due:
            return
        try:
            kubectl("annotate", "ingress", "-n", self.space, *due, f"touched={now:.0f}", "--overwrite")
        except RuntimeError:
            return  # the API server is away: at the next look
        self.touches += len(due)
        self._touched |= dict.fromkeys(due, now)


def print_history(record: Record | None) -> None:
    """What happened to one record."""
    for entry in record.history if record else ():
        print(f"      {entry.at:%H:%M:%S} epoch {entry.epoch} {entry.event}: {entry.detail[:150]}")


def kill_webhooks() -> None:
    """End every webhook pod at once, without a word."""

    def killed() -> bool:
        label = f"{v.APP_COMPONENT}=webhook"
        try:
            kubectl("delete", "pod", "-n", v.NAMESPACE, "-l", label, "--grace-period=0", "--force", "--wait=false")
        except RuntimeError:
            return False  # the API server is away
        return True

    if not sweeps.wait(killed, APPLY_PATIENCE):
        raise KubeError("the webhook's pods could not be killed")


def with_tries(ask: Callable[[], list[Order]]) -> list[Order]:
    """Pebble refuses so many nonces that the client may give up."""
    for _ in range(ORDER_TRIES - 1):
        try:
            return ask()
        except AcmeError as problem:
            print(f"  asking for the orders again: {problem}")
    return ask()


if __name__ == "__main__":
    sys.exit(lifecycle.run(main))
