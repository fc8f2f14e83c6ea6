"""What only operators may read, and what follows for an order: whose hosts are, the issuer, its limits."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from issuer_job import names
from issuer_job import vocabulary as v
from issuer_job.background import at_once
from issuer_job.cli.checking.admission import HOST_POLICY, ExpectedOrder
from issuer_job.cli.out.verdicts import Judged, fail, of_all, ok, warn
from issuer_job.cluster.api import CONFIGMAPS, Cluster
from issuer_job.demand.askers import list_askers
from issuer_job.hosts import claims
from issuer_job.hosts.limits import PlannedOrder
from issuer_job.hosts.order_book import OrderBook
from issuer_job.hosts.precedence import Claim, Denial, Namers, is_rival, judge_claim, not_allowed
from issuer_job.issuers.load import Issuers
from issuer_job.issuers.options import HostPolicy, Options, OptionsError, read_options
from issuer_job.issuers.schema import Issuer
from issuer_job.issuers.state import IssuerState
from issuer_job.issuers.types import type_of
from issuer_job.record import transitions
from issuer_job.record.record import Record, RecordError, Source
from issuer_job.record.renewal import serves
from issuer_job.record.store import live_record
from issuer_job.status.issuer_status import Limit, LimitUse, issuer_status, limits_used

ISSUER, LIMITS = "issuer", "limits"


@dataclass(frozen=True)
class OperatorsView:
    """What certjob has been told. `options` is a text if they are wrong, and nothing is launched."""

    issuers: Issuers
    options: Options | str


def read_known(cluster: Cluster, certjob_namespace: str) -> OperatorsView:
    """Raises KubeError, also for a right that is missing."""
    found = cluster.items(CONFIGMAPS, certjob_namespace, labels=f"{v.ISSUER}=true")
    try:
        options: Options | str = read_options(cluster)
    except OptionsError as problem:
        options = str(problem)
    return OperatorsView(Issuers.from_config_maps(found), options)


@dataclass(frozen=True)
class Whose:
    """About one host: the claim of it, if there is one, and others' that overlap it."""

    host: str
    mine: Claim | None
    rivals: tuple[Claim, ...]


def read_claims(cluster: Cluster, hosts: Iterable[str], namespace: str, now: datetime) -> tuple[list[Whose], Namers]:
    """Whose the hosts are, and who else names those that nobody has for sure. Raises KubeError."""
    made = claims.namespace_made(cluster, namespace)

    def whose(host: str) -> Whose:
        held = claims.claim_of(cluster, host)
        asking = held if held is not None and held.namespace == namespace else Claim(host, namespace, now)
        others = claims.rivals(cluster, asking, made=made)
        if held is not None and is_rival(asking, held, made=made):
            others.append(held)
        return Whose(host, held if held is asking else None, tuple(others))

    found = at_once(whose, hosts)
    open_ = frozenset(one.host for one in found if one.mine is None or one.mine.checked is None)
    namers = Namers(open_)
    for asker in list_askers(cluster) if open_ else ():
        namers.add(asker)
    return found, namers


def judge_hosts(
    options: Options, hosts: Sequence[str], namespace: str, found: Iterable[Whose], namers: Namers
) -> list[Judged]:
    """Whether the namespace may have them all, as the Job that orders decides it."""
    policy = options.host_policy
    if policy is HostPolicy.OPEN:
        return [ok(HOST_POLICY, "open: every namespace may have every host")]
    if policy is HostPolicy.ALLOW_LIST:
        refused = not_allowed(options, hosts, namespace)
        if refused is None:
            return [ok(HOST_POLICY, f"allow-list: {namespace} may have {of_all(len(hosts), 'host')}")]
        return [_denied(refused.host, Denial.NOT_ALLOWED, f"allow-list: no rule gives {refused.host} to {namespace}")]
    wrong = [finding for one in found if (finding := _judged(one, namespace, namers)) is not None]
    verb = "is" if len(hosts) == 1 else "are"
    return wrong or [ok(HOST_POLICY, f"first-claim: {of_all(len(hosts), 'host')} {verb} free or {namespace}'s")]


def _judged(one: Whose, namespace: str, namers: Namers) -> Judged | None:
    if one.mine is not None and one.mine.checked is not None and not any(claim.checked for claim in one.rivals):
        return None
    mine = one.mine or Claim(one.host, namespace, datetime.max.replace(tzinfo=UTC))
    judged = judge_claim(mine, one.rivals, namers)
    if judged.stands:
        return None
    holder = next((claim for claim in one.rivals if claim.checked), next(iter(one.rivals), None))
    if holder is not None:
        says = f"first-claim: {one.host} is {holder.namespace}'s" + (
            f" (by {holder.host})" * (holder.host != one.host)
        )
        how = f"kubectl certjob transfer-host {one.host} {namespace}"
        return _denied(one.host, Denial.CLAIMED, f"{says}; to move it: {how}")
    denial = Denial.CONTESTED if judged.contested else Denial.CLAIMED
    return _denied(one.host, denial, f"first-claim: another namespace names {one.host} in an older Ingress")


def _denied(host: str, denial: Denial, says: str) -> Judged:
    docs = f"docs/troubleshooting.md#{denial.lower()}"
    return fail(HOST_POLICY, says, docs=docs)


def methods_of(issuer: Issuer | None, order: ExpectedOrder) -> dict[str, str]:
    """By host how it is proven: "http-01", "dns-01", or not at all; where the issuer is not known, as it must be."""
    if issuer is None:
        return {host: "dns-01" if host.startswith("*.") else "http-01" for host in order.hosts}
    if not type_of(issuer).proves_hosts:
        return {}
    solvers = {host: issuer.solver(host, order.ingress_class) for host in order.hosts}
    return {host: str(solver.challenge_type) for host, solver in solvers.items() if solver is not None}


def judge_issuer(known: OperatorsView, order: ExpectedOrder, state: IssuerState | None, now: datetime) -> Judged:
    """Whether it is ready, and how it proves the hosts."""
    shown = issuer_status(order.issuer, known.issuers, state, certificates=0, now=now)
    issuer = known.issuers.valid.get(order.issuer)
    faults = [found for found in shown.findings if not found.warning]
    wrong = f": {faults[0].reason} {faults[0].path}: {faults[0].message}" if faults else ""
    how = _how(methods_of(issuer, order))
    if shown.ready is None:
        says = f"{order.issuer} was not tested yet{how}"
        return warn(ISSUER, says)
    if not shown.ready:
        says = f"{order.issuer} is not ready{wrong}"
        return fail(ISSUER, says, docs="docs/issuers.md#test-an-issuer")
    return ok(ISSUER, f"{order.issuer} is ready{how}")


def _how(methods: dict[str, str]) -> str:
    kinds = sorted(set(methods.values()), reverse=True)
    if len(kinds) == 1:
        return f"; {kinds[0].upper()} for {of_all(len(methods), 'host')}"
    return "".join(f"; {kind.upper()} for {sum(one == kind for one in methods.values())}" for kind in kinds)


def judge_limits(
    issuer: Issuer, state: IssuerState, record: Record, order: ExpectedOrder, now: datetime
) -> list[Judged]:
    """Whether one more order is within the issuer's limits, and what is left of them."""
    if not type_of(issuer).counts_orders:
        return []
    book, hosts = OrderBook.of(state), record.intent.identifiers
    over = book.allowed(record, PlannedOrder(order.issuer, issuer.limits, hosts, namespace=record.namespace), now)
    if over is not None:
        docs = "docs/troubleshooting.md#heldback"
        return [warn(LIMITS, f"it would wait: {over.problem.detail}", docs=docs)]
    left = [_left(use) for use in limits_used(book, issuer.limits, now, hosts) if use.limit in _SHOWN]
    return [ok(LIMITS, f"{', '.join(left)} left")] if left else [ok(LIMITS, "none is set")]


_SHOWN = frozenset({Limit.ORDERS, Limit.DOMAIN})


def _left(use: LimitUse) -> str:
    number = f"{max(0, use.allowed - use.used)} of {use.allowed}"
    return f"{number} orders" if use.limit is Limit.ORDERS else f"{number} certificates for {use.whom}"


def record_of(
    cluster: Cluster, namespace: str, order: ExpectedOrder, source: Source, now: datetime
) -> tuple[Record, bool]:
    """The record, or as it would be; and whether what is issued is for what is wanted. Raises KubeError."""
    try:
        held = live_record(cluster, names.record(namespace, order.secret_name))
    except RecordError:
        held = None
    new = transitions.wanted(namespace=namespace, secret_name=order.secret_name, sources=(source,), now=now)
    if held is None or held.intent.hosts != new.intent.hosts:
        return new, False
    return held, serves(held)
