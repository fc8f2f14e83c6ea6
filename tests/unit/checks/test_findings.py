"""The findings that an issuer's state holds."""

from __future__ import annotations

import pytest

from issuer_job.issuers.state import CHECK_FINDINGS, read_findings


@pytest.mark.parametrize("text", ["", "{", '[{"reason": 1}]', '[{"x":' + "[" * 100_000])
def test_findings_that_cannot_be_read_are_none(text: str) -> None:
    assert read_findings({CHECK_FINDINGS: text}) == []
