"""Each solver that may have presented something is released exactly once at the end, whatever happened before."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, field
from functools import partial

import pytest

from issuer_job import vocabulary as v
from issuer_job.attempt.attempt import Attempt, Later
from issuer_job.cluster.api import KubeError
from issuer_job.issue.issue import issue
from issuer_job.issue.solvers import AttemptSolvers, MakeSolver
from issuer_job.issuers.schema import Issuer
from issuer_job.issuers.solvers import ChallengeType, Dns01, Http01, Selector, Solver
from issuer_job.record.record import Problem
from tests.fakes.solver import FakeSolver
from tests.worlds.job import HOST, JobWorld, ingress

OTHER = "other.certjob.dev"
BY_DNS = Solver(dns01=Dns01(provider="x"), selector=Selector(dns_names=(OTHER,)))
PUT_OFF = Problem(type="dnsProvider", detail="it is down")


@dataclass
class Solved:
    """A world whose attempts have fake solvers, by HTTP and by DNS."""

    jobs: JobWorld
    http: FakeSolver = field(default_factory=lambda: FakeSolver(slow_release=False))
    dns: FakeSolver = field(default_factory=lambda: FakeSolver(slow_release=True))

    made: list[ChallengeType] = field(default_factory=list)

    @property
    def makers(self) -> dict[ChallengeType, MakeSolver]:
        return {kind: partial(self._make, kind) for kind in ChallengeType}

    def run(self) -> v.ExitCode:
        return issue(self.jobs.pod(), self.makers)

    def _make(self, kind: ChallengeType, attempt: Attempt) -> FakeSolver:
        self.made.append(kind)
        return self.http if kind is ChallengeType.HTTP_01 else self.dns


@pytest.fixture
def solved(world: JobWorld) -> Solved:
    by_dns = {"dns01": {"provider": "ddns"}, "selector": {"dnsNames": [OTHER]}}
    world.set_issuer(solvers=[{"http01": {}}, by_dns])
    world.apply(ingress(hosts=(HOST, OTHER)))
    return Solved(world)


def test_all_that_was_presented_is_released_once(solved: Solved) -> None:
    assert solved.run() is v.ExitCode.DONE
    assert solved.http.asked == solved.dns.asked == ["present", "wait", "release"]


@pytest.mark.parametrize("step", ["present", "wait"])
@pytest.mark.parametrize("failing", ["http", "dns"])
def test_a_solver_that_fails_is_released_and_so_is_the_other(solved: Solved, failing: str, step: str) -> None:
    getattr(solved, failing).raises[step] = [Later(PUT_OFF)]
    assert solved.run() is v.ExitCode.LATER
    assert solved.http.asked[-1] == solved.dns.asked[-1] == "release"
    assert (solved.http.asked + solved.dns.asked).count("release") == 2
    retry = solved.jobs.record().retry
    assert retry is not None
    assert retry.problem == PUT_OFF


@pytest.mark.parametrize("error", [KubeError("lost"), ValueError("a fault in its code")], ids=["API", "fault"])
def test_a_release_that_fails_takes_nothing_else_away(solved: Solved, error: Exception) -> None:
    solved.http.raises["release"] = [error]
    solved.dns.raises["release"] = [error]
    assert solved.run() is v.ExitCode.DONE
    assert solved.http.asked == ["present", "wait", "release", "release"], "once more at the end"
    assert solved.dns.asked == ["present", "wait", "release"]


def test_what_an_earlier_pod_presented_is_released_by_one_that_presents_nothing(solved: Solved) -> None:
    pod = solved.jobs.pod()
    pod.load()
    solvers = AttemptSolvers(pod, solved.makers)
    solvers.use(Issuer(server="https://ca.dev/dir", solvers=(Solver(http01=Http01()), BY_DNS)))
    for _ in range(2):
        solvers.release()
        solvers.release(at_end=True)
    assert solved.http.asked == solved.dns.asked == ["release"]


def test_an_attempt_that_ends_before_its_order_gives_its_routes_back(solved: Solved) -> None:
    solved.jobs.set_issuer(sever="x")
    assert solved.run() is v.ExitCode.LATER
    assert solved.http.asked == ["release"]
    assert solved.dns.asked == []


def test_an_attempt_that_is_anothers_now_keeps_its_routes(solved: Solved) -> None:
    old = solved.jobs.pod()
    solved.jobs.relaunch()
    assert issue(old, solved.makers) is v.ExitCode.SUPERSEDED
    assert solved.http.asked == []


def test_an_order_without_dns_asks_no_solver_of_it(solved: Solved) -> None:
    solved.jobs.set_issuer()
    assert solved.run() is v.ExitCode.DONE
    assert (solved.http.asked[0], solved.made) == ("present", [ChallengeType.HTTP_01])


def test_an_order_without_dns_waits_for_no_import_of_it() -> None:
    code = "import issuer_job.issue.issue, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "issuer_job.issue.solvers" in loaded
    assert not {"dns", "lexicon", "boto3", "issuer_job.dns01"} & loaded


def test_no_job_loads_what_only_servers_tell_of_themselves() -> None:
    """An import is part of every certificate's time: metrics cost an order none."""
    jobs = ("issuer_job.__main__", "issuer_job.issue.issue", "issuer_job.checks.check", "issuer_job.sweep.sweep")
    code = f"import {', '.join(jobs)}, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "issuer_job.issue.solvers" in loaded
    assert not {"prometheus_client", "issuer_job.metrics", "issuer_job.status", "aiohttp"} & loaded
