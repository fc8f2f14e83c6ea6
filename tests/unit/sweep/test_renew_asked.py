"""`certjob.io/renew`: the certificate must not be older than this, whatever is there."""

from __future__ import annotations

from datetime import datetime, timedelta

from issuer_job import names
from issuer_job import vocabulary as v
from issuer_job.cluster.api import CONFIGMAPS, INGRESSES, Json
from issuer_job.launch.outcome import OutcomeReason
from issuer_job.record.record import Phase
from tests.worlds.job import JobWorld, assert_good_secret, ingress
from tests.worlds.sweep import HOUR, MINUTE, by_hand, issue_one, jobs, orders, passes, run, writes_nothing


def asking(moment: datetime, name: str = "web") -> Json:
    return ingress(name, annotations={v.RENEW: f"{moment:%Y-%m-%dT%H:%M:%SZ}"})


def test_an_old_one_is_renewed_at_apply_once_and_for_all(swept: JobWorld) -> None:
    issue_one(swept)
    swept.clock.ahead += 2 * HOUR
    body = asking(swept.clock.read())
    assert [outcome.reason for outcome in swept.apply(body)] == [OutcomeReason.LAUNCHED]
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
    stored = swept.api.stored(CONFIGMAPS, v.NAMESPACE, names.record("shop", "web-tls"))
    assert stored is not None
    stored["metadata"]["annotations"][v.RENEW] = f"{swept.clock.read():%Y-%m-%dT%H:%M:%SZ}"
    swept.api.add(CONFIGMAPS, v.NAMESPACE, stored)
    passes(swept, 1)
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


def test_what_is_no_time_asks_for_nothing(swept: JobWorld) -> None:
    issue_one(swept)
    swept.clock.ahead += 2 * HOUR
    [outcome] = swept.apply(ingress(annotations={v.RENEW: "now"}))
    assert outcome.reason is OutcomeReason.UNCHANGED
    passes(swept, 1)
    assert jobs(swept) == 1
