"""A launch says whether a new certificate is wanted in any case, and how often sweeps come by; the Job heeds both."""

from __future__ import annotations

from datetime import timedelta

import pytest
from msgspec.structs import replace

from issuer_job import vocabulary as v
from issuer_job.account.account import EAB_HMAC_KEY
from issuer_job.cluster.api import CONFIGMAPS, JOBS
from issuer_job.issuers.load import issuer_version
from issuer_job.issuers.state import CHECK_RESULT, CHECKED_AT, NOT_READY, READY, note_in_state
from issuer_job.record import transitions
from issuer_job.record.phases import Bearing, LaunchReason
from issuer_job.record.record import Phase, Record, Renewal
from issuer_job.sweep import rules
from issuer_job.sweep.situation import Action, Situation, Verdict
from tests.fakes.acme import problem
from tests.worlds.check import check, credentials
from tests.worlds.job import ISSUER, JobWorld, ingress
from tests.worlds.samples import PROBLEM
from tests.worlds.sweep import HOUR, MINUTE, by_hand, issue_one, jobs, orders, passes, run, write, writes_nothing

pytestmark = pytest.mark.exhaustive

LATER_VERSIONS = "KeyIsWeak"
INTERVALS = [HOUR, 24 * HOUR]


@pytest.fixture(params=[Action.NEW_EPOCH, Action.LOOK])
def weak(swept: JobWorld, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Record:
    """A certificate that a further rule wants replaced, although it is not due."""
    first = issue_one(swept)
    assert first.issued is not None
    serial = first.issued.serial

    def key_is_weak(s: Situation, record: Record) -> bool:
        return record.phase is Phase.ISSUED and record.issued is not None and record.issued.serial == serial

    row = (key_is_weak, Verdict(request.param, further_reason()))
    monkeypatch.setattr(rules, "RULES", (row, *rules.RULES))
    swept.clock.ahead += timedelta(seconds=2)
    return first


def further_reason() -> LaunchReason:
    """A row of the enumeration that this version has not got."""
    reason = str.__new__(LaunchReason, LATER_VERSIONS)
    reason._value_, reason._name_, reason.bearing = LATER_VERSIONS, "KEY_IS_WEAK", Bearing.REPLACES
    return reason


def late(world: JobWorld, interval: timedelta) -> None:
    issue_one(world)
    make_late(world, interval)


def make_late(world: JobWorld, interval: timedelta) -> None:
    """The CA suggests five minutes before the end: a sweep with this interval cannot wait so long, and it is time."""
    issued = world.record().issued
    assert issued is not None
    suggested = issued.not_after - 5 * MINUTE
    renewal = Renewal(check_after=issued.not_after, at=suggested, start=suggested, end=suggested)
    write(world, replace(world.record(), issued=replace(issued, renewal=renewal)))
    middle = issued.not_before + issued.lifetime / 2
    world.clock.ahead += max(issued.not_after - 3 * interval, middle) + 10 * MINUTE - world.clock.read()


def refuse(world: JobWorld) -> None:
    """The next order."""
    world.ca.script("/order", problem("connection"))


def failures(world: JobWorld) -> int:
    return transitions.failures_of(world.record())


def reason(world: JobWorld) -> str:
    return transitions.attempt_of(world.record()).reason


def test_it_takes_one_attempt_and_the_next_pass_is_quiet(swept: JobWorld, weak: Record) -> None:
    run(swept)
    assert reason(swept) == LATER_VERSIONS
    assert swept.run() is v.ExitCode.DONE
    assert orders(swept) == 2
    assert swept.record().issued != weak.issued
    passes(swept, 12)
    assert (jobs(swept), orders(swept)) == (2, 2)
    assert writes_nothing(swept)


def test_a_good_one_that_the_owner_puts_there_meanwhile_stays(swept: JobWorld, weak: Record) -> None:
    by_hand(swept)
    run(swept)
    if swept.record().phase is Phase.LAUNCHED:
        assert swept.run() is v.ExitCode.DONE
    assert orders(swept) == 1
    assert swept.record().issued != weak.issued
    assert writes_nothing(swept)


def test_it_is_still_wanted_after_a_crash(swept: JobWorld, weak: Record) -> None:
    run(swept)
    swept.clock.ahead += rules.ATTEMPT_DEADLINE + MINUTE
    run(swept)
    assert reason(swept) == LaunchReason.CRASHED
    assert swept.run() is v.ExitCode.DONE
    assert orders(swept) == 2
    passes(swept, 12)
    assert orders(swept) == 2


def test_it_is_still_wanted_when_its_job_never_came(swept: JobWorld, weak: Record) -> None:
    run(swept)
    launched = swept.record()
    swept.api.remove(JOBS, v.NAMESPACE, swept.api.all(JOBS)[-1]["metadata"]["name"])
    swept.clock.ahead += 2 * MINUTE
    run(swept)
    assert swept.record().epoch == launched.epoch
    assert swept.run() is v.ExitCode.DONE
    assert orders(swept) == 2


def test_it_is_still_wanted_after_a_failure_whose_retries_back_off(swept: JobWorld, weak: Record) -> None:
    run(swept)
    for number in range(1, 4):
        refuse(swept)
        assert swept.run() is v.ExitCode.LATER
        assert failures(swept) == number
        swept.clock.ahead += timedelta(minutes=2**number)
        run(swept)
        assert reason(swept) == LaunchReason.RETRY_DUE
    assert swept.run() is v.ExitCode.DONE
    assert orders(swept) == 2


def test_once_met_it_is_not_wanted_again(swept: JobWorld, weak: Record) -> None:
    run(swept)
    assert swept.run() is v.ExitCode.DONE
    swept.relaunch()
    assert swept.run() is v.ExitCode.DONE
    assert orders(swept) == 2


@pytest.mark.parametrize("interval", INTERVALS)
def test_a_renewal_that_the_sweep_wants_early_keeps_its_back_off(swept: JobWorld, interval: timedelta) -> None:
    late(swept, interval)
    run(swept, interval=interval)
    assert reason(swept) == LaunchReason.RENEWAL_DUE
    for number in range(1, 4):
        refuse(swept)
        assert swept.run() is v.ExitCode.LATER
        assert failures(swept) == number
        swept.clock.ahead += timedelta(minutes=2**number)
        run(swept, interval=interval)
    assert swept.run() is v.ExitCode.DONE
    assert orders(swept) == 2


@pytest.mark.parametrize("interval", INTERVALS)
def test_a_renewal_that_the_sweep_wants_early_survives_a_crash(swept: JobWorld, interval: timedelta) -> None:
    late(swept, interval)
    run(swept, interval=interval)
    swept.clock.ahead += rules.ATTEMPT_DEADLINE + MINUTE
    run(swept, interval=interval)
    assert reason(swept) == LaunchReason.CRASHED
    assert swept.run() is v.ExitCode.DONE
    assert orders(swept) == 2


@pytest.mark.parametrize("interval", INTERVALS)
@pytest.mark.parametrize("notes", [{v.RETRY: "now"}, {v.FORMATS: "ca.crt"}], ids=["retry", "formats"])
def test_a_webhook_that_launches_meanwhile_loses_nothing(
    swept: JobWorld, interval: timedelta, notes: dict[str, str]
) -> None:
    late(swept, interval)
    run(swept, interval=interval)
    refuse(swept)
    assert swept.run() is v.ExitCode.LATER
    swept.clock.ahead += timedelta(seconds=2)
    swept.apply(ingress(annotations=notes))
    assert swept.record().phase is Phase.LAUNCHED
    assert swept.run() is v.ExitCode.DONE
    assert orders(swept) == 2


@pytest.mark.parametrize("interval", INTERVALS)
def test_a_webhooks_job_knows_the_interval_from_the_attempt_before(swept: JobWorld, interval: timedelta) -> None:
    late(swept, interval)
    run(swept, interval=interval)
    assert swept.run() is v.ExitCode.DONE
    make_late(swept, interval)
    swept.apply(ingress(annotations={v.FORMATS: "ca.crt"}))
    assert not transitions.attempt_of(swept.record()).renews
    assert swept.run() is v.ExitCode.DONE
    assert orders(swept) == 3


def test_a_clock_that_is_ahead_puts_an_early_renewal_off_no_longer_than_it_is_ahead(swept: JobWorld) -> None:
    late(swept, HOUR)
    swept.ca.clock = lambda: swept.clock.read() - 30 * MINUTE
    run(swept, interval=HOUR)
    assert swept.run() is v.ExitCode.LATER
    retry = swept.record().retry
    assert retry is not None
    assert retry.problem.type == "clockSkew"
    assert retry.not_before is not None
    assert retry.not_before - swept.clock.read() < 30 * MINUTE


def test_what_is_not_due_by_any_clock_is_not_put_off_for_the_clock(swept: JobWorld, weak: Record) -> None:
    swept.ca.clock = lambda: swept.clock.read() - 30 * MINUTE
    run(swept)
    assert swept.run() is v.ExitCode.DONE
    assert orders(swept) == 2


def test_once_a_test_finds_the_issuer_ready_what_failed_with_its_account_is_tried(swept: JobWorld) -> None:
    issue_one(swept)
    problem = replace(PROBLEM, step="account")
    wait = {"wait": 6 * HOUR, "issuer": version_of(swept)}
    write(swept, transitions.waiting(swept.record(), swept.clock.read(), problem=problem, **wait))

    def tested(result: str) -> None:
        swept.clock.ahead += MINUTE
        found = {CHECKED_AT: swept.clock.read().isoformat(), CHECK_RESULT: result}
        note_in_state(swept.cluster, ISSUER, swept.server, found)
        run(swept)

    tested(NOT_READY)
    assert jobs(swept) == 1
    tested(READY)
    assert (jobs(swept), reason(swept)) == (2, LaunchReason.ISSUER_EDITED)
    assert swept.record().retry is None


def test_an_external_account_that_was_put_right_is_tried_once_a_test_finds_it_so(swept: JobWorld) -> None:
    """The Secret is no part of the issuer's configuration, so no edit shows."""
    swept.set_issuer(externalAccount={"keyId": "k"})
    credentials(swept, {EAB_HMAC_KEY: b"d3JvbmctbWFjLWtleS1vZi1lbm91Z2gtYnl0ZXM"})
    nobody = problem("accountDoesNotExist")
    swept.ca.script("/account", nobody, problem("unauthorized", "bad MAC", status=403), nobody)
    swept.apply(ingress())
    assert swept.run() is v.ExitCode.PERMANENT
    retry = swept.record().retry
    assert retry is not None
    assert (retry.problem.type, retry.problem.detail) == ("externalAccountRequired", "newAccount: bad MAC")
    run(swept)
    assert jobs(swept) == 1
    credentials(swept, {EAB_HMAC_KEY: b"cmlnaHQtbWFjLWtleS1vZi1lbm91Z2gtYnl0ZXM"})
    assert check(swept) is v.ExitCode.DONE
    run(swept)
    assert reason(swept) == LaunchReason.ISSUER_EDITED
    assert swept.run() is v.ExitCode.DONE


def version_of(world: JobWorld) -> str:
    return issuer_version(world.cluster.get(CONFIGMAPS, v.NAMESPACE, ISSUER))
