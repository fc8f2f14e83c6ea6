"""Two tenants whose Secrets' names were chosen to meet: nothing of the one's is found by the other's attempt."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import pytest

from issuer_job import names
from issuer_job import vocabulary as v
from issuer_job.cluster.api import CONFIGMAPS, JOBS, SECRETS, Json
from issuer_job.record import transitions
from issuer_job.record.store import to_config_map
from issuer_job.sweep.inventory import read_known
from tests.fakes.ca import NewCa
from tests.worlds.job import Clock, JobWorld, ingress

VICTIM, EVIL = ("victim", "shop-f25ba"), ("evil", "own-2f1d6e")
"""SHA-256 over the two names begins with the same 40 bits: found within a minute."""


@dataclass
class FrozenClock(Clock):
    """Both are launched within one second."""

    began: datetime = datetime(2026, 11, 28, 10, 0, tzinfo=UTC)

    def read(self) -> datetime:
        return self.began + self.ahead


@pytest.fixture
def tenants(new_ca: NewCa, tmp_path: Path) -> JobWorld:
    """Both have asked, in one second."""
    world = JobWorld(tmp_path, *new_ca(), clock=FrozenClock(began=datetime.now(UTC)))
    for namespace, secret in (VICTIM, EVIL):
        world.apply(ingress(namespace=namespace, secret=secret, hosts=(f"{namespace}.certjob.dev",)))
    assert names.digest(*VICTIM) == names.digest(*EVIL)
    assert world.record(VICTIM[1], VICTIM[0]).epoch == world.record(EVIL[1], EVIL[0]).epoch
    return world


def run(world: JobWorld, tenant: tuple[str, str]) -> v.ExitCode:
    return world.run(namespace=tenant[0], secret=tenant[1])


def key_of(world: JobWorld, tenant: tuple[str, str]) -> str:
    """A digest of it: no failure shall print a key."""
    return sha256(world.secret(tenant[1], tenant[0])["data"]["tls.key"]).hexdigest()


def at_step(world: JobWorld, at: str, act: Callable[[], object]) -> None:
    """Have something done when the CA is asked for that path the first time."""
    done: list[str] = []

    def meanwhile(path: str) -> None:
        if path == at and not done:
            done.append(path)
            ran = threading.Thread(target=act)
            ran.start()
            ran.join()

    world.ca.latency = meanwhile


@pytest.mark.exhaustive
@pytest.mark.parametrize(("first", "second"), [(EVIL, VICTIM), (VICTIM, EVIL)], ids=["plant", "steal"])
@pytest.mark.parametrize("at", ["/order", "/chall/1/0", "/finalize/1", "/cert/1"])
def test_tenants_whose_names_meet_get_two_keys(
    tenants: JobWorld, first: tuple[str, str], second: tuple[str, str], at: str
) -> None:
    """The second one's whole attempt runs while the first one's is at that step."""
    inside: list[v.ExitCode] = []
    at_step(tenants, at, lambda: inside.append(run(tenants, second)))
    assert run(tenants, first) is v.ExitCode.DONE
    assert inside == [v.ExitCode.DONE]
    assert key_of(tenants, first) != key_of(tenants, second)
    assert len(tenants.ca.ordered) == 2
    assert tenants.left_over() == []


def pending(world: JobWorld, tenant: tuple[str, str]) -> Json:
    """The Secret with the tenant's pending key."""
    uid = world.record(tenant[1], tenant[0]).uid
    (found,) = [s for s in world.api.all(SECRETS, v.NAMESPACE) if s["metadata"]["name"].startswith(f"pending-{uid}")]
    return found


@pytest.mark.parametrize("said", [True, False], ids=["says whose it is", "of 0.1.0"])
def test_a_key_that_somebody_mounts_into_anothers_job_is_not_used(tenants: JobWorld, said: bool) -> None:
    """Whoever makes Jobs may try: a webhook that was taken over."""
    inside: list[v.ExitCode] = []
    evil = tenants.record(EVIL[1], EVIL[0])

    def mount() -> None:
        key = pending(tenants, VICTIM)
        name = key["metadata"]["name"]
        if not said:
            del key["data"][v.PENDING_OWNER]
            name = key["metadata"]["name"] = names.pending_key(names.old_hash(*VICTIM), evil.epoch)
            tenants.api.add(SECRETS, v.NAMESPACE, key)
        job = tenants.api.stored(JOBS, v.NAMESPACE, evil.job_name)
        assert job is not None
        volumes = job["spec"]["template"]["spec"]["volumes"]
        next(one for one in volumes if one["name"] == "pending")["secret"]["secretName"] = name
        tenants.api.add(JOBS, v.NAMESPACE, job)
        inside.append(run(tenants, EVIL))

    at_step(tenants, "/finalize/1", mount)
    assert run(tenants, VICTIM) is v.ExitCode.DONE
    assert inside == [v.ExitCode.LATER]
    retry = tenants.record(EVIL[1], EVIL[0]).retry
    assert retry is not None
    assert retry.problem.type == "foreignKey"
    again(tenants, EVIL)
    assert run(tenants, EVIL) is v.ExitCode.DONE
    assert key_of(tenants, EVIL) != key_of(tenants, VICTIM)
    assert len(tenants.ca.ordered) == 2


def again(world: JobWorld, tenant: tuple[str, str]) -> None:
    """Its owner asks for another attempt."""
    world.clock.ahead += timedelta(seconds=2)
    namespace, secret = tenant
    hosts = (f"{namespace}.certjob.dev",)
    world.apply(ingress(namespace=namespace, secret=secret, hosts=hosts, annotations={v.RETRY: "now"}))


def test_a_record_that_names_anothers_key_neither_mounts_nor_deletes_it(tenants: JobWorld) -> None:
    """Whoever writes records may try."""
    inside: list[v.ExitCode] = []

    def forge() -> None:
        key = pending(tenants, VICTIM)["metadata"]["name"]
        evil = transitions.with_attempt(tenants.record(EVIL[1], EVIL[0]), pending_key=key)
        tenants.api.add(CONFIGMAPS, v.NAMESPACE, to_config_map(evil))
        again(tenants, EVIL)
        inside.append(run(tenants, EVIL))
        assert pending(tenants, VICTIM)["metadata"]["name"] == key

    at_step(tenants, "/finalize/1", forge)
    assert run(tenants, VICTIM) is v.ExitCode.DONE
    assert inside == [v.ExitCode.DONE]
    assert key_of(tenants, EVIL) != key_of(tenants, VICTIM)
    assert tenants.left_over() == []


def test_a_record_under_anothers_name_is_no_record(tenants: JobWorld) -> None:
    """It would stand in the place of the true one in what a sweep has read."""
    forged = to_config_map(tenants.record(VICTIM[1], VICTIM[0]))
    forged["metadata"] = {"name": "zz.fake", "labels": forged["metadata"]["labels"]}
    tenants.api.add(CONFIGMAPS, v.NAMESPACE, forged)
    known = read_known(tenants.cluster, now=tenants.clock.read())
    assert set(known.records) == {VICTIM, EVIL}
    assert known.records[VICTIM].uid == tenants.record(VICTIM[1], VICTIM[0]).uid
    assert known.unreadable == 1
