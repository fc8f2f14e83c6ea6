"""A pod dies right after any write of the flow, its answer lost: the next pods end it with one order."""

from __future__ import annotations

from pathlib import Path

import pytest

from issuer_job import vocabulary as v
from issuer_job.cluster.api import SECRETS
from issuer_job.record.record import Phase
from tests.fakes.ca import NewCa
from tests.worlds.crash import run_until
from tests.worlds.job import JobWorld, assert_good_secret, ingress

pytestmark = pytest.mark.exhaustive

HOSTS = ("a.certjob.dev", "b.certjob.dev")


def fresh(new_ca: NewCa, root: Path) -> JobWorld:
    world = JobWorld(root, *new_ca())
    world.apply(ingress(hosts=HOSTS))
    return world


@pytest.fixture(scope="module")
def length(new_ca: NewCa, tmp_path_factory: pytest.TempPathFactory) -> int:
    """Writes of an attempt that nothing disturbs."""
    return run_until(fresh(new_ca, tmp_path_factory.mktemp("whole")), 10**6)


@pytest.mark.parametrize("part", range(4))
def test_killed_after_every_write(new_ca: NewCa, tmp_path: Path, length: int, part: int) -> None:
    assert length > 20
    for kill_at in range(1 + part, length + 1, 4):
        world = fresh(new_ca, tmp_path / str(kill_at))
        run_until(world, kill_at)
        codes = [world.run()]
        where = f"killed at write {kill_at} of {length}"
        while codes[-1] is v.ExitCode.OTHER_POD and len(codes) < 4:
            codes.append(world.run())
        assert codes[-1] is v.ExitCode.DONE, where
        assert world.record().phase is Phase.ISSUED, where
        assert len(world.ca.ordered) == 1, where
        assert world.ca.finalized == 1, where
        assert_good_secret(world, HOSTS)
        issued = world.record().issued
        assert issued is not None
        assert issued.directory == world.server, where  # not taken for one that its owner put there
        keys = [r for r in world.api.requests if r.method == "POST" and "/certjob/secrets" in r.path]
        stored = {
            r.body["metadata"]["name"] for r in keys if r.body and v.PENDING in r.body["metadata"].get("labels", {})
        }
        assert len(stored) == 1, where
        assert len(world.api.all(SECRETS, v.NAMESPACE)) <= 2, where  # the account key; the pending one if killed late
        assert len(world.events()) == 1, where
        world.close()


def test_a_new_epoch_takes_the_order_and_the_key_over(new_ca: NewCa, tmp_path: Path, length: int) -> None:
    for kill_at in range(length // 3, length - 6):
        world = fresh(new_ca, tmp_path / str(kill_at))
        run_until(world, kill_at)
        world.relaunch()
        while (code := world.run()) is v.ExitCode.OTHER_POD:
            pass
        assert code is v.ExitCode.DONE
        assert len(world.ca.ordered) == 1, f"killed at write {kill_at}"
        assert world.ca.finalized == 1
        assert_good_secret(world, HOSTS)
        world.close()
