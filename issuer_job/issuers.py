"""Issuers: where certificates come from. One ConfigMap each, `data["issuer.yaml"]`, checked against a schema."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import msgspec

from issuer_job import names
from issuer_job import vocabulary as v
from issuer_job.issuer_schema import PEM_BEGIN, Issuer, problems
from issuer_job.kube import Json

MAX_DOCUMENT = 256 * 1024
ABSENT = "none"
"""Stands for the configuration of an issuer that is not there."""
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


class IssuerError(ValueError):
    """An issuer's configuration is wrong; the message names the field."""


def parse(config_map: Json) -> Issuer:
    """Read an issuer's ConfigMap. Raises IssuerError with the path of the field that is wrong."""
    name = config_map["metadata"]["name"]
    if not _NAME.fullmatch(name):
        raise IssuerError(f"issuer {name[:70]}: its name must be a DNS label: it becomes part of other names")
    text = (config_map.get("data") or {}).get(v.ISSUER_KEY)
    if text is None:
        raise IssuerError(f"issuer {name}: data has no key {v.ISSUER_KEY}")
    if len(text) > MAX_DOCUMENT:
        raise IssuerError(f"issuer {name}: {v.ISSUER_KEY} is larger than {MAX_DOCUMENT} bytes")
    try:
        issuer = msgspec.yaml.decode(text, type=Issuer)
    except (msgspec.DecodeError, ValueError, RecursionError) as problem:
        raise IssuerError(f"issuer {name}: {problem}") from None
    for what, path in problems(issuer):
        raise IssuerError(f"issuer {name}: {what} - at `{path}`")
    return _with_bundle(name, issuer, config_map["data"])


def version(config_map: Json) -> str:
    """Stands for an issuer's configuration: another one after an edit."""
    data: dict[str, str] = config_map.get("data") or {}
    return names.digest(*(f"{key}={data[key]}" for key in sorted(data)))


def _with_bundle(name: str, issuer: Issuer, data: dict[str, str]) -> Issuer:
    """The issuer with the CA bundle that another key of its ConfigMap holds."""
    key = issuer.ca_bundle_key
    if not key:
        return issuer
    if issuer.ca_bundle:
        raise IssuerError(f"issuer {name}: caBundle is given, too - at `$.caBundleKey`")
    bundle = data.get(key, "")
    if PEM_BEGIN not in bundle or len(bundle) > MAX_DOCUMENT:
        raise IssuerError(f"issuer {name}: the ConfigMap has no PEM certificates in {key} - at `$.caBundleKey`")
    return msgspec.structs.replace(issuer, ca_bundle=bundle)


@dataclass(frozen=True)
class Issuers:
    """Every issuer of the cluster, the broken ones with what is wrong with them; `default` is a name or empty.

    `versions` stand for the configurations, see `version`.
    """

    valid: Mapping[str, Issuer]
    broken: Mapping[str, str]
    default: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_config_maps(cls, config_maps: Iterable[Json]) -> Issuers:
        """One broken issuer harms no other. Of several defaults the first by name counts."""
        valid: dict[str, Issuer] = {}
        broken: dict[str, str] = {}
        versions: dict[str, str] = {}
        defaults = []
        for config_map in config_maps:
            name = config_map["metadata"]["name"]
            if (config_map["metadata"].get("annotations") or {}).get(v.DEFAULT_ISSUER, "").lower() == "true":
                defaults.append(name)
            versions[name] = version(config_map)
            try:
                valid[name] = parse(config_map)
            except IssuerError as problem:
                broken[name] = str(problem)
        return cls(valid, broken, min(defaults, default=""), versions)
