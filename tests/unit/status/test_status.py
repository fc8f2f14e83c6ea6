"""What a record's status says: ready, state, why, what comes next. Each of them from the record alone."""

from __future__ import annotations

import json
from datetime import timedelta

import msgspec
import pytest
from msgspec.structs import replace

from issuer_job.record import transitions as t
from issuer_job.record.phases import ACTIVE, SWEEP_INTERVAL, HistoryEvent, LaunchReason
from issuer_job.record.record import Phase, Problem, Record, Revoked
from issuer_job.record.store import to_config_map
from issuer_job.status.shown import CertificateStatus, NextStep, State
from issuer_job.status.status import status, status_of
from tests.worlds.samples import HOSTS, LATER, NOW, PROBLEM, issued, record

MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
LONG = issued(not_after=NOW + 90 * DAY)
P = Phase


def of(one: Record, *, now: object = NOW + MINUTE) -> CertificateStatus:
    return status(one, now=now, interval=SWEEP_INTERVAL)


def good(**fields: object) -> Record:
    return record(P.ISSUED, issued=LONG, retry=None, **fields)


STATES = {
    P.WANTED: State.WAITING,
    P.WAITING: State.WAITING,
    P.ISSUED: State.ISSUED,
    P.FAILED: State.FAILED,
    P.UNCONFIRMED: State.GONE,
    P.ORPHANED: State.GONE,
    P.RETIRED: State.GONE,
} | dict.fromkeys(ACTIVE, State.ISSUING)


@pytest.mark.parametrize("phase", list(Phase))
def test_every_phase_has_its_state_and_can_be_shown(phase: Phase) -> None:
    shown = of(record(phase))
    assert shown.state is STATES[phase]
    assert shown.ready is False
    assert msgspec.json.decode(msgspec.json.encode(shown), type=CertificateStatus) == shown


def test_a_certificate_in_date_for_the_hosts_is_ready_until_it_ends() -> None:
    assert of(good()).ready is True
    assert of(good(), now=LONG.not_after - MINUTE).ready is True
    assert of(good(), now=LONG.not_after).ready is False
    assert of(good(), now=NOW - MINUTE).ready is False


def test_ready_is_apart_from_state() -> None:
    failing = t.waiting(t.launched(good(), NOW, reason=LaunchReason.RENEWAL_DUE), NOW, problem=PROBLEM, wait=MINUTE)
    shown = of(failing)
    assert (shown.ready, shown.state, shown.next.what) == (True, State.WAITING, NextStep.RETRY)
    renewing = of(t.launched(good(), NOW, reason=LaunchReason.RENEWAL_DUE))
    assert (renewing.ready, renewing.state) == (True, State.RENEWING)


def test_one_for_other_hosts_is_not_ready_and_its_successor_is_issued_not_renewed() -> None:
    fewer = replace(LONG, hosts=HOSTS[:1])
    shown = of(t.launched(record(P.ISSUED, issued=fewer), NOW, reason=LaunchReason.CHANGED))
    assert (shown.ready, shown.state) == (False, State.ISSUING)
    wildcard = replace(LONG, hosts=("*.certjob.dev",))
    assert of(record(P.ISSUED, issued=wildcard)).ready is True


@pytest.mark.parametrize("reason", [LaunchReason.SECRET_MISSING, LaunchReason.SECRET_NOT_GOOD])
def test_a_secret_that_was_lost_is_not_ready_until_another_is_there(reason: LaunchReason) -> None:
    lost = t.launched(good(), NOW, reason=reason)
    failing = t.waiting(lost, NOW, problem=PROBLEM, wait=MINUTE)
    again = t.launched(failing, NOW, reason=LaunchReason.RETRY_DUE)
    assert [of(one).ready for one in (lost, failing, again)] == [False, False, False]
    assert of(t.adopted(failing, NOW, issued=LONG)).ready is True


def test_a_revoked_one_is_not_ready() -> None:
    revoked = Revoked(serial=LONG.serial, key_id="x", not_after=LONG.not_after)
    shown = of(good(revoked=(revoked,)))
    assert shown.ready is False
    assert shown.certificate is not None
    assert shown.certificate.revoked


def test_why_has_the_words_of_who_said_no_and_what_to_do() -> None:
    problem = Problem(type="connection", detail="203.0.113.9: Timeout", host="pay.example.com", step="authorization")
    shown = of(t.waiting(record(P.AUTHORIZING), NOW, problem=problem, wait=5 * MINUTE))
    assert shown.why is not None
    said = 'could not connect to the host on port 80 (connection, pay.example.com): "203.0.113.9: Timeout"'
    assert said in shown.why.sentence
    assert "](" not in shown.why.do
    assert shown.why.docs == "docs/troubleshooting.md#connection"
    assert (shown.next.what, shown.next.at, shown.next.failures) == (NextStep.RETRY, NOW + 5 * MINUTE, 1)
    assert shown.timeline[-1].type == "connection"


def test_a_type_that_is_not_known_is_told_in_its_own_words() -> None:
    shown = of(t.waiting(record(P.AUTHORIZING), NOW, problem=Problem(type="odd", detail="x"), wait=MINUTE))
    assert shown.why is not None
    assert (shown.why.means, shown.why.docs) == ("the CA's words", "docs/troubleshooting.md#problems")


def test_what_comes_next() -> None:
    held = t.held_back(record(P.ISSUED), NOW, problem=Problem(type=t.HELD_BACK, detail="x"), until=LATER)
    assert (of(held).next.what, of(held).next.at) == (NextStep.LIMIT, LATER)
    failed = t.failed(record(P.ORDERING), NOW, problem=PROBLEM)
    assert (of(failed).next.what, of(failed).next.at) == (NextStep.CHANGE, NOW + DAY)
    assert of(record(P.WANTED)).next.what is NextStep.LAUNCH
    assert of(record(P.RETIRED)).next.what is NextStep.REMOVAL
    renewal = of(good()).next
    assert renewal.what is NextStep.RENEWAL
    assert renewal.at is not None
    assert NOW + 55 * DAY < renewal.at < NOW + 65 * DAY
    assert of(record(P.AUTHORIZING)).next.detail == "proving 2 hosts"


def test_a_record_that_cannot_be_read_is_a_row_too() -> None:
    config_map = to_config_map(good())
    later = json.loads(config_map["data"]["record.json"]) | {"version": 9}
    for text in ("", "{", json.dumps(later)):
        odd = config_map | {"data": {"record.json": text}}
        shown = status_of(odd, now=NOW)
        assert (shown.namespace, shown.name, shown.ready, shown.state) == ("shop", "web-tls", None, State.FAILED)
        assert shown.why is not None
        assert shown.why.type == "recordUnreadable"
    assert status_of(config_map, now=NOW).ready is True


def test_histories_of_earlier_versions_are_shown_as_they_are() -> None:
    one = t.launched(good(), NOW, reason=LaunchReason.RENEWAL_DUE)
    assert one.history[-1].event == HistoryEvent.LAUNCHED
    untyped = replace(one, history=(replace(one.history[-1], event="leapt"),))
    assert [entry.event for entry in of(untyped).timeline] == ["leapt"]
