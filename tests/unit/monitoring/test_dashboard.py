"""The dashboard and the alerts ask for metrics that are there, and nothing that is told is shown nowhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import combinations
from typing import Any

from issuer_job.http01 import responder_metrics
from issuer_job.metrics.families import BUILD_INFO, Family, Kind
from supply.dashboard import COLUMNS, FILE, text
from tests.worlds.prometheus import dashboard, groups
from webhook import metrics as webhook_metrics
from webhook.view import families as view_families

FAMILIES: dict[str, Family] = {
    family.full_name: family
    for family in (
        *view_families.FAMILIES,
        *webhook_metrics.FAMILIES,
        *responder_metrics.FAMILIES,
        BUILD_INFO,
    )
}
PARTS = ("_bucket", "_sum", "_count")


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = dashboard()["panels"]
    return found


def queries() -> Iterator[str]:
    for panel in panels():
        yield from (target["expr"] for target in panel.get("targets", ()))


def rules() -> Iterator[str]:
    for group in groups():
        yield from (rule["expr"] for rule in group["rules"])


def named(expression: str) -> set[str]:
    """The families that an expression asks for."""
    found = set()
    for name in re.findall(r"(?<![:\w])certjob_\w+", expression):
        whole = next((name.removesuffix(part) for part in PARTS if name.endswith(part)), name)
        histogram = whole in FAMILIES and FAMILIES[whole].kind is Kind.HISTOGRAM
        found.add(whole if histogram else name)
    return found


def test_the_file_is_what_the_table_makes() -> None:
    assert FILE.read_text() == text(), "make dashboard"


def test_every_metric_that_is_asked_for_is_there() -> None:
    for expression in (*queries(), *rules()):
        assert named(expression) - FAMILIES.keys() == set(), expression


def test_every_metric_is_in_a_panel_or_an_alert() -> None:
    assert FAMILIES.keys() - {name for expression in (*queries(), *rules()) for name in named(expression)} == set()


def test_labels_that_are_asked_for_are_the_metrics() -> None:
    for expression in (*queries(), *rules()):
        labels = {label for name in named(expression) for label in FAMILIES[name].labels} | {"le", "alertname"}
        for group in re.findall(r"\b(?:by|on) \(([^)]*)\)", expression):
            assert {label.strip() for label in group.split(",")} <= labels or ":" in expression, expression
        for matchers in re.findall(r"certjob_\w+\{([^}]*)\}", expression):
            assert set(re.findall(r"(\w+)(?:=~|!=|=)", matchers)) <= labels, expression


def test_panels_have_their_own_ids_and_places_in_the_grid() -> None:
    ids = [panel["id"] for panel in panels()]
    assert len(ids) == len(set(ids))
    places = [panel["gridPos"] for panel in panels()]
    assert all(place["x"] >= 0 and place["x"] + place["w"] <= COLUMNS for place in places)
    for one, other in combinations(places, 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        above = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or above, (one, other)


def test_every_query_is_asked_of_the_chosen_data_source() -> None:
    assert [one["name"] for one in dashboard()["templating"]["list"]] == ["datasource", "issuer"]
    for panel in panels():
        for target in panel.get("targets", ()):
            assert target["datasource"]["uid"] == panel["datasource"]["uid"] == "${datasource}"
