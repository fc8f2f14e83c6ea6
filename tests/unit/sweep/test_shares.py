"""What one namespace may have of what all share: in a pass, and in the Job."""

from __future__ import annotations

from datetime import timedelta

import pytest

from issuer_job import vocabulary as v
from issuer_job.cluster import quota
from issuer_job.cluster.api import CONFIGMAPS, INGRESSES, JOBS
from issuer_job.cluster.quota import RESOURCE_QUOTAS
from issuer_job.issuers.options import Options
from issuer_job.record.record import Phase
from issuer_job.sweep.launches import MOST_TOLD
from tests.worlds.job import JobWorld, ingress
from tests.worlds.sweep import issue_one, jobs, passes, run, writes_nothing

pytestmark = pytest.mark.exhaustive


def miss(world: JobWorld, number: int, namespace: str = "shop") -> None:
    """So many Ingresses that the webhook never saw, with a host each."""
    for n in range(number):
        body = ingress(f"m{n}", namespace=namespace, secret=f"m{n}", hosts=(f"m{n}.{namespace}.dev",), uid=f"{n}")
        world.api.add(INGRESSES, namespace, body)


def set_quota(world: JobWorld, kind: str, used: int, hard: int) -> None:
    status = {"used": {kind: str(used)}, "hard": {kind: str(hard)}}
    world.api.add(RESOURCE_QUOTAS, v.NAMESPACE, {"metadata": {"name": "certjob"}, "status": status})


def refused(world: JobWorld, problem: str) -> list[str]:
    return [note for reason, note in world.events() if reason == "CertificateHeldBack" and problem in note]


def of(world: JobWorld, namespace: str) -> int:
    return sum(job["metadata"]["labels"][v.RECORD_NAMESPACE] == namespace for job in world.api.all(JOBS))


def test_a_namespace_gets_as_many_certificates_as_it_may_have_and_the_others_say_why(swept: JobWorld) -> None:
    assert (Options().certificates_per_namespace, Options().hosts_per_namespace) == (500, 2000)
    swept.set_options(certificatesPerNamespace=2)
    miss(swept, 5)
    miss(swept, 1, "other")
    run(swept)
    assert (of(swept, "shop"), of(swept, "other")) == (2, 1)
    assert len(refused(swept, "namespaceFull")) == 3
    assert writes_nothing(swept)
    swept.set_options(certificatesPerNamespace=5)
    run(swept)
    assert of(swept, "shop") == 5


def test_hosts_are_counted_too(swept: JobWorld) -> None:
    swept.set_options(hostsPerNamespace=3)
    for name in ("a", "b"):
        hosts = (f"1.{name}.dev", f"2.{name}.dev")
        swept.api.add(INGRESSES, "shop", ingress(name, secret=name, hosts=hosts, uid=name))
    run(swept)
    assert jobs(swept) == 1
    assert len(refused(swept, "hostsPerNamespace")) == 1


def test_what_is_there_goes_on_whatever_is_set_later(swept: JobWorld) -> None:
    for name in ("a", "b"):
        issue_one(swept, ingress(name, secret=name, hosts=(f"{name}.certjob.dev",)), secret=name)
    swept.set_options(certificatesPerNamespace=1, hostsPerNamespace=1)
    swept.clock.ahead += timedelta(hours=17)
    run(swept)
    for name in ("a", "b"):
        assert swept.record(name).phase is Phase.LAUNCHED
        assert swept.run(secret=name) is v.ExitCode.DONE
    assert len(swept.ca.ordered) == 4


def test_of_thousands_that_are_too_many_only_some_are_told_in_a_pass(swept: JobWorld) -> None:
    swept.set_options(certificatesPerNamespace=1)
    miss(swept, MOST_TOLD + 20)
    run(swept)
    assert len(refused(swept, "namespaceFull")) == MOST_TOLD
    before = len(swept.api.requests)
    run(swept)
    assert len(swept.api.requests) - before < 60


def test_the_job_counts_too_and_goes_on_when_there_is_room(swept: JobWorld) -> None:
    swept.apply(ingress("a", secret="a", hosts=("a.certjob.dev",)))
    swept.apply(ingress("b", secret="b", hosts=("b.certjob.dev",)))
    swept.set_options(certificatesPerNamespace=1)
    assert swept.run(secret="a") is v.ExitCode.LATER  # each sees the other: neither is wrong, the sweep takes one
    assert swept.run(secret="b") is v.ExitCode.DONE
    waiting = swept.record("a")
    assert waiting.retry is not None
    assert (waiting.phase, waiting.retry.problem.type) == (Phase.WAITING, "namespaceFull")
    assert len(swept.ca.ordered) == 1
    passes(swept, 3)
    assert swept.record("a").phase is Phase.WAITING
    swept.set_options(certificatesPerNamespace=2)
    run(swept)
    assert swept.run(secret="a") is v.ExitCode.DONE


def test_two_that_see_each_other_in_the_last_place_do_not_wait_for_ever(swept: JobWorld) -> None:
    for name in ("a", "b"):
        swept.apply(ingress(name, secret=name, hosts=(f"{name}.certjob.dev",)))
    swept.set_options(certificatesPerNamespace=1)
    first, second = swept.pod(secret="a"), swept.pod(secret="b")
    for attempt in (first, second):
        attempt.load()
        attempt.claim()
    assert {swept.issue(first), swept.issue(second)} == {v.ExitCode.LATER, v.ExitCode.DONE}
    assert len(swept.ca.ordered) == 1


@pytest.mark.parametrize(("used", "launched"), [(10, 3), (15, 3), (17, 1), (18, 0)])
def test_the_last_tenth_of_the_quota_of_jobs_is_left_to_the_cronjob(
    swept: JobWorld, used: int, launched: int
) -> None:
    miss(swept, 3)
    set_quota(swept, quota.JOBS, used, 20)
    run(swept)
    assert jobs(swept) == launched
    set_quota(swept, quota.JOBS, 0, 20)
    run(swept)
    assert jobs(swept) == 3


def test_with_few_pods_left_a_namespace_has_no_more_than_are_left_for_others(swept: JobWorld) -> None:
    set_quota(swept, quota.PODS, 0, 6)
    miss(swept, 6)
    run(swept)
    assert jobs(swept) == 3
    miss(swept, 1, "other")
    set_quota(swept, quota.PODS, 3, 6)
    run(swept)
    assert (of(swept, "shop"), of(swept, "other")) == (3, 1)


def test_while_configmaps_run_short_what_is_there_is_renewed_and_nothing_new_begins(swept: JobWorld) -> None:
    issue_one(swept)
    miss(swept, 1, "other")
    set_quota(swept, quota.CONFIGMAPS, 80, 100)
    swept.clock.ahead += timedelta(hours=17)
    before = {cm["metadata"]["name"] for cm in swept.api.all(CONFIGMAPS)}
    run(swept)
    assert (swept.record().phase, of(swept, "other")) == (Phase.LAUNCHED, 0)
    assert {cm["metadata"]["name"] for cm in swept.api.all(CONFIGMAPS)} == before
    assert swept.run() is v.ExitCode.DONE
    assert len(refused(swept, "noRoom")) == 1
    set_quota(swept, quota.CONFIGMAPS, 79, 100)
    run(swept)
    assert of(swept, "other") == 1
