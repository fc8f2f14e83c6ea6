"""The other forms of output: json, yaml and name."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import msgspec

from issuer_job.cli.out.terminal import Terminal
from issuer_job.status.shown import Shown


def print_document(terminal: Terminal, document: Shown, form: str) -> None:
    """A document as JSON or YAML. Nothing in it can reach the terminal as it is: both escape all but ASCII."""
    plain = msgspec.to_builtins(document)
    if form == "json":
        terminal.raw(json.dumps(plain, indent=2))
        return
    import yaml

    dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    terminal.raw(yaml.dump(plain, Dumper=dumper, sort_keys=False, width=100))


def print_line(terminal: Terminal, document: Shown, form: str) -> None:
    """One of several documents that come one after the other: a line of JSON, or a document of YAML."""
    if form == "json":
        terminal.raw(json.dumps(msgspec.to_builtins(document)))
        return
    terminal.raw("---")
    print_document(terminal, document, form)


def print_names(terminal: Terminal, names: Iterable[str]) -> None:
    """One a line, as kubectl's `-o name`."""
    for name in names:
        terminal.line(name)
