"""What a row works on: some certificates in a namespace of their own, from an issuer of their own."""

from __future__ import annotations

import secrets
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from issuer_job import vocabulary as v
from issuer_job.acme_client import AcmeError, Order
from issuer_job.cluster.api import SECRETS, Json, KubeError
from issuer_job.record.record import Phase, Record
from tests.e2e import sweeps
from tests.e2e.observe import cluster, ingress, namespace
from tests.e2e.own_issuer import account_keys, orders_by, own_issuer
from tests.load import lifecycle
from tests.load.faults.report import Report

PATIENCE = 180.0
ORDER_TRIES = 5


@dataclass
class Estate:
    """`count` Ingresses so far, each with one host and one Secret. `keys` are all account keys ever seen."""

    space: str
    issuer: str
    count: int = 0
    tried_again: int = 0
    """Creates that the API server did not take at once."""
    keys: dict[str, bytes] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def host(self, number: int) -> str:
        """Of the Ingress with that number."""
        return f"c{number}.{self.space}.certjob.test"

    @property
    def numbers(self) -> Sequence[int]:
        """Of all Ingresses that were applied."""
        return range(self.count)

    def apply(self, number: int) -> None:
        """One Ingress as its owner writes it, also while the API server is away."""
        body = ingress(f"c{number}", [self.host(number)])
        body["metadata"]["annotations"][v.ISSUER] = self.issuer
        # Named, so that the sweep launches what the webhook misses.
        body["spec"]["tls"] = [{"hosts": [self.host(number)], "secretName": f"c{number}-tls"}]
        failed = lifecycle.create_patiently(self.space, body, patience=PATIENCE)
        with self._lock:
            self.tried_again += failed

    def grow(self, more: int, *, rate: float = 5.0) -> None:
        """So many more, at a steady rate; returns when all are stored."""
        start, first = time.monotonic(), self.count
        self.count += more
        with ThreadPoolExecutor(16) as pool:
            applied = []
            for number in range(more):
                time.sleep(max(start + number / rate - time.monotonic(), 0))
                applied.append(pool.submit(self.apply, first + number))
            for future in applied:
                future.result()

    def records(self) -> dict[str, Record]:
        """By Secret."""
        return {record.secret_name: record for record in lifecycle.records_of([self.space])}

    def secrets(self) -> dict[str, Json]:
        """By name."""
        found = cluster().items(SECRETS, self.space, labels=f"{v.MANAGED}=true")
        return {secret["metadata"]["name"]: secret for secret in found}

    def serials(self) -> dict[str, str]:
        """Of what the records know to be issued, by Secret."""
        return {name: record.issued.serial for name, record in self.records().items() if record.issued}

    def issued(self, seconds: float = PATIENCE) -> bool:
        """Whether every certificate is issued and no attempt is under way, within so many seconds."""

        def all_issued() -> bool:
            self.remember_keys()
            phases = Counter(record.phase for record in self.records().values())
            return phases == {Phase.ISSUED: self.count}

        return sweeps.wait(all_issued, seconds)

    def remember_keys(self) -> None:
        """Before somebody deletes them: only they list an account's orders."""
        self.keys |= account_keys(self.issuer)

    def orders(self) -> Counter[str]:
        """How many orders were made for each host: those that the CA lists, and those that the records know of.

        Pebble does not list the ones that failed.
        """
        self.remember_keys()
        mine = {self.host(number) for number in self.numbers}
        made = {order.url: order.identifiers for order in self._listed() if mine.issuperset(order.identifiers)}
        for record in self.records().values():
            made |= {entry.detail: record.intent.hosts for entry in record.history if entry.event == "ordered"}
        return Counter(host for hosts in made.values() for host in hosts)

    def _listed(self) -> list[Order]:
        for _ in range(ORDER_TRIES - 1):
            try:
                return orders_by(self.issuer, self.keys.values())
            except AcmeError:
                time.sleep(1)
        return orders_by(self.issuer, self.keys.values())

    def judge(self, report: Report, *, orders: int | None = None, more: int = 0, seconds: float = PATIENCE) -> None:
        """Every certificate is issued and its Secret good; the CA made `orders` (one for each, unless given), or up
        to `more` besides.
        """
        began = time.monotonic()
        settled = self.issued(seconds)
        report.note(f"{'settled' if settled else 'not settled'} {time.monotonic() - began:.0f} s after the fault")
        records, stored = self.records(), self.secrets()
        fates = Counter(
            lifecycle.fate(records.get(f"c{number}-tls"), stored.get(f"c{number}-tls")) for number in self.numbers
        )
        report.exactly("certificates issued, their Secrets good", fates["issued"], self.count)
        made = self.orders()
        wanted = self.count if orders is None else orders
        if more:
            report.most("orders", made.total(), wanted + more)
        else:
            report.exactly("orders", made.total(), wanted)
        for host, times in made.items():
            if times > 1 and made.total() != wanted:
                report.note(f"{host}: {times} orders")
        for name, record in records.items():
            if record.phase is not Phase.ISSUED:
                problem = record.retry.problem if record.retry else ""
                report.note(f"{name}: {record.phase} {problem}"[:300])


@contextmanager
def estate(prefix: str, count: int = 0, *, issuer: str = "") -> Iterator[Estate]:
    """With `count` certificates issued, by an issuer of its own unless one is named; gone afterwards, however the row
    has ended.
    """
    name = f"{prefix}-{secrets.token_hex(3)}"
    with ExitStack() as stack:
        by = issuer or stack.enter_context(own_issuer(name))
        stack.enter_context(lifecycle.forgotten([name]))
        made = Estate(stack.enter_context(namespace(name)), by)
        if count:
            made.grow(count)
            if not made.issued():
                raise KubeError(f"the {count} certificates of {name} were not issued before the fault")
        yield made
