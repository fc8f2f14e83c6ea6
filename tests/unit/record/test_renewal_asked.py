"""When a certificate is due because somebody asked for one that is not older."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from msgspec.structs import replace

from issuer_job import vocabulary as v
from issuer_job.record.record import Record
from issuer_job.record.renewal import LEAST_AGE, asked_at, due_at
from issuer_job.record.store import from_config_map, to_config_map
from tests.worlds.samples import NOW, issued, record, source

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
CA = "https://ca.certjob.dev/dir"


def held(*asked: datetime | None, at: datetime = NOW, directory: str = CA, **about: object) -> Record:
    sources = tuple(source(name=f"web{number}", renew=moment) for number, moment in enumerate(asked))
    certificate = issued(at=at, not_before=NOW - DAY, not_after=NOW + 89 * DAY, directory=directory)
    return replace(record(), sources=sources or (source(),), issued=certificate, **about)


def test_nobody_asks() -> None:
    assert asked_at(held()) is None
    assert asked_at(held(None)) is None


def test_one_that_is_younger_or_just_as_old_is_good_enough() -> None:
    assert asked_at(held(NOW)) is None
    assert asked_at(held(NOW - HOUR)) is None


def test_one_that_is_older_is_due_then_but_never_within_an_hour_of_the_last_one() -> None:
    assert asked_at(held(NOW + DAY)) == NOW + DAY
    assert asked_at(held(NOW + timedelta(minutes=5))) == NOW + LEAST_AGE


def test_of_several_the_latest_counts_an_operators_too_and_none_that_is_gone() -> None:
    assert asked_at(held(NOW + DAY, NOW + 2 * DAY)) == NOW + 2 * DAY
    assert asked_at(held(NOW + DAY, renew=NOW + 3 * DAY)) == NOW + 3 * DAY
    gone = source(renew=NOW + DAY, gone_since=NOW)
    assert asked_at(replace(held(), sources=(gone, source(name="other")))) is None


def test_one_that_its_owner_put_there_is_as_old_as_it_says() -> None:
    assert asked_at(held(NOW, directory="")) == NOW
    assert asked_at(held(NOW - 2 * DAY, directory="")) is None


@pytest.mark.parametrize("life", [30, 300])
def test_it_is_due_by_its_age_all_the_same(life: int) -> None:
    one = held(NOW + 80 * DAY)
    by_age = due_at(held(), interval=HOUR)
    assert due_at(one, interval=HOUR) == by_age
    assert due_at(held(NOW + DAY), interval=HOUR) == NOW + DAY


def test_what_an_operator_writes_on_the_record_is_kept_in_it() -> None:
    stored = to_config_map(held())
    stored["metadata"]["annotations"][v.RENEW] = "2026-12-01T08:00:00Z"
    read = from_config_map(stored)
    assert read.renew is not None
    again = from_config_map(to_config_map(read))
    assert again.renew == read.renew
    assert v.RENEW not in to_config_map(read)["metadata"]["annotations"]
    stored["metadata"]["annotations"][v.RENEW] = "soon"
    assert from_config_map(stored).renew is None
