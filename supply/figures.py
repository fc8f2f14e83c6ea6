"""Draws docs/bench.svg, and writes README's table of the same, from docs/bench.json, which `make bench` keeps.

`python -m supply.figures`: matplotlib draws. Tests compare the table, and what the picture was made of.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[1]
MEASURED, PICTURE, PAGE = (CHECKOUT / name for name in ("docs/bench.json", "docs/bench.svg", "README.md"))
BEGIN, END = "<!-- figures: make figures writes what is between these lines -->\n", "<!-- end of figures -->\n"
# By name: light, dark. Matplotlib draws in the light ones.
COLOURS = {
    "back": ("#fffffe", "#0d1117"),
    "text": ("#1f2328", "#f0f6fc"),
    "grid": ("#d0d7de", "#3d444d"),
    "strong": ("#0b5cad", "#58a6ff"),
    "pale": ("#9fbfdf", "#2d5a88"),
}
Json = dict[str, Any]


def table(measured: Json) -> str:
    """Every figure that was kept, the parts in the order in which they were measured."""
    lines = ["| what | number | p50 | p95 | most |", "|---|---|---|---|---|"]
    for part in _parts(measured):
        for label, figure in part["figures"].items():
            cells = [_said(figure[which], figure["unit"]) for which in ("p50", "p95", "max")]
            cells = cells if figure["count"] > 1 else [cells[0], "", ""]
            lines.append(f"| {label} | {figure['count']} | {' | '.join(cells)} |")
    said = ", ".join(f"{part['at'][11:16]} {part['load']}" for part in _parts(measured))
    first = _parts(measured)[0]
    about = f"certjob {first['version']}, {first['cores']} cores, {first['at'][:10]}; load before each part"
    return "\n".join([*lines, "", f"{about} (UTC): {said}.", ""])


def page(text: str, measured: Json) -> str:
    """README with the table between its markers. ValueError where these are not."""
    before, middle, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not middle or not end:
        raise ValueError("README has no markers for the figures")
    return f"{before}{BEGIN}\n{table(measured)}\n{END}{after}"


def stamp() -> str:
    """What the picture says of what it was made from."""
    return f"<!-- source: {hashlib.sha256(MEASURED.read_bytes()).hexdigest()} -->"


def plot(measured: Json) -> str:
    """p50, p95 and the slowest of all that was timed, light or dark as whoever looks at it prefers."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    light = {name: colours[0] for name, colours in COLOURS.items()}
    timed = [row for part in _parts(measured) for row in part["figures"].items() if row[1]["unit"] == "ms"][::-1]
    style = {"svg.fonttype": "none", "svg.hashsalt": "certjob", "text.color": light["text"], "font.size": 10}
    style |= {f"{axis}tick.{what}": light["text"] for axis in "xy" for what in ("color", "labelcolor")}
    with mpl.rc_context(style):
        drawing = Figure(figsize=(9, 0.8 + 0.36 * len(timed)), layout="constrained", facecolor=light["back"])
        axes = drawing.subplots()
        axes.set(xscale="log", yticks=range(len(timed)), yticklabels=[label for label, _ in timed])
        least, most = min(one["p50"] for _, one in timed), max(one["max"] for _, one in timed)
        axes.set(xlim=(least / 4, most * 1.5), ylim=(-0.6, len(timed) - 0.2))
        axes.minorticks_off()
        axes.set_facecolor(light["back"])
        axes.grid(axis="x", color=light["grid"], linewidth=0.6)
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)
        axes.xaxis.set_major_formatter(lambda value, _: _said(value, "ms"))
        for number, (_, figure) in enumerate(timed):
            axes.plot([figure["p50"], figure["max"]], [number] * 2, color=light["pale"], linewidth=2, zorder=2)
            axes.plot([figure["p50"], figure["p95"]], [number] * 2, color=light["strong"], linewidth=5, zorder=3)
            axes.plot(figure["p50"], number, "o", color=light["strong"], markersize=9, zorder=4)
            axes.annotate(
                _said(figure["p50"], "ms"), (figure["p50"], number), (0, 6), textcoords="offset points", ha="right"
            )
        made = io.StringIO()
        drawing.savefig(made, format="svg", metadata={"Date": None, "Creator": None})
    return _light_and_dark(made.getvalue())


def _light_and_dark(made: str) -> str:
    for name, (light, _) in COLOURS.items():
        made = made.replace(light, f"var(--{name})")
    variables = [" ".join(f"--{name}: {pair[dark]};" for name, pair in COLOURS.items()) for dark in (0, 1)]
    style = f":root {{ {variables[0]} }} @media (prefers-color-scheme: dark) {{ :root {{ {variables[1]} }} }}"
    style += " text { font-family: system-ui, sans-serif !important }"
    head, rest = made[made.index("<svg") :].split(">", 1)
    said = 'role="img" aria-label="How long things take: median, 95th percentile and slowest"'
    rest = re.sub(r"[ \t]+$", "", rest, flags=re.MULTILINE)
    return f"{head} {said}>\n{stamp()}\n<style>{style}</style>{rest}"


def _parts(measured: Json) -> list[Json]:
    return sorted(measured.values(), key=lambda part: str(part["at"]))


def _said(value: float, unit: str) -> str:
    if unit == "ms" and value >= 1000:
        return f"{value / 1000:.3g} s"
    return f"{value:.3g} {unit}" if value < 1000 else f"{value:.0f} {unit}"


if __name__ == "__main__":
    kept = json.loads(MEASURED.read_text())
    PICTURE.write_text(plot(kept))
    PAGE.write_text(page(PAGE.read_text(), kept))
