"""Every alert says how bad it is, what to do, and where the runbook says more."""

from __future__ import annotations

import re

import pytest

from tests.worlds.documents import ROOT, anchors
from tests.worlds.prometheus import alerts

RUNBOOK = ROOT / "docs" / "runbook.md"


@pytest.mark.parametrize("name", alerts())
def test_an_alert_leads_to_its_section(name: str) -> None:
    rule = alerts()[name]
    page, _, fragment = rule["annotations"]["runbook_url"].partition("#")
    assert (page, fragment) == ("docs/runbook.md", name.lower())
    assert fragment in anchors(RUNBOOK)
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert {"summary", "description", "runbook_url"} == rule["annotations"].keys()
    section = RUNBOOK.read_text().partition(f"\n## {name}\n")[2].partition("\n## ")[0]
    assert section.startswith(f"\n{rule['labels']['severity'].capitalize()}")
    assert "```sh" in section


def test_the_runbook_has_a_section_for_each_alert_and_no_other() -> None:
    assert re.findall(r"^## (Certjob\w+)$", RUNBOOK.read_text(), re.MULTILINE) == list(alerts())
