"""What the webhook warns of, as `check` takes it: what costs no certificate is no fault."""

from __future__ import annotations

import re

import pytest

from issuer_job.cli.checking.admission import HARMLESS, OF_HOSTS, ORDERED_ALL_THE_SAME
from tests.worlds.documents import ROOT

TABLE = (
    (ROOT / "docs/troubleshooting.md").read_text().partition("## Warnings at kubectl apply")[2].partition("\n## ")[0]
)
ROWS = [
    (warning.replace("...", "7"), do)
    for cell, do in re.findall(r"^\| (`.*`) \| (.*) \|$", TABLE, re.MULTILINE)
    for warning in re.findall(r"`([^`]+)`", cell)
]
HARMS_NOTHING = re.compile(r"nothing(,|:|;|$)(?! of)|wait|.*ordered all the same")
NOT_NOW = re.compile(r".* of that namespace names it just now.*")


@pytest.mark.parametrize(("warning", "do"), ROWS)
def test_what_needs_nothing_to_be_done_is_no_fault(warning: str, do: str) -> None:
    patterns = (*HARMLESS, *ORDERED_ALL_THE_SAME, *OF_HOSTS)
    known = any(pattern.fullmatch(warning) for pattern in patterns)
    if HARMS_NOTHING.match(do) and not NOT_NOW.match(do) and "not certjob's any more" not in warning:
        assert known or re.fullmatch(r"7 certificates are too many .*", warning)


def test_the_table_is_read() -> None:
    assert len(ROWS) > 50
