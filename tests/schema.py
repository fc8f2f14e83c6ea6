"""What of docs/ is made from the code, the JSON Schemas first: `python -m tests.schema` writes them anew."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import click
import msgspec

from issuer_job.cli.registry import COMMANDS, Row
from issuer_job.http01 import responder_metrics
from issuer_job.issuers.options import Options
from issuer_job.issuers.schema import DEFAULT_TYPE, Issuer
from issuer_job.issuers.types import ISSUER_TYPES, IssuerType, foreign_fields
from issuer_job.metrics.families import BUILD_INFO, Family
from issuer_job.status.advice import ADVICE, OTHER, Advice, anchor_id
from issuer_job.status.document import CertificateStatusList, IssuerStatusList
from webhook import metrics
from webhook.view import families
from webhook.view.page.document import Overview

DOCS = Path(__file__).resolve().parents[1] / "docs"
DIALECT = "https://json-schema.org/draft/2020-12/schema"
Schema = dict[str, Any]


def issuer_schema() -> Schema:
    """Of data["issuer.yaml"] in an issuer's ConfigMap."""
    schema = _of(Issuer)
    kinds = schema["$defs"]
    kinds["Solver"]["oneOf"] = [
        {"required": [one], "properties": {other: {"type": "null"}}}
        for one, other in (("http01", "dns01"), ("dns01", "http01"))
    ]
    issuer = kinds["Issuer"]
    issuer["allOf"] = []
    for kind in ISSUER_TYPES.values():
        parts = _of(kind.document)["$defs"]
        document = parts.pop(kind.document.__name__)
        issuer["properties"] = document["properties"] | issuer["properties"]
        issuer["allOf"].append(_fields_of(kind, document.get("required", [])))
        kinds |= parts | kinds
    told = "; ".join(f"{kind.name}: {kind.description}" for kind in ISSUER_TYPES.values())
    kind_of = {
        "description": f"Where certificates come from. {told}.",
        "enum": sorted(ISSUER_TYPES),
        "default": DEFAULT_TYPE,
    }
    del issuer["properties"]["type"]
    issuer["properties"] = {"type": kind_of} | issuer["properties"]
    return schema


def _fields_of(kind: IssuerType, required: list[str]) -> Schema:
    """What a document of this type lacks, and what it must have."""
    of_type: Schema = {"properties": {"type": {"const": kind.name}}}
    if kind.name != DEFAULT_TYPE:
        of_type["required"] = ["type"]
    fields = {
        "properties": dict.fromkeys(sorted(foreign_fields(kind)), False),
        "required": sorted({*kind.required, *required}),
    }
    return {"if": of_type, "then": {name: value for name, value in fields.items() if value}}


def options_schema() -> Schema:
    """Of data["options.yaml"] in the ConfigMap certjob-options."""
    return _of(Options)


def status_schema() -> Schema:
    """Of what `kubectl certjob status -o json`, its like and the status page print: every field is always there."""
    kinds = (CertificateStatusList, IssuerStatusList, Overview)
    references, parts = msgspec.json.schema_components(kinds, ref_template="#/$defs/{name}")
    for part in parts.values():
        part["description"] = " ".join(part.get("description", "").split())
        if "properties" in part:
            part["required"] = list(part["properties"])
    return {"$schema": DIALECT, "title": "certjob status", "oneOf": list(references), "$defs": parts}


def text(schema: Schema) -> str:
    """As it stands in the file."""
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def _of(kind: type) -> Schema:
    schema = msgspec.json.schema(kind)
    for definition in schema["$defs"].values():
        if "description" in definition:  # a docstring: its indentation is the code's
            definition["description"] = " ".join(definition["description"].split())
        if not definition.get("required", True):
            del definition["required"]
    return {"$schema": DIALECT, "title": f"certjob {kind.__name__.lower()}"} | schema


FILES = {
    "issuer.schema.json": issuer_schema,
    "options.schema.json": options_schema,
    "status.schema.json": status_schema,
}


def page_of_problems() -> str:
    """docs/troubleshooting.md with the table of problems as the code has it."""
    page = (DOCS / "troubleshooting.md").read_text()
    before, head, rest = page.partition("| type | permanent | means | do |\n|---|---|---|---|\n")
    return before + head + "\n".join([*_problem_rows(), rest[rest.index("\n\n") + 1 :]])


def _problem_rows() -> Iterator[str]:
    """A row for each advice, with all types of problems that share it."""
    shared: dict[Advice, list[str]] = {}
    for kind, one in ADVICE.items():
        shared.setdefault(one, []).append(kind)
    for one, kinds in shared.items():
        named = ", ".join(f'<a id="{anchor_id(kind)}"></a>`{kind}`' for kind in kinds) + ", and others" * (
            one == OTHER
        )
        yield f"| {named} | {one.permanent} | {one.means} | {one.do} |"


_METRICS_HEAD = "| metric | type | labels | what |\n|---|---|---|---|\n"


def page_of_metrics() -> str:
    """docs/metrics.md with the tables of metrics as the code has them."""
    first, *parts = (DOCS / "metrics.md").read_text().split(_METRICS_HEAD)
    tables = (families.FAMILIES, metrics.FAMILIES, responder_metrics.FAMILIES, (BUILD_INFO,))
    made = [first]
    for table, part in zip(tables, parts, strict=True):
        made += [_METRICS_HEAD, "\n".join(map(_metric_row, table)), "\n", part[part.index("\n\n") + 1 :]]
    return "".join(made)


def _metric_row(family: Family) -> str:
    labels = ", ".join(f"`{label}`" for label in family.labels)
    return f"| `{family.full_name}` | {family.kind} | {labels} | {family.help} |"


COMMON = {"context", "kubeconfig", "as_user", "as_group", "request_timeout", "certjob_namespace", "verbosity"}
"""Flags that every command has, which are told once."""
OFTEN = {"namespace", "all_namespaces", "selector", "output"}
"""And those that many have."""


def page_of_commands() -> str:
    """docs/cli.md with the commands as the code has them."""
    page = (DOCS / "cli.md").read_text()
    before, head, _ = page.partition("## Reference\n")
    found = {name: command_of(row) for name, row in COMMANDS.items()}
    often = {option.name: option for one in found.values() for option in one.params if option.name in COMMON | OFTEN}
    common = ["Of kubectl's flags commands have these, which mean what they mean there:\n", *_table(often.values())]
    lines = [*common, *(line for pair in found.items() for line in _command(*pair))]
    return f"{before}{head}\n" + "\n".join(lines).rstrip("\n") + "\n"


def command_of(row: Row) -> click.Command:
    """The command, imported."""
    found: click.Command = getattr(importlib.import_module(f"issuer_job.cli.{row.module}"), row.function)
    return found


def _command(name: str, command: click.Command) -> Iterator[str]:
    yield f"### {name}\n"
    pieces = command.collect_usage_pieces(click.Context(command))
    often = [f"`{option.opts[0]}`" for option in command.params if option.name in OFTEN]
    yield f"`kubectl certjob {' '.join([name, *pieces[1:], *pieces[:1]])}`\n"
    yield "\n\n".join(" ".join(part.split()) for part in (command.help or "").split("\n\n")) + "\n"
    own = [
        option for option in command.params if isinstance(option, click.Option) and option.name not in COMMON | OFTEN
    ]
    if own:
        yield from _table(own)
    if often:
        yield f"Besides: {', '.join(often)}.\n"


def _table(options: Iterable[click.Parameter]) -> Iterator[str]:
    yield "| flag | means |\n|---|---|"
    for option in options:
        if isinstance(option, click.Option):
            yield f"| {_flags(option)} | {(option.help or '').replace('|', chr(92) + '|')} |"
    yield ""


def _flags(option: click.Parameter) -> str:
    value = ""
    if isinstance(option, click.Option) and not option.is_flag and not option.count:
        kind = option.type
        value = " " + (
            "\\|".join(map(str, kind.choices)) if isinstance(kind, click.Choice) else option.metavar or "VALUE"
        )
    return ", ".join(f"`{flag}{value if flag == option.opts[-1] else ''}`" for flag in option.opts)


if __name__ == "__main__":
    for name, make in FILES.items():
        (DOCS / name).write_text(text(make()))
    (DOCS / "troubleshooting.md").write_text(page_of_problems())
    (DOCS / "cli.md").write_text(page_of_commands())
