"""The operator's self-test on real policies and RBAC."""

from __future__ import annotations

import subprocess
import sys

from tests.e2e.api import Api, path, wait_for

BINDINGS = "validatingadmissionpolicybindings.admissionregistration.k8s.io/v1"


def self_test() -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "issuer_job", "self-test"]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def test_every_policy_and_boundary_holds_and_one_that_goes_is_named(admin: Api) -> None:
    done = self_test()
    assert done.returncode == 0, done.stdout
    lines = done.stdout.splitlines()
    assert lines[-1] == f"{len(lines) - 1} tried, 0 failed"
    where = path(BINDINGS, None, "certjob-leases")
    binding = admin.call("GET", where).json
    missing = "refused by policy certjob-leases: admission policy certjob-leases is not in force"
    try:
        admin.call("DELETE", where)
        wait_for(lambda: missing in self_test().stdout, what="the policy that is missing is named")
        assert self_test().returncode == 10
    finally:
        made = {"metadata": {"name": "certjob-leases", "labels": binding["metadata"]["labels"]}}
        answer = admin.call("POST", path(BINDINGS), binding | made)
        assert answer.status == 201, answer
    wait_for(lambda: self_test().returncode == 0, what="all is well again")
