"""Where things are in tests/: what several test files need is in a module of its own, not in one of them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]


@cache
def imports(path: Path) -> tuple[str, ...]:
    """What a file imports."""
    return tuple(imported(path.read_text()))


def imported(source: str) -> Iterator[str]:
    """Every module that the code names in an import, wherever in it."""
    todo: list[ast.AST] = [ast.parse(source)]
    while todo:
        node = todo.pop()
        # Expressions, most of a tree, hold no imports.
        todo += [part for part in ast.iter_child_nodes(node) if not isinstance(part, ast.expr)]
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            yield from (f"{module}.{name.name}" for name in node.names)


def holds_tests(module: str) -> bool:
    """Whether one part of its dotted name is that of a file that pytest collects or takes fixtures from."""
    return any(part.startswith("test_") or part == "conftest" for part in module.split("."))


def test_imports_are_seen_in_every_form() -> None:
    source = (
        "import a.test_b\n"
        "from a import test_b\n"
        "from a.test_b import c as d\n"
        "def f():\n    from ..conftest import g\n"
        "import tests.worlds.job\n"
    )
    found = list(imported(source))
    assert sorted(found) == sorted(["a.test_b", "a.test_b", "a.test_b.c", "..conftest.g", "tests.worlds.job"])
    assert [name for name in found if not holds_tests(name)] == ["tests.worlds.job"]


def test_nothing_imports_from_a_test_file() -> None:
    files = sorted(TESTS.rglob("*.py"))
    assert len(files) > 100
    bad = {
        f"{path.relative_to(TESTS)}: {name}"
        for path in files
        for name in imports(path)
        if name.startswith(("tests.", ".")) and holds_tests(name)
    }
    assert bad == set()


FAKES = {"fakes"}
WORLDS = FAKES | {"worlds"}
E2E = WORLDS | {"e2e", "cluster"}
MAY_IMPORT = {
    "fakes": FAKES,
    "worlds": WORLDS,
    "unit": WORLDS | {"schema", "architecture"},
    "e2e": E2E,
    "load": E2E | {"load"},
    "fuzz": WORLDS | {"fuzz"},
}


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_what_tests_share_is_layered(package: str) -> None:
    bad = {
        f"{path.relative_to(TESTS)}: {name}"
        for path in (TESTS / package).rglob("*.py")
        for name in imports(path)
        if name.startswith("tests.") and name.split(".")[1] not in MAY_IMPORT[package]
    }
    assert bad == set()
