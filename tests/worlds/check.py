"""Issuers tested in this process, by a Job as the sweep launches it."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from datetime import timedelta
from functools import partial

from issuer_job import vocabulary as v
from issuer_job.attempt.attempt import Attempt
from issuer_job.checks.check import check_issuer
from issuer_job.checks.command import IssuerCommand
from issuer_job.checks.launch import CheckCause, check_cause, find_issuer, launch_check
from issuer_job.cluster.api import CONFIGMAPS, EVENTS, JOBS, SECRETS, Json, Transport
from issuer_job.issuers.state import Finding, IssuerState, load_state, read_findings
from tests.worlds.job import ISSUER, JobWorld


def launch(world: JobWorld, issuer: str = ISSUER) -> str:
    """A Job that tests the issuer, launched once the one before is over; its name.

    A pod of that one may go on: its node is lost.
    """
    end_jobs(world)
    world.clock.ahead += timedelta(seconds=2)
    issue = find_issuer(world.cluster, issuer)
    assert issue is not None
    return launch_check(world.cluster, issue, now=world.clock.read())


def end_jobs(world: JobWorld) -> None:
    """As the Job controller says it."""
    for job in world.api.all(JOBS):
        if job["metadata"]["name"].startswith("check-") and "status" not in job:
            job["status"] = {"conditions": [{"type": "Complete", "status": "True"}]}
            world.api.add(JOBS, v.NAMESPACE, job)


def pod(world: JobWorld, issuer: str = ISSUER, *, transport: Transport | None = None) -> Attempt:
    """A pod of such a Job."""
    return world.pod_of(launch(world, issuer), transport=transport)


def check(world: JobWorld, issuer: str = ISSUER) -> v.ExitCode:
    """Test the issuer."""
    code = check_issuer(pod(world, issuer))
    end_jobs(world)
    return code


def state(world: JobWorld, issuer: str = ISSUER) -> IssuerState:
    """What is known of it."""
    issue = find_issuer(world.cluster, issuer)
    assert issue is not None
    return load_state(world.cluster, issuer, issue.directory)


def found(world: JobWorld, issuer: str = ISSUER) -> list[Finding]:
    """What the last test found."""
    return read_findings(state(world, issuer).data)


def one(world: JobWorld, issuer: str = ISSUER) -> Finding:
    """Test the issuer, which has just one fault."""
    check(world, issuer)
    [finding] = found(world, issuer)
    return finding


def events_of(world: JobWorld, issuer: str = ISSUER) -> list[Json]:
    """Events on its ConfigMap."""
    return [
        e for e in world.api.all(EVENTS) if (e["regarding"]["kind"], e["regarding"]["name"]) == ("ConfigMap", issuer)
    ]


def credentials(world: JobWorld, keys: dict[str, bytes], issuer: str = ISSUER) -> None:
    """The operator's Secret."""
    data = {name: b64encode(value).decode() for name, value in keys.items()}
    world.api.add(SECRETS, v.NAMESPACE, {"metadata": {"name": f"credentials-{issuer}"}, "data": data})


def annotate(world: JobWorld, issuer: str = ISSUER, **annotations: str) -> None:
    """As kubectl does it: `check="1"`."""
    body = world.api.stored(CONFIGMAPS, v.NAMESPACE, issuer)
    assert body is not None
    body["metadata"].setdefault("annotations", {}).update({f"certjob.io/{k}": x for k, x in annotations.items()})
    world.api.add(CONFIGMAPS, v.NAMESPACE, body)


def account_numbers(world: JobWorld) -> list[int]:
    """Of the account keys that are stored."""
    found = [s for s in world.api.all(SECRETS, v.NAMESPACE) if v.ACCOUNT in s["metadata"].get("labels", {})]
    return sorted(int(s["metadata"]["name"].rpartition("-")[2]) for s in found)


def checked_by_sweeps(world: JobWorld) -> JobWorld:
    """A sweep has its issuers tested."""
    world.check = ""
    world.set_issuer()
    return world


def due(
    world: JobWorld, *, leftovers: bool = False, after: timedelta = timedelta(0), issuer: str = ISSUER
) -> CheckCause | None:
    """Why a sweep would have the issuer tested."""
    issue = find_issuer(world.cluster, issuer)
    assert issue is not None
    return check_cause(issue, leftovers=leftovers, now=world.clock.read() + after)


def check_jobs(world: JobWorld) -> list[Json]:
    """Every Job that tests an issuer, ended ones too."""
    return [job for job in world.api.all(JOBS) if job["metadata"]["name"].startswith("check-")]


class Operator:
    """Somebody at the command line; the cluster runs the Job's pods while they wait."""

    def __init__(self, world: JobWorld, *, pods: bool = True) -> None:
        self.world, self.pods = world, pods
        self.said: list[str] = []

    def wait(self, seconds: float) -> None:
        self.world.clock.ahead += timedelta(seconds=seconds)
        if self.pods:
            self.pods = False
            name = check_jobs(self.world)[-1]["metadata"]["name"]
            while check_issuer(self.world.pod_of(name)) is v.ExitCode.OTHER_POD:
                pass
            end_jobs(self.world)

    def runs(self, command: str, issuer: str = ISSUER) -> v.ExitCode:
        clock, say = self.world.clock.read, self.said.append
        asked = IssuerCommand(cluster=self.world.cluster, name=issuer, clock=clock, sleep=self.wait, say=say)
        commands: dict[str, Callable[[], v.ExitCode]] = {
            "check-issuer": asked.check,
            "rollover-account": asked.roll_over,
            "reset-account": asked.reset_account,
            "replace-certificates": asked.replace_all,
            "status": partial(asked.replace_all, only_status=True),
        }
        return commands[command]()
