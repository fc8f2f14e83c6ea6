"""What an issuer's status says: ready, what its test found, how much of its limits is used."""

from __future__ import annotations

from datetime import timedelta

import msgspec

from issuer_job.attempt.findings import Finding
from issuer_job.hosts.order_book import BookEntry, OrderBook
from issuer_job.issuers.load import Issuers
from issuer_job.issuers.schema import CaLimits, Issuer
from issuer_job.issuers.state import (
    BLOCKED_UNTIL,
    CHECK_FINDINGS,
    CHECK_RESULT,
    CHECKED_AT,
    NOT_READY,
    READY,
    IssuerState,
)
from issuer_job.status.issuer_status import IssuerStatus, Limit, issuer_status, limits_used
from tests.worlds.samples import NOW

SERVER = "https://ca.example/dir"
ISSUER = Issuer(server=SERVER)
WEEK = int(timedelta(days=7).total_seconds())


def of(data: dict[str, str] | None = None, *, broken: str = "") -> IssuerStatus:
    issuers = Issuers({} if broken else {"le": ISSUER}, {"le": broken} if broken else {}, "le")
    return issuer_status("le", issuers, IssuerState("le", SERVER, {"data": data or {}}), certificates=3, now=NOW)


def test_one_that_was_not_tested_is_not_known_to_be_ready() -> None:
    assert (of().ready, of().checked_at, of().ca, of().default) == (None, None, "ca.example", True)


def test_what_the_test_found_is_told() -> None:
    found = msgspec.json.encode([Finding(reason="Terms", message="not agreed", path="$.server")]).decode()
    shown = of({CHECK_RESULT: NOT_READY, CHECK_FINDINGS: found, CHECKED_AT: NOW.isoformat()})
    assert (shown.ready, shown.checked_at) == (False, NOW)
    assert [(one.reason, one.path) for one in shown.findings] == [("Terms", "$.server")]
    assert of({CHECK_RESULT: READY}).ready is True


def test_one_that_its_ca_blocks_is_not_ready_for_so_long() -> None:
    until = NOW + timedelta(hours=1)
    assert of({CHECK_RESULT: READY, BLOCKED_UNTIL: until.isoformat()}).ready is False
    assert of({CHECK_RESULT: READY, BLOCKED_UNTIL: NOW.isoformat()}).ready is True


def test_a_broken_one_says_what_is_wrong() -> None:
    shown = of(broken="issuer le: unknown field `servre`")
    assert (shown.ready, shown.findings[0].message) == (False, "unknown field `servre`")


def test_limits_are_counted_from_the_book_and_what_was_ordered_since() -> None:
    at = int(NOW.timestamp())
    book = OrderBook(
        times={
            "orders": (at - 1, at + 60),
            "domain example.com": (at + 60,) * 30,
            "failures a.example.com": (at + 9,),
        },
        entries=(BookEntry(at=at, record="x", epoch=1, namespace="n", hosts=("a.example.com", "b.example.com")),),
    )
    used = {use.limit: use for use in limits_used(book, CaLimits(per_exact_set=0), NOW)}
    assert (used[Limit.ORDERS].used, used[Limit.ORDERS].allowed) == (2, 300)
    assert (used[Limit.DOMAIN].used, used[Limit.DOMAIN].whom, used[Limit.DOMAIN].period) == (31, "example.com", WEEK)
    assert (used[Limit.FAILURES].used, used[Limit.FAILURES].whom) == (1, "a.example.com")
    assert Limit.SET not in used
