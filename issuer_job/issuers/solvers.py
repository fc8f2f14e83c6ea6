"""How an issuer proves control over hosts: solvers, and which of them is for which host."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from ipaddress import ip_address
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from certs.duration import parse_duration
from certs.hostnames import normalize

MAX_SOLVERS = 50
MAX_LIST = 1000
MAX_OPTIONS = 50
SOMEBODY: dict[str, Any] = {"max_length": MAX_LIST, "extra_json_schema": {"minItems": 1}}
"""Bounds of a list that says for whom something is: `rules` refuse one that is written out and empty."""
DURATION = r"^([0-9]{1,6}[dhms])+$"
_HOST = r"^(\*\.)?([A-Za-z0-9]([-A-Za-z0-9]{0,61}[A-Za-z0-9])?\.)*[A-Za-z0-9]([-A-Za-z0-9]{0,61}[A-Za-z0-9])?\.?$"
_ZONE = _HOST.replace(r"(\*\.)?", "", 1)
CLASS = r"^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?)?$"


class Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """A mapping in the issuer's document."""


def says(description: str, *, pattern: str = "", **bounds: Any) -> Meta:
    """What the JSON Schema says of a field, and what bounds it (see msgspec.Meta).

    A pattern is checked by `issuer_rules`, whose messages people understand; here it is for editors.
    """
    if pattern:
        bounds["extra_json_schema"] = {"pattern": pattern} | bounds.get("extra_json_schema", {})
    made: Meta = Meta(description=description, **bounds)
    return made


HostName = Annotated[str, Meta(extra_json_schema={"pattern": _HOST})]
ZoneName = Annotated[str, Meta(extra_json_schema={"pattern": _ZONE})]
ClassName = Annotated[str, Meta(extra_json_schema={"pattern": CLASS})]


class Selector(Part, frozen=True):
    """Which hosts a solver is for: all of the lists that it has must match."""

    dns_names: Annotated[tuple[HostName, ...], says("Exactly these hosts.", **SOMEBODY)] = ()
    dns_zones: Annotated[tuple[ZoneName, ...], says("These names and all below them.", **SOMEBODY)] = ()
    ingress_classes: Annotated[
        tuple[ClassName, ...], says("Ingresses of these classes; empty text: of none.", **SOMEBODY)
    ] = ()

    def __post_init__(self) -> None:
        for name in ("dns_names", "dns_zones"):
            msgspec.structs.force_setattr(self, name, tuple(map(normalize, getattr(self, name))))

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


class Http01(Part, frozen=True):
    """HTTP-01 (RFC 8555, section 8.3): through a challenge route and the responder."""

    ingress_class: Annotated[
        str, says("Class of the challenge routes for certificates without an Ingress.", pattern=CLASS)
    ] = ""


class Dns01(Part, frozen=True):
    """DNS-01 (RFC 8555, section 8.4): a TXT record, through a DNS provider."""

    provider: Annotated[
        str,
        says(
            "Name of the provider, see docs/dns.md: dns-lexicon's, or one of certjob's own.",
            pattern="^[a-z0-9][-a-z0-9]*$",
            min_length=1,
            max_length=63,
        ),
    ]
    options: Annotated[
        dict[str, str | int | bool],
        says(
            "The provider's options that are no secrets; the secret ones are keys of Secret credentials-ISSUER.",
            max_length=MAX_OPTIONS,
            extra_json_schema={"propertyNames": {"pattern": "^[a-z][a-z0-9_]{0,62}$"}},
        ),
    ] = {}
    zone: Annotated[str, says("The zone; else it is found by its SOA record.", pattern=f"^$|{_ZONE}")] = ""
    alias_zones: Annotated[
        tuple[ZoneName, ...],
        says("Zones for challenges that aliases (CNAME) of challenge names may lead into.", max_length=MAX_LIST),
    ] = ()
    nameservers: Annotated[
        tuple[str, ...],
        says(
            'Asked instead of the pod\'s own: IP addresses, or "10.0.0.53:5353", "[2001:db8::1]:5353".', max_length=8
        ),
    ] = ()
    propagation_timeout: Annotated[
        str, says("How long to wait for all of the zone's servers; at most 4m.", pattern=DURATION)
    ] = "2m"
    ttl: Annotated[int, says("Seconds that the TXT record may be cached.", ge=1, le=86_400)] = 60

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "zone", normalize(self.zone))
        msgspec.structs.force_setattr(self, "alias_zones", tuple(map(normalize, self.alias_zones)))

    @property
    def patience(self) -> timedelta:
        """`propagation_timeout` as a duration."""
        return parse_duration(self.propagation_timeout)


class ChallengeType(StrEnum):
    """What a CA may ask for as proof of control over a host (RFC 8555, section 8)."""

    HTTP_01 = "http-01"
    DNS_01 = "dns-01"


class Solver(Part, frozen=True):
    """How control over some hosts is proven: exactly one of `http01` and `dns01`."""

    selector: Annotated[
        Selector, says("Which hosts it is for; all if it has no list. The most specific solver wins.")
    ] = Selector()
    http01: Http01 | None = None
    dns01: Dns01 | None = None

    @property
    def challenge_type(self) -> ChallengeType:
        """Of the challenges that it solves."""
        return ChallengeType.HTTP_01 if self.dns01 is None else ChallengeType.DNS_01


DEFAULT_SOLVER = Solver(http01=Http01())


def most_specific(solvers: tuple[Solver, ...], host: str, ingress_class: str | None) -> Solver | None:
    """The most specific solver for the host, of equal ones the first; for a wildcard only one with DNS-01."""
    wildcard = host.startswith("*.")
    best: Solver | None = None
    best_rank = (-1, -1, -1)
    for solver in solvers or (DEFAULT_SOLVER,):
        rank = solver.selector.rank(host, ingress_class)
        if rank is not None and rank > best_rank and (solver.dns01 is not None or not wildcard):
            best, best_rank = solver, rank
    return best


def nameserver(text: str) -> tuple[str, int]:
    """Address and port of "192.0.2.1", "192.0.2.1:5353", "2001:db8::1" or "[2001:db8::1]:5353". Raises ValueError."""
    try:
        return str(ip_address(text)), 53
    except ValueError:
        host, colon, port = text.rpartition(":")
        if not colon or not (port.isascii() and port.isdecimal()) or not 0 < int(port) < 65536:
            raise
        if host.startswith("[") is not (":" in host) or host.startswith("[") is not host.endswith("]"):
            raise
        return str(ip_address(host.removeprefix("[").removesuffix("]"))), int(port)
