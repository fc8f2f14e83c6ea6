"""Draws docs/phases.svg by Graphviz: `python -m tests.architecture.phases DOT`. Tests compare its source alone."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from dataclasses import dataclass
from itertools import pairwise

from issuer_job.record.phases import ACTIVE, ARROWS, GONE, Phase
from tests.architecture.house import CHECKOUT

PICTURE = CHECKOUT / "docs/phases.svg"
HAPPY = (Phase.WANTED, Phase.LAUNCHED, Phase.CLAIMED, Phase.ORDERING, Phase.AUTHORIZING, Phase.FINALIZING)
HAPPY += (Phase.INSTALLING, Phase.ISSUED)
"""The way to a certificate, drawn strong."""


@dataclass(frozen=True)
class Group:
    """Phases in one box. An arrow from its edge is one from each of them."""

    name: str
    says: str
    phases: frozenset[Phase]
    door: Phase
    """From which dot is to draw what leaves the box."""
    label: str
    """Where its words stand beside the arrows."""

    @property
    def shared(self) -> frozenset[Phase]:
        """What each of them may be followed by."""
        return frozenset.intersection(*(ARROWS[phase] for phase in self.phases))

    @property
    def within(self) -> list[Phase]:
        """Of these what is in the box: said by its words, as an arrow from an edge into its own box is none."""
        return [phase for phase in Phase if phase in self.shared & self.phases]


GROUPS = (
    Group("work", "at work", ACTIVE - {Phase.LAUNCHED}, Phase.AUTHORIZING, "labeljust=r"),
    Group("rest", "at rest", frozenset({Phase.ISSUED, Phase.WAITING, Phase.FAILED}), Phase.ISSUED, "labelloc=b"),
    Group("gone", "nobody wants it", GONE, Phase.ORPHANED, "labelloc=b"),
)
_LIGHT = {"back": "#ffffff", "box": "#f6f8fa", "line": "#d0d7de", "text": "#1f2328", "one": "#59636e"}
_LIGHT |= {"happy": "#0b5cad", "work": "#a33a00", "rest": "#2b7a2b", "gone": "#7a2b7a"}
_DARK = {"back": "#0d1117", "box": "#161b22", "line": "#3d444d", "text": "#f0f6fc", "one": "#9198a1"}
_DARK |= {"happy": "#58a6ff", "work": "#f0883e", "rest": "#56d364", "gone": "#d2a8ff"}


def _css(colours: dict[str, str]) -> str:
    rules = [
        f".graph > polygon {{ fill: {colours['back']} }}",
        f"text {{ fill: {colours['text']} }}",
        f".cluster polygon, .cluster path {{ fill: {colours['box']}; stroke: {colours['line']} }}",
        f".node path {{ fill: {colours['back']}; stroke: {colours['one']} }}",
    ]
    for name in ("one", "happy", *(group.name for group in GROUPS)):
        rules.append(f".{name} path {{ stroke: {colours[name]} }}")
        rules.append(f".{name} polygon {{ fill: {colours[name]}; stroke: {colours[name]} }}")
    return " ".join(rules)


STYLE = f"<style>{_css(_LIGHT)} @media (prefers-color-scheme: dark) {{ {_css(_DARK)} }}</style>"


def dot() -> str:
    """The picture's source, from `ARROWS`."""
    lines = [
        "digraph phases {",
        'graph [compound=true, rankdir=TB, nodesep=0.35, ranksep=0.45, fontname="Helvetica", fontsize=12, pad=0.2];',
        'node [shape=box, style=rounded, fontname="Helvetica", fontsize=13, width=1.15, height=0.38];',
        "edge [arrowsize=0.7];",
    ]
    for group in GROUPS:
        says = group.says + (f"\\nfrom each\\nto {' or '.join(group.within)}" if group.within else "")
        members = " ".join(f"{phase};" for phase in Phase if phase in group.phases)
        lines.append(f'subgraph cluster_{group.name} {{ style=rounded; {group.label}; label="{says}"; {members} }}')
        how = f"[ltail=cluster_{group.name}, class={group.name}, penwidth=1.4]"
        lines += [f"{group.door} -> {to} {how};" for to in Phase if to in group.shared - group.phases]
    for start in Phase:
        of_box = frozenset[Phase]().union(*(group.shared for group in GROUPS if start in group.phases))
        lines += [f"{start} -> {to} [{_how(start, to)}];" for to in Phase if to in ARROWS[start] - of_box]
    return "\n".join([*lines, "}", ""])


def _how(start: Phase, to: Phase) -> str:
    return "class=happy, penwidth=2.2, weight=20" if (start, to) in pairwise(HAPPY) else "class=one"


def stamp() -> str:
    """What the picture says of the source that it was made from."""
    return f"<!-- source: {hashlib.sha256((dot() + STYLE).encode()).hexdigest()} -->"


def draw(program: str) -> str:
    """The picture, light or dark as whoever looks at it prefers. Of Graphviz's version it says nothing."""
    made = subprocess.run([program, "-Tsvg"], input=dot(), capture_output=True, text=True, check=True).stdout
    made = re.sub(r"<!--.*?-->\n?|<title>.*?</title>\n?", "", made[made.index("<svg") :], flags=re.DOTALL)
    head, rest = made.split(">", 1)
    return f'{head} role="img" aria-label="The phases of a record and their arrows">\n{stamp()}\n{STYLE}{rest}'


if __name__ == "__main__":
    PICTURE.write_text(draw(sys.argv[1]))
