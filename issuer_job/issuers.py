"""Issuers: where certificates come from. One ConfigMap each, `data["issuer.yaml"]`, checked against a schema."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Annotated
from urllib.parse import urlsplit

import msgspec

from certs.keys import KeyAlgorithm
from issuer_job import names
from issuer_job import vocabulary as v
from issuer_job.kube import Json

MAX_DOCUMENT = 256 * 1024
ABSENT = "none"
"""Stands for the configuration of an issuer that is not there."""
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


class IssuerError(ValueError):
    """An issuer's configuration is wrong; the message names the field."""


class AccountKeyAlgorithm(StrEnum):
    """JWS algorithm of an account key (RFC 7518, section 3.1)."""

    ES256 = "ES256"
    ES384 = "ES384"
    RS256 = "RS256"


class PathType(StrEnum):
    """Path types of an Ingress that can match everything below the challenge path."""

    PREFIX = "Prefix"
    IMPLEMENTATION_SPECIFIC = "ImplementationSpecific"


class ExternalAccount(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """External account binding (RFC 8555, section 7.3.4). The HMAC key is `eab-hmac-key` in `credentials-ISSUER`."""

    key_id: str


Limit = Annotated[int, msgspec.Meta(ge=0)]


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """What certjob does not exceed at the CA, per account; 0 is no limit. The defaults are Let's Encrypt's.

    `orders` in 3 hours; certificates in 7 days `per_registered_domain` (public suffix and one label) and
    `per_exact_set` of hosts; `failed_validations` of a host in an hour.
    """

    orders: Limit = 300
    per_registered_domain: Limit = 50
    per_exact_set: Limit = 5
    failed_validations: Limit = 5


class Issuer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """One ACME account at a CA.

    `server` is the directory URL, `ca_bundle` PEM for a CA whose own HTTPS certificate is private,
    `private_names` allows hosts that no public CA certifies (.internal, .test, ...), the two lists
    bound who may use the issuer (empty: everybody; globs allowed). `route_annotations` and `path_type` are for
    ingress controllers that need more on a challenge route; the operator must also allow them in the ConfigMap
    `certjob-route-policy`.
    """

    server: str
    email: str = ""
    ca_bundle: str = ""
    external_account: ExternalAccount | None = None
    account_key_algorithm: AccountKeyAlgorithm = AccountKeyAlgorithm.ES256
    key_algorithm: KeyAlgorithm = KeyAlgorithm.ECDSA_P256
    profile: str = ""
    preferred_chain: str = ""
    private_names: bool = False
    allowed_namespaces: tuple[str, ...] = ()
    ingress_classes: tuple[str, ...] = ()
    route_annotations: dict[str, str] = {}
    path_type: PathType = PathType.PREFIX
    limits: Limits = Limits()

    @property
    def contacts(self) -> tuple[str, ...]:
        """Mail addresses of the account; the field may hold several, separated by commas."""
        return tuple(part.strip() for part in self.email.split(",") if part.strip())

    def allows_namespace(self, namespace: str) -> bool:
        """Whether Ingresses of this namespace may use the issuer."""
        return not self.allowed_namespaces or any(fnmatchcase(namespace, g) for g in self.allowed_namespaces)

    def allows_class(self, ingress_class: str | None) -> bool:
        """Whether Ingresses of this class may use the issuer."""
        return not self.ingress_classes or (ingress_class or "") in self.ingress_classes


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
        _check(issuer)
    except (msgspec.DecodeError, IssuerError) as problem:
        raise IssuerError(f"issuer {name}: {problem}") from None
    return issuer


def version(config_map: Json) -> str:
    """Stands for an issuer's configuration: another one after an edit."""
    return names.digest(str((config_map.get("data") or {}).get(v.ISSUER_KEY)))


def _check(issuer: Issuer) -> None:
    url = urlsplit(issuer.server)
    if url.scheme != "https" or not url.hostname or url.username or url.fragment:
        raise IssuerError("server must be an https URL of an ACME directory - at `$.server`")
    for contact in issuer.contacts:
        local, at, domain = contact.partition("@")
        if not (local and at and "." in domain) or any(c.isspace() for c in contact) or "@" in domain:
            raise IssuerError(f"{contact[:100]!r} is not a mail address - at `$.email`")
    if issuer.ca_bundle and "-----BEGIN CERTIFICATE-----" not in issuer.ca_bundle:
        raise IssuerError("caBundle holds no PEM certificate - at `$.caBundle`")


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
