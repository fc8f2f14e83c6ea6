"""YAML that people write, read strictly: what YAML would let pass in silence is an error that names its place."""

from __future__ import annotations

import re
from typing import Any

import yaml

MAX_DEPTH = 20
MAX_NODES = 20_000
_SAFE = "tag:yaml.org,2002:"
_STRING = f"{_SAFE}str"
_PLAIN = frozenset({_STRING, *(f"{_SAFE}{kind}" for kind in ("null", "bool", "int", "float", "seq", "map"))})
_UNAMBIGUOUS = {f"{_SAFE}bool": r"true|True|TRUE|false|False|FALSE", f"{_SAFE}int": r"-?(0|[1-9][0-9]*)"}
"""YAML 1.1 also has `on`, `no`, octal 0123 and 1:30, which is ninety: people and later versions read otherwise."""
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class DocumentError(ValueError):
    """The text is not a document as expected; the message names the place."""


def read_yaml(text: str) -> object:
    """The one document in the text, of plain values: strings, numbers, booleans, null, lists, mappings.

    Refused are keys given twice (the last would win), keys that are no strings, anchors and merge keys (a few lines
    of them are gigabytes), what YAML's versions read differently, dates, other tags, deep or large documents.
    Raises DocumentError.
    """
    try:
        _bounded(text)
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            _check(node, "$")
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except yaml.YAMLError as problem:
        raise DocumentError(_told(problem)) from None
    except (ValueError, OverflowError) as problem:
        if isinstance(problem, DocumentError):
            raise
        raise DocumentError("a number or date in it cannot be read") from None


def _bounded(text: str) -> None:
    """Looks at the events only, which are as many as the text has parts, before anything is built of them."""
    depth = 0
    for number, event in enumerate(yaml.parse(text, Loader=_Loader)):
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise DocumentError(f"anchors and aliases are not read - at {_line(event.start_mark)}")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise DocumentError(f"it is deeper than {MAX_DEPTH} levels - at {_line(event.start_mark)}")
        if number > 2 * MAX_NODES:
            raise DocumentError(f"it has more than {MAX_NODES} parts")


def _check(node: yaml.Node, path: str) -> None:
    if node.tag not in _PLAIN:
        raise DocumentError(
            f"{node.tag.removeprefix(_SAFE)} is not expected here, quote it if it is text - at `{path}`"
        )
    if isinstance(node, yaml.ScalarNode) and not re.fullmatch(_UNAMBIGUOUS.get(node.tag, "(?s).*"), node.value):
        raise DocumentError(f"{node.value[:100]} is ambiguous: quote it if it is text - at `{path}`")
    if isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            _check(item, f"{path}[{number}]")
    elif isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if key.tag != _STRING:
                raise DocumentError(f"the key {_shown(key)} is not text: quote it - at `{path}`")
            if key.value in seen:
                raise DocumentError(f"`{key.value[:100]}` is given twice - at `{path}.{key.value[:100]}`")
            seen.add(key.value)
            _check(value, f"{path}.{key.value[:100]}")


def _shown(node: yaml.Node) -> str:
    return repr(node.value[:100]) if isinstance(node, yaml.ScalarNode) else "that is a list or mapping"


def _told(problem: yaml.YAMLError) -> str:
    what = getattr(problem, "problem", None) or str(problem).splitlines()[0]
    mark = getattr(problem, "problem_mark", None)
    return f"it is not YAML: {str(what)[:200]}" + (f" - at {_line(mark)}" if mark else "")


def _line(mark: Any) -> str:
    return f"line {mark.line + 1}" if mark else "the beginning"
