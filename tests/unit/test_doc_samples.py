"""Samples of output in the documents are what is printed: here by a cluster in memory, whose clock stands still."""

from __future__ import annotations

import re
import shlex

import pytest

from tests.worlds import seen
from tests.worlds.pages import PAGES, Block, blocks

SAMPLES = [block for page in PAGES for block in blocks(page) if block.kind == "text"]
MOST_NOT_COMPARED = 1
"""Drawings: more need a reason to be raised here, too."""
ELSEWHERE = {"README": "tests/e2e/test_pages.py", "moving": "tests/unit/cli/test_migrate.py"}
"""Pages whose samples are compared by other tests."""
HERE = [block for block in SAMPLES if not block.why and block.page.stem not in ELSEWHERE]
_ID = re.compile(r"\b[0-9a-f]{16}\b")
"""Of a record, in the names of its Jobs: another one each time."""
_COMMAND = re.compile(r"^\$ kubectl certjob (.*)$", re.M)


def printed(command: str) -> str:
    """What it prints, on both streams, of the certificates that the documents tell of."""
    line = seen.with_placeholder(seen.two_issuers(seen.four_certificates()))
    ran = line.run(*shlex.split(command))
    return (ran.out + ran.err).replace("certjob.dev", "example.com")


def masked(text: str) -> list[str]:
    """Its lines."""
    return _ID.sub("ID", text.strip("\n")).splitlines()


@pytest.mark.parametrize("block", HERE, ids=str)
def test_a_sample_is_what_is_printed(block: Block) -> None:
    begin, *parts = _COMMAND.split(block.text)
    assert not begin, "a sample begins with its command"
    for command, output in zip(parts[::2], parts[1::2], strict=True):
        assert masked(output) == masked(printed(command)), command


def test_few_are_not_compared() -> None:
    assert HERE
    left = [block for block in SAMPLES if block.why]
    assert len(left) <= MOST_NOT_COMPARED, [f"{block}: {block.why}" for block in left]
