"""Certificates that live too short for the sweeps: said before they are asked for, when they come, when they end."""

from __future__ import annotations

from datetime import timedelta

import pytest

from issuer_job import vocabulary as v
from issuer_job.attempt.findings import CheckReason
from issuer_job.issuers.schema import Issuer
from issuer_job.issuers.state import INTERVAL, SHORT_LIVES, IssuerState
from issuer_job.record.record import Phase
from tests.worlds.check import check, found, one, state
from tests.worlds.job import ISSUER, JobWorld, ingress
from tests.worlds.sweep import (
    MINUTE,
    by_hand,
    delete_ingress,
    issue_one,
    passes,
    run,
    version,
    wait_for,
    writes_nothing,
)

pytestmark = pytest.mark.exhaustive

SHORT = 15 * MINUTE


def told(world: JobWorld, reason: str) -> list[str]:
    return [note for said, note in world.events() if said == reason]


def warnings(world: JobWorld, name: str = "web", **annotations: str) -> list[str | None]:
    notes = {f"certjob.io/{key}": text for key, text in annotations.items()}
    body = ingress(name, secret=f"{name}-tls", hosts=(f"{name}.certjob.dev",), annotations=notes)
    return [outcome.warning for outcome in world.apply(body)]


# When one comes


def test_it_is_told_when_it_comes_and_not_at_each_renewal(swept: JobWorld) -> None:
    swept.ca.life = SHORT
    issue_one(swept)
    [note] = told(swept, "CertificateShortLived")
    assert "lives 15m" in note
    assert "every 5m" in note
    for _ in range(3):
        swept.clock.ahead += 10 * MINUTE
        run(swept)
        assert swept.run() is v.ExitCode.DONE
    assert len(told(swept, "CertificateShortLived")) == 1
    assert told(swept, "CertificateExpired") == []


def test_fifteen_minutes_are_carried_for_an_hour_where_each_order_is_done_at_once(swept: JobWorld) -> None:
    swept.ca.life = SHORT
    issue_one(swept)
    for _ in range(12):
        swept.clock.ahead += 5 * MINUTE
        run(swept)
        if swept.record().phase is Phase.LAUNCHED:
            assert swept.run() is v.ExitCode.DONE
        issued = swept.record().issued
        assert issued is not None
        assert issued.not_after > swept.clock.read()
    assert told(swept, "CertificateExpired") == []
    assert 5 <= len(swept.ca.ordered) <= 8


def test_by_the_interval_that_the_sweeps_have(swept: JobWorld) -> None:
    run(swept, interval=MINUTE)
    swept.ca.life = 25 * MINUTE
    issue_one(swept)
    assert told(swept, "CertificateShortLived") == []
    run(swept, interval=5 * MINUTE)
    assert state(swept).interval == 5 * MINUTE
    issue_one(swept, ingress("more", secret="more-tls", hosts=("more.certjob.dev",)), secret="more-tls")
    assert len(told(swept, "CertificateShortLived")) == 1


def test_a_pass_whose_interval_is_known_writes_nothing(swept: JobWorld) -> None:
    assert writes_nothing(swept)
    run(swept, interval=2 * MINUTE)
    before = version(swept)
    run(swept, interval=2 * MINUTE)
    assert version(swept) == before


def test_whoever_has_issued_it(swept: JobWorld) -> None:
    swept.set_issuer(type="selfsigned", lifetime="15m")
    issue_one(swept)
    assert len(told(swept, "CertificateShortLived")) == 1


def test_and_if_its_owner_has_put_it_there(swept: JobWorld) -> None:
    issue_one(swept)
    by_hand(swept, life=timedelta(minutes=30), since=timedelta(0))
    run(swept)
    assert swept.record().issued.directory == ""  # type: ignore[union-attr]
    [note] = told(swept, "CertificateShortLived")
    assert "lives 30m" in note


# Before it is asked for


def test_what_the_issuer_asks_for_is_said_at_apply_and_by_its_test(world: JobWorld) -> None:
    world.set_issuer(lifetime="20m")
    [warning] = warnings(world)
    assert warning == "Secret web-tls: lives 20m, and may end before it is renewed: less than 39m"
    finding = one(world)
    assert (finding.reason, finding.path, finding.warning) == (CheckReason.LIFE, "$.lifetime", True)
    world.set_issuer(lifetime="39m")
    assert warnings(world, "more") == [None]
    check(world)
    assert found(world) == []


@pytest.mark.parametrize("kind", ["selfsigned", "ca"])
def test_also_of_issuers_that_sign_themselves(world: JobWorld, kind: str) -> None:
    world.set_issuer(type=kind, lifetime="5m")
    assert "lives 5m" in (warnings(world)[0] or "")
    check(world)
    assert CheckReason.LIFE in {finding.reason for finding in found(world)}


def test_of_a_profile_it_is_known_from_the_first_certificate_on(world: JobWorld) -> None:
    world.ca.directory["meta"] = {"profiles": {"tiny": "minutes", "classic": "days"}}
    world.ca.life = SHORT
    assert warnings(world, profile="tiny") == [None]
    assert world.run() is v.ExitCode.DONE
    assert warnings(world, "more", profile="tiny") == [
        "Secret more-tls: lives 15m, and may end before it is renewed: less than 39m"
    ]
    assert warnings(world, "other", profile="classic") == [None]
    assert warnings(world, "none") == [None]
    world.set_issuer(profile="tiny")
    assert one(world).path == "$.profile"
    assert len(warnings(world, "fourth")[0] or "") < 120


def test_and_forgotten_when_a_longer_one_has_come(world: JobWorld) -> None:
    world.ca.life = SHORT
    issue_one(world)
    assert "lives 15m" in (warnings(world, "more")[0] or "")
    world.ca.life = timedelta(days=1)
    assert world.run(secret="more-tls") is v.ExitCode.DONE
    assert state(world).short_lives == {}
    assert warnings(world, "third") == [None]


def test_an_edit_of_the_lifetime_is_no_word_about_the_next(world: JobWorld) -> None:
    world.ca.life = SHORT
    world.set_issuer(lifetime="15m")
    issue_one(world)
    world.set_issuer(lifetime="24h")
    assert warnings(world, "more") == [None]


@pytest.mark.parametrize("stored", ["", "[]", "{", '{"tiny": "soon"}', "null"])
def test_what_people_have_made_of_the_state_is_no_life(stored: str) -> None:
    made = IssuerState(ISSUER, "d", {"data": {SHORT_LIVES: stored, INTERVAL: stored}})
    assert made.short_lives == {}
    assert made.interval == 5 * MINUTE
    assert made.life_of(Issuer(), "") is None


# When it ends


def test_one_that_ends_before_the_next_is_there_is_told_by_the_job(swept: JobWorld) -> None:
    swept.ca.life = SHORT
    first = issue_one(swept).issued
    assert first is not None
    swept.clock.ahead += 13 * MINUTE
    run(swept)
    assert swept.record().phase is Phase.LAUNCHED
    assert told(swept, "CertificateExpired") == []
    swept.clock.ahead += 3 * MINUTE  # its pod had to wait for a place
    assert swept.run() is v.ExitCode.DONE
    [note] = told(swept, "CertificateExpired")
    assert f"ended at {first.not_after:%Y-%m-%d %H:%M:%S} UTC" in note


def test_and_by_the_sweep_that_finds_it_ended_with_the_reason(swept: JobWorld) -> None:
    swept.ca.life = SHORT
    issue_one(swept)
    swept.clock.ahead += 16 * MINUTE
    run(swept)
    [note] = told(swept, "CertificateExpired")
    assert "lives 15m" in note
    assert swept.run() is v.ExitCode.DONE
    assert len(told(swept, "CertificateExpired")) == 1


def test_and_by_the_first_one_after_a_time_without_sweeps(swept: JobWorld) -> None:
    record = issue_one(swept)
    assert record.issued is not None
    swept.clock.ahead += record.issued.lifetime
    run(swept)
    [note] = told(swept, "CertificateExpired")
    assert "no sweep has renewed it in time" in note


def test_of_any_life_with_what_its_renewal_failed_for(swept: JobWorld) -> None:
    record = issue_one(swept)
    assert record.issued is not None
    wait_for(swept, wait=timedelta(days=2))
    swept.clock.ahead += record.issued.lifetime
    run(swept)
    [note] = told(swept, "CertificateExpired")
    assert "its renewal fails: " in note
    assert "CertificateExpiring" not in {reason for reason, _ in swept.events()}


def test_one_that_nobody_wanted_for_long_has_ended_in_silence(swept: JobWorld) -> None:
    record = issue_one(swept)
    assert record.issued is not None
    delete_ingress(swept)
    passes(swept, 4)
    assert swept.record().phase is Phase.RETIRED
    swept.clock.ahead += record.issued.lifetime
    swept.apply(ingress())
    assert swept.run() is v.ExitCode.DONE
    assert told(swept, "CertificateExpired") == []


def test_the_interval_is_told_to_issuers_that_a_check_has_never_seen(swept: JobWorld) -> None:
    swept.set_issuer("second", default=False)
    run(swept, interval=MINUTE)
    assert state(swept, "second").interval == MINUTE
