"""Draws docs/architecture.svg: `python -m tests.architecture.picture`. Text in, the same picture out."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from math import fsum
from textwrap import wrap

from tests.architecture.house import CHECKOUT, House, contract, house, modules

PICTURE = CHECKOUT / "docs/architecture.svg"
WORDS = "words"
"""The modules at the root of `issuer_job` that use nothing, drawn as one room."""
WIDTH, BOX, HEIGHT, GAP, MARGIN = 1400, 250, 92, 66, 30
COLOURS = ("#0b5cad", "#a33a00", "#2b7a2b", "#7a2b7a", "#8a6d00", "#006d77", "#9b1c48", "#444b9c")
IN_THE_DARK = ("#58a6ff", "#f0883e", "#56d364", "#d2a8ff", "#e3b341", "#39c5cf", "#ff7b9c", "#a5b4fc")
DARK = dict(zip(COLOURS, IN_THE_DARK, strict=True))
DARK |= {"#c9ced6": "#3d444d", "#ffffff": "#0d1117", "#1f2328": "#f0f6fc", "#59636e": "#9198a1"}
"""What each colour becomes for those who prefer dark pages."""


@dataclass(frozen=True)
class Box:
    """Where a room stands: its upper left corner."""

    x: float
    y: float

    def port(self, share: float, *, below: bool) -> tuple[float, float]:
        """A point on its lower or upper edge."""
        return self.x + BOX * share, self.y + (HEIGHT if below else 0)


def drawn_house() -> House:
    """The house as it is drawn: without the command line, with the root's words as one room."""
    words = frozenset(room for room in house().rooms if not _is_package(room) and not room.endswith("__main__"))
    joined = house().joined(WORDS, words)
    shown = joined.rooms - {"issuer_job.__main__"}
    return House(shown, frozenset((a, b) for a, b in joined.arrows if {a, b} <= shown))


def draw() -> str:
    """The picture. Strong arrows are those from which all others, the pale ones, follow."""
    rooms = drawn_house()
    boxes, height = _boxes(rooms)
    direct = rooms.direct
    starts = sorted(rooms.rooms, key=lambda room: (-rooms.floors[room], room))
    colour = {room: COLOURS[number % len(COLOURS)] for number, room in enumerate(starts)}
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        'font-family="system-ui, sans-serif" role="img" aria-label="The packages of certjob and their imports">',
        f"<style>@media (prefers-color-scheme: dark) {{ {_dark()} }}</style>",
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        *_heads(),
        *(_arrow(boxes, rooms, a, b, "#c9ced6", strong=False) for a, b in sorted(rooms.arrows - direct)),
        *(_arrow(boxes, rooms, a, b, colour[a], strong=True) for a, b in sorted(direct)),
        *(_room(room, boxes[room], colour[room]) for room in starts),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _dark() -> str:
    return " ".join(
        f'[{of}="{light}"] {{ {of}: {dark} }}' for light, dark in DARK.items() for of in ("fill", "stroke")
    )


def _is_package(room: str) -> bool:
    return (CHECKOUT / room.replace(".", "/")).is_dir()


def _boxes(rooms: House) -> tuple[dict[str, Box], int]:
    floors = rooms.floors
    top = max(floors.values())
    boxes: dict[str, Box] = {}
    for floor in range(top, 0, -1):
        row = _in_order([room for room in rooms.rooms if floors[room] == floor], boxes, rooms)
        room_between = (WIDTH - 2 * MARGIN - BOX * len(row)) / (len(row) + 1)
        for place, room in enumerate(row):
            boxes[room] = Box(
                MARGIN + room_between + place * (BOX + room_between), MARGIN + (top - floor) * (HEIGHT + GAP)
            )
    return boxes, 2 * MARGIN + top * HEIGHT + (top - 1) * GAP


def _in_order(row: list[str], above: dict[str, Box], rooms: House) -> list[str]:
    """Below those that import them, so that arrows cross seldom."""

    def middle(room: str) -> float:
        xs = [above[start].x for start, to in rooms.direct if to == room and start in above]
        return fsum(xs) / len(xs) if xs else WIDTH / 2  # exact in whatever order they come

    return sorted(row, key=lambda room: (middle(room), room))


def _heads() -> list[str]:
    colours = (*COLOURS, "#c9ced6")
    heads = [
        f'<marker id="{_head(colour)}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
        f'orient="auto"><path d="M0 0 L8 4 L0 8 z" fill="{colour}"/></marker>'
        for colour in colours
    ]
    return ["<defs>", *heads, "</defs>"]


def _head(colour: str) -> str:
    return f"head-{colour.removeprefix('#')}"


def _arrow(boxes: dict[str, Box], rooms: House, start: str, to: str, colour: str, *, strong: bool) -> str:
    outs = sorted((b for a, b in rooms.arrows if a == start), key=lambda room: (boxes[room].x, room))
    ins = sorted((a for a, b in rooms.arrows if b == to), key=lambda room: (boxes[room].x, room))
    x1, y1 = boxes[start].port((outs.index(to) + 1) / (len(outs) + 1), below=True)
    x2, y2 = boxes[to].port((ins.index(start) + 1) / (len(ins) + 1), below=False)
    bend = max(GAP / 2, (y2 - y1) / 3)
    path = f"M{x1:.0f} {y1:.0f} C{x1:.0f} {y1 + bend:.0f} {x2:.0f} {y2 - bend:.0f} {x2:.0f} {y2 - 1:.0f}"
    width = 1.6 if strong else 0.8
    return (
        f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="{width}" marker-end="url(#{_head(colour)})">'
        f"<title>{_name(start)} imports {_name(to)}</title></path>"
    )


def _room(room: str, box: Box, colour: str) -> str:
    said = contract(room) if room != WORDS else "What every part may use and that uses nothing."
    names = wrap(", ".join(_inside(room)), 50)
    names = [names[0], f"{names[1][:48]}..."] if len(names) > 2 else names
    frame = f'<rect x="{box.x:.0f}" y="{box.y:.0f}" width="{BOX}" height="{HEIGHT}" rx="8" fill="#ffffff"'
    return "".join(
        (
            f'{frame} stroke="{colour}" stroke-width="1.4"/>',
            _text(box, 18, 14, colour, _name(room), weight=700),
            *(_text(box, 34 + 13 * number, 10.5, "#1f2328", line) for number, line in enumerate(wrap(said, 42)[:3])),
            *(_text(box, 75 + 11 * number, 8.5, "#59636e", line) for number, line in enumerate(names)),
        )
    )


def _inside(room: str) -> list[str]:
    if room != WORDS:
        return modules(room)
    return [name for name in modules("issuer_job") if name != "__main__" and not _is_package(f"issuer_job.{name}")]


def _text(box: Box, down: float, size: float, colour: str, text: str, *, weight: int = 400) -> str:
    place = f'x="{box.x + 10:.0f}" y="{box.y + down:.0f}"'
    return f'<text {place} font-size="{size}" font-weight="{weight}" fill="{colour}">{escape(text)}</text>'


def _name(room: str) -> str:
    return room.removeprefix("issuer_job.").replace(".", "/") + ("" if room == WORDS else "/")


if __name__ == "__main__":
    PICTURE.write_text(draw())
