"""An issuer's status, derived from its ConfigMap and its state. Pure: whoever shows it adds nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from urllib.parse import urlsplit

from msgspec.structs import fields, replace

from issuer_job.hosts.limits import DOMAIN, FAILURES, ORDERS, SET, exactly, keys_of
from issuer_job.hosts.order_book import OrderBook, listed_domain
from issuer_job.issuers.load import Issuers
from issuer_job.issuers.schema import CaLimits, Issuer
from issuer_job.issuers.state import (
    BLOCKED_REASON,
    BLOCKED_UNTIL,
    CHECK_RESULT,
    CHECKED_AT,
    READY,
    IssuerState,
    read_findings,
)
from issuer_job.issuers.types import type_of
from issuer_job.record.ledger_entries import WINDOWS
from issuer_job.record.record import Counted
from issuer_job.status.shown import Shown


class Limit(StrEnum):
    """What an issuer's CA limits."""

    ORDERS = "orders"
    DOMAIN = "domain"
    """Certificates for one registered domain."""
    SET = "set"
    """Certificates for exactly the same hosts."""
    FAILURES = "failures"
    """Failed validations of one host."""


@dataclass(frozen=True)
class _Row:
    key: str
    kind: Counted
    allowed: str


_ROWS = {
    Limit.ORDERS: _Row(ORDERS[0], Counted.ORDER, "orders"),
    Limit.DOMAIN: _Row(DOMAIN, Counted.CERTIFICATE, "per_registered_domain"),
    Limit.SET: _Row(SET, Counted.CERTIFICATE, "per_exact_set"),
    Limit.FAILURES: _Row(FAILURES, Counted.FAILURE, "failed_validations"),
}


class LimitUse(Shown, frozen=True):
    """How much of a limit is used within its `period` (seconds): of all orders, else of whom it has most of.

    `whom` is the domain or the host. What is less than half used is counted as 0: so the sweeps note it.
    """

    limit: Limit
    used: int
    allowed: int
    period: int
    whom: str = ""


class IssuerFinding(Shown, frozen=True):
    """One thing that the last test of the issuer found; a `warning` keeps no issuer from working."""

    reason: str
    path: str
    message: str
    warning: bool


class IssuerStatus(Shown, frozen=True):
    """`ready` None: it was not tested yet. `ca` is the directory's host, or the type of one that takes no orders.

    `blocked_until`: so long the CA refuses its account. `unknown` are fields that could not be found out with the
    rights of whoever asked, which are then empty.
    """

    name: str
    default: bool
    type: str
    ready: bool | None
    ca: str
    directory: str
    solvers: tuple[str, ...]
    certificates: int
    limits: tuple[LimitUse, ...]
    findings: tuple[IssuerFinding, ...]
    checked_at: datetime | None
    blocked_until: datetime | None
    unknown: tuple[str, ...] = ()


def issuer_status(
    name: str,
    issuers: Issuers,
    state: IssuerState | None,
    *,
    certificates: int,
    now: datetime,
    hosts: tuple[str, ...] = (),
) -> IssuerStatus:
    """What is to be said of the issuer of that name, which is one of `issuers`; `certificates` are from it.

    With `hosts` its limits are told as they are for these, else of whom it has most of.
    """
    issuer = issuers.valid.get(name)
    if issuer is None:
        wrong = issuers.broken.get(name, f"there is no issuer {name}").removeprefix(f"issuer {name}: ")
        return _of_broken(name, issuers, certificates, wrong)
    state = state or IssuerState(name, "")
    findings = [
        IssuerFinding(reason=found.reason, path=found.path, message=found.message, warning=found.warning)
        for found in read_findings(state.data)
    ]
    blocked = state.moment(BLOCKED_UNTIL)
    if blocked is not None and blocked > now:
        why = state.data.get(BLOCKED_REASON, "")
        findings.insert(0, IssuerFinding(reason="Blocked", path="$", message=why, warning=False))
    tested, counted = CHECK_RESULT in state.data, type_of(issuer).counts_orders
    return IssuerStatus(
        name=name,
        default=issuers.default == name,
        type=issuer.type,
        ready=state.data[CHECK_RESULT] == READY and not (blocked and blocked > now) if tested else None,
        ca=urlsplit(issuer.server).hostname or issuer.type,
        directory=issuer.server,
        solvers=tuple(_solvers(issuer)),
        certificates=certificates,
        limits=tuple(limits_used(OrderBook.of(state), issuer.limits, now, hosts)) if counted else (),
        findings=tuple(findings),
        checked_at=state.moment(CHECKED_AT),
        blocked_until=blocked if blocked is not None and blocked > now else None,
    )


def issuer_from_outside(name: str, *, certificates: int) -> IssuerStatus:
    """Of one that only what asks for `certificates`, or holds them, names."""
    told = {"name", "certificates", "unknown"}
    untold = tuple(field.encode_name for field in fields(IssuerStatus) if field.name not in told)
    return replace(_empty(name, certificates), unknown=untold)


def _of_broken(name: str, issuers: Issuers, certificates: int, wrong: str) -> IssuerStatus:
    found = (IssuerFinding(reason="Broken", path="$", message=wrong, warning=False),)
    return replace(_empty(name, certificates), default=issuers.default == name, ready=False, findings=found)


def _empty(name: str, certificates: int) -> IssuerStatus:
    return IssuerStatus(
        name=name,
        default=False,
        type="",
        ready=None,
        ca="",
        directory="",
        solvers=(),
        certificates=certificates,
        limits=(),
        findings=(),
        checked_at=None,
        blocked_until=None,
    )


def _solvers(issuer: Issuer) -> Iterator[str]:
    """Each kind of challenge once, with how many solvers have it; without any it is HTTP-01."""
    if not issuer.solvers and type_of(issuer).proves_hosts:
        yield "http01"
    kinds = Counter("dns01" if solver.dns01 is not None else "http01" for solver in issuer.solvers)
    for kind, count in sorted(kinds.items(), reverse=True):
        yield f"{kind}*{count}" if count > 1 else kind


def limits_used(book: OrderBook, limits: CaLimits, now: datetime, hosts: tuple[str, ...] = ()) -> Iterator[LimitUse]:
    """How much of each limit is used, of whom it has most of, of what concerns `hosts` if there are any; what has no
    limit is left out.
    """
    most: Mapping[str, tuple[int, str]] = _most(book, now, hosts)
    for limit, row in _ROWS.items():
        used, whom = most.get(row.key, (0, ""))
        if allowed := int(getattr(limits, row.allowed)):
            period = int(WINDOWS[row.kind] / timedelta(seconds=1))
            shown = whom if limit in {Limit.DOMAIN, Limit.FAILURES} else ""
            yield LimitUse(limit=limit, used=used, allowed=allowed, period=period, whom=shown)


def _most(book: OrderBook, now: datetime, hosts: tuple[str, ...]) -> dict[str, tuple[int, str]]:
    """By what is counted: how often at most, and of whom."""
    at = now.timestamp()
    counted = Counter[tuple[str, str]]()
    for text, times in book.times.items():
        kind, _, whom = text.partition(" ")
        counted[kind, whom] += sum(time > at for time in times)
    listed = {whom for kind, whom in counted if kind == DOMAIN}
    for entry in book.entries:
        for kind in (Counted.ORDER, Counted.CERTIFICATE):
            ordered = entry.ordered(kind)
            if ordered.over > at:
                counted.update(keys_of(ordered))
                if ordered.certificate:
                    counted.update({(DOMAIN, listed_domain(host, listed)) for host in ordered.hosts})
    concerned = {ORDERS, exactly(hosts)}
    concerned |= {(kind, whom) for host in hosts for kind, whom in _of_host(host, listed)}
    counted.update(dict.fromkeys(concerned if hosts else (), 0))
    most: dict[str, tuple[int, str]] = {}
    for (kind, whom), count in counted.items():
        if not hosts or (kind, whom) in concerned:
            most[kind] = max(most.get(kind, (0, "")), (count, whom))
    return most


def _of_host(host: str, listed: set[str]) -> Iterator[tuple[str, str]]:
    yield DOMAIN, listed_domain(host, listed)
    yield FAILURES, host
