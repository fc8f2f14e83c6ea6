"""What an issuer's configuration may say: the types that its YAML is read into, and the JSON Schema is made from.

Unknown fields and wrong values are named with their path. What a Python type cannot say is in `issuers.rules`, and
which type of issuer has which fields in `issuers.types`.
"""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Annotated

from msgspec import Meta

from certs.duration import parse_duration
from certs.keys import KeyAlgorithm
from issuer_job import names
from issuer_job.issuers.host_rules import HostRule, allow
from issuer_job.issuers.solvers import (
    DURATION,
    MAX_SOLVERS,
    SOMEBODY,
    ClassName,
    Dns01,
    Http01,
    Part,
    Selector,
    Solver,
    most_specific,
    nameserver,
    says,
)

__all__ = [
    "AccountKeyAlgorithm",
    "CaLimits",
    "Dns01",
    "ExternalAccount",
    "Fallback",
    "Http01",
    "Issuer",
    "PathType",
    "Selector",
    "Solver",
    "nameserver",
]

DEFAULT_TYPE = "acme"
DATA_KEY = r"^[-._a-zA-Z0-9]{1,253}$"


class AccountKeyAlgorithm(StrEnum):
    """JWS algorithm of an account key (RFC 7518, section 3.1)."""

    ES256 = "ES256"
    ES384 = "ES384"
    RS256 = "RS256"


class PathType(StrEnum):
    """Path types of an Ingress that can match everything below the challenge path."""

    PREFIX = "Prefix"
    IMPLEMENTATION_SPECIFIC = "ImplementationSpecific"


class ExternalAccount(Part, frozen=True):
    """External account binding (RFC 8555, section 7.3.4). The HMAC key is `eab-hmac-key` in `credentials-ISSUER`."""

    key_id: Annotated[str, says("The key identifier that the CA gave out.", min_length=1, max_length=1000)]


Limit = Annotated[int, Meta(ge=0, le=1_000_000)]


class CaLimits(Part, frozen=True):
    """What certjob does not exceed at the CA, per account; 0 is no limit. The defaults are Let's Encrypt's."""

    orders: Annotated[Limit, says("Orders in 3 hours.")] = 300
    per_namespace: Annotated[
        Limit | None, says("Of these, what one namespace has whatever the others do; a tenth if not given.")
    ] = None
    per_registered_domain: Annotated[Limit, says("Certificates in 7 days for a public suffix and one label.")] = 50
    per_exact_set: Annotated[Limit, says("Certificates in 7 days for exactly the same hosts.")] = 5
    failed_validations: Annotated[Limit, says("Failed validations of one host in an hour.")] = 5

    @property
    def share(self) -> int:
        """Of the orders, what a namespace has whatever the others do: at least one; 0 is no limit."""
        return max(1, self.orders // 10) if self.per_namespace is None and self.orders else self.per_namespace or 0


class Fallback(Part, frozen=True):
    """The issuer that takes over when this one has failed a certificate for as long as `after`."""

    issuer: Annotated[str, says("Name of the other issuer.", pattern=names.ISSUER_NAME)]
    after: Annotated[str, says("How long this one must have failed.", pattern=DURATION)] = "24h"

    @property
    def patience(self) -> timedelta:
        """`after` as a duration."""
        return parse_duration(self.after)


class AcmeFields(Part, frozen=True):
    """What certjob has to know to order from an ACME CA (RFC 8555)."""

    server: Annotated[
        str, says("https URL of the CA's ACME directory; needed for type acme.", pattern="^https://", max_length=2000)
    ] = ""
    email: Annotated[str, says("Contact addresses of the account, separated by commas.", max_length=2000)] = ""
    ca_bundle: Annotated[
        str, says("PEM of the CA that signed the ACME server's own HTTPS certificate; the system's if empty.")
    ] = ""
    ca_bundle_key: Annotated[
        str, says("Key of this ConfigMap that holds the PEM, instead of caBundle.", pattern=f"^$|{DATA_KEY}")
    ] = ""
    external_account: Annotated[ExternalAccount | None, says("For CAs that bind ACME accounts to customers.")] = None
    account_key_algorithm: Annotated[
        AccountKeyAlgorithm, says("Of the account key, when it is made; a rollover makes a new one.")
    ] = AccountKeyAlgorithm.ES256
    existing_account_key: Annotated[
        str,
        says(
            "Key in Secret credentials-ISSUER with the account key of an earlier installation, to be taken over.",
            pattern=f"^$|{DATA_KEY}",
        ),
    ] = ""
    profile: Annotated[str, says("ACME profile; one that the CA's directory lists.", max_length=100)] = ""
    preferred_chain: Annotated[
        str, says("Common name of the root or an intermediate of the chain to be used.", max_length=100)
    ] = ""
    solvers: Annotated[
        tuple[Solver, ...], says("How control over hosts is proven; HTTP-01 if empty.", max_length=MAX_SOLVERS)
    ] = ()
    route_annotations: Annotated[
        dict[str, str],
        says(
            "Further annotations of challenge routes; the operator allows them in ConfigMap certjob-route-policy.",
            max_length=50,
        ),
    ] = {}
    path_type: Annotated[
        PathType, says("Of challenge routes; ImplementationSpecific must be allowed in certjob-route-policy, too.")
    ] = PathType.PREFIX
    limits: Annotated[CaLimits, says("Orders and certificates that certjob does not exceed at this CA.")] = CaLimits()

    @property
    def contacts(self) -> tuple[str, ...]:
        """Mail addresses of the account; the field may hold several, separated by commas."""
        return tuple(part.strip() for part in self.email.split(",") if part.strip())

    def solver(self, host: str, ingress_class: str | None) -> Solver | None:
        """The most specific solver for the host, of equal ones the first; for a wildcard only one with DNS-01."""
        return most_specific(self.solvers, host, ingress_class)

    @property
    def own_class(self) -> str:
        """The Ingress class for challenge routes of certificates without an Ingress; empty: the cluster's default."""
        return next((s.http01.ingress_class for s in self.solvers if s.http01 and s.http01.ingress_class), "")


class Issuer(AcmeFields, frozen=True):
    """Where certificates come from: data["issuer.yaml"] of a ConfigMap labelled certjob.io/issuer=true."""

    type: Annotated[str, says("Where certificates come from.")] = DEFAULT_TYPE
    key_algorithm: Annotated[KeyAlgorithm, says("Key of the certificates.")] = KeyAlgorithm.ECDSA_P256
    lifetime: Annotated[
        str,
        says(
            "What certificates shall live: asked of an ACME CA, which may refuse; given by types selfsigned and ca.",
            pattern=f"^$|{DURATION}",
        ),
    ] = ""
    private_names: Annotated[
        bool, says("Allow hosts that no public CA certifies: .internal, .test, .local and the like.")
    ] = False
    allowed_namespaces: Annotated[
        tuple[Annotated[str, Meta(extra_json_schema={"pattern": r"^[-a-z0-9*?\[\]!]{1,63}$"})], ...],
        says("Names or globs of the namespaces that may use the issuer; all if left out.", **SOMEBODY),
    ] = ()
    allowed_hosts: Annotated[
        tuple[HostRule, ...],
        says("Which namespace may have which hosts; all may have all if left out.", **SOMEBODY),
    ] = ()
    ingress_classes: Annotated[
        tuple[ClassName, ...],
        says("Ingress classes that may use the issuer; all if left out.", **SOMEBODY),
    ] = ()
    fallback: Annotated[Fallback | None, says("Another issuer that takes over when this one keeps failing.")] = None

    @property
    def wanted_lifetime(self) -> timedelta | None:
        """`lifetime` as a duration, None if the CA decides."""
        return parse_duration(self.lifetime) if self.lifetime else None

    def allows_namespace(self, namespace: str) -> bool:
        """Whether Ingresses of this namespace may use the issuer."""
        return not self.allowed_namespaces or any(fnmatchcase(namespace, g) for g in self.allowed_namespaces)

    def allows_class(self, ingress_class: str | None) -> bool:
        """Whether Ingresses of this class may use the issuer."""
        return not self.ingress_classes or (ingress_class or "") in self.ingress_classes

    def allows_host(self, namespace: str, host: str) -> bool:
        """Whether this namespace may have a certificate for the host from the issuer."""
        return not self.allowed_hosts or allow(self.allowed_hosts, namespace, host)
