"""A fake ACME server, its clients and their clock, for the tests of the ACME client."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from issuer_job.acme_client import (
    AcmeClient,
    Order,
    new_account_key,
)
from tests.fakes.acme import FakeAcme, fake_acme
from tests.fakes.acme_ca import csr_for

NOW = datetime(2026, 5, 5, 10, 0, tzinfo=UTC)
KEY = new_account_key()
HOSTS = ["a.example.org", "b.example.org"]


@dataclass
class Clock:
    """Time that only sleeping moves."""

    now: datetime = NOW
    slept: list[float] = field(default_factory=list)

    def read(self) -> datetime:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += timedelta(seconds=seconds)


@dataclass
class World:
    fake: FakeAcme
    ca_pem: bytes
    clock: Clock = field(default_factory=Clock)
    clients: list[AcmeClient] = field(default_factory=list)

    def connect(self, *, account: bool = True, **changes: Any) -> AcmeClient:
        options: dict[str, Any] = {
            "ca_bundle_pem": self.ca_pem,
            "account_key_pem": KEY,
            "account_url": None,
            "user_agent": "certjob/test",
            "timeout": timedelta(seconds=5),
            "now": self.clock.read,
            "sleep": self.clock.sleep,
        }
        client = AcmeClient.connect(f"{self.fake.base}/dir", **{**options, **changes})
        self.clients.append(client)
        if account:
            client.ensure_account(terms_agreed=True)
        return client


@contextmanager
def acme_world() -> Iterator[World]:
    with fake_acme() as (fake, ca_pem):
        world = World(fake, ca_pem)
        yield world
        for client in world.clients:
            client.close()


def issued_order(client: AcmeClient) -> Order:
    order = client.new_order(HOSTS)
    client.answer(client.authorization(order.authorization_urls[0]).challenges[0])
    return client.finalize(order, csr_for(HOSTS))
