"""YAML that people write, read strictly: what YAML would let pass in silence is an error that names its place."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

import yaml

MAX_DEPTH = 20
MAX_NODES = 20_000
_SAFE = "tag:yaml.org,2002:"
_STRING, _LIST, _MAPPING = (f"{_SAFE}{kind}" for kind in ("str", "seq", "map"))
_FLOAT = yaml.constructor.SafeConstructor()
_READ: Mapping[str, Callable[[str], object]] = {
    _STRING: str,
    f"{_SAFE}null": lambda text: None,
    f"{_SAFE}bool": lambda text: text.lower() == "true",
    f"{_SAFE}int": int,
    f"{_SAFE}float": lambda text: _FLOAT.construct_yaml_float(yaml.ScalarNode(f"{_SAFE}float", text)),
}
_KINDS: Mapping[type[yaml.NodeEvent], Collection[str]] = {
    yaml.ScalarEvent: _READ.keys(),
    yaml.SequenceStartEvent: {_LIST},
    yaml.MappingStartEvent: {_MAPPING},
}
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
        return _Reader(yaml.parse(text, Loader=_Loader)).document()
    except yaml.YAMLError as problem:
        raise DocumentError(_told(problem)) from None
    except (ValueError, OverflowError) as problem:
        if isinstance(problem, DocumentError):
            raise
        raise DocumentError("a number or date in it cannot be read") from None


class _Reader:
    """Makes the values of the events as they come: one look at each part of the text."""

    def __init__(self, events: Iterator[Any]) -> None:
        self._events = events
        self._resolve: Callable[..., str] = yaml.resolver.Resolver().resolve
        self._left, self._depth = MAX_NODES, 0

    def document(self) -> object:
        """The one there is, None if there is none."""
        next(self._events)  # of the stream
        if isinstance(next(self._events), yaml.StreamEndEvent):
            return None
        value = self._value(next(self._events), "$")
        next(self._events)  # of the document
        if not isinstance(after := next(self._events), yaml.StreamEndEvent):
            raise DocumentError(f"another document begins - at {_line(after.start_mark)}")
        return value

    def _value(self, event: Any, path: str) -> object:
        if isinstance(event, yaml.AliasEvent) or event.anchor:
            raise DocumentError(f"anchors and aliases are not read - at {_line(event.start_mark)}")
        self._left -= 1
        if self._left < 0:
            raise DocumentError(f"it has more than {MAX_NODES} parts")
        tag = self._tag(event)
        if tag not in _KINDS[type(event)]:
            raise DocumentError(
                f"{tag.removeprefix(_SAFE)} is not expected here, quote it if it is text - at `{path}`"
            )
        if isinstance(event, yaml.ScalarEvent):
            return _scalar(tag, event.value, path)
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise DocumentError(f"it is deeper than {MAX_DEPTH} levels - at {_line(event.start_mark)}")
        value: object = self._list(path) if tag == _LIST else self._mapping(path)
        self._depth -= 1
        return value

    def _tag(self, event: Any) -> str:
        if event.tag is not None and event.tag != "!":
            return str(event.tag)
        if not isinstance(event, yaml.ScalarEvent):
            return _LIST if isinstance(event, yaml.SequenceStartEvent) else _MAPPING
        return self._resolve(yaml.ScalarNode, event.value, event.implicit)

    def _list(self, path: str) -> list[object]:
        items: list[object] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            items.append(self._value(event, f"{path}[{len(items)}]"))
        return items

    def _mapping(self, path: str) -> dict[str, object]:
        found: dict[str, object] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            if not isinstance(event, yaml.ScalarEvent):
                raise DocumentError(f"the key that is a list or mapping is not text: quote it - at `{path}`")
            key = event.value
            if self._tag(event) != _STRING:
                raise DocumentError(f"the key {key[:100]!r} is not text: quote it - at `{path}`")
            if key in found:
                raise DocumentError(f"`{key[:100]}` is given twice - at `{path}.{key[:100]}`")
            self._value(event, path)  # a part, too, and without an anchor
            found[key] = self._value(next(self._events), f"{path}.{key[:100]}")
        return found


def _scalar(tag: str, text: str, path: str) -> object:
    if tag in _UNAMBIGUOUS and not re.fullmatch(_UNAMBIGUOUS[tag], text):
        raise DocumentError(f"{text[:100]} is ambiguous: quote it if it is text - at `{path}`")
    return _READ[tag](text)


def _told(problem: yaml.YAMLError) -> str:
    what = getattr(problem, "problem", None) or str(problem).splitlines()[0]
    mark = getattr(problem, "problem_mark", None)
    return f"it is not YAML: {str(what)[:200]}" + (f" - at {_line(mark)}" if mark else "")


def _line(mark: Any) -> str:
    return f"line {mark.line + 1}" if mark else "the beginning"
