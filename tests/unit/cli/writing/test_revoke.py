"""`kubectl certjob revoke`: the operator's command, in this one's words and exit codes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from issuer_job.record.phases import Phase
from tests.worlds import seen
from tests.worlds.cli import CommandLine
from tests.worlds.job import ISSUER, JobWorld
from tests.worlds.revocation import issued, revocations, run_jobs
from tests.worlds.sweep import issue_one


@pytest.fixture
def line(swept: JobWorld) -> Iterator[CommandLine]:
    """An operator's, on a cluster that runs the Jobs while he waits."""
    issue_one(swept)

    def wait(seconds: float) -> None:
        swept.clock.sleep(seconds)
        run_jobs(swept)

    return CommandLine(api=swept.api, clock=swept.clock.read, sleep=wait)


def test_it_is_revoked_and_another_is_made(line: CommandLine, swept: JobWorld) -> None:
    before = issued(swept)
    ran = line.run("revoke", "-n", "shop", "web-tls", "--reason", "keyCompromise")
    assert (ran.code, ran.err) == (0, "")
    assert "issued anew" in ran.out
    assert issued(swept).serial != before.serial
    assert [held.revocation.reason for held in revocations(swept)] == ["keyCompromise"]


@pytest.mark.parametrize("how", ["client", "server"])
def test_a_dry_run_revokes_nothing(line: CommandLine, swept: JobWorld, how: str) -> None:
    before = len(swept.api._store.history)
    swept.api.requests.clear()
    ran = line.run("revoke", "-n", "shop", "web-tls", f"--dry-run={how}")
    assert (ran.code, ran.err) == (0, "")
    assert f"a Job of {ISSUER} would have it revoked (unspecified); then another certificate" in ran.out
    assert len(swept.api._store.history) == before
    posted = [request for request in swept.api.requests if request.method == "POST"]
    assert [request.query.get("dryRun") for request in posted] == ["All"] * (how == "server")


def test_what_cannot_be_revoked_is_1(line: CommandLine, swept: JobWorld) -> None:
    ran = line.run("revoke", "-n", "shop", "nothing-tls")
    assert (ran.code, ran.err) == (1, "")
    assert "there is no record shop.nothing-tls of it" in ran.out
    ran = line.run("revoke", "-n", "shop", "nothing-tls", "--dry-run=client")
    assert (ran.code, ran.out) == (1, "")
    assert "there is no record shop.nothing-tls of it" in ran.err


def test_what_is_not_done_in_time_is_4(line: CommandLine, swept: JobWorld) -> None:
    line.sleep = swept.clock.sleep  # no Job runs
    ran = line.run("revoke", "-n", "shop", "web-tls")
    assert ran.code == 4
    assert "not revoked yet; the sweep has it tried again each hour" in ran.out
    assert swept.record().phase is not Phase.FAILED


@pytest.mark.parametrize("wrong", [["--reason", "boredom"], ["--serial", "xyz"], ["--serial", "1" * 41]])
def test_what_is_written_wrong_is_wrong_usage(line: CommandLine, wrong: list[str]) -> None:
    assert line.run("revoke", "-n", "shop", "web-tls", *wrong).code == 2


def test_a_missing_right_is_named_and_is_3(line: CommandLine) -> None:
    line.api.fail("POST", "/configmaps", seen.no_right("configmaps", "create"))
    ran = line.run("revoke", "-n", "shop", "web-tls")
    assert ran.code == 3
    assert 'cannot create resource "configmaps"' in ran.err
