"""`make soak`: certificates of ten minutes, renewed again and again, with everybody's Secrets and hosts watched.

Meanwhile the CronJob is suspended: the sweeps run here, as Jobs made from it, so that they come often enough.
"""

from __future__ import annotations

import argparse
import secrets
import statistics
import sys
import threading
import time
from base64 import b64decode
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from certs.chain import has_key, parse_chain
from certs.errors import CertError
from certs.keys import key_from_pem
from certs.placeholder import is_placeholder
from issuer_job import vocabulary as v
from issuer_job.cluster.api import INGRESSES, SECRETS, Json, KubeError
from tests.e2e import sweeps
from tests.e2e.observe import cluster, ingress, namespace, served
from tests.e2e.own_issuer import orders_of, own_issuer
from tests.e2e.sweeps import Swept
from tests.load import lifecycle
from tests.load.lifecycle import Sweeper

PROFILE = "ten-minutes"
LOOK_SECONDS = 2.0
HANDSHAKE_SECONDS = 10.0
FIRST_ISSUE_PATIENCE = 180.0
LAST_ATTEMPTS_PATIENCE = 120.0
MOST_FAULTS = 50


def main() -> int:
    """The exit code is 1 if a certificate was not good, a handshake failed, or orders and certificates differ."""
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--count", type=int, default=60, help="Ingresses, each with one certificate")
    parser.add_argument("--minutes", type=float, default=40, help="how long, from the first certificates on")
    parser.add_argument("--interval", type=float, default=30, help="seconds from one sweep to the next")
    options = parser.parse_args()
    name = f"soak-{secrets.token_hex(3)}"
    hosts = {f"s{number}-tls": f"s{number}.{name}.certjob.test" for number in range(options.count)}
    with ExitStack() as stack:
        stack.enter_context(sweeps.sweeps_suspended())
        issuer = stack.enter_context(own_issuer(name, profile=PROFILE))
        stack.enter_context(lifecycle.forgotten([name]))
        space = stack.enter_context(namespace(name))
        seen = Certificates()
        answers = Handshakes(list(hosts.values()))
        apply_all(space, issuer, hosts)
        with Every(LOOK_SECONDS, lambda: seen.look(space)):
            if not sweeps.wait(lambda: len(seen.serials) == options.count, FIRST_ISSUE_PATIENCE):
                print(f"{options.count - len(seen.serials)} certificates were not issued at first; going on")
            print(f"{len(seen.serials)} certificates issued; {options.minutes:g} minutes of renewals", flush=True)
            with Every(HANDSHAKE_SECONDS, answers.look), Sweeper(options.interval) as sweeper:
                let_pass(options.minutes * 60, seen, sweeper)
            idle = lifecycle.wait_until_idle([space], LAST_ATTEMPTS_PATIENCE)
            time.sleep(2 * LOOK_SECONDS)  # what was installed last is seen, too
        orders = orders_of(issuer)
        print_sweeps(sweeper.runs, sweeper.problems)
        good = judge(seen, answers, [order.status for order in orders], options.count)
        if not idle:
            print("  some attempts were still under way at the end")
    return 0 if good else 1


def apply_all(space: str, issuer: str, hosts: dict[str, str]) -> None:
    """One Ingress for each Secret, as a user would write it."""

    def apply(secret: str) -> None:
        body = ingress(secret.removesuffix("-tls"), [hosts[secret]])
        body["metadata"]["annotations"][v.ISSUER] = issuer
        cluster().create(INGRESSES, space, body)

    with ThreadPoolExecutor(lifecycle.THREADS) as pool:
        list(pool.map(apply, hosts))


def let_pass(seconds: float, seen: Certificates, sweeper: Sweeper) -> None:
    """Wait, and say every minute how it goes."""
    start = time.monotonic()
    while (gone := time.monotonic() - start) < seconds:
        time.sleep(min(60, seconds - gone))
        print(
            f"  {(time.monotonic() - start) / 60:5.1f} min: {len(sweeper.runs)} sweeps, {seen.renewals} renewals, "
            f"least time left {seen.least_left_seconds:.0f} s, {sum(seen.faults.values())} faults",
            flush=True,
        )


def judge(seen: Certificates, answers: Handshakes, orders: Sequence[str], count: int) -> bool:
    """Print what was seen; whether all of it was as it has to be."""
    renewals = [len(serials) - 1 for serials in seen.serials.values()]
    certificates = sum(len(serials) for serials in seen.serials.values())
    if renewals:
        print(f"  renewals per certificate: min {min(renewals)}, ", end="")
        print(f"mean {statistics.mean(renewals):.1f}, max {max(renewals)}")
    print(f"  orders: {len(orders)} for {certificates} certificates ", end="")
    print(f"({', '.join(f'{n} {status}' for status, n in Counter(orders).items())})")
    print(f"  least time left in a Secret: {seen.least_left_seconds:.0f} s")
    print(f"  handshakes: {answers.made}, failed: {sum(answers.failed.values())}", end="")
    print(f", hosts never served: {len(answers.hosts) - len(answers.trusted)}")
    for what, times in (seen.faults + answers.failed).most_common(MOST_FAULTS):
        print(f"    {times} x {what}")
    if seen.unanswered:
        print(f"  looks that the API server did not answer: {seen.unanswered}")
    complete = len(seen.serials) == count == len(answers.trusted)
    return complete and not seen.faults and not answers.failed and len(orders) == certificates


def print_sweeps(runs: Sequence[Swept], problems: Sequence[str]) -> None:
    """How many, how long, and what they did."""
    if runs:
        seconds = sorted(run.seconds for run in runs)
        middle, most = statistics.median(seconds), seconds[-1]
        print(f"  sweeps: {len(runs)}, with the start of their pods p50 {middle:.1f} s, max {most:.1f} s")
    done: Counter[str] = Counter()
    for run in runs:
        swept = run.line("swept").items()
        done.update({key: n for key, n in swept if isinstance(n, int) and n and key != "records"})
    print(f"  what they did: {dict(done)}")
    for problem, times in Counter(problems).most_common(10):
        print(f"    {times} x {problem}")


@dataclass
class Certificates:
    """What the Secrets held: serial numbers in the order seen, the least time left, and everything that was wrong."""

    serials: dict[str, list[int]] = field(default_factory=dict)
    least_left: timedelta = timedelta.max
    faults: Counter[str] = field(default_factory=Counter)
    unanswered: int = 0

    @property
    def renewals(self) -> int:
        """Certificates after each Secret's first."""
        return sum(len(serials) - 1 for serials in list(self.serials.values()))

    @property
    def least_left_seconds(self) -> float:
        """Of all certificates at any look."""
        return self.least_left.total_seconds()

    def look(self, space: str) -> None:
        """Every Secret of the namespace, once."""
        try:
            found = list(cluster().items(SECRETS, space, labels=f"{v.MANAGED}=true"))
        except KubeError:
            self.unanswered += 1
            return
        now = datetime.now(UTC)
        for secret in found:
            if fault := self._fault(secret, now):
                self.faults[f"{secret['metadata']['name']}: {fault}"] += 1
        for name in self.serials.keys() - {secret["metadata"]["name"] for secret in found}:
            self.faults[f"{name}: the Secret is gone"] += 1

    def _fault(self, secret: Json, now: datetime) -> str | None:
        name, data = secret["metadata"]["name"], secret.get("data") or {}
        try:
            leaf = parse_chain(b64decode(data.get("tls.crt", "")))[0]
            key = key_from_pem(b64decode(data.get("tls.key", "")))
        except (CertError, ValueError) as problem:
            return str(problem)
        if not has_key(leaf, key):
            return "certificate and key do not belong together"
        if is_placeholder(leaf):
            return "a placeholder again" if name in self.serials else None
        known = self.serials.setdefault(name, [])
        if leaf.serial_number not in known:
            known.append(leaf.serial_number)
        elif leaf.serial_number != known[-1]:
            return "an older certificate again"
        left = leaf.not_valid_after_utc - now
        self.least_left = min(self.least_left, left)
        return "expired" if left <= timedelta(0) else None


@dataclass
class Handshakes:
    """TLS through the ingress controller: from the first one that verifies on, each host's have to."""

    hosts: Sequence[str]
    trusted: set[str] = field(default_factory=set)
    failed: Counter[str] = field(default_factory=Counter)
    made: int = 0

    def look(self) -> None:
        """One handshake with each host."""
        for host in self.hosts:
            answer = served(host)
            self.made += 1
            if answer is not None and answer.trusted:
                self.trusted.add(host)
            elif host in self.trusted:
                self.failed[f"{host}: {'no answer' if answer is None else 'not trusted'}"] += 1


class Every:
    """Calls `look` every `seconds` in a thread; what it raises is raised again at the end."""

    def __init__(self, seconds: float, look: Callable[[], None]) -> None:
        self._seconds = seconds
        self._look = look
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(1)

    def __enter__(self) -> None:
        self._done = self._pool.submit(self._run)

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._done.result()

    def _run(self) -> None:
        due = time.monotonic()
        while not self._stop.wait(max(due - time.monotonic(), 0)):
            due = max(due + self._seconds, time.monotonic())
            self._look()


if __name__ == "__main__":
    sys.exit(lifecycle.run(main))
