"""Everything that an issuer has given replaced, at an operator's word: spread, within limits, served meanwhile."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from msgspec.structs import replace

from issuer_job import vocabulary as v
from issuer_job.record.phases import LaunchReason
from issuer_job.record.record import Phase, Record
from tests.worlds.account import another
from tests.worlds.check import Operator, annotate, events_of
from tests.worlds.job import ISSUER, JobWorld, assert_good_secret, ingress
from tests.worlds.sweep import HOUR, MINUTE, by_hand, issue_one, jobs, orders, passes, run, write, writes_nothing

pytestmark = pytest.mark.exhaustive


def asks(world: JobWorld, command: str = "replace-certificates", issuer: str = ISSUER) -> list[str]:
    operator = Operator(world, pods=False)
    assert operator.runs(command, issuer) is v.ExitCode.DONE
    return operator.said


def several(world: JobWorld, number: int) -> list[str]:
    """So many certificates, two hours old."""
    secrets = [another(world, each) for each in range(number)]
    for secret in secrets:
        assert world.run(secret=secret) is v.ExitCode.DONE
    world.clock.ahead += 2 * HOUR
    run(world)
    return secrets


def active(world: JobWorld, secrets: list[str]) -> list[str]:
    return [secret for secret in secrets if world.record(secret).phase is Phase.LAUNCHED]


def serial(record: Record) -> str:
    assert record.issued is not None
    return record.issued.serial


def test_all_are_replaced_once_and_served_until_then(swept: JobWorld) -> None:
    secrets = several(swept, 3)
    before = {secret: serial(swept.record(secret)) for secret in secrets}
    said = asks(swept)

    assert "3 certificates, 3 of them from before" in said[0]
    run(swept)
    for number, secret in enumerate(secrets):
        assert_good_secret(swept, (f"h{number}.certjob.dev",), secret)
        assert serial(swept.record(secret)) == before[secret]
        assert swept.record(secret).attempt.reason == LaunchReason.RENEW_ASKED  # type: ignore[union-attr]
        assert swept.run(secret=secret) is v.ExitCode.DONE
        assert serial(swept.record(secret)) != before[secret]
    assert orders(swept) == 6
    assert "0 of them" in asks(swept, "status")[0]
    run(swept)
    assert writes_nothing(swept)
    passes(swept, 3)
    assert (orders(swept), jobs(swept)) == (6, 6)


def test_the_command_killed_or_called_again_begins_nothing_anew(swept: JobWorld) -> None:
    """All that it writes is one annotation: what follows is the sweeps'."""
    secrets = several(swept, 2)
    first = asks(swept)[0]
    run(swept)
    assert swept.run(secret=secrets[0]) is v.ExitCode.DONE
    swept.clock.ahead += MINUTE
    again = asks(swept)[0]
    assert "1 of them from before" in again
    assert first.partition("before")[2] == again.partition("before")[2]
    assert swept.run(secret=secrets[1]) is v.ExitCode.DONE
    swept.clock.ahead += 2 * HOUR
    assert "2 of them" in asks(swept)[0]  # all of that was done: it is asked for anew


def test_status_asks_for_nothing(swept: JobWorld) -> None:
    several(swept, 1)
    assert asks(swept, "status") == [f"{ISSUER}: 1 certificates, nothing was asked for"]
    run(swept)
    assert jobs(swept) == 1


def test_spread_over_the_passes(swept: JobWorld) -> None:
    swept.set_options(launchesPerSweep=2)
    secrets = several(swept, 5)
    asks(swept)
    seen = []
    for _ in range(4):
        passes(swept, 1)
        started = active(swept, secrets)
        seen.append(len(started))
        for secret in started:
            assert swept.run(secret=secret) is v.ExitCode.DONE
    assert seen == [2, 2, 1, 0]
    assert orders(swept) == 10


def test_within_the_issuers_limits_and_with_no_job_for_nothing(swept: JobWorld) -> None:
    """What is held back is served as it is, and replaced when there is room."""
    swept.set_issuer(limits={"orders": 4, "perNamespace": 0})
    secrets = several(swept, 3)
    asks(swept)
    passes(swept, 1)
    started = active(swept, secrets)
    for secret in started:
        assert swept.run(secret=secret) is v.ExitCode.DONE
    waiting = [secret for secret in secrets if swept.record(secret).phase is Phase.WAITING]
    assert (len(started), len(waiting)) == (1, 2)
    assert orders(swept) == 4
    swept.clock.ahead += 3 * HOUR
    run(swept)
    for secret in waiting:
        assert swept.run(secret=secret) is v.ExitCode.DONE
    assert orders(swept) == 6
    assert "0 of them" in asks(swept, "status")[0]


def test_a_young_one_is_replaced_when_it_is_an_hour_old(swept: JobWorld) -> None:
    issue_one(swept)
    swept.clock.ahead += MINUTE
    asks(swept)
    passes(swept, 11)
    assert jobs(swept) == 1
    passes(swept, 2)
    assert swept.run() is v.ExitCode.DONE
    assert orders(swept) == 2


def test_not_what_its_owner_has_put_there_nor_what_another_issuer_gave(swept: JobWorld) -> None:
    issue_one(swept)
    swept.set_issuer("second", default=False)
    body = ingress("other", secret="other-tls", hosts=("o.certjob.dev",), annotations={v.ISSUER: "second"})
    issue_one(swept, body, secret="other-tls")
    by_hand(swept)
    swept.clock.ahead += 2 * HOUR
    run(swept)
    assert swept.record().issued.directory == ""  # type: ignore[union-attr]
    assert "0 certificates" in asks(swept)[0]
    passes(swept, 3)
    assert jobs(swept) == 2
    assert "1 certificates, 1 of them" in asks(swept, issuer="second")[0]
    run(swept)
    assert active(swept, ["web-tls", "other-tls"]) == ["other-tls"]


def test_what_its_owner_has_just_put_there_stays(swept: JobWorld) -> None:
    """No pass has seen it yet; the Job looks before it orders."""
    issue_one(swept)
    swept.clock.ahead += 2 * HOUR
    asks(swept)
    by_hand(swept)
    held = swept.secret()["data"]["tls.crt"]
    run(swept)
    assert swept.run() is v.ExitCode.DONE
    assert swept.secret()["data"]["tls.crt"] == held
    assert orders(swept) == 1


def test_what_waits_for_its_turn_costs_no_look(swept: JobWorld) -> None:
    swept.set_options(launchesPerSweep=1)
    several(swept, 4)
    asks(swept)
    passes(swept, 1)
    looks = [r for r in swept.api.requests if r.method == "PUT" and "/secrets/more" in r.path]
    swept.api.requests.clear()
    passes(swept, 1)
    again = [r for r in swept.api.requests if r.method == "PUT" and "/secrets/more" in r.path]
    assert len(again) <= len(looks)
    assert not again


def test_what_it_gave_as_a_fallback_too(swept: JobWorld) -> None:
    swept.set_issuer("second", default=False, type="selfsigned")
    swept.set_issuer(fallback={"issuer": "second", "after": "1h"})
    issue_one(swept)
    record = swept.record()
    assert record.issued is not None
    write(swept, replace(record, issued=replace(record.issued, directory="selfsigned")))
    swept.clock.ahead += 2 * HOUR
    assert "1 certificates, 1 of them" in asks(swept, issuer="second")[0]
    run(swept)
    assert swept.record().phase is Phase.LAUNCHED


def test_whatever_the_type(swept: JobWorld) -> None:
    swept.set_issuer(type="selfsigned")
    before = serial(issue_one(swept))
    swept.clock.ahead += 2 * HOUR
    asks(swept)
    run(swept)
    assert swept.run() is v.ExitCode.DONE
    assert serial(swept.record()) != before


def test_the_issuer_is_told_how_many_are_left_once_for_each_request(swept: JobWorld) -> None:
    several(swept, 2)
    asks(swept)
    passes(swept, 2)
    [event] = [event for event in events_of(swept) if event["reason"] == "IssuerRenewsAll"]
    assert event["note"].startswith("2 certificates are from before ")
    assert "Until then they are served" in event["note"]


def test_an_annotation_that_is_no_time_asks_for_nothing(swept: JobWorld) -> None:
    several(swept, 1)
    for text in ("", "soon", "2026-13-01T00:00:00Z"):
        annotate(swept, renew=text)
        passes(swept, 1)
    assert jobs(swept) == 1


def test_a_time_to_come_is_an_appointment(swept: JobWorld) -> None:
    several(swept, 1)
    at: datetime = swept.clock.read() + 12 * MINUTE
    annotate(swept, renew=f"{at:%Y-%m-%dT%H:%M:%SZ}")
    passes(swept, 2)
    assert jobs(swept) == 1
    passes(swept, 1)
    assert jobs(swept) == 2


def test_one_that_fails_keeps_what_it_has_and_is_tried_again(swept: JobWorld) -> None:
    [secret] = several(swept, 1)
    before = serial(swept.record(secret))
    asks(swept)
    run(swept)
    swept.ca.failing = {"h0.certjob.dev": {"type": "urn:ietf:params:acme:error:dns", "detail": "no such name"}}
    assert swept.run(secret=secret) is not v.ExitCode.DONE
    assert_good_secret(swept, ("h0.certjob.dev",), secret)
    assert "1 of them" in asks(swept, "status")[0]
    swept.ca.failing = {}
    swept.clock.ahead += timedelta(days=1, minutes=1)
    run(swept)
    assert swept.run(secret=secret) is v.ExitCode.DONE
    assert serial(swept.record(secret)) != before


def test_an_attempt_that_is_killed_at_any_step_goes_on_with_its_order(swept: JobWorld) -> None:
    [secret] = several(swept, 1)
    asks(swept)
    run(swept)
    swept.pod(secret=secret)  # whose node is lost before it has done anything
    swept.clock.ahead += 16 * MINUTE
    run(swept)
    assert swept.run(secret=secret) is v.ExitCode.DONE
    assert orders(swept) == 2
