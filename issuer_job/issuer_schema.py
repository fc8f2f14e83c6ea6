"""What an issuer's configuration may say: the types that its YAML is read into, and the JSON Schema is made from.

Unknown fields and wrong values are named with their path. What a type cannot say is checked in `problems`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from enum import StrEnum
from fnmatch import fnmatchcase
from ipaddress import ip_address
from typing import Annotated
from urllib.parse import urlsplit

import msgspec

from certs.duration import parse_duration
from certs.errors import CertError
from certs.hostnames import HostReason, check_host
from certs.keys import KeyAlgorithm
from issuer_job.host_rules import HostRule, allow

MAX_SOLVERS = 50
MAX_PROPAGATION = timedelta(minutes=4)
"""The Job has four and a half minutes for everything."""
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_DATA_KEY = re.compile(r"[-._a-zA-Z0-9]{1,253}")
PEM_BEGIN = "-----BEGIN CERTIFICATE-----"

PathProblem = tuple[str, str]
"""What is wrong, and the path of the field."""


class IssuerType(StrEnum):
    """Where an issuer's certificates come from."""

    ACME = "acme"
    SELF_SIGNED = "selfsigned"
    """Nobody: each certificate is signed with its own key, as the placeholder is."""
    CA = "ca"
    """A key pair of the operator's, `tls.crt` and `tls.key` in the Secret `credentials-ISSUER`."""


class AccountKeyAlgorithm(StrEnum):
    """JWS algorithm of an account key (RFC 7518, section 3.1)."""

    ES256 = "ES256"
    ES384 = "ES384"
    RS256 = "RS256"


class PathType(StrEnum):
    """Path types of an Ingress that can match everything below the challenge path."""

    PREFIX = "Prefix"
    IMPLEMENTATION_SPECIFIC = "ImplementationSpecific"


class _Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    pass


class ExternalAccount(_Part, frozen=True):
    """External account binding (RFC 8555, section 7.3.4). The HMAC key is `eab-hmac-key` in `credentials-ISSUER`."""

    key_id: Annotated[str, msgspec.Meta(min_length=1, max_length=1000)]


Limit = Annotated[int, msgspec.Meta(ge=0)]


class Limits(_Part, frozen=True):
    """What certjob does not exceed at the CA, per account; 0 is no limit. The defaults are Let's Encrypt's.

    `orders` in 3 hours; certificates in 7 days `per_registered_domain` (public suffix and one label) and
    `per_exact_set` of hosts; `failed_validations` of a host in an hour.
    """

    orders: Limit = 300
    per_registered_domain: Limit = 50
    per_exact_set: Limit = 5
    failed_validations: Limit = 5


class Fallback(_Part, frozen=True):
    """The issuer that takes over when this one has failed a certificate for as long as `after`."""

    issuer: str
    after: str = "24h"

    @property
    def patience(self) -> timedelta:
        """`after` as a duration."""
        return parse_duration(self.after)


class Selector(_Part, frozen=True):
    """Which hosts a solver is for: all of its lists that are not empty must match."""

    dns_names: tuple[str, ...] = ()
    dns_zones: tuple[str, ...] = ()
    ingress_classes: tuple[str, ...] = ()

    def rank(self, host: str, ingress_class: str | None) -> tuple[int, int, int] | None:
        """How specific the match is: a name beats a zone, a longer zone a shorter, a zone a class. None: no match."""
        zones = [zone for zone in self.dns_zones if host == zone or host.endswith(f".{zone}")]
        if (
            (self.dns_names and host not in self.dns_names)
            or (self.dns_zones and not zones)
            or (self.ingress_classes and (ingress_class or "") not in self.ingress_classes)
        ):
            return None
        labels = max((zone.count(".") + 1 for zone in zones), default=0)
        return (int(bool(self.dns_names)), labels, int(bool(self.ingress_classes)))


class Http01(_Part, frozen=True):
    """HTTP-01 (RFC 8555, section 8.3). `ingress_class` is for certificates without an Ingress."""

    ingress_class: str = ""


class Dns01(_Part, frozen=True):
    """DNS-01 (RFC 8555, section 8.4) through a DNS provider.

    `options` are the provider's that are no secrets; the secret ones are keys of `credentials-ISSUER`. `zone` is
    found by its SOA record unless given; `nameservers` are asked instead of the pod's own.
    """

    provider: Annotated[str, msgspec.Meta(min_length=1, max_length=63)]
    options: dict[str, str | int | bool] = {}
    zone: str = ""
    nameservers: Annotated[tuple[str, ...], msgspec.Meta(max_length=8)] = ()
    propagation_timeout: str = "2m"
    ttl: Annotated[int, msgspec.Meta(ge=1, le=86_400)] = 60

    @property
    def patience(self) -> timedelta:
        """`propagation_timeout` as a duration."""
        return parse_duration(self.propagation_timeout)


class Solver(_Part, frozen=True):
    """How control over some hosts is proven: exactly one of `http01` and `dns01`."""

    selector: Selector = Selector()
    http01: Http01 | None = None
    dns01: Dns01 | None = None


class Issuer(_Part, frozen=True):
    """Where certificates come from.

    `server` is the directory URL of an ACME CA, `ca_bundle` PEM (or `ca_bundle_key` the key of the ConfigMap that has
    it) for a CA whose own HTTPS certificate is private, `existing_account_key` the key in `credentials-ISSUER` of the
    account key of an earlier installation, `lifetime` what certificates shall live, `private_names` allows hosts that
    no public CA certifies (.internal, .test, ...), the two lists of `allowed_` and `ingress_classes` bound who may use
    the issuer and for which hosts (empty: everybody, everything). `route_annotations` and `path_type` are for ingress
    controllers that need more on a challenge route; the operator must also allow them in the ConfigMap
    `certjob-route-policy`.
    """

    type: IssuerType = IssuerType.ACME
    server: str = ""
    email: str = ""
    ca_bundle: str = ""
    ca_bundle_key: str = ""
    external_account: ExternalAccount | None = None
    account_key_algorithm: AccountKeyAlgorithm = AccountKeyAlgorithm.ES256
    existing_account_key: str = ""
    key_algorithm: KeyAlgorithm = KeyAlgorithm.ECDSA_P256
    profile: Annotated[str, msgspec.Meta(max_length=100)] = ""
    preferred_chain: Annotated[str, msgspec.Meta(max_length=100)] = ""
    lifetime: str = ""
    private_names: bool = False
    allowed_namespaces: tuple[str, ...] = ()
    allowed_hosts: tuple[HostRule, ...] = ()
    ingress_classes: tuple[str, ...] = ()
    fallback: Fallback | None = None
    solvers: Annotated[tuple[Solver, ...], msgspec.Meta(max_length=MAX_SOLVERS)] = ()
    route_annotations: dict[str, str] = {}
    path_type: PathType = PathType.PREFIX
    limits: Limits = Limits()

    @property
    def is_acme(self) -> bool:
        """Whether certificates are ordered from a CA."""
        return self.type is IssuerType.ACME

    @property
    def directory(self) -> str:
        """Stands for the CA in records: the directory's URL, or the type."""
        return self.server if self.is_acme else str(self.type)

    @property
    def contacts(self) -> tuple[str, ...]:
        """Mail addresses of the account; the field may hold several, separated by commas."""
        return tuple(part.strip() for part in self.email.split(",") if part.strip())

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

    def solver(self, host: str, ingress_class: str | None) -> Solver | None:
        """The most specific solver for the host, of equal ones the first; for a wildcard only one with DNS-01."""
        wildcard = host.startswith("*.")
        best: Solver | None = None
        best_rank = (-1, -1, -1)
        for solver in self.solvers or (_DEFAULT_SOLVER,):
            rank = solver.selector.rank(host, ingress_class)
            if rank is not None and rank > best_rank and (solver.dns01 is not None or not wildcard):
                best, best_rank = solver, rank
        return best

    def uses_route(self, host: str, ingress_class: str | None) -> bool:
        """Whether the host is proven through a challenge route."""
        solver = self.solver(host, ingress_class) if self.is_acme else None
        return solver is not None and solver.dns01 is None

    @property
    def own_class(self) -> str:
        """The Ingress class for challenge routes of certificates without an Ingress; empty: the cluster's default."""
        return next((s.http01.ingress_class for s in self.solvers if s.http01 and s.http01.ingress_class), "")


_DEFAULT_SOLVER = Solver(http01=Http01())

_ONLY_ACME = (
    "server",
    "email",
    "caBundle",
    "caBundleKey",
    "externalAccount",
    "accountKeyAlgorithm",
    "existingAccountKey",
    "profile",
    "preferredChain",
    "solvers",
    "routeAnnotations",
    "pathType",
    "limits",
)


def problems(issuer: Issuer) -> Iterator[PathProblem]:
    """What is wrong with an issuer whose types are right."""
    if issuer.is_acme:
        yield from _server_problems(issuer)
    else:
        yield from _not_of_this_type(issuer)
    yield from _account_problems(issuer)
    if issuer.lifetime:
        yield from _duration_problems(issuer.lifetime, "$.lifetime")
    for number, pattern in enumerate(issuer.allowed_namespaces):
        if not re.fullmatch(r"[-a-z0-9*?\[\]!]{1,63}", pattern):
            yield f"{pattern[:63]!r} matches no namespace", f"$.allowedNamespaces[{number}]"
    if issuer.fallback is not None:
        if not _NAME.fullmatch(issuer.fallback.issuer):
            yield f"{issuer.fallback.issuer[:63]!r} cannot be the name of an issuer", "$.fallback.issuer"
        yield from _duration_problems(issuer.fallback.after, "$.fallback.after")
    for number, solver in enumerate(issuer.solvers):
        yield from _solver_problems(solver, f"$.solvers[{number}]")


def _server_problems(issuer: Issuer) -> Iterator[PathProblem]:
    if not issuer.server:
        yield "server is missing: the https URL of an ACME directory", "$.server"
        return
    try:
        url = urlsplit(issuer.server)
        wrong = url.scheme != "https" or not url.hostname or url.username or url.fragment or url.port == 0
    except ValueError:
        wrong = True
    if wrong or not issuer.server.isascii() or any(c.isspace() for c in issuer.server):
        yield "server must be an https URL of an ACME directory", "$.server"


def _not_of_this_type(issuer: Issuer) -> Iterator[PathProblem]:
    given, plain = msgspec.to_builtins(issuer), msgspec.to_builtins(Issuer())
    for name in _ONLY_ACME:
        if given[name] != plain[name]:
            yield f"{name} is only for type acme", f"$.{name}"


def _account_problems(issuer: Issuer) -> Iterator[PathProblem]:
    for contact in issuer.contacts:
        local, at, domain = contact.partition("@")
        if not (local and at and "." in domain) or any(c.isspace() for c in contact) or "@" in domain:
            yield f"{contact[:100]!r} is not a mail address", "$.email"
    if issuer.ca_bundle and PEM_BEGIN not in issuer.ca_bundle:
        yield "caBundle holds no PEM certificate", "$.caBundle"
    if issuer.ca_bundle_key and not _DATA_KEY.fullmatch(issuer.ca_bundle_key):
        yield f"{issuer.ca_bundle_key[:63]!r} cannot be a key of a ConfigMap", "$.caBundleKey"
    if issuer.existing_account_key and not _DATA_KEY.fullmatch(issuer.existing_account_key):
        yield f"{issuer.existing_account_key[:63]!r} cannot be a key of a Secret", "$.existingAccountKey"


def _solver_problems(solver: Solver, path: str) -> Iterator[PathProblem]:
    if (solver.http01 is None) is (solver.dns01 is None):
        yield "a solver has exactly one of http01 and dns01", path
    for number, name in enumerate(solver.selector.dns_names):
        if not _is_host(name.removeprefix("*.")):
            yield f"{name[:100]!r} is not a host name", f"{path}.selector.dnsNames[{number}]"
        elif name.startswith("*.") and solver.dns01 is None:
            yield f"{name[:100]!r} is a wildcard, which needs dns01", f"{path}.selector.dnsNames[{number}]"
    for number, zone in enumerate(solver.selector.dns_zones):
        if not _is_host(zone):
            yield f"{zone[:100]!r} is not the name of a zone", f"{path}.selector.dnsZones[{number}]"
    if solver.dns01 is not None:
        yield from _dns01_problems(solver.dns01, f"{path}.dns01")


def _dns01_problems(dns01: Dns01, path: str) -> Iterator[PathProblem]:
    if dns01.zone and not _is_host(dns01.zone):
        yield f"{dns01.zone[:100]!r} is not the name of a zone", f"{path}.zone"
    for number, server in enumerate(dns01.nameservers):
        try:
            nameserver(server)
        except ValueError:
            yield f"{server[:100]!r} is no IP address, nor one with a port", f"{path}.nameservers[{number}]"
    wrong = list(_duration_problems(dns01.propagation_timeout, f"{path}.propagationTimeout"))
    if not wrong and dns01.patience > MAX_PROPAGATION:
        wrong = [(f"{dns01.propagation_timeout} is longer than 4m", f"{path}.propagationTimeout")]
    yield from wrong


def nameserver(text: str) -> tuple[str, int]:
    """Address and port of "192.0.2.1", "192.0.2.1:5353", "2001:db8::1" or "[2001:db8::1]:5353". Raises ValueError."""
    try:
        return str(ip_address(text)), 53
    except ValueError:
        host, colon, port = text.rpartition(":")
        if not colon or not port.isdecimal() or not 0 < int(port) < 65536:
            raise
        return str(ip_address(host.removeprefix("[").removesuffix("]"))), int(port)


def _duration_problems(text: str, path: str) -> Iterator[PathProblem]:
    try:
        parse_duration(text)
    except CertError as problem:
        yield str(problem), path


def _is_host(name: str) -> bool:
    problem = check_host(name, allow_wildcard=False, private_suffixes=())
    return problem is None or problem.reason is HostReason.SINGLE_LABEL
