"""Attempts that 0.1.0 had begun, whatever became of them, end with the order that they had; and what it left goes."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from issuer_job import names
from issuer_job import vocabulary as v
from issuer_job.cluster.api import CONFIGMAPS, JOBS, SECRETS
from issuer_job.record.record import ACTIVE, Phase
from issuer_job.record.store import to_config_map
from issuer_job.upkeep import leftovers
from tests.fakes.ca import NewCa
from tests.worlds.before import as_before
from tests.worlds.crash import run_until
from tests.worlds.job import HOST, JobWorld, assert_good_secret, ingress
from tests.worlds.sweep import MINUTE, passes, with_webhook

pytestmark = pytest.mark.exhaustive

HOSTS = (HOST, "www.certjob.dev")


@pytest.fixture(scope="module")
def length(new_ca: NewCa, tmp_path_factory: pytest.TempPathFactory) -> int:
    """Writes of an attempt that nothing disturbs."""
    return run_until(begun(new_ca, tmp_path_factory.mktemp("whole")), 10**6)


def begun(new_ca: NewCa, root: Path) -> JobWorld:
    world = with_webhook(JobWorld(root, *new_ca()))
    world.apply(ingress(hosts=HOSTS))
    return world


def end_jobs(world: JobWorld) -> None:
    """None of their pods goes on."""
    for job in world.api.all(JOBS, v.NAMESPACE):
        job["status"] = {"conditions": [{"type": "Failed", "status": "True"}]}
        world.api.add(JOBS, v.NAMESPACE, job)


def upgraded(world: JobWorld) -> None:
    """Sweeps of this version, and the pods that they launch, until the certificate is there."""
    end_jobs(world)
    for _ in range(6):
        passes(world, 1)
        if world.record().phase in ACTIVE:
            world.run()
        if world.record().phase is Phase.ISSUED:
            return
    raise AssertionError(world.record())


@pytest.mark.parametrize("part", range(4))
def test_an_upgrade_after_every_write_of_an_attempt(new_ca: NewCa, tmp_path: Path, length: int, part: int) -> None:
    assert length > 20
    for kill_at in range(1 + part, length + 1, 4):
        where = f"upgraded after write {kill_at} of {length}"
        world = begun(new_ca, tmp_path / str(kill_at))
        run_until(world, kill_at)
        as_before(world.api)
        old = names.pending_key(world.record().old_hash, world.record().epoch)
        kept = world.api.stored(SECRETS, v.NAMESPACE, old) is not None
        upgraded(world)
        assert_good_secret(world, HOSTS)
        assert (len(world.ca.ordered), world.ca.finalized) == (1, 1), where
        passes(world, 2)
        later = world.clock.read() + leftovers.KEY_AGE
        leftovers.delete_keys(world.cluster, world.record(), later + MINUTE)
        assert world.left_over() == [], f"{where}, pending key kept: {kept}"
        assert world.record().reader_version == 1, where
        world.close()


def test_a_job_of_the_version_before_is_left_to_its_work(new_ca: NewCa, tmp_path: Path) -> None:
    """It is called otherwise; the labels say whose it is."""
    world = begun(new_ca, tmp_path)
    as_before(world.api)
    jobs = world.api.all(JOBS, v.NAMESPACE)
    assert [job["metadata"]["name"] for job in jobs] != [world.record().job_name]
    passes(world, 2)
    assert world.api.all(JOBS, v.NAMESPACE) == jobs
    assert world.record().phase is Phase.LAUNCHED


def test_what_a_pod_of_the_version_before_holds_stays(new_ca: NewCa, tmp_path: Path) -> None:
    world = begun(new_ca, tmp_path)
    kept: list[list[str]] = []

    def upgrade(path: str) -> None:
        if path == "/chall/1/0" and not kept:
            as_before(world.api)
            before = world.left_over()
            world.clock.ahead += timedelta(minutes=3)
            leftovers.release_leftovers(world.cluster, [world.record()], now=world.clock.read())
            kept.extend((before, world.left_over()))

    world.ca.latency = upgrade
    world.run()
    assert len(kept[0]) == 3
    assert kept[0] == kept[1]


def test_a_record_that_issued_before_costs_no_order_and_no_write(new_ca: NewCa, tmp_path: Path) -> None:
    world = begun(new_ca, tmp_path)
    assert world.run() is v.ExitCode.DONE
    as_before(world.api)
    stored = world.api.stored(CONFIGMAPS, v.NAMESPACE, "shop.web-tls")
    passes(world, 13)
    assert world.api.stored(CONFIGMAPS, v.NAMESPACE, "shop.web-tls") == stored
    assert len(world.ca.ordered) == 1


def test_an_older_certjob_is_told_to_leave_alone_what_it_cannot_go_on_with(new_ca: NewCa, tmp_path: Path) -> None:
    """All others it can read: going back to 0.1.0 orders nothing."""
    world = begun(new_ca, tmp_path)
    seen: dict[str, int] = {}

    def look(path: str) -> None:
        found = world.api.stored(CONFIGMAPS, v.NAMESPACE, "shop.web-tls")
        assert found is not None
        seen[path.split("/")[1]] = 2 if '"version": 2' in found["data"][v.RECORD_KEY] else 1

    world.ca.latency = look
    assert world.run() is v.ExitCode.DONE
    assert {step: seen[step] for step in ("order", "chall", "finalize", "cert")} == {
        "order": 1, "chall": 1, "finalize": 2, "cert": 2,
    }  # fmt: skip
    assert "version" not in to_config_map(world.record())["data"][v.RECORD_KEY]
