"""docs/metrics.md is what the code tells."""

from __future__ import annotations

import re

from issuer_job.http01 import responder_metrics
from issuer_job.metrics.families import BUILD_INFO, Family, Kind
from issuer_job.status.issuer_status import Limit
from issuer_job.status.shown import State
from tests.schema import page_of_metrics
from tests.worlds.documents import ROOT, first_column
from webhook import metrics
from webhook.app import POLICIES
from webhook.view import families
from webhook.view.history import AttemptOutcome
from webhook.view.results import ISSUE_STEPS

PAGE = (ROOT / "docs/metrics.md").read_text()
ALL: tuple[Family, ...] = (*families.FAMILIES, *metrics.FAMILIES, *responder_metrics.FAMILIES, BUILD_INFO)


def test_the_tables_are_the_codes() -> None:
    assert page_of_metrics() == PAGE, "make schema"


def test_no_two_families_have_one_name_and_names_say_unit_and_kind() -> None:
    assert len({family.name for family in ALL}) == len(ALL)
    for family in ALL:
        assert family.name.endswith("_total") == (family.kind is Kind.COUNTER)
        assert bool(family.buckets) == (family.kind is Kind.HISTOGRAM)
        assert family.help[0].isupper() or family.help[0].isdigit()
        assert "|" not in family.help


def test_every_label_is_explained_with_its_closed_list() -> None:
    explained = {word for cell in first_column(PAGE, "label") for word in cell.replace("`", "").split(", ")}
    assert explained == {label for family in ALL for label in family.labels} - {"version"}
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", PAGE.partition("| label | values |")[2], re.MULTILINE))
    lists = {
        "state": State,
        "outcome": AttemptOutcome,
        "step": ISSUE_STEPS,
        "limit": Limit,
        "entry": [path.rpartition("/")[2] for path in POLICIES],
        "result": responder_metrics.Result,
    }
    for label, words in lists.items():
        for word in words:
            assert f"`{word}`" in rows[label], (label, word)


def test_questions_are_about_what_there_is() -> None:
    told = {family.full_name for family in ALL} | {f"{family.full_name}_bucket" for family in ALL if family.buckets}
    for name in set(re.findall(r"certjob_[a-z_]+", PAGE)):
        assert name in told, name
