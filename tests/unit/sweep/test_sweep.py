"""One pass of the sweep over a cluster: what was missed, changed or put off, crashed attempts, and bad neighbours."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta

import pytest

from issuer_job import vocabulary as v
from issuer_job.cluster.api import CONFIGMAPS, INGRESSES, JOBS, NAMESPACES, Json, KubeError, Response
from issuer_job.hosts.claims import claim_body
from issuer_job.record import transitions
from issuer_job.record.record import Phase, Problem
from issuer_job.record.store import to_config_map
from tests.fakes.api import FakeApi, status
from tests.worlds.job import HOST, ISSUER, JobWorld, ingress
from tests.worlds.sweep import (
    MINUTE,
    counts,
    issue_one,
    jobs,
    orders,
    passes,
    run,
    version,
    wait_for,
    write,
    writes_nothing,
)


def test_nothing_to_do_writes_nothing(swept: JobWorld) -> None:
    swept.apply(ingress())
    assert swept.run() is v.ExitCode.DONE
    swept.clock.ahead += 5 * MINUTE
    before, counted = version(swept), counts(swept)
    assert run(swept) is v.ExitCode.DONE
    assert (version(swept), counts(swept)) == (before, counted + 1)
    swept.clock.ahead += 5 * MINUTE
    assert run(swept) is v.ExitCode.DONE
    assert (version(swept), counts(swept)) == (before, counted + 1)


def test_an_ingress_that_the_webhook_missed(swept: JobWorld) -> None:
    swept.api.add(INGRESSES, "shop", ingress())
    assert run(swept) is v.ExitCode.DONE
    assert swept.record().phase is Phase.LAUNCHED
    assert jobs(swept) == 1
    assert swept.run() is v.ExitCode.DONE


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
    assert swept.issue(late) is v.ExitCode.SUPERSEDED
    assert swept.run() is v.ExitCode.LATER  # the Job asks for the namespace's label itself
    assert swept.record().phase is Phase.UNCONFIRMED


def test_excluded_namespaces(swept: JobWorld) -> None:
    swept.api.add(INGRESSES, "kube-system", ingress(namespace="kube-system"))
    run(swept)
    assert jobs(swept) == 0


def test_a_retry_that_is_due(swept: JobWorld) -> None:
    swept.apply(ingress())
    wait_for(swept, wait=10 * MINUTE)
    epoch = swept.record().epoch
    run(swept)
    assert jobs(swept) == 1
    swept.clock.ahead += 11 * MINUTE
    run(swept)
    assert jobs(swept) == 2
    assert swept.record().epoch > epoch
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
    assert transitions.attempt_of(swept.record()).crashes == 1
    assert swept.run() is v.ExitCode.DONE
    assert transitions.attempt_of(swept.record()).crashes == 0


def test_one_bad_record_does_not_stop_the_pass(swept: JobWorld) -> None:
    labels = {v.RECORD: "true"}
    bad = {"metadata": {"name": "aaa.bad", "labels": labels}, "data": {v.RECORD_KEY: "{"}}
    swept.api.add(CONFIGMAPS, v.NAMESPACE, bad)
    swept.api.add(INGRESSES, "aaa", ingress(namespace="aaa", secret="bad"))
    swept.api.add(CONFIGMAPS, v.NAMESPACE, claim_body("taken.certjob.dev", "elsewhere"))
    swept.api.add(INGRESSES, "bbb", ingress(namespace="bbb", hosts=("taken.certjob.dev",)))
    swept.api.add(INGRESSES, "shop", ingress())
    assert run(swept) is v.ExitCode.DONE
    assert swept.record().phase is Phase.LAUNCHED


def test_a_record_that_cannot_be_launched_does_not_stop_the_pass(swept: JobWorld) -> None:
    for name in ("a", "b"):
        swept.apply(ingress(name, secret=f"{name}-tls"))
        wait_for(swept, f"{name}-tls")
    swept.clock.ahead += 5 * MINUTE
    swept.api.fail("POST", "/jobs", status(403, "Forbidden", "exceeded quota"), times=2)
    assert run(swept) is v.ExitCode.DONE
    assert jobs(swept) == 3
    assert {swept.record("a-tls").phase, swept.record("b-tls").phase} == {Phase.LAUNCHED, Phase.WAITING}


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
    wait_for(swept)
    swept.clock.ahead += 5 * MINUTE
    swept.api.fail("PUT", "/configmaps/shop.web-tls", status(409, "Conflict"))
    assert run(swept) is v.ExitCode.DONE
    assert jobs(swept) == 1


def test_a_job_that_finished_without_a_word_is_followed_by_another(swept: JobWorld) -> None:
    swept.apply(ingress())
    epoch = swept.record().epoch
    swept.clock.ahead += timedelta(seconds=5)
    finish_jobs(swept)
    run(swept)
    assert swept.record().epoch > epoch


def test_three_crashes_in_a_row_are_followed_by_a_wait_and_an_event(swept: JobWorld) -> None:
    swept.apply(ingress())
    for _ in range(3):
        swept.clock.ahead += 5 * MINUTE
        finish_jobs(swept)
        run(swept)
    record = swept.record()
    assert (record.phase, jobs(swept)) == (Phase.WAITING, 3)
    assert record.retry is not None
    assert (record.retry.problem.type, record.retry.failures) == ("crashed", 1)
    assert "CertificateFailed" in {reason for reason, _ in swept.events()}
    first = wait_left(swept)
    swept.clock.ahead += 5 * MINUTE
    run(swept)  # once more
    finish_jobs(swept)
    swept.clock.ahead += 5 * MINUTE
    run(swept)
    assert swept.record().phase is Phase.WAITING
    assert wait_left(swept) > 1.5 * first


def test_a_job_that_finishes_while_the_sweep_reads_has_not_crashed(swept: JobWorld) -> None:
    swept.apply(ingress())
    send = swept.api.send

    def issued_in_between(method: str, path: str, *, body: bytes | None, timeout: float) -> Response:
        if method == "GET" and path.startswith("/apis/networking.k8s.io/v1/ingresses?"):
            swept.api.send = send  # type: ignore[method-assign]
            assert swept.run() is v.ExitCode.DONE
            finish_jobs(swept)
        return send(method, path, body=body, timeout=timeout)

    swept.api.send = issued_in_between  # type: ignore[method-assign]
    run(swept)
    assert (swept.record().phase, jobs(swept)) == (Phase.ISSUED, 1)


def finish_jobs(world: JobWorld) -> None:
    """All Jobs have failed."""
    for job in world.api.all(JOBS):
        status = {"conditions": [{"type": "Failed", "status": "True"}]}
        world.api.add(JOBS, v.NAMESPACE, job | {"status": status})


def wait_left(world: JobWorld) -> timedelta:
    retry = world.record().retry
    assert retry is not None
    assert retry.not_before is not None
    return retry.not_before - world.clock.read()


def test_a_host_that_went_while_the_webhook_was_away_takes_no_order(swept: JobWorld) -> None:
    issue_one(swept, ingress(hosts=(HOST, "old.certjob.dev")))
    swept.clock.ahead += MINUTE
    swept.api.add(INGRESSES, "shop", ingress(hosts=(HOST,)))
    run(swept)
    record = swept.record()
    assert (record.phase, record.intent.hosts, orders(swept)) == (Phase.ISSUED, (HOST,), 1)
    assert writes_nothing(swept)


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    "change",
    [
        {"hosts": (HOST, "new.certjob.dev")},
        {"annotations": {v.ISSUER: "second"}},
        {"annotations": {v.KEY_ALGORITHM: "rsa-2048"}},
        {"annotations": {v.PROFILE: "tlsserver"}},
    ],
    ids=["host added", "issuer", "key algorithm", "profile"],
)
def test_a_change_while_the_webhook_was_away(swept: JobWorld, change: dict[str, object]) -> None:
    swept.set_issuer("second", default=False)
    first = issue_one(swept, ingress(hosts=(HOST, "old.certjob.dev")))
    swept.clock.ahead += MINUTE
    swept.api.add(INGRESSES, "shop", ingress(**{"hosts": (HOST, "old.certjob.dev"), **change}))  # type: ignore[arg-type]
    run(swept)
    assert swept.run() is v.ExitCode.DONE
    second = swept.record()
    assert orders(swept) == 2
    assert second.intent.hash != first.intent.hash
    assert second.issued is not None
    assert second.issued.intent_hash == second.intent.hash
    assert set(second.issued.hosts) == set(change.get("hosts", (HOST, "old.certjob.dev")))  # type: ignore[call-overload]
    swept.clock.ahead += 5 * MINUTE
    assert writes_nothing(swept)


def test_another_time_of_renewal_is_noted_without_an_order(swept: JobWorld) -> None:
    issue_one(swept)
    swept.api.add(INGRESSES, "shop", ingress(annotations={v.RENEW_BEFORE: "20d"}))
    run(swept)
    assert swept.record().intent.settings.renew_before == 20 * 86400
    assert (jobs(swept), orders(swept)) == (1, 1)
    assert writes_nothing(swept)


def test_a_missed_ingress_gets_placeholder_route_and_job_at_once(swept: JobWorld) -> None:
    swept.api.add(INGRESSES, "shop", ingress())
    run(swept)
    assert swept.secret()["metadata"]["labels"][v.STATE] == "placeholder"
    assert len(swept.api.all(INGRESSES, v.NAMESPACE)) == 1
    assert jobs(swept) == 1


def test_with_routes_by_the_job_the_sweep_makes_none(swept: JobWorld) -> None:
    swept.set_options(routes="job")
    swept.api.add(INGRESSES, "shop", ingress())
    run(swept)
    assert swept.api.all(INGRESSES, v.NAMESPACE) == []
    made: list[Json] = []
    swept.ca.before = lambda request: made.extend(swept.api.all(INGRESSES, v.NAMESPACE))
    assert swept.run() is v.ExitCode.DONE
    assert {route["spec"]["rules"][0]["host"] for route in made} == {HOST}
    assert swept.left_over() == []


def test_broken_options_launch_nothing(swept: JobWorld, caplog: pytest.LogCaptureFixture) -> None:
    swept.set_options(routes="nonsense")
    swept.api.add(INGRESSES, "shop", ingress())
    assert run(swept) is v.ExitCode.LATER
    [line] = [record for record in caplog.records if record.message == "options"]
    assert "$.routes" in line.fields["problem"]  # type: ignore[attr-defined]
    assert jobs(swept) == 0


def test_several_missed_ingresses_on_one_secret_get_one_certificate(swept: JobWorld) -> None:
    for name in ("a", "b", "c"):
        swept.api.add(INGRESSES, "shop", ingress(name, hosts=(f"{name}.certjob.dev",)))
    run(swept)
    assert jobs(swept) == 1
    assert swept.run() is v.ExitCode.DONE
    assert swept.record().intent.hosts == ("a.certjob.dev", "b.certjob.dev", "c.certjob.dev")
    assert orders(swept) == 1
    swept.clock.ahead += 5 * MINUTE
    assert writes_nothing(swept)


def test_what_was_put_off_at_admission_is_launched(swept: JobWorld) -> None:
    swept.set_options(activeOrdersPerNamespace=1)
    swept.apply(ingress())
    wanted = transitions.wanted(
        namespace="shop", secret_name="second-tls", sources=swept.record().sources, now=swept.clock.read()
    )
    body = to_config_map(wanted)
    swept.api.add(CONFIGMAPS, v.NAMESPACE, body)
    swept.api.add(INGRESSES, "shop", ingress("second", secret="second-tls"))
    run(swept)
    assert swept.record("second-tls").phase is Phase.WANTED  # the first one is still at work
    assert swept.run() is v.ExitCode.DONE
    run(swept)
    assert swept.record("second-tls").phase is Phase.LAUNCHED


def test_an_issuer_that_is_gone_or_broken_costs_no_job(swept: JobWorld) -> None:
    issue_one(swept)
    wait_for(swept)
    swept.set_issuer(server="http://plain")
    swept.clock.ahead += 5 * MINUTE
    run(swept)
    record = swept.record()
    assert (record.phase, jobs(swept)) == (Phase.WAITING, 1)
    assert record.retry is not None
    assert (record.retry.problem.type, record.retry.failures) == ("brokenIssuer", 2)
    assert [note for reason, note in swept.events() if "server must be an https URL" in note]
    assert writes_nothing(swept)
    swept.api.remove(CONFIGMAPS, v.NAMESPACE, ISSUER)
    run(swept)
    record = swept.record()
    assert record.retry is not None
    assert record.retry.problem.type == "unknownIssuer"
    assert writes_nothing(swept)
    swept.set_issuer()
    run(swept)
    assert jobs(swept) == 2
    assert swept.run() is v.ExitCode.DONE


def test_permanent_failures_are_tried_after_an_edit_of_the_issuer_and_once_a_day(swept: JobWorld) -> None:
    swept.ca.failing[HOST] = {"type": "urn:ietf:params:acme:error:caa", "detail": "CAA forbids it"}
    swept.apply(ingress())
    assert swept.run() is v.ExitCode.PERMANENT
    assert passes(swept, 12) == 12
    assert jobs(swept) == 1
    swept.set_issuer(email="ops@certjob.dev")
    run(swept)
    assert jobs(swept) == 2
    assert swept.record().retry is None  # those failures were another configuration's
    assert swept.run() is v.ExitCode.PERMANENT
    assert writes_nothing(swept)
    swept.clock.ahead += timedelta(days=1)
    run(swept)
    assert jobs(swept) == 3


def test_the_annotation_ends_a_wait_but_not_one_that_the_ca_asked_for(swept: JobWorld) -> None:
    swept.apply(ingress())
    wait_for(swept, wait=6 * 60 * MINUTE)
    swept.api.add(INGRESSES, "shop", ingress(annotations={v.RETRY: "1"}))
    swept.clock.ahead += MINUTE
    run(swept)
    assert jobs(swept) == 2
    record = swept.record()
    asked = transitions.waiting(record, problem=wait_problem(), now=swept.clock.read(), wait=60 * MINUTE, asked=True)
    write(swept, asked)
    swept.api.add(INGRESSES, "shop", ingress(annotations={v.RETRY: "2"}))
    assert passes(swept, 11) == 11
    assert jobs(swept) == 2
    passes(swept, 2)
    assert jobs(swept) == 3


def test_applying_again_or_anew_does_not_end_a_wait(swept: JobWorld) -> None:
    swept.apply(ingress())
    wait_for(swept, wait=6 * 60 * MINUTE)
    swept.apply(ingress())
    passes(swept, 2)
    swept.api.remove(INGRESSES, "shop", "web")
    passes(swept, 1)
    assert swept.record().phase is Phase.ORPHANED
    swept.apply(ingress())
    passes(swept, 2)
    assert (swept.record().phase, jobs(swept)) == (Phase.WAITING, 1)
    swept.api.remove(INGRESSES, "shop", "web")
    passes(swept, 5)
    assert swept.record().phase is Phase.RETIRED
    swept.api.add(INGRESSES, "shop", ingress())  # and also past the webhook
    passes(swept, 2)
    assert (swept.record().phase, jobs(swept)) == (Phase.WAITING, 1)


def test_flapping_between_two_intents_does_not_end_a_wait(swept: JobWorld) -> None:
    one, two = ingress(), ingress(hosts=("other.certjob.dev",))
    for body in (one, two):
        swept.clock.ahead += timedelta(seconds=2)
        swept.apply(body)
        wait_for(swept, wait=6 * 60 * MINUTE)
    made = jobs(swept)
    for body in (one, two) * 3:
        swept.api.add(INGRESSES, "shop", body)
        passes(swept, 1)
    assert jobs(swept) == made


def test_one_bad_neighbour_of_each_kind(swept: JobWorld) -> None:
    swept.api.add(CONFIGMAPS, v.NAMESPACE, claim_body("taken.certjob.dev", "elsewhere"))
    bad = [
        ingress("issuer", secret="s1", annotations={v.ISSUER: "nowhere"}),
        ingress("notes", secret="s2", annotations={v.KEY_ALGORITHM: "none"}),
        ingress("host", secret="s3", hosts=("*.certjob.dev",)),
        ingress("secret", secret="No Name"),
        ingress("claimed", secret="s4", hosts=("taken.certjob.dev",)),
    ]
    for body in bad:
        swept.api.add(INGRESSES, "shop", body)
    swept.api.add(INGRESSES, "shop", ingress())
    run(swept)
    assert swept.record().phase is Phase.LAUNCHED
    assert swept.run() is v.ExitCode.DONE
    run(swept)
    assert jobs(swept) == 1
    assert writes_nothing(swept)


def test_who_is_refused_a_host_is_told_once(swept: JobWorld) -> None:
    swept.api.add(CONFIGMAPS, v.NAMESPACE, claim_body("taken.certjob.dev", "elsewhere"))
    issue_one(swept)
    swept.clock.ahead += MINUTE
    swept.api.add(INGRESSES, "shop", ingress(hosts=(HOST, "taken.certjob.dev")))
    run(swept)
    [note] = [note for reason, note in swept.events() if reason == "CertificateFailed"]
    assert "taken.certjob.dev belongs to another namespace" in note
    assert "elsewhere" not in note
    assert writes_nothing(swept)


@pytest.mark.exhaustive
def test_a_list_that_expires_in_its_seventh_page_orphans_nothing(swept: JobWorld) -> None:
    for number in range(20):
        body = ingress(f"web{number:02}", secret=f"s{number:02}", hosts=(f"h{number:02}.certjob.dev",))
        issue_one(swept, body, secret=f"s{number:02}")
    pages = Pages(swept.api, expire_at={7})
    swept.cluster.transport.send = pages.send  # type: ignore[method-assign]
    swept.clock.ahead += 5 * MINUTE
    before = version(swept)
    assert run(swept) is v.ExitCode.DONE
    assert pages.seen == 7 + 20
    assert version(swept) == before
    pages.expire_at = set(range(100))
    with pytest.raises(KubeError, match="keeps expiring"):
        run(swept)
    assert {swept.record(f"s{number:02}").phase for number in range(20)} == {Phase.ISSUED}


def wait_problem() -> Problem:
    return Problem(type="rateLimited", detail="slow down", step="newOrder")


@dataclass
class Pages:
    """Ingresses come in pages of one; those of these numbers are refused as expired."""

    api: FakeApi
    expire_at: set[int]
    seen: int = 0

    def __post_init__(self) -> None:
        self._send = self.api.send

    def send(self, method: str, path: str, *, body: bytes | None, timeout: float) -> Response:
        if method == "GET" and path.startswith("/apis/networking.k8s.io/v1/ingresses?"):
            self.seen += 1
            if self.seen in self.expire_at:
                return status(410, "Expired")
            path = re.sub(r"limit=\d+", "limit=1", path)
        return self._send(method, path, body=body, timeout=timeout)


def test_an_attempt_whose_pods_never_start_is_told_once(swept: JobWorld) -> None:
    """No room, an image that nobody has, a node that is lost: nothing in certjob is wrong, and nothing happens."""
    swept.apply(ingress())
    name = swept.record().job_name
    swept.clock.ahead += 3 * MINUTE
    run(swept)
    assert stalls(swept) == []
    swept.clock.ahead += 2 * MINUTE
    run(swept)
    (told,) = stalls(swept)
    assert "made no step for 5 minutes (Launched)" in told
    assert f"kubectl describe pod -n certjob -l job-name={name}" in told
    swept.clock.ahead += 5 * MINUTE
    assert writes_nothing(swept)
    assert len(stalls(swept)) == 1
    assert swept.run() is v.ExitCode.DONE  # the node is back


def test_an_attempt_that_stands_still_in_the_middle_is_told(swept: JobWorld) -> None:
    """Its node is lost: no pod ends, and none comes in its place."""
    swept.apply(ingress())
    attempt = swept.pod()
    attempt.load()
    swept.clock.ahead += 2 * MINUTE
    attempt.claim()
    swept.clock.ahead += 3 * MINUTE
    run(swept)
    assert stalls(swept) == []
    swept.clock.ahead += 2 * MINUTE
    run(swept)
    (told,) = stalls(swept)
    assert "made no step for 5 minutes (Claimed)" in told


def test_a_job_that_cannot_be_made_is_told(swept: JobWorld) -> None:
    """As when the API server has trouble just then."""
    swept.api.fail("POST", "/jobs", status(503, "ServiceUnavailable"), times=9)
    swept.apply(ingress())
    swept.clock.ahead += 5 * MINUTE
    run(swept)
    (told,) = stalls(swept)
    assert "could not be made" in told


def stalls(world: JobWorld) -> list[str]:
    """What was said of attempts that make no step."""
    return [note for reason, note in world.events() if reason == "CertificateDelayed"]


def test_a_pass_reads_every_claim_once(swept: JobWorld) -> None:
    issue_one(swept)
    swept.api.requests.clear()
    run(swept)
    lists = [request for request in swept.api.requests if "certjob.io/claim=true" in str(request.query)]
    assert len(lists) == 1
