"""Rooms, arrows and floors, read from the product's imports with grimp, which import-linter is built on."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import grimp

CHECKOUT = Path(__file__).resolve().parents[2]
ROOTS = ("webhook", "issuer_job", "certs")
Arrow = tuple[str, str]
"""Who imports, and who is imported."""


@dataclass(frozen=True)
class House:
    """`rooms` are the packages, with `issuer_job` opened: its packages and the modules at its root; also the view."""

    rooms: frozenset[str]
    arrows: frozenset[Arrow]

    @property
    def floors(self) -> dict[str, int]:
        """By room: 1 for one that imports no other, else one above the highest that it imports.

        Raises ValueError if rooms import each other in a circle.
        """
        found: dict[str, int] = {}
        below = {room: {to for start, to in self.arrows if start == room} for room in self.rooms}
        while len(found) < len(self.rooms):
            ready = {room for room in self.rooms - found.keys() if below[room] <= found.keys()}
            if not ready:
                raise ValueError(f"a circle among {', '.join(sorted(self.rooms - found.keys()))}")
            found |= {room: 1 + max((found[to] for to in below[room]), default=0) for room in ready}
        return found

    @property
    def direct(self) -> frozenset[Arrow]:
        """The arrows that no way over other rooms stands for: from them all others follow."""
        floors = self.floors
        reach: dict[str, set[str]] = {}
        for room in sorted(self.rooms, key=floors.__getitem__):
            nexts = {to for start, to in self.arrows if start == room}
            reach[room] = nexts.union(*(reach[to] for to in nexts))
        return frozenset(
            (start, to)
            for start, to in self.arrows
            if not any(to in reach[over] for begin, over in self.arrows if begin == start)
        )

    def joined(self, group: str, members: frozenset[str]) -> House:
        """With `members` as one room."""
        rename = {room: group if room in members else room for room in self.rooms}
        arrows = {(rename[start], rename[to]) for start, to in self.arrows}
        return House(frozenset(rename.values()), frozenset((a, b) for a, b in arrows if a != b))


@cache
def house() -> House:
    """The product as it is now. Imports for type checking count: they are contracts too."""
    graph = grimp.build_graph(*ROOTS, cache_dir=None)
    rooms = {room_of(module) for module in graph.modules} - {"issuer_job"}
    arrows = {
        (room_of(module), room_of(imported))
        for module in graph.modules
        for imported in graph.find_modules_directly_imported_by(module)
    }
    return House(frozenset(rooms), frozenset((a, b) for a, b in arrows if a != b and "issuer_job" not in (a, b)))


def room_of(module: str) -> str:
    """The package that a module is in, or the module itself at the root of `issuer_job`."""
    root, *inside = module.split(".")
    is_room = root == "issuer_job" or inside[:1] == ["view"]
    return ".".join([root, *inside[:1]]) if is_room else root


def contract(package: str) -> str:
    """The first line of a package's docstring."""
    text = (CHECKOUT / package.replace(".", "/") / "__init__.py").read_text()
    return (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0]


def modules(package: str) -> list[str]:
    """Names of the modules and packages directly inside a package, sorted."""
    folder = CHECKOUT / package.replace(".", "/")
    files = {path.stem for path in folder.glob("*.py")} - {"__init__"}
    return sorted(files | {path.parent.name for path in folder.glob("*/__init__.py")})
