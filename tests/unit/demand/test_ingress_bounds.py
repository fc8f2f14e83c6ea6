"""What an Ingress costs whoever reads it: no more than in proportion to its size, however it is written."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from issuer_job.cluster.api import Json
from issuer_job.demand.common import NoticeReason
from issuer_job.demand.ingress import from_list, named_hosts, named_secrets, wants
from issuer_job.demand.ingress_spec import MAX_NAMES
from issuer_job.issuers.load import Issuers
from issuer_job.issuers.schema import Issuer
from tests.worlds.costs import cost_of, hostile_ingress

ISSUERS = Issuers({"le": Issuer(server="https://ca.dev/directory")}, {}, default="le")

HOSTILE = [
    {"rules": 2000, "entries": 2000},  # every entry means all rules
    {"rules": 1000, "entries": 1000},
    {"rules": 5000, "entries": 5000},
    {"hosts": 20_000},
    {"rules": 10_000},
    {"entries": 10_000},
]


@pytest.mark.parametrize("size", HOSTILE, ids=str)
def test_reading_one_takes_a_fraction_of_a_second_and_little_memory(size: dict[str, int]) -> None:
    body = hostile_ingress(**size)
    taken = cost_of(lambda: wants(body, issuers=ISSUERS))
    assert taken.seconds < 0.25
    assert taken.mib < 12
    found = wants(body, issuers=ISSUERS)
    assert (found.entries, [notice.reason for notice in found.notices]) == ((), [NoticeReason.TOO_LARGE])
    assert found.opted_in


@pytest.mark.parametrize(
    ("size", "fits"),
    [
        ({"rules": 43, "entries": 43}, True),  # 43 rules, 43 entries, and 43 hosts in each: 1935 names
        ({"rules": 44, "entries": 44}, False),
        ({"rules": MAX_NAMES}, True),
        ({"rules": MAX_NAMES + 1}, False),
        ({"hosts": MAX_NAMES - 1}, True),
        ({"hosts": MAX_NAMES}, False),
    ],
    ids=str,
)
def test_names_are_counted_as_they_are_meant(size: dict[str, int], fits: bool) -> None:
    found = wants(hostile_ingress(**size), issuers=ISSUERS)
    assert (NoticeReason.TOO_LARGE in {notice.reason for notice in found.notices}) is not fits


@pytest.mark.exhaustive
def test_the_largest_that_is_looked_at_is_cheap_too() -> None:
    for size in ({"rules": 43, "entries": 43}, {"rules": MAX_NAMES}, {"hosts": MAX_NAMES - 1}):
        body = hostile_ingress(**size)
        taken = cost_of(lambda body=body: wants(body, issuers=ISSUERS))
        assert taken.seconds < 0.25
        assert taken.mib < 8


def test_one_that_is_too_large_still_names_its_secrets_and_its_hosts() -> None:
    """Its records stay, and nobody else gets its hosts."""
    body = hostile_ingress(rules=3000, entries=3000, hosts=3000)
    assert len(named_secrets(body)) == 3001
    assert set(named_hosts(body)) == {f"{n:x}.evil.dev" for n in range(3000)}


MANY: dict[str, Any] = {
    "rules": [{}] * 60_000,
    "tls": [{}] * 60_000,
}


@pytest.mark.exhaustive
@pytest.mark.parametrize("field", MANY)
def test_a_large_stored_one_fits_into_little_memory(field: str) -> None:
    body: Json = hostile_ingress() | {"spec": {field: MANY[field]}}
    body["metadata"] |= {"uid": "u", "labels": {f"l{n}": "x" for n in range(5_000)}}
    text = msgspec.json.encode(body)

    def read() -> None:
        found = from_list(text)
        wants(found, issuers=ISSUERS)
        named_secrets(found)
        for _ in named_hosts(found):
            pass

    taken = cost_of(read)
    assert taken.seconds < 0.2
    assert taken.mib < 5


def test_what_is_read_of_a_listed_one_is_what_is_read_of_a_whole_one() -> None:
    for size in ({"rules": 3, "entries": 2, "hosts": 5}, {"rules": 3}, {}):
        body = hostile_ingress(**size)
        body["metadata"] |= {"uid": "u", "creationTimestamp": "2026-01-01T00:00:00Z", "generation": 2}
        listed = from_list(msgspec.json.encode(body))
        assert wants(listed, issuers=ISSUERS).entries == wants(body, issuers=ISSUERS).entries
        assert list(named_hosts(listed)) == list(named_hosts(body))
        assert listed["metadata"] == body["metadata"]
