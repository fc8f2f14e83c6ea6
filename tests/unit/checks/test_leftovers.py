"""What attempts left in DNS: when an issuer's Job is launched for it, what it does, and what the sweep gives up."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from issuer_job import vocabulary as v
from issuer_job.checks.check import check_issuer
from issuer_job.checks.launch import AGAIN_AFTER, PER_PASS, CheckCause, launch_due
from issuer_job.checks.leftovers import RESERVE
from issuer_job.cluster.api import CONFIGMAPS, JOBS, Json, Response, Unreachable
from issuer_job.dns01 import trace as dns_leftovers
from issuer_job.dns01.trace import LONGEST, TxtRecord
from issuer_job.record.record import Intent, Phase, Record, Settings
from issuer_job.record.store import to_config_map
from tests.worlds.check import annotate, check, check_jobs, checked_by_sweeps, due, end_jobs, pod, state
from tests.worlds.job import ISSUER, JobWorld, ingress
from tests.worlds.sweep import MINUTE, passes, run, with_webhook

REFUSES: dict[str, Any] = {"solvers": [{"dns01": {"provider": "ddns", "options": {"ddns_server": "127.0.0.1"}}}]}
"""It has no credentials."""


@pytest.fixture
def world(world: JobWorld) -> JobWorld:
    return checked_by_sweeps(world)


def left_over(world: JobWorld, *, secret: str = "gone-tls", issuer: str = ISSUER, days: float = 1) -> Record:
    """A TXT record of an attempt so long ago; an issuer without a solver for it crosses it out. Whose it was."""
    now = world.clock.read()
    txt = TxtRecord(
        name="_acme-challenge.a.dev",
        zone="a.dev",
        value="x" * 43,
        host="a.dev",
        provider="ddns",
        issuer=issuer,
        epoch=int((now - timedelta(days=days)).timestamp()),
    )
    intent = Intent(hosts=("a.dev",), settings=Settings(issuer=issuer))
    record = Record(namespace="shop", secret_name=secret, phase=Phase.ISSUED, intent=intent, sources=(), since=now)
    dns_leftovers.write_down(world.cluster, record, [txt])
    return record


def left(world: JobWorld) -> int:
    """How many are written down."""
    return sum(len(trace.txt_records) for trace in dns_leftovers.traces(world.cluster))


def clean(world: JobWorld) -> v.ExitCode:
    """The Job that the sweep launches for leftovers."""
    end_jobs(world)
    assert launch_due(world.cluster, leftovers={ISSUER}, now=world.clock.read()) == 1
    code = check_issuer(world.pod_of(check_jobs(world)[-1]["metadata"]["name"]))
    end_jobs(world)
    return code


def test_the_job_leaves_alone_what_belongs_to_a_record_that_it_cannot_read(world: JobWorld) -> None:
    annotate(world, check="never")
    stored = world.api.add(CONFIGMAPS, v.NAMESPACE, to_config_map(replace(left_over(world), version=3)))
    world.clock.ahead += 5 * MINUTE
    assert clean(world) is v.ExitCode.DONE
    assert left(world) == 1
    assert world.api.stored(CONFIGMAPS, v.NAMESPACE, stored["metadata"]["name"]) == stored


# When


def test_they_are_removed_soon_but_not_in_every_moment(world: JobWorld) -> None:
    check(world)
    assert due(world, leftovers=True) is None
    assert due(world, leftovers=True, after=3 * MINUTE) is CheckCause.LEFTOVERS


def test_the_sweep_launches_a_job_for_them(world: JobWorld) -> None:
    annotate(world, check="never")
    with_webhook(world)
    assert check_jobs(world) == []
    world.apply(ingress())
    assert world.run() is v.ExitCode.DONE
    left_over(world)
    run(world)
    assert len(check_jobs(world)) == 1


@pytest.mark.parametrize(("fields", "again"), [({}, 3 * MINUTE), (REFUSES, AGAIN_AFTER)])
def test_a_job_that_removed_something_is_soon_followed_and_one_in_vain_after_an_hour(
    world: JobWorld, fields: dict[str, Any], again: timedelta
) -> None:
    world.set_issuer(**fields)
    annotate(world, check="never")
    left_over(world)
    world.clock.ahead += 5 * MINUTE
    clean(world)
    assert left(world) == (1 if fields else 0)
    assert due(world, leftovers=True) is None
    assert due(world, leftovers=True, after=again - 2 * MINUTE) is None
    assert due(world, leftovers=True, after=again) is CheckCause.LEFTOVERS


def test_they_put_no_test_off(world: JobWorld) -> None:
    """An issuer that is not ready is tested every hour, however often its leftovers are removed."""
    world.set_issuer(profile="gone")
    check(world)
    for _ in range(11):
        left_over(world)
        world.clock.ahead += 5 * MINUTE
        clean(world)
    assert due(world, leftovers=True, after=6 * MINUTE) is CheckCause.NOT_READY


def test_for_an_issuer_that_cannot_be_read_no_job_is_launched_again_and_again(world: JobWorld) -> None:
    world.set_issuer(sever="x")
    left_over(world)
    with_webhook(world)
    [job] = check_jobs(world)
    check_issuer(world.pod_of(job["metadata"]["name"]))
    end_jobs(world)
    passes(world, 11)
    assert len(check_jobs(world)) == 1, "its test"


def test_tests_go_first(world: JobWorld) -> None:
    names = [f"a-{number:02}" for number in range(PER_PASS)]
    for name in names:
        world.set_issuer(name, default=False)
        annotate(world, name, check="never")
    assert launch_due(world.cluster, leftovers=names, now=world.clock.read()) == PER_PASS
    assert ISSUER in {job["metadata"]["labels"][v.ISSUER] for job in check_jobs(world)}


# The Job


def test_its_job_asks_no_ca_and_leaves_the_outcome_of_the_last_test(world: JobWorld) -> None:
    check(world)
    before, asked = dict(state(world).data), len(world.ca.requests)
    left_over(world)
    world.clock.ahead += 5 * MINUTE
    assert clean(world) is v.ExitCode.DONE
    assert (left(world), len(world.ca.requests)) == (0, asked)
    changed = {"cleanLaunchedEpoch", "cleanedEpoch"}
    assert {key: x for key, x in state(world).data.items() if key not in changed} == before


def test_a_test_removes_them_too_but_tells_its_outcome_first(world: JobWorld) -> None:
    left_over(world)
    told: list[str | None] = []

    def seen(method: str, path: str, *, body: bytes | None, timeout: float) -> Response:
        if method == "DELETE" and "/configmaps/dns-" in path:
            told.append(state(world).data.get("checkResult"))
        return world.api.send(method, path, body=body, timeout=timeout)

    class Seen:
        send = staticmethod(seen)
        stream = world.api.stream

    assert check_issuer(pod(world, transport=Seen())) is v.ExitCode.DONE
    assert (left(world), told) == (0, ["ready"])


def test_trouble_with_the_removal_does_not_take_the_outcome_away(world: JobWorld) -> None:
    left_over(world)
    world.api.fail("DELETE", "/configmaps/dns-", Unreachable("cut"), times=20)
    assert check(world) is v.ExitCode.DONE
    assert (left(world), state(world).data["checkResult"]) == (1, "ready")
    world.api.clear_faults()
    assert check(world) is v.ExitCode.DONE
    assert left(world) == 0


def test_no_removal_begins_when_the_pod_has_no_time_left(world: JobWorld) -> None:
    left_over(world)
    attempt = pod(world)
    attempt.deadline = world.clock.read() + RESERVE
    assert check_issuer(attempt) is v.ExitCode.DONE
    assert left(world) == 1


# What no Job can remove


@pytest.mark.parametrize("issuer", ["deleted", "broken", ISSUER])
@pytest.mark.parametrize("days", [6, 8])
def test_the_sweep_gives_up_after_a_week_if_there_is_no_issuer_whose_job_could(
    world: JobWorld, issuer: str, days: int, caplog: pytest.LogCaptureFixture
) -> None:
    world.set_issuer("broken", default=False, sever="x")
    left_over(world, issuer=issuer, days=days)
    with_webhook(world)
    told: list[Json] = [vars(log)["fields"] for log in caplog.records if log.msg == "txt-record-given-up"]
    if days < LONGEST.days or issuer == ISSUER:
        assert (left(world), told) == (1, [])
    else:
        assert left(world) == 0
        assert told == [{"name": "_acme-challenge.a.dev", "value": "x" * 43, "issuer": issuer}]


def test_what_an_attempt_uses_is_not_given_up(world: JobWorld) -> None:
    record = left_over(world, issuer="deleted", days=8)
    busy = Record(
        namespace=record.namespace,
        secret_name=record.secret_name,
        phase=Phase.AUTHORIZING,
        intent=record.intent,
        sources=(),
        since=record.since,
    )
    for known, count in ((busy, 0), (record, 1)):
        found = dns_leftovers.left_over(world.cluster, [known], now=world.clock.read())
        assert [len(nobodys) for _, nobodys in found] == [count]
    assert world.api.all(JOBS) == []
