"""Objects of the manifests as templates of a Helm chart. Pure; what is replaced by what is in `table.py`.

Values that a row of the table names become a token before an object is written as YAML, and an expression afterwards.
What differs between installations (variants) is found by comparing their lines, so that each condition gives just the
lines that kustomize gave.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

import yaml

from supply.elsewhere import elsewhere

Json = dict[str, Any]
Key = tuple[str, str]
"""Kind and name of an object; in tables `*` stands for any name."""
NAMESPACE = "release0namespace"
"""Stands for it until the lines are templates: a name of a namespace that YAML needs no quotes for."""
WIDTH = 110
HEADER = "{{- /* Written by `make chart`: change manifests/ or supply/chart/table.py instead. */ -}}\n"


@dataclass(frozen=True)
class Row:
    """The value at `path` of an object is `text` in the template; of a text that has `part` only that part is.

    A path is a JSON Pointer (RFC 6901) in which `*` is every item of a list and `name=x` the item with that name.
    With `tree` the text gives YAML of several lines, without `{{ }}`, and is indented below its key. With `add` there
    is nothing at the path: the text, which may give no line at all, stands for a key of its own.
    """

    object: Key
    path: str
    text: str
    part: str = ""
    tree: bool = False
    add: bool = False


@dataclass(frozen=True)
class Variant:
    """Another installation: by the name of its directory, and the condition of a template for it."""

    name: str
    condition: str


@dataclass(frozen=True)
class Table:
    """What becomes of the objects: values of some, conditions for some as a whole, some left out; and the one whose
    `spec` gives it its name, by the name of that template.
    """

    rows: Sequence[Row]
    conditions: Mapping[Key, str]
    left_out: frozenset[Key]
    variants: Sequence[Variant]
    named_by_spec: Mapping[Key, str]


class _Dumper(yaml.SafeDumper):
    """Texts of several lines are written as such, and nothing is written as a reference."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Dumper.add_representer(str, _text)


def templates(table: Table, base: Iterable[Json], variants: Mapping[str, Iterable[Json]]) -> dict[str, str]:
    """The files, by name: one for each kind. `variants` are whole installations, by the variant's name.

    Raises ValueError for a row of the table that nothing answers to, and for two variants that change the same.
    """
    hit: set[Row] = set()
    made = {"": _lines(table, base, hit)} | {n: _lines(table, objects, hit) for n, objects in variants.items()}
    if missed := [row for row in table.rows if row not in hit]:
        raise ValueError(f"rows that nothing answers to: {missed}")
    known = {key for objects in made.values() for key in objects}
    for key in [*table.conditions, *table.named_by_spec]:
        if not any(_is(key, one) for one in known):
            raise ValueError(f"no object is {key}")
    files: dict[str, list[str]] = defaultdict(list)
    for key in sorted(known):
        text = "\n".join(_object(table, key, made))
        files[f"{key[0].lower()}.yaml"].append(text + "\n")
    return {name: HEADER + "---\n".join(texts) for name, texts in files.items()}


def _object(table: Table, key: Key, made: Mapping[str, Mapping[Key, list[str]]]) -> list[str]:
    """The template of one object, under its conditions."""
    conditions = [condition for one, condition in table.conditions.items() if _is(one, key)]
    there = [variant for variant in table.variants if key in made[variant.name]]
    base = made[""].get(key)
    if base is None:
        only, *others = there
        if others:
            raise ValueError(f"{key} is in several variants")
        conditions, lines = [*conditions, only.condition], made[only.name][key]
    else:
        conditions += [f"not ({variant.condition})" for variant in table.variants if variant not in there]
        lines = merged(base, {variant.condition: made[variant.name][key] for variant in there})
    if key in table.named_by_spec:
        lines = _apart(lines, table.named_by_spec[key])
    for condition in conditions:
        lines = [f"{{{{- if {condition} }}}}", *lines, "{{- end }}"]
    return lines


def merged(base: Sequence[str], variants: Mapping[str, Sequence[str]]) -> list[str]:
    """Lines that are `base`, or under a condition the variant. Raises ValueError where two variants change a line."""
    edits: list[tuple[int, int, str, Sequence[str]]] = []
    for condition, lines in variants.items():
        codes = SequenceMatcher(None, base, lines, autojunk=False).get_opcodes()
        edits += [(i, j, condition, lines[m:n]) for tag, i, j, m, n in codes if tag != "equal"]
    done, result = 0, list[str]()
    for start, end, condition, instead in sorted(edits, key=lambda edit: edit[:3]):
        if start < done:
            raise ValueError(f"two variants change {base[start]!r}")
        result += base[done:start]
        before = base[start:end]
        if before:
            result += [f"{{{{- if not ({condition}) }}}}", *before]
            result += ["{{- else }}", *instead] if instead else []
        else:
            result += [f"{{{{- if {condition} }}}}", *instead]
        result.append("{{- end }}")
        done = end
    return result + list(base[done:])


def _apart(lines: list[str], name: str) -> list[str]:
    """With the spec as a template of its own, so that the object's name can have a hash of it."""
    at = lines.index("spec:") + 1
    indented = f'{{{{- include "{name}" . | nindent 2 }}}}'
    spec = [re.sub(r"(?<=nindent )\d+", lambda n: str(int(n[0]) - 2), line.removeprefix("  ")) for line in lines[at:]]
    return [f'{{{{- define "{name}" -}}}}', *spec, "{{- end }}", *lines[:at], indented]


def _lines(table: Table, objects: Iterable[Json], hit: set[Row]) -> dict[Key, list[str]]:
    """Each object as lines of a template; the rows of the table that it took go into `hit`."""
    found: dict[Key, list[str]] = {}
    for original in objects:
        key = original["kind"], original["metadata"]["name"]
        if key in table.left_out:
            continue
        document, texts = elsewhere(original, NAMESPACE), dict[str, tuple[Row, str]]()
        for row in table.rows:
            if _is(row.object, key) and _put(document, row.path.split("/")[1:], row, texts):
                hit.add(row)
        dumped = yaml.dump(document, Dumper=_Dumper, sort_keys=True, allow_unicode=True, width=WIDTH)
        dumped = dumped.replace("{{", '{{ "{{" }}')  # Prometheus' and Grafana's
        found[key] = [_templated(line, texts) for line in dumped.splitlines()]
    return found


def _put(value: Any, path: list[str], row: Row, texts: dict[str, tuple[Row, str]]) -> bool:
    """Put tokens where the path leads; whether it leads anywhere."""
    segment, rest = path[0].replace("~1", "/").replace("~0", "~"), path[1:]
    if not rest:
        if not isinstance(value, dict) or (segment in value) == row.add:
            return False
        token = f"token{len(texts):03d}end"
        texts[token] = row, segment
        value[segment] = value[segment].replace(row.part, token) if row.part else token
        return True
    led = [_put(inner, rest, row, texts) for inner in _inner(value, segment)]
    return any(led)


def _inner(value: Any, segment: str) -> Iterator[Any]:
    if isinstance(value, dict) and segment in value:
        yield value[segment]
    elif isinstance(value, list):
        field, equals, wanted = segment.partition("=")
        for number, item in enumerate(value):
            if segment in {"*", str(number)} or (equals and item.get(field) == wanted):
                yield item


def _templated(line: str, texts: Mapping[str, tuple[Row, str]]) -> str:
    """The line with the expressions that its tokens stand for."""
    if found := re.search(r"token\d{3}end", line):
        row, _ = texts[found[0]]
        indent = len(line) - len(line.lstrip(" -"))
        if row.add:
            line = f"{{{{- with {row.text} }}}}{{{{ . | nindent {indent} }}}}{{{{- end }}}}"
        elif row.tree:
            line = line.replace(found[0], f"{{{{- {row.text} | nindent {indent + 2} }}}}")
        else:
            line = line.replace(found[0], row.text)
    line = re.sub(rf"([:-] ){NAMESPACE}$", r"\1{{ .Release.Namespace | quote }}", line)
    return line.replace(NAMESPACE, "{{ .Release.Namespace }}")


def _is(key: Key, one: Key) -> bool:
    return key[0] == one[0] and key[1] in {"*", one[1]}
