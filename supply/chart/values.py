"""values.yaml of the chart as its JSON Schema and as a page: what is said of a value stands there, above it. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

Json = dict[str, Any]
DIALECT = "https://json-schema.org/draft/2020-12/schema"
CIDR = "^[0-9a-fA-F.:]+/[0-9]{1,3}$"
NAMES = "^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$"
OF_PODS: Json = {
    "resources": {"type": "object"},
    "nodeSelector": {"type": "object", "additionalProperties": {"type": "string"}},
    "tolerations": {"type": "array", "items": {"type": "object"}},
    "affinity": {"type": "object"},
    "priorityClassName": {"type": "string", "pattern": NAMES},
}
DIGEST: Json = {"type": "string", "pattern": "^(sha256:[0-9a-f]{64})?$"}
QUANTITY: Json = {"type": ["string", "integer"], "pattern": "^[0-9]+(\\.[0-9]+)?([kMGTPE]i?|m)?$"}
AT_LEAST_ONE: Json = {"type": "integer", "minimum": 1}
TYPES: dict[str, Json] = {
    "image.tag": {"type": "string", "pattern": "^([A-Za-z0-9_][-A-Za-z0-9_.]{0,127})?$"},
    "image.digest.job": DIGEST,
    "image.digest.webhook": DIGEST,
    "image.pullPolicy": {"enum": ["Always", "IfNotPresent", "Never"]},
    "image.pullSecrets": {"type": "array", "items": {"type": "object", "required": ["name"]}},
    "issuers": {
        "type": "object",
        "propertyNames": {"pattern": "^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"},
        "additionalProperties": {"$ref": "#/$defs/Issuer"},
    },
    "options": {"$ref": "#/$defs/Options"},
    "look": {"enum": ["auto", "policy", "resource-version"]},
    "webhook.replicas": AT_LEAST_ONE,
    "responder.replicas": AT_LEAST_ONE,
    # What divides an hour: a schedule begins anew with each.
    "sweep.everyMinutes": {"enum": [1, 2, 3, 4, 5, 6, 10, 12, 15, 20, 30]},
    "jobs.keepSeconds": {"type": "integer", "minimum": 1, "maximum": 86400},
    "networkPolicies.apiServer": {"type": "array", "items": {"type": "string", "pattern": CIDR}},
    "quota.jobs": AT_LEAST_ONE,
    "quota.configMaps": {
        "type": ["string", "integer"],
        "pattern": "^[0-9]+([kMGTPE]|[KMGTPE]i)?$",
    },  # as cluster/quota.py reads it
    "quota.pods": AT_LEAST_ONE,
    "quota.memory": QUANTITY,
    "routePolicy": {
        "type": "object",
        "propertyNames": {"enum": ["annotations", "pathTypes", "foreignLabels", "foreignAnnotations"]},
        "additionalProperties": {"type": "string"},
    },
    "monitoring.labels": {"type": "object", "additionalProperties": {"type": "string"}},
} | {
    f"{part}.{name}": kind
    for part in ("webhook", "responder", "view", "sweep", "jobs")
    for name, kind in OF_PODS.items()
}
"""By path, where the default does not say it all. What is below such a path has no rows of its own."""


@dataclass(frozen=True)
class Value:
    """A value, what is said of it, and those below it; `default` is None where there are any."""

    path: str
    says: str
    default: Any
    below: tuple[Value, ...] = ()


def read(text: str) -> tuple[Value, ...]:
    """The values of a values.yaml. Raises ValueError for one that nothing is said of."""
    return tuple(_values(yaml.compose(text, Loader=yaml.SafeLoader), text.splitlines(), ""))


def _values(node: Any, lines: list[str], prefix: str) -> Iterator[Value]:
    for key, value in node.value:
        path = f"{prefix}{key.value}"
        says = _comment(lines, key.start_mark.line, key.start_mark.column)
        inner = isinstance(value, yaml.MappingNode) and path not in TYPES
        below = tuple(_values(value, lines, f"{path}.")) if inner else ()
        if not says and not below:
            raise ValueError(f"values.yaml says nothing of {path}")
        default = None if below else yaml.SafeLoader("").construct_document(value)
        yield Value(path, says, default, below)


def _comment(lines: list[str], at: int, column: int) -> str:
    """What stands right above a line, at the same column."""
    mark, found = f"{' ' * column}# ", list[str]()
    while at and lines[at - 1].startswith(mark):
        at -= 1
        found.insert(0, lines[at].removeprefix(mark))
    return " ".join(found)


def schema(values: tuple[Value, ...], issuer: Json, options: Json) -> Json:
    """values.schema.json, with the schemas of issuers and options in it."""
    shared = issuer["$defs"].keys() & options["$defs"].keys()
    if different := [name for name in shared if issuer["$defs"][name] != options["$defs"][name]]:
        raise ValueError(f"issuers and options have different {different}")
    found = _object(values)
    found["properties"]["global"] = {"type": "object", "description": "What Helm hands down to a subchart."}
    return {"$schema": DIALECT, "title": "certjob values"} | found | {"$defs": issuer["$defs"] | options["$defs"]}


def _object(values: tuple[Value, ...]) -> Json:
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": {value.path.rpartition(".")[2]: _of(value) for value in values},
    }


def _of(value: Value) -> Json:
    plain = {bool: "boolean", int: "integer", str: "string"}
    own = TYPES.get(value.path) or {"type": plain.get(type(value.default))}
    found = _object(value.below) if value.below else own
    return ({"description": value.says} if value.says else {}) | found


def table(values: tuple[Value, ...]) -> str:
    """The values as rows of a Markdown table, with their defaults."""
    return "".join(f"| `{value.path}` | {_shown(value.default)} | {value.says} |\n" for value in _leaves(values))


def _leaves(values: tuple[Value, ...]) -> Iterator[Value]:
    for value in values:
        if value.below:
            yield from _leaves(value.below)
        else:
            yield value


def _shown(default: Any) -> str:
    if default == "":
        return "none"
    return f"`{default if isinstance(default, str) else json.dumps(default)}`"
