"""The JSON Schemas in docs/ are those of the types."""

from __future__ import annotations

import pytest

from tests.schema import DOCS, FILES, page_of_commands, text


@pytest.mark.parametrize("name", FILES)
def test_the_file_is_what_the_types_say(name: str) -> None:
    assert (DOCS / name).read_text() == text(FILES[name]()), "make schema"


def test_the_reference_of_commands_is_what_the_code_says() -> None:
    assert (DOCS / "cli.md").read_text() == page_of_commands(), "make schema"
