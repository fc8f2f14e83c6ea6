"""`certjob.io/renew`: the certificate must not be older than this, whatever is there."""

from __future__ import annotations

import json
from datetime import datetime, timedelta

import pytest
from msgspec.structs import replace

from issuer_job import names
from issuer_job import vocabulary as v
from issuer_job.cluster.api import CONFIGMAPS, INGRESSES, Json
from issuer_job.demand.ingress import wants
from issuer_job.launch.configuration import SettingsCache
from issuer_job.launch.launcher import Launcher
from issuer_job.launch.outcome import LaunchOutcome, OutcomeReason
from issuer_job.launch.room import Room
from issuer_job.record import transitions
from issuer_job.record.phases import LaunchReason
from issuer_job.record.record import Phase, Record
from issuer_job.record.renewal import issued_of
from tests.worlds.account import another
from tests.worlds.job import HOST, JobWorld, assert_good_secret, ingress
from tests.worlds.reviews import decision_on, read, review
from tests.worlds.samples import PROBLEM
from tests.worlds.sweep import HOUR, MINUTE, by_hand, issue_one, jobs, orders, passes, run, write, writes_nothing

pytestmark = pytest.mark.exhaustive


def rfc_3339(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def asking(moment: datetime, name: str = "web") -> Json:
    return ingress(name, annotations={v.RENEW: rfc_3339(moment)})


def asks_on_the_record(world: JobWorld, text: str, secret: str = "web-tls") -> None:
    """`kubectl annotate configmap`, as an operator."""
    stored = world.api.stored(CONFIGMAPS, v.NAMESPACE, names.record("shop", secret))
    assert stored is not None
    stored["metadata"]["annotations"][v.RENEW] = text
    world.api.add(CONFIGMAPS, v.NAMESPACE, stored)


def admitted(world: JobWorld, body: Json) -> LaunchOutcome:
    """By a webhook that knows what is under way, and the limits of its issuers."""
    settings = SettingsCache(world.cluster)
    launcher = Launcher(world.cluster, settings, clock=world.clock.read, room=Room(settings))
    world.api.add(INGRESSES, "shop", body)
    [entry] = wants(body, issuers=settings.issuers()).entries
    return launcher.launch(entry, namespace="shop", deadline=float("inf"))


def reason_of(record: Record) -> str:
    return transitions.attempt_of(record).reason


def test_an_old_one_is_renewed_at_apply_once_and_for_all(swept: JobWorld) -> None:
    issue_one(swept)
    swept.clock.ahead += 2 * HOUR
    body = asking(swept.clock.read())
    assert [outcome.reason for outcome in swept.apply(body)] == [OutcomeReason.LAUNCHED]
    assert reason_of(swept.record()) == LaunchReason.RENEW_ASKED
    assert_good_secret(swept)  # the old one, until the new one is there
    assert swept.run() is v.ExitCode.DONE
    assert orders(swept) == 2
    for _ in range(3):
        swept.clock.ahead += HOUR
        assert [outcome.reason for outcome in swept.apply(body)] == [OutcomeReason.UNCHANGED]
    passes(swept, 3)
    assert writes_nothing(swept)
    assert (orders(swept), jobs(swept)) == (2, 2)


def test_a_young_one_is_renewed_when_it_is_an_hour_old_and_whoever_asks_is_told(swept: JobWorld) -> None:
    issue_one(swept)
    swept.clock.ahead += 10 * MINUTE
    [outcome] = swept.apply(asking(swept.clock.read()))
    assert outcome.reason is OutcomeReason.MERGED
    assert "it is renewed at" in (outcome.warning or "")
    passes(swept, 8)
    assert jobs(swept) == 1
    passes(swept, 3)
    assert swept.run() is v.ExitCode.DONE
    assert orders(swept) == 2


def test_an_appointment_is_kept_by_the_sweep_and_one_that_the_webhook_missed_too(swept: JobWorld) -> None:
    issue_one(swept)
    swept.clock.ahead += 2 * HOUR
    at = swept.clock.read() + 12 * MINUTE
    swept.api.add(INGRESSES, "shop", asking(at))
    passes(swept, 2)
    assert jobs(swept) == 1
    passes(swept, 1)
    assert swept.record().phase is Phase.LAUNCHED
    assert reason_of(swept.record()) == LaunchReason.RENEW_ASKED
    assert swept.run() is v.ExitCode.DONE
    assert orders(swept) == 2


def test_it_does_not_matter_who_put_the_old_one_there(swept: JobWorld) -> None:
    issue_one(swept)
    by_hand(swept)
    run(swept)
    assert swept.record().issued.directory == ""  # type: ignore[union-attr]
    swept.apply(asking(swept.clock.read() + timedelta(seconds=1)))
    passes(swept, 1)
    assert swept.run() is v.ExitCode.DONE
    assert orders(swept) == 2
    run(swept)  # what was ordered goes into the book
    assert writes_nothing(swept)


def test_an_operator_asks_on_the_record(swept: JobWorld) -> None:
    issue_one(swept)
    swept.clock.ahead += 2 * HOUR
    asks_on_the_record(swept, rfc_3339(swept.clock.read()))
    passes(swept, 1)
    assert reason_of(swept.record()) == LaunchReason.RENEW_ASKED
    assert swept.run() is v.ExitCode.DONE
    assert orders(swept) == 2
    passes(swept, 3)
    assert (writes_nothing(swept), jobs(swept)) == (True, 2)


def test_the_limits_of_the_issuer_hold(swept: JobWorld) -> None:
    swept.set_issuer(limits={"perExactSet": 1})
    issue_one(swept)
    swept.clock.ahead += 2 * HOUR
    swept.api.add(INGRESSES, "shop", asking(swept.clock.read()))
    passes(swept, 3)
    assert (swept.record().phase, orders(swept), jobs(swept)) == (Phase.WAITING, 1, 1)
    assert "CertificateHeldBack" in [reason for reason, _ in swept.events()]
    assert_good_secret(swept)
    swept.clock.ahead += timedelta(days=7)
    passes(swept, 1)
    assert swept.run() is v.ExitCode.DONE
    assert orders(swept) == 2


def test_what_is_no_time_asks_for_nothing_and_is_told(swept: JobWorld, caplog: pytest.LogCaptureFixture) -> None:
    issue_one(swept)
    swept.clock.ahead += 2 * HOUR
    body = ingress(annotations={v.RENEW: "now"})
    [outcome] = swept.apply(body)
    assert outcome.reason is OutcomeReason.UNCHANGED
    seen = read(json.dumps(review(body)).encode())
    decided = decision_on(seen, issuers=SettingsCache(swept.cluster).issuers())
    assert "certjob.io/renew: 'now' is not a time such as 2026-12-01T08:00:00Z" in decided.warnings
    asks_on_the_record(swept, "tomorrow")
    passes(swept, 1)
    assert jobs(swept) == 1
    assert "renew-unreadable" in caplog.messages


def test_what_is_wanted_is_the_same_as_before(swept: JobWorld) -> None:
    """So an order that is under way goes on, and a failure of it counts on."""
    swept.apply(ingress())
    before = swept.record()
    swept.apply(asking(swept.clock.read() + HOUR))
    after = swept.record()
    assert after.intent.hash == before.intent.hash
    assert (after.epoch, after.generation, jobs(swept)) == (before.epoch, before.generation, 1)
    assert after.sources[0].renew is not None


def test_whatever_the_zone_it_is_told_in_utc(swept: JobWorld) -> None:
    issue_one(swept)
    [outcome] = swept.apply(ingress(annotations={v.RENEW: "2099-12-01T02:00:00+05:30"}))
    assert outcome.warning == "Secret web-tls: it is renewed at 30 Nov 2099 20:30 UTC, see certjob.io/renew"


def test_of_two_ingresses_the_later_time_counts(swept: JobWorld) -> None:
    issue_one(swept)
    swept.apply(ingress("also"))
    swept.clock.ahead += 2 * HOUR
    now = swept.clock.read()
    swept.apply(asking(now + 30 * MINUTE, "also"))
    swept.apply(asking(now + 10 * MINUTE))
    passes(swept, 5)
    assert jobs(swept) == 1
    passes(swept, 1)
    assert jobs(swept) == 2


def test_a_pipeline_that_writes_now_at_each_sync_gets_one_an_hour(swept: JobWorld) -> None:
    issue_one(swept)
    for _ in range(3 * 12 + 6):
        swept.clock.ahead += 5 * MINUTE
        if swept.apply(asking(swept.clock.read()))[0].reason is OutcomeReason.LAUNCHED:
            assert swept.run() is v.ExitCode.DONE
        run(swept)
    assert orders(swept) == 1 + 3


@pytest.mark.parametrize("age", ["older", "younger"])
def test_it_survives_a_lost_record(swept: JobWorld, age: str) -> None:
    """The annotation stays in Git: what is younger is not ordered again, and what is older is still renewed."""
    issue_one(swept)
    made = issued_of(swept.record()).not_before
    body = asking(made + 10 * MINUTE if age == "older" else made)
    swept.clock.ahead += 2 * HOUR
    swept.api.remove(CONFIGMAPS, v.NAMESPACE, names.record("shop", "web-tls"))
    swept.api.add(INGRESSES, "shop", body)
    passes(swept, 1)
    assert swept.run() is v.ExitCode.DONE
    passes(swept, 2)
    assert orders(swept) == (2 if age == "older" else 1)
    assert swept.record().phase is Phase.ISSUED


def test_a_back_off_goes_on(swept: JobWorld) -> None:
    issue_one(swept)
    swept.clock.ahead += 2 * HOUR
    swept.apply(asking(swept.clock.read()))
    swept.ca.failing = {HOST: {"type": "urn:ietf:params:acme:error:connection", "detail": "no"}}
    assert swept.run() is v.ExitCode.LATER
    [outcome] = swept.apply(asking(swept.clock.read() + timedelta(seconds=1)))
    assert outcome.reason is OutcomeReason.MERGED
    assert "failed (connection)" in (outcome.warning or "")
    assert_good_secret(swept)
    swept.ca.failing = {}
    passes(swept, 2)
    assert swept.run() is v.ExitCode.DONE
    passes(swept, 1)
    assert jobs(swept) == 3


def test_so_does_a_wait_that_the_ca_asked_for(swept: JobWorld) -> None:
    record, now, limited = issue_one(swept), swept.clock.read(), replace(PROBLEM, type="rateLimited")
    renewal = transitions.launched(record, now, reason=LaunchReason.RENEWAL_DUE)
    write(swept, transitions.waiting(renewal, now, problem=limited, wait=3 * HOUR, asked=True))
    swept.clock.ahead += 2 * HOUR
    swept.apply(asking(swept.clock.read()))
    passes(swept, 11)
    assert jobs(swept) == 1
    passes(swept, 2)
    assert jobs(swept) == 2


def test_the_bound_of_a_namespace_holds(swept: JobWorld) -> None:
    swept.set_options(activeOrdersPerNamespace=1)
    issue_one(swept)
    swept.clock.ahead += 2 * HOUR
    busy = another(swept, 1)
    outcome = admitted(swept, asking(swept.clock.read()))
    assert outcome.reason is OutcomeReason.PUT_OFF
    assert "it has its turn later" in (outcome.warning or "")
    passes(swept, 1)
    assert swept.record().phase is Phase.ISSUED
    assert swept.run(secret=busy) is v.ExitCode.DONE
    passes(swept, 1)
    assert reason_of(swept.record()) == LaunchReason.RENEW_ASKED
    assert swept.run() is v.ExitCode.DONE


def test_the_limits_of_the_issuer_hold_at_apply_and_the_order_names_what_it_replaces(swept: JobWorld) -> None:
    swept.set_issuer(limits={"perExactSet": 1})
    record = issue_one(swept)
    write(swept, replace(record, issued=replace(issued_of(record), cert_id="a.b")))
    swept.clock.ahead += 2 * HOUR
    run(swept)
    outcome = admitted(swept, asking(swept.clock.read()))
    assert outcome.reason is OutcomeReason.OVER_LIMIT
    assert "held back until" in (outcome.warning or "")
    assert (orders(swept), jobs(swept)) == (1, 1)
    swept.clock.ahead += timedelta(days=7)
    passes(swept, 1)
    assert swept.run() is v.ExitCode.DONE
    asked = [r.payload for r in swept.ca.requests if (r.method, r.path) == ("POST", "/order")]
    assert [order.get("replaces") for order in asked] == [None, "a.b"]


def test_thousands_at_an_operators_word_are_spread_and_keep_nobody_waiting(swept: JobWorld) -> None:
    swept.set_options(launchesPerSweep=1)
    secrets = [another(swept, number) for number in range(7)]
    for secret in secrets:
        assert swept.run(secret=secret) is v.ExitCode.DONE
    swept.clock.ahead += 2 * HOUR
    run(swept)
    for secret in secrets:
        asks_on_the_record(swept, rfc_3339(swept.clock.read()), secret)
    swept.api.add(INGRESSES, "shop", ingress())  # the webhook has missed it
    waiting = set(secrets)
    for number in range(8):
        before = jobs(swept)
        swept.api.requests.clear()
        passes(swept, 1)
        looked = {request.path.rpartition("/")[2] for request in swept.api.requests if request.method == "PUT"}
        assert not looked & waiting  # as long as they only wait
        if not number:
            assert swept.run() is v.ExitCode.DONE
        assert jobs(swept) - before == 1
        for secret in (secret for secret in secrets if swept.record(secret).phase is Phase.LAUNCHED):
            waiting.remove(secret)
            assert swept.run(secret=secret) is v.ExitCode.DONE
    assert {reason_of(swept.record(secret)) for secret in secrets} == {LaunchReason.RENEW_ASKED}
    assert orders(swept) == 2 * len(secrets) + 1
