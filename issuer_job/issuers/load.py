"""Issuers: where certificates come from. One ConfigMap each, `data["issuer.yaml"]`, checked against a schema."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from itertools import islice

import msgspec

from issuer_job import names
from issuer_job import vocabulary as v
from issuer_job.cluster.api import Json
from issuer_job.issuers.rules import PEM_BEGIN, PathProblem
from issuer_job.issuers.schema import DEFAULT_TYPE, Issuer
from issuer_job.issuers.types import ISSUER_TYPES, foreign_fields, problems
from issuer_job.issuers.yaml_document import DocumentError, read_yaml

MAX_DOCUMENT = 256 * 1024
MAX_PROBLEMS = 5
"""Of so many one hears at once."""
ABSENT = "none"
"""Stands for the configuration of an issuer that is not there."""
_UNKNOWN_FIELD = re.compile(r"Object contains unknown field `(.*?)`(?: - at `(.*)`)?", re.DOTALL)


class IssuerError(ValueError):
    """An issuer's configuration is wrong; the message names the field."""


def parse_issuer(config_map: Json) -> Issuer:
    """Read an issuer's ConfigMap. Raises IssuerError with the path of the field that is wrong."""
    name = config_map["metadata"]["name"]
    if not names.is_issuer_name(name):
        raise IssuerError(f"issuer {name[:70]}: its name must be a DNS label: it becomes part of other names")
    text = (config_map.get("data") or {}).get(v.ISSUER_KEY)
    if text is None:
        raise IssuerError(f"issuer {name}: data has no key {v.ISSUER_KEY}")
    if len(text) > MAX_DOCUMENT:
        raise IssuerError(f"issuer {name}: {v.ISSUER_KEY} is larger than {MAX_DOCUMENT} bytes")
    try:
        issuer, found = _read(name, read_yaml(text))
    except DocumentError as problem:
        raise IssuerError(f"issuer {name}: {problem}") from None
    if found:
        told = "; ".join(f"{what} - at `{path}`" for what, path in found[:MAX_PROBLEMS])
        raise IssuerError(f"issuer {name}: {told}")
    return _with_bundle(name, issuer, config_map["data"])


def _read(name: str, document: object) -> tuple[Issuer, list[PathProblem]]:
    """The issuer, and what is wrong with it beyond what keeps it from being read. Raises DocumentError."""
    given: dict[str, object] = document if isinstance(document, dict) else {}
    named = given.get("type", DEFAULT_TYPE)
    if isinstance(named, str) and named not in ISSUER_TYPES:
        raise DocumentError(f"Invalid enum value {named[:100]!r} - at `$.type`")
    kind = ISSUER_TYPES[named if isinstance(named, str) else DEFAULT_TYPE]
    found = [(what, f"$.{key}") for key, what in foreign_fields(kind).items() if given.pop(key, given) is not given]
    try:
        issuer = msgspec.convert(document, kind.document)
    except msgspec.ValidationError as problem:
        raise DocumentError(_told(str(problem), kind.document)) from None
    return issuer, found + list(islice(problems(issuer, name=name, given=given), MAX_PROBLEMS))


def is_issuer(config_map: Json) -> bool:
    """Whether an operator has made it one, by its label."""
    return (config_map["metadata"].get("labels") or {}).get(v.ISSUER) == "true"


def _told(problem: str, kind: type[Issuer]) -> str:
    """What msgspec says, with the path of an unknown field, and the field that was likely meant."""
    unknown = _UNKNOWN_FIELD.fullmatch(problem)
    if unknown is None:
        return problem
    field, path = unknown.group(1)[:100], unknown.group(2) or "$"
    likely = difflib.get_close_matches(field, _known_fields(kind), n=1)
    hint = f", perhaps `{likely[0]}`" if likely else ""
    return f"unknown field `{field}`{hint} - at `{path}.{field}`"


@cache
def _known_fields(kind: type[Issuer]) -> list[str]:
    parts = msgspec.json.schema(kind)["$defs"].values()
    return sorted({name for part in parts for name in part.get("properties", ())})


def issuer_version(config_map: Json) -> str:
    """Stands for an issuer's configuration: another one after an edit.

    Of a document alone it is the same as before other keys counted: records made then were not edited since.
    """
    data: dict[str, str] = config_map.get("data") or {}
    if set(data) == {v.ISSUER_KEY}:
        return names.digest(str(data[v.ISSUER_KEY]))
    return names.digest(*(f"{key}={data[key]}" for key in sorted(data)))


def _with_bundle(name: str, issuer: Issuer, data: dict[str, str]) -> Issuer:
    """The issuer with the CA bundle that another key of its ConfigMap holds."""
    key = issuer.ca_bundle_key
    if not key:
        return issuer
    bundle = data.get(key, "")
    if PEM_BEGIN not in bundle or len(bundle) > MAX_DOCUMENT:
        raise IssuerError(f"issuer {name}: the ConfigMap has no PEM certificates in {key} - at `$.caBundleKey`")
    return msgspec.structs.replace(issuer, ca_bundle=bundle)


@dataclass(frozen=True)
class Issuers:
    """Every issuer of the cluster, the broken ones with what is wrong with them; `default` is a name or empty.

    `versions` stand for the configurations, see `issuer_version`. `renew` is what the annotation of that name says of
    those that have it: nothing that the issuer has given is to be older. `aliases`: the annotations of cert-manager
    count as certjob's own, as the operator's options have it.
    """

    valid: Mapping[str, Issuer]
    broken: Mapping[str, str]
    default: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    renew: Mapping[str, str] = field(default_factory=dict)
    aliases: bool = False

    def version(self, name: str) -> str:
        """Of the issuer's configuration; `ABSENT` if there is none."""
        return self.versions.get(name, ABSENT)

    @classmethod
    def from_config_maps(cls, config_maps: Iterable[Json]) -> Issuers:
        """One broken issuer harms no other. Of several defaults the first by name counts."""
        valid: dict[str, Issuer] = {}
        broken: dict[str, str] = {}
        versions: dict[str, str] = {}
        renew: dict[str, str] = {}
        defaults = []
        for config_map in config_maps:
            name, annotations = config_map["metadata"]["name"], config_map["metadata"].get("annotations") or {}
            if annotations.get(v.DEFAULT_ISSUER, "").lower() == "true":
                defaults.append(name)
            if v.RENEW in annotations:
                renew[name] = annotations[v.RENEW]
            versions[name] = issuer_version(config_map)
            try:
                valid[name] = parse_issuer(config_map)
            except IssuerError as problem:
                broken[name] = str(problem)
        return cls(valid, broken, min(defaults, default=""), versions, renew)
