"""docs/issuers.md names every field, finding and Event, and its examples are good issuers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from issuer_job import vocabulary as v
from issuer_job.attempt.findings import CheckReason
from issuer_job.issuers.load import parse_issuer
from issuer_job.issuers.types import ACME
from tests import schema
from tests.worlds.documents import first_column, source

PAGE = Path(__file__).resolve().parents[2] / "docs/issuers.md"
PEM = "-----BEGIN CERTIFICATE-----\n"
GROUPS = {
    "externalAccount",
    "fallback",
    "limits",
    "allowedHosts",
    "solvers.selector",
    "solvers.http01",
    "solvers.dns01",
}
"""What is told by its parts."""


def paths(kind: dict[str, Any], kinds: dict[str, Any], before: str = "") -> Iterator[str]:
    """Every field of the schema, dotted."""
    for name, field in kind["properties"].items():
        yield before + name
        for part in [field, field.get("items", {}), *field.get("anyOf", [])]:
            inner = kinds.get(str(part.get("$ref", "")).rpartition("/")[2], {})
            if "properties" in inner:
                yield from paths(inner, kinds, f"{before}{name}.")


def test_every_field_is_there_and_no_other() -> None:
    kinds = schema.issuer_schema()["$defs"]
    assert set(first_column(PAGE.read_text(), "field")) == set(paths(kinds["Issuer"], kinds)) - GROUPS


def test_defaults_are_the_codes() -> None:
    kinds = schema.issuer_schema()["$defs"]
    for name, told in re.findall(
        r"^\| `([a-z][a-zA-Z0-9.]+)`(?: \*)? \| `?([^|`]*)`? \|", PAGE.read_text(), re.MULTILINE
    ):
        kind = kinds["Issuer"]
        *groups, last = name.split(".")
        for group in groups:
            field = kind["properties"][group]
            parts = [field, field.get("items", {}), *field.get("anyOf", [])]
            kind = kinds[next(part["$ref"] for part in parts if "$ref" in part).rpartition("/")[2]]
        default = kind["properties"][last].get("default")
        if isinstance(default, bool):
            assert told == str(default).lower(), name
        elif default:
            assert told == str(default), name


def test_the_stars_stand_where_they_belong() -> None:
    rows = re.findall(r"^\| `([a-z][a-zA-Z0-9.]+)`( \*)? \|", PAGE.read_text(), re.MULTILINE)
    fields = [(name.partition(".")[0], bool(star)) for name, star in rows]
    assert {name for name, star in fields if star} == ACME.fields
    assert not {name for name, star in fields if not star} & ACME.fields


def test_findings_and_events_are_complete_and_true() -> None:
    page = PAGE.read_text()
    assert set(first_column(page, "finding")) == {str(reason) for reason in CheckReason}
    assert set(first_column(page, "event")) == set(
        re.findall(r'"(Issuer(?:NotReady|Ready|ServerChanged|RenewsAll))"', source())
    )


def documents() -> list[str]:
    """The examples: ConfigMaps, and the documents of issuers."""
    blocks = re.findall(r"^```yaml\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    return [yaml.safe_load(b)["data"][v.ISSUER_KEY] if b.startswith("apiVersion") else b for b in blocks]


@pytest.mark.parametrize("text", documents(), ids=range(len(documents())))
def test_examples_are_good_issuers_for_parser_and_schema(text: str) -> None:
    parse_issuer({"metadata": {"name": "example"}, "data": {v.ISSUER_KEY: text, "root.pem": PEM}})
    found = Draft202012Validator(schema.issuer_schema()).iter_errors(yaml.safe_load(text))
    assert [error.message for error in found] == []


def test_commands_of_the_program_are_its_own() -> None:
    for command in re.findall(r"python -m issuer_job ([a-z-]+)", PAGE.read_text()):
        assert f'"{command}"' in source(), command
