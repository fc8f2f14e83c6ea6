"""The issue Job from claim to installed certificate, and how it ends when something is in the way."""

from __future__ import annotations

from datetime import timedelta

import pytest
from cryptography import x509

from issuer_job import names
from issuer_job import vocabulary as v
from issuer_job.cluster.api import CONFIGMAPS, INGRESSES, JOBS, SECRETS
from issuer_job.launch.outcome import OutcomeReason
from issuer_job.record.record import Phase
from tests.fakes.acme import Request, problem
from tests.fakes.ca import NO_ANSWER
from tests.worlds.job import HOST, ISSUER, JobWorld, assert_good_secret, ingress

OTHER = "www.certjob.dev"


def phases(world: JobWorld) -> list[str]:
    """Every phase that was ever written to the record."""
    writes = [r for r in world.api.requests if r.method in {"POST", "PUT"} and r.body is not None]
    found = [(r.body or {}).get("data", {}).get(v.RECORD_KEY, "") for r in writes]
    lines = [line.split('"')[3] for text in found for line in text.splitlines() if line.startswith(' "phase"')]
    return [phase for index, phase in enumerate(lines) if index == 0 or phase != lines[index - 1]]


def test_one_order_one_certificate_and_nothing_left_over(world: JobWorld) -> None:
    world.apply(ingress(hosts=(HOST, OTHER)))
    assert world.run() is v.ExitCode.DONE
    assert_good_secret(world, (HOST, OTHER))
    record = world.record()
    assert record.phase is Phase.ISSUED
    assert record.issued is not None
    assert record.issued.hosts == (HOST, OTHER)
    assert record.issued.intent_hash == record.intent.hash
    assert record.issued.directory == world.server
    assert record.issued.account in world.ca.accounts
    assert record.attempt is not None
    assert (record.attempt.order_url, record.attempt.pending_key, record.attempt.ordered) == ("", "", False)
    assert len(world.ca.ordered) == 1
    assert world.left_over() == []
    assert [reason for reason, _ in world.events()] == ["CertificateIssued"]
    assert world.probed == [HOST, OTHER]


def test_each_write_is_persisted_before_the_next_effect(world: JobWorld) -> None:
    seen: dict[str, Phase] = {}
    world.apply(ingress())

    def before(request: Request) -> None:
        seen.setdefault(request.path, world.record().phase)

    world.ca.before = before
    world.run()
    assert seen["/account"] is Phase.CLAIMED
    assert seen["/order"] is Phase.ORDERING
    assert seen["/chall/1/0"] is Phase.AUTHORIZING
    assert seen["/finalize/1"] is Phase.FINALIZING
    assert phases(world) == [
        "Launched",
        "Claimed",
        "Ordering",
        "Authorizing",
        "Finalizing",
        "Installing",
        "Issued",
    ]


def test_challenge_and_route_are_there_when_the_ca_looks_and_gone_when_it_is_sure(world: JobWorld) -> None:
    left: dict[str, list[str]] = {}

    def before(request: Request) -> None:
        left.setdefault(request.path, world.left_over())

    world.apply(ingress())
    world.ca.before = before
    world.run()
    uid, epoch = world.record().uid, world.record().epoch
    route = names.route("field:traefik", HOST)
    assert left["/chall/1/0"] == [route, names.challenge(uid, epoch)]
    assert names.pending_key(uid, epoch) in left["/finalize/1"]


def test_the_event_comes_before_issued_and_the_pending_key_goes_last(world: JobWorld) -> None:
    world.apply(ingress())
    world.run()
    last = [(r.method, r.path.rpartition("/")[2][:8]) for r in world.api.requests][-4:]
    assert last == [
        ("PUT", "web-tls"),
        ("POST", "events"),
        ("PUT", "shop.web"),
        ("DELETE", "pending-"),
    ]


def test_a_secret_that_is_right_costs_no_order(world: JobWorld) -> None:
    world.apply(ingress())
    world.run()
    before = world.secret()
    world.relaunch()
    assert world.run() is v.ExitCode.DONE
    assert len(world.ca.ordered) == 1
    assert world.secret() == before
    assert world.record().phase is Phase.ISSUED
    assert world.left_over() == []


def test_a_certificate_of_another_issuer_is_not_taken_for_this_ones(world: JobWorld) -> None:
    world.apply(ingress())
    world.run()
    world.api.remove(CONFIGMAPS, v.NAMESPACE, "shop.web-tls")
    world.clock.ahead += timedelta(seconds=2)
    world.set_issuer("second", default=False)
    world.apply(ingress(annotations={v.ISSUER: "second"}))
    assert world.run() is v.ExitCode.DONE
    assert len(world.ca.ordered) == 2
    assert world.secret()["metadata"]["annotations"][v.ISSUER] == "second"


def test_a_record_made_anew_takes_the_good_certificate_over(world: JobWorld) -> None:
    world.apply(ingress())
    world.run()
    world.api.remove(CONFIGMAPS, v.NAMESPACE, "shop.web-tls")
    world.clock.ahead += timedelta(seconds=2)
    world.apply(ingress())
    assert world.run() is v.ExitCode.DONE
    assert len(world.ca.ordered) == 1
    assert world.record().issued is not None


def test_renewal_is_due_so_it_is_ordered_again_with_a_new_key(world: JobWorld) -> None:
    world.apply(ingress())
    world.run()
    before = world.secret()["data"]["tls.key"]
    world.clock.ahead += timedelta(hours=20)
    world.relaunch()
    assert world.run() is v.ExitCode.DONE
    assert len(world.ca.ordered) == 2
    assert world.secret()["data"]["tls.key"] != before


@pytest.mark.parametrize("stored", [True, False], ids=["stored", "refused later"])
def test_who_joins_while_the_live_ingresses_are_waited_for_gets_a_certificate(world: JobWorld, stored: bool) -> None:
    """The webhook sees that it wants what the attempt is for already, and launches nothing of its own."""
    world.apply(ingress(hosts=(HOST, OTHER)), stored=False)
    world.api.add(INGRESSES, "shop", ingress(hosts=(HOST,)))
    joins = iter([ingress("second", hosts=(OTHER, HOST))])

    def join() -> None:
        for body in joins:
            assert [outcome.reason for outcome in world.apply(body, stored=stored)] == [OutcomeReason.MERGED]

    world.clock.on_sleep = join
    assert world.run() is v.ExitCode.DONE
    assert_good_secret(world, (HOST, OTHER) if stored else (HOST,))
    record = world.record()
    assert record.phase is Phase.ISSUED
    both = [("web", (HOST,)), ("second", (HOST, OTHER))]
    assert [(source.name, source.hosts) for source in record.sources] == (both if stored else both[:1])


def test_the_live_ingress_wins_over_what_admission_saw(world: JobWorld) -> None:
    world.apply(ingress())
    changed = ingress(hosts=(OTHER,), annotations={v.KEY_ALGORITHM: "rsa-2048"})
    world.api.add(INGRESSES, "shop", changed)  # past a webhook that was away
    assert world.run() is v.ExitCode.DONE
    assert sum(world.clock.slept) >= 30
    assert_good_secret(world, (OTHER,))
    record = world.record()
    assert (record.intent.hosts, record.intent.settings.key_algorithm) == ((OTHER,), "rsa-2048")
    leaf = x509.load_pem_x509_certificates(world.secret()["data"]["tls.crt"])[0]
    assert "RSA" in type(leaf.public_key()).__name__  # not the algorithm of the hint


def test_an_ingress_that_is_stored_late_is_waited_for(world: JobWorld) -> None:
    world.apply(ingress(), stored=False)

    def store() -> None:
        if sum(world.clock.slept) > 8:
            world.api.add(INGRESSES, "shop", ingress())

    world.clock.on_sleep = store
    assert world.run() is v.ExitCode.DONE
    assert 8 < sum(world.clock.slept) < 15
    assert_good_secret(world)


def test_an_ingress_that_never_appears_costs_no_order(world: JobWorld) -> None:
    world.apply(ingress(), stored=False)
    assert world.run() is v.ExitCode.LATER
    assert world.record().phase is Phase.UNCONFIRMED
    assert world.ca.requests == []
    assert world.left_over() == []
    assert 29 <= sum(world.clock.slept) <= 31


def test_an_ingress_that_is_being_deleted_wants_nothing(world: JobWorld) -> None:
    world.apply(ingress(), stored=False)
    world.api.add(INGRESSES, "shop", ingress(deletionTimestamp="2026-01-01T00:00:00Z"))
    assert world.run() is v.ExitCode.LATER
    assert world.record().phase is Phase.UNCONFIRMED
    assert world.ca.requests == []


def test_a_failed_validation_names_the_host_in_record_and_event(world: JobWorld) -> None:
    world.ca.failing = {OTHER: {"type": "urn:ietf:params:acme:error:dns", "detail": "no A record"}}
    world.apply(ingress(hosts=(HOST, OTHER)))
    assert world.run() is v.ExitCode.LATER
    record = world.record()
    assert record.phase is Phase.WAITING
    assert record.retry is not None
    assert (record.retry.problem.host, record.retry.problem.type) == (OTHER, "dns")
    assert record.retry.failures == 1
    assert record.retry.not_before is not None
    assert timedelta(seconds=50) < record.retry.not_before - world.clock.read() < timedelta(seconds=80)
    [(reason, note)] = world.events()
    assert reason == "CertificateFailed"
    assert f"{OTHER}: no A record (dns)" in note
    assert world.left_over() == []


def test_an_invalid_order_is_dropped_by_the_next_attempt(world: JobWorld) -> None:
    world.ca.failing = {HOST: {"type": "urn:ietf:params:acme:error:dns", "detail": "no A record"}}
    world.apply(ingress())
    world.run()
    world.ca.failing = {}
    world.relaunch()
    assert world.run() is v.ExitCode.DONE
    assert [order.status for order in world.ca.ordered] == ["invalid", "valid"]
    assert_good_secret(world)


def test_caa_is_permanent(world: JobWorld) -> None:
    world.ca.failing = {HOST: {"type": "urn:ietf:params:acme:error:caa", "detail": "CAA forbids"}}
    world.apply(ingress())
    assert world.run() is v.ExitCode.PERMANENT
    assert world.record().phase is Phase.FAILED


def test_rate_limited_waits_as_long_as_the_ca_asks(world: JobWorld) -> None:
    limited = problem("rateLimited", "too many", status=429, headers={"Retry-After": "7200"})
    world.ca.script("/order", limited)
    world.apply(ingress())
    assert world.run() is v.ExitCode.LATER
    retry = world.record().retry
    assert retry is not None
    assert retry.problem.type == "rateLimited"
    assert retry.not_before is not None
    assert timedelta(minutes=119) < retry.not_before - world.clock.read() < timedelta(minutes=151)
    world.relaunch()
    assert world.run() is v.ExitCode.DONE
    assert len(world.ca.ordered) == 1


@pytest.mark.exhaustive
@pytest.mark.parametrize("path", ["/dir", "/account", "/order", "/authz/1/0", "/chall/1/0", "/finalize/1", "/cert/1"])
def test_a_ca_that_is_away_for_a_moment_costs_seconds(world: JobWorld, path: str) -> None:
    world.ca.script(path, *[NO_ANSWER] * 3)
    world.apply(ingress())
    assert world.run() is v.ExitCode.DONE  # with the keys that this pod made, which are not mounted in it
    assert len(world.ca.ordered) == 1
    assert_good_secret(world)


def test_a_ca_that_stays_away_is_waited_for_outside_the_job(world: JobWorld) -> None:
    world.ca.script("/dir", *[problem("serverInternal", "on fire", status=503)] * 9)
    world.apply(ingress())
    assert world.run() is v.ExitCode.LATER
    assert sum(world.clock.slept) == pytest.approx(13)
    assert world.record().phase is Phase.WAITING
    assert world.events()[0][0] == "CertificateFailed"


def test_certificates_for_anothers_key_are_dropped_and_ordered_again(world: JobWorld) -> None:
    world.ca.stolen = 2
    world.apply(ingress())
    assert world.run() is v.ExitCode.DONE
    assert len(world.ca.ordered) == 3
    assert_good_secret(world)


def test_and_that_at_most_twice(world: JobWorld) -> None:
    world.ca.stolen = 9
    world.apply(ingress())
    assert world.run() is v.ExitCode.LATER
    assert len(world.ca.ordered) == 3
    retry = world.record().retry
    assert retry is not None
    assert retry.problem.type == "orderDropped"
    world.ca.stolen = 0
    world.relaunch()
    assert world.run() is v.ExitCode.DONE  # the count begins anew


def test_two_records_handed_one_order_both_end_with_their_own_certificate(world: JobWorld) -> None:
    world.ca.reuses = True
    world.apply(ingress())
    world.apply(ingress("web2", secret="web2-tls"))
    first = world.pod()
    second_done: list[v.ExitCode] = []

    def before(request: Request) -> None:
        if request.path == "/order/1" and not second_done:
            second_done.append(v.ExitCode.DONE)
            world.ca.before = lambda request: None
            world.ca._lock.release()
            second_done[0] = world.run(secret="web2-tls")
            world.ca._lock.acquire()

    world.ca.before = before
    assert world.issue(first) in {v.ExitCode.DONE, v.ExitCode.OTHER_POD}
    if world.record().phase is not Phase.ISSUED:
        assert world.run() is v.ExitCode.DONE
    if second_done != [v.ExitCode.DONE]:
        assert world.run(secret="web2-tls") is v.ExitCode.DONE
    assert_good_secret(world)
    assert_good_secret(world, secret="web2-tls")
    assert world.left_over() == []


def test_a_dead_account_is_made_anew(world: JobWorld) -> None:
    world.apply(ingress())
    world.run()
    old = world.ca.accounts[0]
    world.ca.forget_account(old)
    world.clock.ahead += timedelta(seconds=2)
    world.apply(ingress("web2", secret="web2-tls"))
    assert world.run(secret="web2-tls") is v.ExitCode.DONE
    assert len(world.ca.accounts) == 1
    assert world.ca.accounts != [old]
    state = world.api.stored(CONFIGMAPS, v.NAMESPACE, names.issuer_state(ISSUER, world.server))
    assert state is not None
    assert state["data"]["accountUrl"] == world.ca.accounts[0]


def test_one_account_for_many_jobs(world: JobWorld) -> None:
    for number in range(3):
        world.apply(ingress(f"web{number}", secret=f"web{number}-tls", hosts=(f"h{number}.certjob.dev",)))
        assert world.run(secret=f"web{number}-tls") is v.ExitCode.DONE
    assert world.ca.paths().count("POST /account") == 1
    made = [s for s in world.api.all(SECRETS, v.NAMESPACE) if v.ACCOUNT in s["metadata"]["labels"]]
    assert len(made) == 1


def test_the_job_carries_what_the_pod_needs(world: JobWorld) -> None:
    world.apply(ingress())
    [job] = world.api.all(JOBS, v.NAMESPACE)
    assert job["metadata"]["labels"][v.RECORD_UID] == world.record().uid
    assert job["spec"]["template"]["metadata"]["annotations"] == {v.RECORD: "shop.web-tls"}
