"""Certificates revoked in a JobWorld: the operator's command, while the cluster runs the Jobs that it waits for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

from issuer_job import vocabulary as v
from issuer_job.checks.check import check_issuer
from issuer_job.checks.revocation_command import RevokeCommand
from issuer_job.cluster.api import EVENTS, JOBS, Json
from issuer_job.record.record import ACTIVE, Issued
from issuer_job.upkeep.revocations import HeldRevocation, Reason, Revocation, list_revocations
from tests.worlds.check import check_jobs, end_jobs
from tests.worlds.job import JobWorld
from tests.worlds.sweep import run


def issued(world: JobWorld, secret: str = "web-tls") -> Issued:
    """What the record says was issued last."""
    found = world.record(secret).issued
    assert found is not None
    return found


def run_check_jobs(world: JobWorld) -> int:
    """Each issuer's own Job that has not run yet, to its end; how many."""
    waiting = [job for job in check_jobs(world) if "status" not in job]
    for job in waiting:
        while check_issuer(world.pod_of(job["metadata"]["name"])) is v.ExitCode.OTHER_POD:
            pass
    end_jobs(world)
    return len(waiting)


def run_jobs(world: JobWorld, secret: str = "web-tls") -> None:
    """Whatever waits to run."""
    run_check_jobs(world)
    if world.record(secret).phase in ACTIVE:
        world.run(secret=secret)


def pass_by(world: JobWorld, *, after: timedelta = timedelta(minutes=5)) -> None:
    """A sweep, and the Jobs that it launches."""
    world.clock.ahead += after
    run(world)
    run_jobs(world)


@dataclass
class Operator:
    """Somebody at the command line. `on_wait` is what the cluster does meanwhile."""

    world: JobWorld
    on_wait: Callable[[], None] | None = None
    said: list[str] = field(default_factory=list)

    def wait(self, seconds: float) -> None:
        """See time.sleep."""
        self.world.clock.ahead += timedelta(seconds=seconds)
        (self.on_wait or (lambda: run_jobs(self.world)))()

    def revokes(
        self, reason: Reason = Reason.KEY_COMPROMISE, *, secret: str = "web-tls", serial: str = ""
    ) -> v.ExitCode:
        """`python -m issuer_job revoke shop SECRET`."""
        asked = Revocation(namespace="shop", secret_name=secret, reason=reason, serial=serial)
        command = RevokeCommand(
            cluster=self.world.cluster,
            revocation=asked,
            clock=self.world.clock.read,
            sleep=self.wait,
            say=self.said.append,
        )
        return command.run()


def revocations(world: JobWorld) -> list[HeldRevocation]:
    """All that are stored."""
    return list(list_revocations(world.cluster))


def told(world: JobWorld, reason: str) -> list[Json]:
    """The objects that Events with this reason are about."""
    return [event["regarding"] for event in world.api.all(EVENTS) if event["reason"] == reason]


def issue_jobs(world: JobWorld) -> list[str]:
    """Names of all Jobs that issue."""
    names = [job["metadata"]["name"] for job in world.api.all(JOBS)]
    return [name for name in names if not name.startswith("check-")]
