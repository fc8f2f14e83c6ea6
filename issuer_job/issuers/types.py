"""The types of issuers: what the configuration of each may say, and what the rest of certjob has to know of it.

How a type obtains a certificate, and what its own Job asks, is `issue.obtaining`'s to know, by the same name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from issuer_job.issuers.rules import PathProblem, acme_problems, common_problems, empty_list_problems
from issuer_job.issuers.schema import AcmeFields, Issuer


def _fields(part: type[AcmeFields]) -> frozenset[str]:
    return frozenset(part.__struct_encode_fields__)


@dataclass(frozen=True, kw_only=True)
class IssuerType:
    """One type. Nothing but this names a type: whoever has to tell two apart asks for what makes them different."""

    name: str
    description: str
    """For people: where its certificates come from."""
    document: type[Issuer] = Issuer
    """What its YAML is read into. A type with fields of its own has a subclass."""
    fields: frozenset[str] = frozenset()
    """Which it has of the fields that some types lack, as YAML names them. What a type lists here, others lack."""
    required: Mapping[str, str] = field(default_factory=dict)
    """Fields that it cannot do without, and what each of them is, for a message."""
    rules: Callable[[Issuer], Iterable[PathProblem]] = lambda issuer: ()
    """What is wrong in the fields of its own."""
    directory: Callable[[Issuer], str] = lambda issuer: issuer.type
    """Stands for the CA in records and in the names of the issuer's state and account keys."""
    has_account: bool = False
    """Whether it has an ACME account, whose key is made before the first Job is."""
    proves_hosts: bool = False
    """Whether hosts are proven to the CA, by `solvers`: those that none of them is for it cannot serve."""
    counts_orders: bool = False
    """Whether the CA has limits: orders are counted, and launches held back, by `limits`."""
    suggests_renewals: bool = False
    """Whether the CA is asked when to renew (RFC 9773)."""
    private_names: bool = False
    """Whether it takes hosts that no public CA certifies without being told so."""
    lifetime: timedelta = timedelta(days=90)
    """Of certificates that certjob decides on, unless the issuer says another."""

    @property
    def own_fields(self) -> frozenset[str]:
        """The fields that some other type lacks."""
        return self.fields | (_fields(self.document) - _fields(Issuer))


ACME = IssuerType(
    name="acme",
    description="an ACME CA",
    fields=_fields(AcmeFields),
    required={"server": "the https URL of an ACME directory"},
    rules=acme_problems,
    directory=lambda issuer: issuer.server,
    has_account=True,
    proves_hosts=True,
    counts_orders=True,
    suggests_renewals=True,
)
SELF_SIGNED = IssuerType(
    name="selfsigned",
    description="nobody, each certificate is signed with its own key",
    private_names=True,
    lifetime=timedelta(days=3650),
)
CA = IssuerType(
    name="ca",
    description="a CA key pair of your own, in the Secret credentials-ISSUER",
    private_names=True,
)
ISSUER_TYPES = {kind.name: kind for kind in (ACME, SELF_SIGNED, CA)}
"""Every type, by the word that `type` has for it."""


def type_of(issuer: Issuer) -> IssuerType:
    """The issuer's type."""
    return ISSUER_TYPES[issuer.type]


def directory_of(issuer: Issuer) -> str:
    """Stands for the issuer's CA: the URL of its directory, or else the type."""
    return type_of(issuer).directory(issuer)


def lifetime_of(issuer: Issuer) -> timedelta:
    """Of its certificates, if it is not the CA that decides on it."""
    return issuer.wanted_lifetime or type_of(issuer).lifetime


def uses_route(issuer: Issuer, host: str, ingress_class: str | None) -> bool:
    """Whether the host is proven through a challenge route."""
    solver = issuer.solver(host, ingress_class) if type_of(issuer).proves_hosts else None
    return solver is not None and solver.dns01 is None


def foreign_fields(kind: IssuerType) -> dict[str, str]:
    """The fields that a type lacks and another one has, each with what to say of it."""
    owners: dict[str, list[str]] = {}
    for other in ISSUER_TYPES.values():
        for each in sorted(other.own_fields - kind.own_fields):
            owners.setdefault(each, []).append(other.name)
    return {
        each: f"{each} is only for type {' or '.join(names)}, and this is type {kind.name}"
        for each, names in owners.items()
    }


def problems(issuer: Issuer, *, name: str, given: Mapping[str, object]) -> Iterator[PathProblem]:
    """What is wrong with an issuer that could be read from the document `given`; `name` is its own."""
    kind = type_of(issuer)
    for each, what in kind.required.items():
        if not given.get(each):
            yield f"{each} is missing: {what}", f"$.{each}"
    yield from empty_list_problems(given)
    yield from kind.rules(issuer)
    yield from common_problems(issuer, name)
