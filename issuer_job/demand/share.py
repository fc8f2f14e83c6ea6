"""How many certificates and hosts one namespace may have: counted from its records. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import astuple, dataclass
from functools import reduce
from operator import add

from issuer_job.issuers.options import Options
from issuer_job.record.phases import ACTIVE, GONE
from issuer_job.record.record import Problem, Record

NAMESPACE_FULL = "namespaceFull"
"""Type of the problem of a certificate that is beyond its namespace's share."""


@dataclass(frozen=True)
class Use:
    """What a namespace, or one certificate of it, has of what all share."""

    certificates: int = 0
    hosts: int = 0
    active: int = 0

    def __add__(self, other: Use) -> Use:
        return Use(*map(add, astuple(self), astuple(other)))

    def __sub__(self, other: Use) -> Use:
        return self + Use(*(-number for number in astuple(other)))


def use_of(record: Record) -> Use:
    """What the certificate has. One that nobody wants any more has nothing, nor has one that was refused for this."""
    refused = record.issued is None and record.retry is not None and record.retry.problem.type == NAMESPACE_FULL
    held = record.phase not in GONE and (not refused or record.phase in ACTIVE)
    hosts = len(record.intent.hosts) if held else 0
    return Use(held, hosts, record.phase in ACTIVE)


def use_of_all(records: Iterable[Record]) -> Use:
    """What all of them have together."""
    return reduce(add, map(use_of, records), Use())


def adds_nothing(record: Record) -> bool:
    """Whether the certificate is there, with all the hosts: it goes on whatever the bounds are."""
    return record.issued is not None and set(record.intent.hosts) <= set(record.issued.hosts)


def beyond(options: Options, record: Record, others: Use) -> Problem | None:
    """What is wrong with a certificate that is one too many, or has too many hosts, beside the `others` of its
    namespace. What is there already goes on, also where a bound was set later.
    """
    if adds_nothing(record):
        return None
    detail = ""
    if record.issued is None and others.certificates >= options.certificates_per_namespace:
        detail = f"too many: its namespace has {others.certificates} certificates (option certificatesPerNamespace)"
    elif others.hosts + len(record.intent.hosts) > options.hosts_per_namespace:
        detail = f"too many: its namespace has {others.hosts} hosts (option hostsPerNamespace)"
    return Problem(type="namespaceFull", detail=detail, step="share") if detail else None
