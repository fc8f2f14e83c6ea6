"""One pass of the sweep over a cluster."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest
from msgspec.structs import replace

from issuer_job import objects, sweep, transitions
from issuer_job import vocabulary as v
from issuer_job.issue import issue
from issuer_job.kube import CONFIGMAPS, EVENTS, INGRESSES, JOBS, MUTATING_WEBHOOKS, NAMESPACES, SECRETS, KubeError
from issuer_job.record import Phase, Record, to_config_map
from tests.fake_api import status
from tests.job_world import HOST, JobWorld, ingress
from tests.samples import PROBLEM

MINUTE = timedelta(minutes=1)


def run(world: JobWorld, *, seconds: float = 60) -> v.ExitCode:
    return sweep.sweep(world.cluster, deadline=time.monotonic() + seconds, clock=world.clock.read)


def write(world: JobWorld, record: Record) -> Record:
    world.cluster.update(CONFIGMAPS, v.NAMESPACE, to_config_map(record))
    return record


def version(world: JobWorld) -> int:
    """Rises with everything that is really written."""
    return world.api._store.version


def jobs(world: JobWorld) -> int:
    return len(world.api.all(JOBS))


@pytest.fixture
def swept(world: JobWorld) -> JobWorld:
    """A cluster whose webhook has its certificate."""
    webhooks = [{"name": "annotated.certjob.io", "clientConfig": {}}]
    world.api.add(MUTATING_WEBHOOKS, None, {"metadata": {"name": "certjob"}, "webhooks": webhooks})
    run(world)
    return world


def test_nothing_to_do_writes_nothing(swept: JobWorld) -> None:
    swept.apply(ingress())
    assert swept.run() is v.ExitCode.DONE
    swept.clock.ahead += 5 * MINUTE
    before = version(swept)
    assert run(swept) is v.ExitCode.DONE
    assert version(swept) == before


def test_an_ingress_that_the_webhook_missed(swept: JobWorld) -> None:
    swept.api.add(INGRESSES, "shop", ingress())
    assert run(swept) is v.ExitCode.DONE
    assert swept.record().phase is Phase.LAUNCHED
    assert jobs(swept) == 1
    assert swept.run() is v.ExitCode.DONE


def test_hosts_that_changed_while_the_webhook_was_away(swept: JobWorld) -> None:
    swept.apply(ingress())
    swept.run()
    swept.clock.ahead += MINUTE
    swept.api.add(INGRESSES, "shop", ingress(hosts=(HOST, "new.certjob.dev")))
    run(swept)
    assert swept.record().intent.hosts == ("new.certjob.dev", HOST)
    assert swept.run() is v.ExitCode.DONE


def test_an_ingress_without_tls_can_only_be_told(swept: JobWorld) -> None:
    body = ingress()
    del body["spec"]["tls"]
    swept.api.add(INGRESSES, "shop", body)
    run(swept)
    run(swept)
    assert jobs(swept) == 0
    [event] = swept.api.all(EVENTS)
    assert event["reason"] == "CertificateMissed"


def test_a_namespace_that_is_opted_in(swept: JobWorld) -> None:
    body = ingress()
    body["metadata"]["annotations"] = {}
    swept.api.add(INGRESSES, "shop", body)
    run(swept)
    assert jobs(swept) == 0
    swept.api.add(NAMESPACES, None, {"metadata": {"name": "shop", "labels": {v.NAMESPACE_ENABLED: "true"}}})
    run(swept)
    assert jobs(swept) == 1
    late = swept.pod()
    assert swept.run() is v.ExitCode.DONE
    swept.relaunch()
    swept.api.add(NAMESPACES, None, {"metadata": {"name": "shop", "labels": {}}})
    assert issue(late) is v.ExitCode.SUPERSEDED
    assert swept.run() is v.ExitCode.LATER  # the Job asks for the namespace's label itself
    assert swept.record().phase is Phase.UNCONFIRMED


def test_excluded_namespaces(swept: JobWorld) -> None:
    swept.api.add(INGRESSES, "kube-system", ingress(namespace="kube-system"))
    run(swept)
    assert jobs(swept) == 0


def test_a_retry_that_is_due(swept: JobWorld) -> None:
    swept.apply(ingress())
    moved = transitions.waiting(swept.record(), problem=PROBLEM, now=swept.clock.read(), wait=10 * MINUTE)
    write(swept, moved)
    run(swept)
    assert jobs(swept) == 1
    swept.clock.ahead += 11 * MINUTE
    run(swept)
    assert jobs(swept) == 2
    assert swept.record().epoch > moved.epoch
    assert swept.run() is v.ExitCode.DONE


def test_a_job_that_never_came(swept: JobWorld) -> None:
    swept.api.fail("POST", "/jobs", status(500, "InternalError"), times=2)
    swept.apply(ingress())
    epoch = swept.record().epoch
    swept.clock.ahead += 2 * MINUTE
    run(swept)
    assert jobs(swept) == 0  # failed again
    swept.clock.ahead += 2 * MINUTE
    run(swept)
    assert jobs(swept) == 1
    assert swept.record().epoch == epoch
    assert transitions.attempt_of(swept.record()).tries == 3
    assert swept.run() is v.ExitCode.DONE


def test_an_attempt_that_crashed(swept: JobWorld) -> None:
    swept.apply(ingress())
    attempt = swept.pod()
    attempt.load()
    attempt.claim()
    swept.clock.ahead += 16 * MINUTE
    run(swept)
    assert swept.record().epoch > attempt.pod.epoch
    assert jobs(swept) == 2


def test_one_bad_record_does_not_stop_the_pass(swept: JobWorld) -> None:
    labels = {v.RECORD: "true"}
    bad = {"metadata": {"name": "aaa.bad", "labels": labels}, "data": {v.RECORD_KEY: "{"}}
    swept.api.add(CONFIGMAPS, v.NAMESPACE, bad)
    swept.api.add(INGRESSES, "aaa", ingress(namespace="aaa", secret="bad"))
    swept.api.add(CONFIGMAPS, v.NAMESPACE, objects.claim("taken.certjob.dev", "elsewhere"))
    swept.api.add(INGRESSES, "bbb", ingress(namespace="bbb", hosts=("taken.certjob.dev",)))
    swept.api.add(INGRESSES, "shop", ingress())
    assert run(swept) is v.ExitCode.DONE
    assert swept.record().phase is Phase.LAUNCHED


def test_a_record_that_cannot_be_launched_does_not_stop_the_pass(swept: JobWorld) -> None:
    for name in ("a", "b"):
        swept.apply(ingress(name, secret=f"{name}-tls"))
        moved = transitions.waiting(swept.record(f"{name}-tls"), problem=PROBLEM, now=swept.clock.read(), wait=MINUTE)
        write(swept, moved)
    swept.clock.ahead += 5 * MINUTE
    swept.api.fail("POST", "/jobs", status(403, "Forbidden", "exceeded quota"), times=2)
    assert run(swept) is v.ExitCode.DONE
    assert jobs(swept) == 3
    assert {swept.record("a-tls").phase, swept.record("b-tls").phase} == {Phase.LAUNCHED}


def test_a_bounded_number_of_launches_in_one_pass(swept: JobWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    assert sweep.MOST_LAUNCHES == 50
    monkeypatch.setattr(sweep, "MOST_LAUNCHES", 4)
    for number in range(7):
        body = ingress(f"web{number}", secret=f"s{number}", hosts=(f"h{number}.certjob.dev",))
        swept.api.add(INGRESSES, "shop", body)
    run(swept)
    assert jobs(swept) == 4
    run(swept)
    assert jobs(swept) == 7


def test_what_cannot_be_launched_keeps_nobody_else_out(swept: JobWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep, "MOST_LAUNCHES", 2)
    for number in range(5):
        host = f"h{number}.certjob.dev"
        swept.api.add(CONFIGMAPS, v.NAMESPACE, objects.claim(host, "elsewhere"))
        swept.api.add(INGRESSES, "aaa", ingress(f"web{number}", namespace="aaa", secret=f"s{number}", hosts=(host,)))
    swept.api.add(INGRESSES, "shop", ingress())
    run(swept)
    assert swept.record().phase is Phase.LAUNCHED


def test_no_launch_after_the_deadline(swept: JobWorld) -> None:
    swept.api.add(INGRESSES, "shop", ingress())
    assert run(swept, seconds=-1) is v.ExitCode.DONE
    assert jobs(swept) == 0


def test_without_policies_nothing_is_done(swept: JobWorld) -> None:
    swept.api.add(INGRESSES, "shop", ingress())
    swept.policies.in_force = False
    before = version(swept)
    assert run(swept) is v.ExitCode.LATER
    assert version(swept) == before


def test_a_list_that_expired_starts_again(swept: JobWorld) -> None:
    swept.api.add(INGRESSES, "shop", ingress())
    swept.api.fail("GET", r"v1/ingresses\?", status(410, "Expired"), times=2)
    assert run(swept) is v.ExitCode.DONE
    assert jobs(swept) == 1


def test_a_list_that_cannot_be_completed_ends_the_pass(swept: JobWorld) -> None:
    swept.api.add(INGRESSES, "shop", ingress())
    swept.api.fail("GET", r"v1/ingresses\?", status(410, "Expired"), times=99)
    with pytest.raises(KubeError):
        run(swept)
    assert jobs(swept) == 0


def test_somebody_else_was_faster(swept: JobWorld) -> None:
    swept.apply(ingress())
    write(swept, transitions.waiting(swept.record(), problem=PROBLEM, now=swept.clock.read(), wait=MINUTE))
    swept.clock.ahead += 5 * MINUTE
    swept.api.fail("PUT", "/configmaps/shop.web-tls", status(409, "Conflict"))
    assert run(swept) is v.ExitCode.DONE
    assert jobs(swept) == 1


def issue_one(world: JobWorld) -> Record:
    world.apply(ingress())
    assert world.run() is v.ExitCode.DONE
    return world.record()


def test_a_certificate_is_renewed_in_time_and_with_a_new_key(swept: JobWorld) -> None:
    first = issue_one(swept)
    assert first.issued is not None
    swept.clock.ahead += (first.issued.not_after - first.issued.not_before) * 0.7
    run(swept)
    assert jobs(swept) == 2
    assert swept.record().state == "Issued"
    assert swept.run() is v.ExitCode.DONE
    second = swept.record()
    assert second.issued is not None
    assert second.issued.serial != first.issued.serial
    assert second.issued.key_id != first.issued.key_id


@pytest.mark.parametrize("what", ["deleted", "emptied", "good"])
def test_within_an_hour_a_secret_that_is_gone_or_damaged_is_noticed(swept: JobWorld, what: str) -> None:
    first = issue_one(swept)
    if what == "deleted":
        swept.cluster.delete(SECRETS, "shop", "web-tls")
    if what == "emptied":
        stored = swept.cluster.get(SECRETS, "shop", "web-tls")
        swept.cluster.update(SECRETS, "shop", stored | {"data": {"tls.crt": "", "tls.key": ""}})
    passes = 0
    while passes < 12 and jobs(swept) == 1:
        swept.clock.ahead += 5 * MINUTE
        run(swept)
        passes += 1
    assert jobs(swept) == (1 if what == "good" else 2)
    if what != "good":
        assert swept.run() is v.ExitCode.DONE
        assert swept.record().epoch > first.epoch
        assert swept.secret()["metadata"]["labels"][v.STATE] == "issued"


def test_a_secret_that_cannot_be_looked_at_is_left_alone(swept: JobWorld) -> None:
    issue_one(swept)
    swept.api.fail("PUT", "/secrets/web-tls", status(500, "InternalError"), times=99)
    for _ in range(12):
        swept.clock.ahead += 5 * MINUTE
        run(swept)
    assert jobs(swept) == 1


@pytest.mark.parametrize("phase", [Phase.UNCONFIRMED, Phase.ORPHANED, Phase.RETIRED])
def test_records_that_nobody_wants_are_left_alone(swept: JobWorld, phase: Phase) -> None:
    swept.apply(ingress(), stored=False)
    write(swept, replace(swept.record(), phase=phase))
    for _ in range(12):
        swept.clock.ahead += 5 * MINUTE
        run(swept)
    assert jobs(swept) == 1
