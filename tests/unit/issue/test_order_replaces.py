"""Orders of renewals: they name what they replace (RFC 9773, section 5), and mind the CA's clock."""

from __future__ import annotations

from datetime import timedelta

import pytest
from msgspec.structs import replace

from issuer_job import vocabulary as v
from issuer_job.cluster.api import CONFIGMAPS
from issuer_job.issue.order import too_early
from issuer_job.record import transitions
from issuer_job.record.phases import LaunchReason
from issuer_job.record.record import Issued, Phase, Record, Renewal
from issuer_job.record.renewal import replaceable
from issuer_job.record.store import to_config_map
from tests.fakes.acme import Reply, Request, problem
from tests.fakes.ca import NO_ANSWER
from tests.worlds.job import HOST, JobWorld, ingress
from tests.worlds.samples import HOSTS, NOW, attempt, issued, record

DAY = timedelta(days=1)
CERT_ID = "aki.serial"


def issued_of(record: Record) -> Issued:
    assert record.issued is not None
    return record.issued


def edit(world: JobWorld, record: Record) -> None:
    world.cluster.update(CONFIGMAPS, v.NAMESPACE, to_config_map(record))


def issue_first(world: JobWorld, **fields: object) -> None:
    """A certificate, with a CertID, which the fake CA's have not; `fields` change what the record says of it."""
    world.apply(ingress())
    assert world.run() is v.ExitCode.DONE
    record = world.record()
    edit(world, replace(record, issued=replace(issued_of(record), **({"cert_id": CERT_ID} | fields))))


def open_window(world: JobWorld) -> Renewal:
    """The CA suggests to renew from now on for a day."""
    now = world.clock.read()
    return Renewal(check_after=now + DAY, at=now, start=now, end=now + DAY)


def relaunch(world: JobWorld, *, at: timedelta = timedelta(hours=20)) -> None:
    """A renewal as the sweep launches it, later."""
    world.clock.ahead += at
    edit(world, transitions.launched(world.record(), now=world.clock.read(), reason=LaunchReason.RENEWAL_DUE))
    world.start()


def named(world: JobWorld) -> list[str | None]:
    """What each newOrder named as replaced."""
    return [r.payload.get("replaces") for r in world.ca.requests if (r.method, r.path) == ("POST", "/order")]


def ledger(world: JobWorld) -> list[tuple[str, bool]]:
    return [(str(entry.kind), entry.exempt) for entry in world.record().ledger]


# What an order names


def test_a_renewal_names_what_it_replaces_and_the_ledger_knows(world: JobWorld) -> None:
    issue_first(world, renewal=open_window(world))
    relaunch(world)
    assert world.run() is v.ExitCode.DONE
    assert named(world) == [None, CERT_ID]
    assert ledger(world)[-2:] == [("order", True), ("certificate", True)]


@pytest.mark.parametrize("window", ["over", "to come", "unknown"])
def test_a_renewal_outside_of_the_window_names_it_too_but_counts(world: JobWorld, window: str) -> None:
    """CAs do not count what replaces a certificate while they suggest it."""
    now = world.clock.read()
    windows = {
        "over": Renewal(check_after=now + DAY, at=now, start=now - DAY, end=now),
        "to come": Renewal(check_after=now + DAY, at=now + 2 * DAY, start=now + 2 * DAY, end=now + 3 * DAY),
        "unknown": None,
    }
    issue_first(world, renewal=windows[window])
    relaunch(world)
    assert world.run() is v.ExitCode.DONE
    assert named(world) == [None, CERT_ID]
    assert ledger(world)[-2:] == [("order", False), ("certificate", False)]


def test_a_first_order_names_nothing(world: JobWorld) -> None:
    world.apply(ingress())
    world.run()
    assert named(world) == [None]
    assert ledger(world) == [("order", False), ("certificate", False)]


def test_a_ca_without_renewal_information_is_told_nothing(world: JobWorld) -> None:
    del world.ca.directory["renewalInfo"]
    issue_first(world)
    relaunch(world)
    assert world.run() is v.ExitCode.DONE
    assert named(world) == [None, None]
    assert ledger(world)[-1] == ("certificate", False)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "x.y"),
        ({"hosts": (HOSTS[1], "other.certjob.dev")}, "x.y"),
        ({"hosts": ("other.certjob.dev",)}, ""),
        ({"hosts": (f"*.{HOSTS[1].partition('.')[2]}", HOSTS[1])}, ""),
        ({"directory": "https://other/dir"}, ""),
        ({"directory": ""}, ""),
        ({"account": "https://ca/acct/2"}, ""),
        ({"cert_id": ""}, ""),
    ],
    ids=[
        "same",
        "one host in common",
        "no host in common",
        "only one that the certificate does not name",
        "other CA",
        "by its owner",
        "other account",
        "no CertID",
    ],
)
def test_what_may_be_named(changes: dict[str, object], expected: str) -> None:
    one = record(Phase.ORDERING, issued=issued(**changes))
    assert replaceable(one, directory="https://ca/dir", account="https://ca/acct/1") == expected


def test_nothing_issued_nothing_named() -> None:
    assert replaceable(record(Phase.ORDERING), directory="https://ca/dir", account="https://ca/acct/1") == ""


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    "refusal",
    [
        problem("alreadyReplaced", status=409),
        problem("malformed", "cannot parse replaces"),
        problem("unauthorized", "requester account did not request the certificate", status=403),
        problem("serverInternal", "could not find an order for the given certificate", status=500),
    ],
    ids=["already replaced", "malformed", "unauthorized", "internal error"],
)
def test_refused_it_is_ordered_once_more_without(world: JobWorld, refusal: Reply) -> None:
    issue_first(world)
    world.ca.script("/order", refusal)
    relaunch(world)
    assert world.run() is v.ExitCode.DONE
    assert named(world) == [None, CERT_ID, None]
    assert ledger(world)[-2:] == [("order", False), ("certificate", False)]


def test_a_limit_is_not_evaded_by_leaving_it_out(world: JobWorld) -> None:
    issue_first(world)
    world.ca.script("/order", problem("rateLimited", status=429, headers={"Retry-After": "7200"}))
    relaunch(world)
    assert world.run() is v.ExitCode.LATER
    assert named(world) == [None, CERT_ID]


def test_a_ca_that_does_not_answer_is_told_again(world: JobWorld) -> None:
    """Nothing was refused. The order of the lost answer does not exist."""
    issue_first(world)
    world.ca.script("/order", NO_ANSWER)
    relaunch(world)
    assert world.run() is v.ExitCode.DONE
    assert named(world) == [None, CERT_ID, CERT_ID]


def test_refused_once_it_is_not_named_again_when_the_order_is_dropped(world: JobWorld) -> None:
    issue_first(world)
    world.ca.script("/order", problem("alreadyReplaced", status=409))
    world.ca.stolen = 1
    relaunch(world)
    assert world.run() is v.ExitCode.DONE
    assert named(world) == [None, CERT_ID, None, None]


def test_a_resumed_order_keeps_what_it_named(world: JobWorld) -> None:
    issue_first(world, renewal=open_window(world))
    relaunch(world)
    first = world.pod()
    lost = [True]

    def hang(request: Request) -> Reply | None:
        return NO_ANSWER if lost and request.path.startswith("/chall/") else None

    world.ca.before = hang
    assert world.issue(first) is v.ExitCode.LATER
    assert world.record().attempt is not None
    assert world.record().attempt.replaces == CERT_ID  # type: ignore[union-attr]
    lost.clear()
    world.relaunch()
    assert world.run() is v.ExitCode.DONE
    assert named(world) == [None, CERT_ID]
    assert ledger(world)[-1] == ("certificate", True)


# The CA's clock


def test_a_renewal_that_only_the_clusters_clock_wants_spends_no_order(world: JobWorld) -> None:
    issue_first(world)
    world.ca.clock = lambda: world.clock.read() - timedelta(hours=20)
    relaunch(world)
    assert world.run() is v.ExitCode.LATER
    assert len(world.ca.ordered) == 1
    found = world.record()
    assert found.phase is Phase.WAITING
    assert found.retry is not None
    assert (found.retry.problem.type, found.retry.problem.step) == ("clockSkew", "newOrder")
    assert "ahead of the CA's by 20:00:0" in found.retry.problem.detail
    assert found.retry.not_before is not None
    assert timedelta(hours=10) < found.retry.not_before - world.clock.read() < timedelta(hours=15)


def test_put_off_for_the_clock_it_is_renewed_when_the_time_has_come(world: JobWorld) -> None:
    issue_first(world)
    world.ca.clock = lambda: world.clock.read() - timedelta(hours=11)
    relaunch(world, at=timedelta(hours=12))
    assert world.run() is v.ExitCode.LATER
    world.clock.ahead += timedelta(hours=11)
    world.relaunch()
    assert world.run() is v.ExitCode.DONE
    assert named(world) == [None, CERT_ID]


def test_a_ca_that_tells_no_time_stops_nothing(world: JobWorld) -> None:
    issue_first(world)
    world.ca.tells_time = False
    relaunch(world)
    assert world.run() is v.ExitCode.DONE
    assert len(world.ca.ordered) == 2


def due(**fields: object) -> Record:
    """A renewal at NOW + 30 days, as the CA suggested."""
    suggested = Renewal(check_after=NOW, at=NOW + 30 * DAY)
    certificate = issued(not_after=NOW + 90 * DAY, renewal=suggested)
    return record(Phase.CLAIMED, **({"issued": certificate, "attempt": attempt(renews=True)} | fields))


@pytest.mark.parametrize(
    ("ahead", "wait"),
    [
        (timedelta(minutes=10), None),
        (timedelta(minutes=11), timedelta(minutes=11)),
        (5 * DAY, 5 * DAY),
        (-DAY, None),
    ],
)
def test_how_long_to_wait_by_the_cas_clock(ahead: timedelta, wait: timedelta | None) -> None:
    now = NOW + 30 * DAY
    assert too_early(due(), now=now, ca_time=now - ahead) == wait


def test_with_equal_clocks_the_sweeps_word_counts() -> None:
    """A sweep that comes by less often renews earlier than the Job would."""
    assert too_early(due(), now=NOW, ca_time=NOW) is None


def test_what_is_renewed_before_its_time_by_any_clock_is_not_put_off() -> None:
    assert too_early(due(), now=NOW + DAY, ca_time=NOW) is None


def test_the_interval_of_the_sweep_counts() -> None:
    """Three times nine days before the end in 90: a day before the suggestion."""
    seldom = due(
        issued=issued(not_after=NOW + 56 * DAY, renewal=Renewal(check_after=NOW, at=NOW + 30 * DAY)),
        attempt=attempt(renews=True, interval=9 * DAY),
    )
    assert too_early(seldom, now=NOW + 29 * DAY, ca_time=NOW + 28 * DAY) == DAY


def test_other_attempts_do_not_ask_for_the_time() -> None:
    changed = due(attempt=attempt(reason="changed"))
    assert too_early(changed, now=NOW + 30 * DAY, ca_time=NOW) is None


def test_put_off_before_it_is_checked_again(world: JobWorld) -> None:
    issue_first(world)
    world.ca.clock = lambda: world.clock.read() - timedelta(hours=20)
    relaunch(world)
    for _ in range(2):
        assert world.run() is v.ExitCode.LATER
        world.relaunch()
    assert len(world.ca.ordered) == 1


# What the look says before it


def test_a_certificate_that_the_ca_wants_renewed_is_not_right_already(world: JobWorld) -> None:
    suggested = Renewal(check_after=NOW + 900 * DAY, at=NOW)
    issue_first(world, renewal=suggested)
    relaunch(world, at=timedelta(seconds=2))
    assert world.run() is v.ExitCode.DONE
    assert len(world.ca.ordered) == 2
    assert issued_of(world.record()).renewal is None


def test_a_sweep_that_comes_by_seldom_renews_earlier_than_the_job_would(world: JobWorld) -> None:
    issue_first(world)
    relaunch(world, at=timedelta(hours=2))
    assert world.run() is v.ExitCode.DONE
    assert len(world.ca.ordered) == 2


def test_a_certificate_that_the_ca_wants_kept_is_right_although_it_is_old(world: JobWorld) -> None:
    world.apply(ingress())
    world.run()
    until = world.clock.read() + timedelta(hours=22)
    first = issued_of(world.record())
    edit(
        world,
        replace(world.record(), issued=replace(first, renewal=Renewal(check_after=until, at=until))),
    )
    world.clock.ahead += timedelta(hours=20)
    world.relaunch()
    assert world.run() is v.ExitCode.DONE
    assert len(world.ca.ordered) == 1
    assert issued_of(world.record()).serial == first.serial
    assert HOST in first.hosts
