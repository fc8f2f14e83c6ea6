"""Which certificates a page of the list has, and in which order."""

from __future__ import annotations

import pytest

from issuer_job.status.shown import State
from webhook.view.page.listing import PAGE, Listing, chosen
from webhook.view.page.query import Query
from webhook.view.rows import CertificateRow

NOW = 1_800_000_000.0
DAY = 86_400.0


def row(
    name: str, *, namespace: str = "shop", state: State = State.ISSUED, days: float = 60, **fields: object
) -> CertificateRow:
    """One that is ready, unless it has no days left."""
    held = {
        "ready_from": NOW - DAY,
        "ready_until": NOW + days * DAY,
        "not_after": NOW + days * DAY,
        "renewal": NOW + (days - 30) * DAY,
    }
    return CertificateRow(
        namespace,
        name,
        **{"issuer": "le", "state": state, "hosts": f"{name}.example.com", **(held if days else {}), **fields},
    )  # type: ignore[arg-type]


ROWS = (
    row("web"),
    row("api", namespace="team-a", days=5),
    row("pay", state=State.WAITING, days=0, problem="dns", failures=2),
    row("late", state=State.WAITING, days=0.5, problem="connection", issuer="zerossl"),
    row("odd", namespace="team-a", state=State.FAILED, days=0, known=False, problem="recordUnreadable", hosts=""),
    row("gone", state=State.GONE, days=2),
)


def listed(rows: tuple[CertificateRow, ...] = ROWS, **query: str | int) -> Listing:
    return chosen(rows, Query(**query), now=NOW, problem_of=lambda row: row.problem)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ({}, "gone late pay web api odd"),
        ({"namespace": "team-a"}, "api odd"),
        ({"namespace": "team"}, ""),
        ({"state": "Waiting"}, "late pay"),
        ({"ready": "yes"}, "gone late web api"),
        ({"ready": "no"}, "pay"),
        ({"ready": "unknown"}, "odd"),
        ({"issuer": "zerossl"}, "late"),
        ({"problem": "dns"}, "pay"),
        ({"q": "API.example"}, "api"),
        ({"q": "shop/w"}, "web"),
        ({"q": "nothing"}, ""),
        ({"due": "24h"}, "late api"),
        ({"due": "7d"}, "late api"),
        ({"ends": "24h"}, "late"),
        ({"ends": "7d"}, "late api"),
        ({"namespace": "shop", "state": "Waiting", "q": "pay"}, "pay"),
    ],
    ids=str,
)
def test_each_filter_leaves_what_it_says(query: dict[str, str], names: str) -> None:
    assert " ".join(found.name for found in listed(**query).rows) == names


@pytest.mark.parametrize(
    ("sort", "names"),
    [
        ("name", "gone late pay web api odd"),
        ("-name", "odd api web pay late gone"),
        ("expires", "late gone api web pay odd"),
        ("-expires", "web api gone late pay odd"),
        ("renewal", "late gone api web pay odd"),
        ("state", "odd gone web api late pay"),
        ("issuer", "gone pay web api odd late"),
    ],
)
def test_each_order_and_what_has_no_date_comes_last(sort: str, names: str) -> None:
    assert " ".join(found.name for found in listed(sort=sort).rows) == names


def test_a_hundred_a_page_and_a_page_too_far_is_the_last_one() -> None:
    rows = tuple(row(f"c-{number:04}") for number in range(2 * PAGE + 5))
    first, last, beyond = (listed(rows, page=page) for page in (1, 3, 900))
    assert (len(first.rows), first.found, first.pages, first.first) == (PAGE, 205, 3, 1)
    assert ([one.name for one in last.rows], last.first) == ([f"c-{n:04}" for n in range(200, 205)], 201)
    assert beyond == last
    assert listed(()) == Listing((), 0, 1, 1)
