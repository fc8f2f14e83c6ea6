"""When the sweep has issuers tested, and the operator's commands."""

from __future__ import annotations

from datetime import timedelta

import pytest
import yaml

from issuer_job import names
from issuer_job import vocabulary as v
from issuer_job.attempt.findings import CheckReason
from issuer_job.checks.check import check_issuer
from issuer_job.checks.command import PATIENCE
from issuer_job.checks.launch import (
    AGAIN_AFTER,
    CREATED_WITHIN,
    PER_PASS,
    RUNS_FOR,
    CheckCause,
    CheckStillRuns,
    find_issuer,
    launch_check,
    launch_due,
)
from issuer_job.cluster.api import CONFIGMAPS, JOBS, Cluster, KubeError, Response, Unreachable
from issuer_job.issuers.state import note_in_state
from tests.fakes.acme import problem
from tests.fakes.api import status
from tests.worlds.check import (
    Operator,
    annotate,
    check,
    check_jobs,
    checked_by_sweeps,
    due,
    end_jobs,
    launch,
    pod,
    state,
)
from tests.worlds.documents import MANIFESTS
from tests.worlds.job import ISSUER, MOUNTED, JobWorld
from tests.worlds.sweep import MINUTE, run, with_webhook, writes_nothing


@pytest.fixture
def world(world: JobWorld) -> JobWorld:
    return checked_by_sweeps(world)


def test_a_new_issuer_is_tested_once(world: JobWorld) -> None:
    assert due(world) is CheckCause.EDITED
    check(world)
    for days in (0, 1, 100):
        assert due(world, after=timedelta(days=days)) is None


def test_an_edited_one_is_tested_again(world: JobWorld) -> None:
    check(world)
    world.set_issuer(profile="tlsserver")
    assert due(world) is CheckCause.EDITED
    check(world)
    assert due(world) is None


def test_one_that_is_not_ready_is_tested_every_hour(world: JobWorld) -> None:
    world.set_issuer(profile="gone")
    check(world)
    assert due(world) is None
    assert due(world, after=AGAIN_AFTER - MINUTE) is None
    assert due(world, after=AGAIN_AFTER + MINUTE) is CheckCause.NOT_READY
    world.ca.directory["meta"]["profiles"]["gone"] = "back"
    check(world)
    assert due(world, after=AGAIN_AFTER + MINUTE) is None


def test_a_job_that_has_not_reported_is_waited_for_and_then_counts_as_failed(world: JobWorld) -> None:
    issue = find_issuer(world.cluster, ISSUER)
    assert issue is not None
    launch_check(world.cluster, issue, now=world.clock.read())
    assert due(world, after=MINUTE) is None
    world.set_issuer(profile="tlsserver")
    assert due(world, after=MINUTE) is None
    assert due(world, after=RUNS_FOR) is CheckCause.EDITED
    world.set_issuer()
    assert due(world, after=RUNS_FOR) is None, "this was tried"
    assert due(world, after=AGAIN_AFTER) is CheckCause.EDITED


def test_the_operator_asks_by_an_annotation(world: JobWorld) -> None:
    check(world)
    annotate(world, check="one")
    assert due(world) is CheckCause.ASKED
    check(world)
    assert due(world) is None
    annotate(world, check="two")
    assert due(world) is CheckCause.ASKED
    annotate(world, check="")
    assert due(world) is None


def test_never_is_never_but_for_what_else_its_job_does(world: JobWorld) -> None:
    annotate(world, check="never")
    assert due(world) is None
    assert due(world, leftovers=True) is CheckCause.LEFTOVERS
    annotate(world, rollover="one")
    assert due(world) is CheckCause.ROLLOVER


def test_a_rollover_that_fails_is_tried_every_hour(world: JobWorld) -> None:
    check(world)
    world.ca.script("/key-change", problem("rateLimited", "once a week", status=429))
    annotate(world, rollover="one")
    assert due(world) is CheckCause.ROLLOVER
    check(world)
    assert due(world) is None
    assert due(world, after=AGAIN_AFTER + MINUTE) is CheckCause.ROLLOVER


def test_a_job_that_has_a_former_account_key_is_followed_by_another(world: JobWorld) -> None:
    check(world)
    annotate(world, check="one")
    old = pod(world)
    note_in_state(world.cluster, ISSUER, world.server, {"accountNumber": "2"})
    assert check_issuer(old) is v.ExitCode.LATER
    assert due(world, after=MINUTE) is None
    assert due(world, after=RUNS_FOR) is CheckCause.ASKED


@pytest.mark.parametrize("epoch", ["9999999999", "9" * 30, "yesterday", ""])
def test_a_time_that_no_clock_wrote_holds_nothing_up(world: JobWorld, epoch: str) -> None:
    note_in_state(world.cluster, ISSUER, world.server, {"checkLaunchedEpoch": epoch, "checkedEpoch": epoch})
    assert due(world) is CheckCause.EDITED
    assert check(world) is v.ExitCode.DONE
    assert due(world) is None


def test_an_issuer_that_cannot_be_read_is_tested_too(world: JobWorld) -> None:
    world.set_issuer(sever="x")
    assert due(world) is CheckCause.EDITED
    check(world)
    assert due(world) is None
    assert state(world).data["checkResult"] == "notReady"


# The sweep


def test_the_sweep_launches_it(world: JobWorld) -> None:
    with_webhook(world)
    [job] = check_jobs(world)
    assert check_issuer(world.pod_of(job["metadata"]["name"])) is v.ExitCode.DONE
    world.clock.ahead += 5 * MINUTE
    assert writes_nothing(world)


def test_at_most_so_many_in_one_pass(world: JobWorld) -> None:
    for number in range(PER_PASS + 2):
        world.set_issuer(f"more-{number:02}", default=False)
    now = world.clock.read()
    assert launch_due(world.cluster, leftovers=(), now=now) == PER_PASS
    assert launch_due(world.cluster, leftovers=(), now=now) == 3
    assert launch_due(world.cluster, leftovers=(), now=now) == 0


def test_one_that_cannot_be_launched_harms_no_other_and_is_launched_later(world: JobWorld) -> None:
    world.set_issuer("another", default=False)
    world.api.fail("POST", "/jobs", status(403, "Forbidden", "exceeded quota"))
    assert launch_due(world.cluster, leftovers=(), now=world.clock.read()) == 1
    end_jobs(world)
    [job] = check_jobs(world)
    assert job["metadata"]["labels"][v.ISSUER] != "another"
    assert launch_due(world.cluster, leftovers=(), now=world.clock.read()) == 0
    world.clock.ahead += RUNS_FOR
    assert launch_due(world.cluster, leftovers=(), now=world.clock.read()) == 1
    assert {job["metadata"]["labels"][v.ISSUER] for job in check_jobs(world)} == {ISSUER, "another"}


def test_a_name_that_can_be_part_of_no_job_is_passed_by(world: JobWorld) -> None:
    world.set_issuer("a.b", default=False)
    assert launch_due(world.cluster, leftovers=(), now=world.clock.read()) == 1


def test_a_sweep_that_cannot_launch_checks_goes_on(world: JobWorld) -> None:
    world.api.fail("POST", "/jobs", Unreachable("cut"), times=20)
    with_webhook(world)
    assert check_jobs(world) == []
    world.api.clear_faults()
    world.clock.ahead += RUNS_FOR
    run(world)
    assert len(check_jobs(world)) == 1


# One Job at a time


def test_no_job_is_launched_while_one_of_the_same_issuer_runs(world: JobWorld) -> None:
    job = launch(world)
    issue = find_issuer(world.cluster, ISSUER)
    assert issue is not None
    later = world.clock.read() + timedelta(hours=2)
    with pytest.raises(CheckStillRuns, match=job):
        launch_check(world.cluster, issue, now=later)
    assert launch_due(world.cluster, leftovers=(), now=later) == 0
    assert len(check_jobs(world)) == 1
    world.set_issuer("another", default=False)
    assert launch_due(world.cluster, leftovers=(), now=later) == 1, "it harms no other"
    end_jobs(world)
    assert launch_check(world.cluster, issue, now=later) != job


def test_a_job_that_only_cleans_counts_too(world: JobWorld) -> None:
    issue = find_issuer(world.cluster, ISSUER)
    assert issue is not None
    launch_check(world.cluster, issue, only_clean=True, now=world.clock.read())
    with pytest.raises(CheckStillRuns):
        launch_check(world.cluster, issue, now=world.clock.read() + MINUTE)


def test_of_two_launches_at_once_one_makes_a_job(world: JobWorld) -> None:
    sent = world.api.send
    once = iter([True])

    def meanwhile(method: str, path: str, *, body: bytes | None, timeout: float) -> Response:
        if method in {"PUT", "POST"} and b"checkLaunchedEpoch" in (body or b"") and next(once, False):
            launch(world)
        return sent(method, path, body=body, timeout=timeout)

    class Beside:
        send = staticmethod(meanwhile)
        stream = world.api.stream

    issue = find_issuer(world.cluster, ISSUER)
    assert issue is not None
    with pytest.raises(CheckStillRuns):
        launch_check(Cluster(Beside()), issue, now=world.clock.read())
    assert len(check_jobs(world)) == 1


def test_a_launch_that_died_before_its_job_was_made_holds_up_the_next_one_for_moments(world: JobWorld) -> None:
    issue = find_issuer(world.cluster, ISSUER)
    assert issue is not None
    now = world.clock.read()
    note_in_state(world.cluster, ISSUER, world.server, {"checkLaunchedEpoch": str(int(now.timestamp()))})
    with pytest.raises(CheckStillRuns):
        launch_check(world.cluster, issue, now=now)
    launch_check(world.cluster, issue, now=now + CREATED_WITHIN + timedelta(seconds=1))


def test_a_job_has_the_account_key_that_is_in_use_when_it_is_launched(world: JobWorld) -> None:
    issue = find_issuer(world.cluster, ISSUER)
    assert issue is not None
    note_in_state(world.cluster, ISSUER, world.server, {"accountNumber": "2"})
    launch_check(world.cluster, issue, now=world.clock.read())
    [job] = check_jobs(world)
    mounted = {one["name"]: one["secret"]["secretName"] for one in job["spec"]["template"]["spec"]["volumes"]}
    assert mounted["account"] == names.account(ISSUER, world.server, 2)


def test_the_pod_template_has_every_volume_that_a_launcher_names() -> None:
    document = yaml.safe_load((MANIFESTS / "base/pod-template.yaml").read_text())
    spec = document["template"]["spec"]
    volumes = {volume["name"]: volume["secret"] for volume in spec["volumes"] if "secret" in volume}
    assert {name: secret["secretName"] for name, secret in volumes.items()} == {n: f"{n}-none" for n in MOUNTED}
    assert all(secret["optional"] for secret in volumes.values())
    mounts = {mount["name"]: mount["mountPath"] for mount in spec["containers"][0]["volumeMounts"]}
    assert {name: f"/secrets/{name}" for name in MOUNTED}.items() <= mounts.items()


# The commands


def test_check_issuer_prints_what_was_found(world: JobWorld) -> None:
    operator = Operator(world)
    assert operator.runs("check-issuer") is v.ExitCode.DONE
    assert operator.said[-1] == f"{ISSUER}: ready"
    world.set_issuer(profile="gone")
    world.clock.ahead += MINUTE
    operator = Operator(world)
    assert operator.runs("check-issuer") is v.ExitCode.PERMANENT
    assert f"{ISSUER}: not ready" in operator.said
    assert operator.said[-1].startswith(f"  {CheckReason.PROFILE}: ")
    assert operator.said[-1].endswith(" - at `$.profile`")


@pytest.mark.parametrize("command", ["check-issuer", "rollover-account"])
def test_a_command_waits_until_a_job_that_runs_has_ended(world: JobWorld, command: str) -> None:
    class Meanwhile(Operator):
        def wait(self, seconds: float) -> None:
            if "waits until" in self.said[-1]:
                self.world.clock.ahead += timedelta(seconds=seconds)
                assert len(check_jobs(self.world)) == 1
                end_jobs(self.world)
            else:
                super().wait(seconds)

    job = launch(world)
    operator = Meanwhile(world)
    assert operator.runs(command) is v.ExitCode.DONE
    assert operator.said[0] == f"{ISSUER}: waits until Job {job} has ended"
    assert len(check_jobs(world)) == 2


def test_but_within_bounds(world: JobWorld) -> None:
    job = launch(world)
    operator = Operator(world, pods=False)
    started = world.clock.read()
    assert operator.runs("check-issuer") is v.ExitCode.LATER
    assert PATIENCE <= world.clock.read() - started < PATIENCE + MINUTE
    assert f"Job {job} still runs" in operator.said[-1]


def test_check_issuer_waits_within_bounds(world: JobWorld) -> None:
    operator = Operator(world, pods=False)
    started = world.clock.read()
    assert operator.runs("check-issuer") is v.ExitCode.LATER
    assert PATIENCE <= world.clock.read() - started < PATIENCE + MINUTE
    assert "has said nothing" in operator.said[-1]


def test_check_issuer_sees_a_job_that_ends_without_a_word(world: JobWorld) -> None:
    class Failing(Operator):
        def wait(self, seconds: float) -> None:
            [job] = check_jobs(self.world)
            job["status"] = {"conditions": [{"type": "Failed", "status": "True"}]}
            self.world.api.add(JOBS, v.NAMESPACE, job)

    operator = Failing(world)
    assert operator.runs("check-issuer") is v.ExitCode.LATER
    assert "has ended without a word" in operator.said[-1]


@pytest.mark.parametrize("command", ["check-issuer", "rollover-account"])
def test_a_job_that_has_to_stop_says_why(world: JobWorld, command: str) -> None:
    world.policies.in_force = False
    operator = Operator(world)
    assert operator.runs(command) is v.ExitCode.LATER
    assert "admission policies are not in force: apply the manifests again" in operator.said[-1]
    assert "without a word" not in operator.said[-1]
    world.policies.in_force = True
    world.clock.ahead += MINUTE
    assert Operator(world).runs(command) is v.ExitCode.DONE


def test_a_rollover_that_the_ca_cannot_do_is_told_as_such(world: JobWorld) -> None:
    del world.ca.directory["keyChange"]
    operator = Operator(world)
    assert operator.runs("rollover-account") is v.ExitCode.PERMANENT
    assert f"{ISSUER}: not rolled over" in operator.said
    assert f"{ISSUER}: ready" in operator.said
    assert "this CA cannot change account keys" in operator.said[-1]


@pytest.mark.parametrize("command", ["check-issuer", "rollover-account"])
def test_an_issuer_that_is_none(world: JobWorld, command: str) -> None:
    world.api.add(CONFIGMAPS, v.NAMESPACE, {"metadata": {"name": "settings"}})
    for name in ("gone", "settings"):
        operator = Operator(world)
        assert operator.runs(command, name) is v.ExitCode.PERMANENT
        assert f"there is no issuer {name}" in operator.said[0]
    assert check_jobs(world) == []


def test_rollover_account_sees_it_done(world: JobWorld) -> None:
    check(world)
    operator = Operator(world)
    assert operator.runs("rollover-account") is v.ExitCode.DONE
    assert f"{ISSUER}: account key 2 took the place of key 1" in operator.said
    assert len(world.ca.accounts) == 1


def test_rollover_account_that_fails_says_so(world: JobWorld) -> None:
    check(world)
    del world.ca.directory["keyChange"]
    operator = Operator(world)
    assert operator.runs("rollover-account") is v.ExitCode.PERMANENT
    assert f"{ISSUER}: not rolled over" in operator.said
    assert "offers no change of account keys" in operator.said[-1]


def test_rollover_account_keeps_what_others_write_meanwhile(world: JobWorld) -> None:
    check(world)
    world.api.fail("PUT", f"/configmaps/{ISSUER}", status(409, "Conflict", "changed"))
    assert Operator(world).runs("rollover-account") is v.ExitCode.DONE


@pytest.mark.usefixtures("no_pauses")
def test_rollover_account_of_an_issuer_that_never_rests(world: JobWorld) -> None:
    world.api.fail("PUT", f"/configmaps/{ISSUER}", status(409, "Conflict", "changed"), times=99)
    with pytest.raises(KubeError, match=f"{ISSUER} keeps changing"):
        Operator(world).runs("rollover-account")
    assert check_jobs(world) == []
