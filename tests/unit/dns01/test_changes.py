"""Changes at a provider: each bounded by itself, what was made counts, and what hangs is not forgotten."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from requests import ConnectionError as Lost

from issuer_job import vocabulary as v
from issuer_job.attempt.attempt import Attempt, Pod
from issuer_job.cluster.api import Cluster, Json
from issuer_job.dns01 import changes as dns_changes
from issuer_job.dns01.changes import CALL_SECONDS, ChangeFailed, Changes
from issuer_job.dns01.lock import LEASES
from issuer_job.dns01.trace import TxtRecord
from issuer_job.issuers.schema import Dns01, Issuer, Solver
from tests.fakes.api import FakeApi
from tests.fakes.dns import FakeDns
from tests.fakes.provider import NAME as PROVIDER
from tests.fakes.provider import FakeProvider, fake_provider

START = datetime(2026, 5, 5, 10, 0, tzinfo=UTC)
DNS01 = Dns01(provider=PROVIDER)
ISSUER = Issuer(server="https://ca.example/dir", solvers=(Solver(dns01=DNS01),))
TXT_RECORDS = [
    TxtRecord(
        name=f"_acme-challenge.h{number}.example.org",
        zone="example.org",
        value=f"{number}" * 43,
        host=f"h{number}.example.org",
        provider=PROVIDER,
        issuer="ca",
        epoch=1,
    )
    for number in range(8)
]


@dataclass
class World:
    """A provider that takes `each` for a change, by a clock that only this and sleeping move."""

    provider: FakeProvider
    mounts: Path
    api: FakeApi = field(default_factory=FakeApi)
    now: datetime = START
    each: timedelta = timedelta(0)

    def __post_init__(self) -> None:
        self.provider.before_write = lambda: self.sleep(self.each.total_seconds())

    @property
    def changes(self) -> Changes:
        pod, deadline = Pod("shop.web-tls", "", 1, "me"), START + timedelta(seconds=270)
        credentials = self.mounts / "credentials"
        credentials.mkdir(exist_ok=True)
        (credentials / "auth_token").write_text("token")
        return Changes(Attempt(Cluster(self.api), pod, deadline, self.mounts, lambda: self.now, self.sleep))

    def sleep(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def add(self, *, seconds: float = 210) -> None:
        self.changes.add(DNS01, TXT_RECORDS, START + timedelta(seconds=seconds))

    def remove(self, *, seconds: float) -> list[TxtRecord]:
        return self.changes.remove(ISSUER, TXT_RECORDS, START + timedelta(seconds=seconds))

    def made(self) -> list[str]:
        """Values that were added or removed, in turn."""
        return [value[0] for what, _, value in self.provider.calls if what != "login"]

    def leases(self) -> list[Json]:
        return self.api.all(LEASES, v.NAMESPACE)

    def background(self, call: Callable[[], object]) -> Timed:
        return Timed(self, call)


@dataclass
class Timed:
    """A Background by the world's clock."""

    world: World
    call: Callable[[], object]

    def result(self, seconds: float) -> object:
        started = self.world.now
        found = self.call()
        if self.world.now - started > timedelta(seconds=seconds):
            raise TimeoutError
        return found


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with fake_provider(FakeDns(0)) as provider:
        yield World(provider, tmp_path)


@pytest.fixture
def timed(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """Calls take as long as the world's clock says."""
    monkeypatch.setattr(dns_changes, "Background", world.background)
    return world


def test_each_of_many_changes_may_take_its_time(timed: World) -> None:
    timed.each = timedelta(seconds=20)
    timed.add()
    assert timed.made() == list("01234567")
    assert timed.leases() == []


def test_locks_outlast_every_change(timed: World) -> None:
    lasting: list[bool] = []

    def change() -> None:
        for lease in timed.leases():
            renewed_at = datetime.fromisoformat(lease["spec"]["renewTime"])
            until = renewed_at + timedelta(seconds=lease["spec"]["leaseDurationSeconds"])
            lasting.append(until >= timed.now + timedelta(seconds=CALL_SECONDS))
        timed.sleep(20)

    timed.provider.before_write = change
    timed.add()
    assert len(lasting) == len(TXT_RECORDS) ** 2
    assert all(lasting)


def test_when_time_is_up_no_change_begins(timed: World) -> None:
    timed.each = timedelta(seconds=20)
    with pytest.raises(ChangeFailed, match="no time left") as raised:
        timed.add(seconds=64)
    assert not raised.value.under_way
    assert timed.made() == list("012")
    assert timed.leases() == []


def test_what_was_removed_in_time_is_removed(timed: World) -> None:
    timed.add()
    timed.each = timedelta(seconds=10)
    assert timed.remove(seconds=34) == TXT_RECORDS[:3]


def test_after_a_passing_error_it_goes_on_where_it_was(world: World) -> None:
    failing = {4: [Lost("cut")] * 2, 6: [Lost("cut")] * 2}
    world.provider.before_write = lambda: world.provider.raises.extend(failing.pop(len(world.made()), []))
    world.add()
    assert world.made() == list("01234567")


def test_a_change_that_hangs_keeps_its_locks_and_is_under_way(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dns_changes, "CALL_SECONDS", 0.2)
    gate, done = threading.Event(), threading.Event()
    world.provider.before_write = lambda: (gate.wait(10) and None, done.set())[0]
    with pytest.raises(ChangeFailed) as raised:
        world.add()
    assert raised.value.under_way
    assert len(world.leases()) == len(TXT_RECORDS)
    assert "me" not in {lease["spec"]["holderIdentity"] for lease in world.leases()}, "we must wait for it, too"
    gate.set()
    assert done.wait(10)
    assert world.made() == ["0"], "the thread makes no other change"
