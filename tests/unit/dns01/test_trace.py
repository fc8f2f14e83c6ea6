"""What is written down about TXT records, and whose job it is to remove them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from issuer_job import names
from issuer_job import vocabulary as v
from issuer_job.cluster.api import CONFIGMAPS, Cluster
from issuer_job.dns01 import trace
from issuer_job.dns01.trace import TxtRecord, is_left_over, left_over
from issuer_job.record.phases import ATTEMPT_GRACE
from issuer_job.record.record import Intent, Phase, Record, Settings
from tests.fakes.api import FakeApi, status

NOW = datetime(2026, 5, 5, 10, 0, tzinfo=UTC)
EPOCH = int(NOW.timestamp()) - 1000


def record(phase: Phase = Phase.ISSUED, *, secret: str = "web-tls") -> Record:
    intent = Intent(hosts=("*.example.org",), settings=Settings(issuer="ca"))
    return Record(namespace="shop", secret_name=secret, phase=phase, intent=intent, sources=(), since=NOW, uid=secret)


def txt(value: str = "a", *, epoch: int = EPOCH, issuer: str = "ca", holder: str = "pod-1") -> TxtRecord:
    return TxtRecord(
        name="_acme-challenge.example.org",
        zone="example.org",
        value=value * 43,
        host="*.example.org",
        provider="ddns",
        issuer=issuer,
        epoch=epoch,
        holder=holder,
    )


TRACE = names.dns_trace(record().uid)


@pytest.fixture
def api() -> FakeApi:
    return FakeApi()


def stored(api: FakeApi) -> tuple[TxtRecord, ...]:
    """What is written down for the record."""
    found = trace.find(Cluster(api), record())
    return () if found is None else found.txt_records


def test_what_is_written_down_can_be_read(api: FakeApi) -> None:
    trace.write_down(Cluster(api), record(), [txt("a"), txt("b")])
    assert stored(api) == (txt("a"), txt("b"))
    config_map = api.all(CONFIGMAPS, v.NAMESPACE)[0]
    assert "ownerReferences" not in config_map["metadata"], "it must outlive the record"
    assert config_map["metadata"]["annotations"][v.RECORD] == record().name


def test_a_later_attempt_adds_and_takes_over(api: FakeApi) -> None:
    trace.write_down(Cluster(api), record(), [txt("a"), txt("b")])
    trace.write_down(Cluster(api), record(), [txt("b", epoch=EPOCH + 9), txt("c", epoch=EPOCH + 9)])
    assert {(one.value[0], one.epoch - EPOCH) for one in stored(api)} == {("a", 0), ("b", 9), ("c", 9)}


def test_what_was_taken_over_is_not_crossed_out(api: FakeApi) -> None:
    trace.write_down(Cluster(api), record(), [txt("a")])
    trace.write_down(Cluster(api), record(), [txt("a", holder="pod-2")])
    trace.cross_out(Cluster(api), TRACE, [txt("a")])
    assert stored(api) == (txt("a", holder="pod-2"),)


def test_nothing_is_left_when_all_is_crossed_out(api: FakeApi) -> None:
    trace.write_down(Cluster(api), record(), [txt("a"), txt("b")])
    trace.cross_out(Cluster(api), TRACE, [txt("a")])
    assert stored(api) == (txt("b"),)
    trace.cross_out(Cluster(api), TRACE, [txt("b")])
    assert api.all(CONFIGMAPS, v.NAMESPACE) == []
    trace.cross_out(Cluster(api), TRACE, [txt("b")])


def test_writers_at_the_same_time_lose_nothing(api: FakeApi) -> None:
    trace.write_down(Cluster(api), record(), [txt("a")])
    api.fail("PUT", "/configmaps/", status(409, "Conflict"))
    trace.write_down(Cluster(api), record(), [txt("b")])
    api.fail("DELETE", "/configmaps/", status(409, "Conflict"))
    trace.cross_out(Cluster(api), TRACE, [txt("a"), txt("b")])
    assert stored(api) == ()


@pytest.mark.parametrize("text", ['[{"name": 1}]', '[{"x":' + "[" * 100_000])
def test_a_trace_that_cannot_be_read_names_nothing(api: FakeApi, text: str) -> None:
    trace.write_down(Cluster(api), record(), [txt("a")])
    config_map = api.all(CONFIGMAPS, v.NAMESPACE)[0]
    api.add(CONFIGMAPS, v.NAMESPACE, config_map | {"data": {v.TXT_RECORDS_KEY: text}})
    assert stored(api) == ()


@pytest.mark.parametrize(
    ("found", "epoch", "nobodys"),
    [
        (None, EPOCH, True),
        (record(Phase.ISSUED), EPOCH, True),
        (record(Phase.WAITING), EPOCH, True),
        (record(Phase.AUTHORIZING), EPOCH, False),
        (record(Phase.LAUNCHED), EPOCH, False),
        (record(Phase.ISSUED), int((NOW - ATTEMPT_GRACE / 2).timestamp()), False),
    ],
    ids=["no record", "issued", "waiting", "at work", "launched", "just now"],
)
def test_what_nobody_needs_is_left_over(found: Record | None, epoch: int, nobodys: bool) -> None:
    assert is_left_over(txt(epoch=epoch), found, now=NOW) is nobodys


def test_removal_is_tried_for_a_week(api: FakeApi) -> None:
    week = int((NOW - timedelta(days=7)).timestamp())
    young, old = txt("a", epoch=week + 60), txt("b", epoch=week - 60)
    trace.write_down(Cluster(api), record(), [young, old])
    assert trace.give_up(Cluster(api), TRACE, [young, old], now=NOW) == 1
    assert stored(api) == (young,)


def test_the_sweep_learns_whose_credentials_are_needed(api: FakeApi) -> None:
    busy, idle, gone = (record(phase, secret=phase) for phase in (Phase.AUTHORIZING, Phase.WAITING, Phase.ISSUED))
    for one, issuer in ((busy, "busy"), (idle, "idle"), (gone, "gone")):
        trace.write_down(Cluster(api), one, [txt(issuer=issuer)])
    found = left_over(Cluster(api), [busy, idle], now=NOW)
    assert {one.issuer for _, left in found for one in left} == {"idle", "gone"}


def test_without_leftovers_one_request_is_made(api: FakeApi) -> None:
    assert list(left_over(Cluster(api), [], now=NOW)) == []
    assert len(api.requests) == 1


def test_what_an_earlier_record_of_the_name_left_is_left_over(api: FakeApi) -> None:
    """The record was deleted and made anew: its attempts know nothing of that."""
    busy = record(Phase.AUTHORIZING)
    trace.write_down(Cluster(api), replace(busy, uid="of a former one"), [txt("a")])
    trace.write_down(Cluster(api), busy, [txt("b")])
    found = dict(left_over(Cluster(api), [busy], now=NOW))
    assert found == {names.dns_trace("of a former one"): [txt("a")], TRACE: []}


@pytest.mark.parametrize(("phase", "left"), [(Phase.AUTHORIZING, []), (Phase.ISSUED, [txt("a")])])
def test_a_trace_of_0_1_0_is_its_records_by_name_until_it_is_crossed_out(
    api: FakeApi, phase: Phase, left: list[TxtRecord]
) -> None:
    trace.write_down(Cluster(api), record(), [txt("a")])
    (made,) = api.all(CONFIGMAPS, v.NAMESPACE)
    api.remove(CONFIGMAPS, v.NAMESPACE, TRACE)
    old = names.dns_trace(record().old_hash)
    api.add(CONFIGMAPS, v.NAMESPACE, made | {"metadata": made["metadata"] | {"name": old, "labels": OLD_LABELS}})
    assert dict(left_over(Cluster(api), [record(phase)], now=NOW)) == {old: left}
    trace.cross_out(Cluster(api), old, [txt("a")])
    assert api.all(CONFIGMAPS, v.NAMESPACE) == []


OLD_LABELS = {v.DNS_CHALLENGE: "true", "certjob.io/record-hash": record().old_hash}
