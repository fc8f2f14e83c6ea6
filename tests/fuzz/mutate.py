"""Changes an input: bytes anywhere, and for JSON the parts of the document, so that readers see what lies deeper."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any

from tests.fuzz.target import LARGEST

_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 2**63, 2**64, 10**30, 1e308, "", "\0", "a" * 300, "\u2028\ud7ff", "*.", "*.a.b", "-",
    "xn--a", "..", "%00", "true", "kubernetes.io/tls", "2026-01-01T00:00:00Z", "9999-12-31T23:59:60Z", [], {}, [[]],
)  # fmt: skip
_BYTES = (b"", b"\0", b"\xff\xfe", b"\r\n\r\n", b"{", b"[" * 5000, b'"', b"\\u0000", b"-----BEGIN ", b"&a [*a]", b"%")


def mutated(data: bytes, seeds: Sequence[bytes], chance: random.Random) -> bytes:
    """Another input, made of this one and of the seeds; at most LARGEST bytes."""
    if chance.random() < 0.6:
        try:
            document = json.loads(data)
        except (ValueError, RecursionError):
            document = None
        if isinstance(document, dict | list):
            for _ in range(chance.choice((1, 1, 2, 4, 8))):
                _edit(document, seeds, chance)
                if _is_large(document):
                    return data
            try:
                return json.dumps(document, separators=(",", ":")).encode()[:LARGEST]
            except (ValueError, RecursionError):
                return data
    for _ in range(chance.choice((1, 1, 2, 4, 16))):
        data = _cut_and_paste(data, seeds, chance)
    return data[:LARGEST]


def _edit(document: Any, seeds: Sequence[bytes], chance: random.Random) -> None:
    places = list(_places(document))
    if not places:
        return
    holder, key = chance.choice(places)
    edits: Sequence[Callable[[], Any]] = (
        lambda: deepcopy(chance.choice(_VALUES)),
        lambda: deepcopy(chance.choice(_VALUES)),
        lambda: _another(holder[key], chance),
        lambda: _another(holder[key], chance),
        lambda: _of_seeds(seeds, chance),
        lambda: [holder[key]] * _times(holder[key], chance.choice((1, 2, 50, 1500))),
        lambda: {f"{number:x}": holder[key] for number in range(_times(holder[key], chance.choice((1, 20, 1000))))},
    )
    chosen = chance.randrange(len(edits) + 2)
    if chosen < len(edits):
        holder[key] = edits[chosen]()
    elif chosen == len(edits):
        del holder[key]
    elif isinstance(holder, list):
        holder[key:key] = [holder[key]] * _times(holder[key], chance.choice((1, 100, 2000)))
    else:
        holder[_another(key, chance)] = holder[key]


def _is_large(document: Any) -> bool:
    """Whether it is too large for an input. Parts may be in it many times: edits of edits would make gigabytes."""
    size, todo = 0, [document]
    while todo and size <= LARGEST:
        part = todo.pop()
        size += 2 + (len(part) if isinstance(part, str) else 0)
        if isinstance(part, list):
            todo += part[:LARGEST]
        elif isinstance(part, dict):
            size += sum(map(len, part))
            todo += part.values()
    return size > LARGEST


def _times(value: Any, wanted: int) -> int:
    """How many of it there is room for."""
    return min(wanted, LARGEST // (1 + len(json.dumps(value))))


def _another(value: Any, chance: random.Random) -> Any:
    """Much like it."""
    if isinstance(value, bool) or value is None:
        return not value
    if isinstance(value, int):
        return value + chance.choice((-1, 1, 2**31, -(2**63)))
    if isinstance(value, str):
        at = chance.randrange(len(value) + 1)
        longer = value[: LARGEST // 20]
        word = chance.choice(("", ".", "*", "-", "/", ",", "\n", "é", "0", "A", longer, longer * 20, "x" * 64))
        return value[:at] + word + value[at + chance.choice((0, 0, 1, 5)) :]
    return [value]


def _of_seeds(seeds: Sequence[bytes], chance: random.Random) -> Any:
    try:
        document = json.loads(chance.choice(seeds))
    except ValueError:
        return deepcopy(chance.choice(_VALUES))
    places = list(_places([document]))
    holder, key = chance.choice(places)
    return deepcopy(holder[key])


def _places(document: Any) -> list[tuple[Any, Any]]:
    """Every part of the document, with what holds it; not all of a large one."""
    found: list[tuple[Any, Any]] = []
    todo = [document]
    while todo and len(found) < 2000:
        holder = todo.pop()
        keys = list(holder)[:200] if isinstance(holder, dict) else range(min(len(holder), 200))
        for key in keys:
            found.append((holder, key))
            if isinstance(holder[key], dict | list):
                todo.append(holder[key])
    return found


def _cut_and_paste(data: bytes, seeds: Sequence[bytes], chance: random.Random) -> bytes:
    at, other = chance.randrange(len(data) + 1), chance.choice(seeds)
    start = chance.randrange(len(other) + 1)
    pasted = chance.choice(
        (
            bytes([chance.randrange(256)]),
            chance.choice(_BYTES),
            other[start : start + chance.choice((1, 8, 64, 4096))],
            data[at : at + chance.choice((1, 16, 256))] * chance.choice((1, 2, 200)),
        )
    )
    return data[:at] + pasted + data[at + chance.choice((0, 0, 1, len(pasted), 40)) :]
