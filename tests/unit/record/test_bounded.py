"""How many objects may share one certificate, and what becomes of the rest."""

from __future__ import annotations

from datetime import timedelta

import pytest
from msgspec.structs import replace

from issuer_job.demand.common import Entry
from issuer_job.demand.plan import PlanReason, plan
from issuer_job.record import transitions
from issuer_job.record.intents import MAX_HOSTS, MAX_SOURCES, bounded, union
from issuer_job.record.ledger_entries import with_certificate
from issuer_job.record.phases import LaunchReason, Phase
from issuer_job.record.record import Record, Settings, Source
from issuer_job.record.store import from_config_map, to_config_map
from tests.worlds.samples import NOW

MAX_CONFIG_MAP = 1 << 20


def source(number: int, *hosts: str, seen: bool = True) -> Source:
    created = NOW + timedelta(seconds=number) if seen else None
    return Source(hosts=hosts or ("a.dev",), settings=Settings(issuer="le"), name=f"i{number:04}", created=created)


def wanted(*sources: Source) -> Record:
    return transitions.wanted(namespace="shop", secret_name="s", sources=sources, now=NOW)


def test_few_are_left_as_they_are() -> None:
    few = tuple(source(number) for number in reversed(range(MAX_SOURCES)))
    assert bounded(few) == few


def test_of_many_the_oldest_stay_in_their_order() -> None:
    many = [source(number) for number in reversed(range(200))]
    kept = bounded((source(999, seen=False), *many))
    assert [found.name for found in kept] == [found.name for found in many if found in kept]
    assert {found.name for found in kept} == {f"i{number:04}" for number in range(MAX_SOURCES)}


def test_together_they_have_no_more_hosts_than_a_certificate() -> None:
    half = tuple(f"h{n}.dev" for n in range(MAX_HOSTS // 2 + 1))
    kept = bounded(
        (source(1, *half), source(2, *(f"x-{host}" for host in half)), source(3, *half), source(4, "b.dev"))
    )
    assert [found.name for found in kept] == ["i0001", "i0003", "i0004"]
    assert len(union(kept).hosts) <= MAX_HOSTS


@pytest.mark.parametrize("label", ["x" * 63, "a"])
def test_a_record_fits_into_a_config_map_whatever_is_asked_for(label: str) -> None:
    hosts = [f"{number}.{'.'.join([label] * 3)}.dev" for number in range(MAX_HOSTS)]
    record = wanted(*(source(number, *hosts) for number in range(400)))
    record = transitions.launched(record, NOW, reason=LaunchReason.EDITED)
    for second in range(400):
        record = with_certificate(record, record.intent.hosts, now=NOW + timedelta(seconds=second))
    body = to_config_map(record)
    assert sum(len(text.encode()) for text in body["data"].values()) < 0.8 * MAX_CONFIG_MAP
    body["metadata"] |= {"uid": "u", "resourceVersion": "1"}
    assert from_config_map(body).sources == record.sources


def test_one_more_than_there_is_room_for_is_told_and_changes_nothing() -> None:
    record = wanted(*(source(number) for number in range(MAX_SOURCES)))
    decided = plan(record, Entry("s", source(0, "b.dev", seen=False)), namespace="shop", now=NOW)
    assert decided.reason is not PlanReason.LEFT_OUT, "it is one of them"
    decided = plan(record, Entry("s", source(99, "b.dev", seen=False)), namespace="shop", now=NOW)
    assert (decided.reason, decided.record, decided.launch) == (PlanReason.LEFT_OUT, None, False)


def test_an_older_one_that_comes_later_takes_nobodys_place() -> None:
    record = wanted(*(source(number) for number in range(1, MAX_SOURCES + 1)))
    decided = plan(record, Entry("s", source(0)), namespace="shop", now=NOW)
    assert (decided.reason, decided.record) == (PlanReason.LEFT_OUT, None)


def test_one_that_grows_beyond_what_is_left_keeps_what_it_has_and_so_do_the_others() -> None:
    """However old it is: it is the one that goes over."""
    small, large, other = hosts("a", 60), hosts("a", 80), hosts("b", 30)
    record = wanted(source(1, *small), source(2, *other))
    decided = plan(record, Entry("s", source(1, *large)), namespace="shop", now=NOW)
    assert (decided.reason, decided.record, decided.launch) == (PlanReason.LEFT_OUT, None, False)
    kept = bounded((source(1, *large), source(2, *other)), record.sources)
    assert kept == record.sources
    alone = bounded((source(1, *large),), record.sources)
    assert alone == (source(1, *large),)


def test_what_leaves_one_and_comes_to_another_fits() -> None:
    record = wanted(source(1, *hosts("a", 60)), source(2, *hosts("b", 40)))
    grown = bounded((source(1, *hosts("a", 60)), source(2, *hosts("b", 40), "a0.dev")), record.sources)
    assert grown[1].hosts == (*hosts("b", 40), "a0.dev")


def test_what_one_gives_up_while_it_grows_too_much_is_given_up() -> None:
    record = wanted(source(1, *hosts("a", 60)), source(2, *hosts("b", 40)))
    other = (*hosts("a", 59), "new1.dev", "new2.dev")
    kept = bounded((source(1, *other), source(2, *hosts("b", 40))), record.sources)
    assert kept[0].hosts == hosts("a", 59)


def hosts(letter: str, number: int) -> tuple[str, ...]:
    return tuple(sorted(f"{letter}{n}.dev" for n in range(number)))


def test_a_record_of_earlier_with_more_keeps_its_certificate() -> None:
    """What they want together is the same, so its intent is, and nothing is ordered."""
    many = tuple(source(number) for number in range(3 * MAX_SOURCES))
    former = replace(wanted(many[0]), sources=many, phase=Phase.ISSUED)
    decided = plan(former, Entry("s", many[0]), namespace="shop", now=NOW)
    assert not decided.launch
    assert union(bounded(many)).hash == former.intent.hash
