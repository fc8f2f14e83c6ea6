"""What Jobs say of themselves at their end, in the status of their pods."""

from __future__ import annotations

from issuer_job import last_word
from issuer_job import vocabulary as v
from issuer_job.checks.command import IssuerCommand
from issuer_job.cluster.api import JOBS, NAMESPACES
from issuer_job.last_word import LastWord, Work
from issuer_job.polling import utc_now
from issuer_job.record.phases import Phase
from tests.e2e import world
from tests.e2e.api import kubectl, wait_for
from tests.e2e.observe import PODS, cluster
from tests.e2e.sweeps import sweep_as_job


def message(job: str) -> str:
    """Of the Job's only pod, once it has ended."""
    found: list[str] = []

    def has_ended() -> bool:
        for pod in cluster().items(PODS, v.NAMESPACE, labels=f"job-name={job}"):
            states = (status["state"] for status in pod["status"].get("containerStatuses") or [])
            found[:] = [state["terminated"].get("message", "") for state in states if "terminated" in state]
        return bool(found)

    wait_for(has_ended, what=f"a pod of Job {job} has ended")
    return found[0]


def said(job: str) -> LastWord:
    word = last_word.read(message(job))
    assert word is not None
    return word


def test_an_attempt_that_is_done_and_one_that_is_not(namespace: str) -> None:
    """As the manifests have it: no root, nothing to be written in the image, and the strictest of standards."""
    labels = cluster().get(NAMESPACES, None, v.NAMESPACE)["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    host, lost = f"said.{namespace}.test", f"lost.{namespace}.test"
    world.break_dns(lost)
    try:
        world.create(namespace, world.manifest("said", [host], tls_acme="true"))
        world.create(namespace, world.manifest("lost", [lost], tls_acme="true"))
        done = world.wait_issued(namespace, "said-tls", [host])
        failed = world.wait_phase(namespace, "lost-tls", Phase.WAITING)
    finally:
        world.mend_dns(lost)

    word = said(done.job_name)
    assert (word.work, word.exit_code, word.problem) == (Work.ISSUE, 0, "")
    assert list(word.steps) == ["Start", "Claimed", "Ordering", "Authorizing", "Finalizing", "Installing"]
    assert 0 < sum(word.steps.values()) <= word.seconds < 60
    assert 20 < word.peak_mib < 128
    [pod] = cluster().items(PODS, v.NAMESPACE, labels=f"job-name={done.job_name}")
    assert pod["spec"]["containers"][0]["securityContext"]["readOnlyRootFilesystem"] is True
    described = kubectl("describe", "pod", "-n", v.NAMESPACE, pod["metadata"]["name"])
    assert '"work":"issue"' in described

    word = said(failed.job_name)
    assert failed.retry is not None
    assert (word.exit_code, word.problem) == (11, failed.retry.problem.type)
    for name in (lost, namespace, "lost-tls", "pebble"):
        assert name not in message(failed.job_name)


def test_a_sweep() -> None:
    swept = sweep_as_job()
    word = last_word.read(swept.message)
    assert word is not None
    assert (word.work, word.exit_code, word.problem) == (Work.SWEEP, 0, "")
    assert list(word.steps) == ["Opening", "Reading", "Suggestions", "Claims", "Launches", "Tidying"]
    assert word.counts.get("records", 0) == swept.line("swept")["records"]


def test_a_test_of_an_issuer_and_the_bootstrap() -> None:
    assert IssuerCommand(cluster=cluster(), name="pebble", clock=utc_now).check() is v.ExitCode.DONE
    checks = [
        job for job in cluster().items(JOBS, v.NAMESPACE) if job["metadata"]["name"].startswith("check-pebble-")
    ]
    newest = max(checks, key=lambda job: int(job["metadata"]["labels"][v.EPOCH]))["metadata"]["name"]
    assert (said(newest).work, said(newest).problem) == (Work.CHECK, "")
    [made] = cluster().items(JOBS, v.NAMESPACE, labels=f"{v.APP_COMPONENT}=bootstrap")
    assert said(made["metadata"]["name"]).work is Work.BOOTSTRAP
