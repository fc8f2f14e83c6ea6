"""Who may have which host, as the Job asks it before it orders: what this says, counts."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import datetime
from functools import cache, partial

from issuer_job.attempt.attempt import Attempt, Later, Permanent
from issuer_job.background import at_once, both
from issuer_job.cluster.api import KubeError, read_whole
from issuer_job.demand.askers import list_askers
from issuer_job.demand.share import adds_nothing, beyond, use_of_all
from issuer_job.hosts import claims
from issuer_job.hosts.loss import free_from
from issuer_job.hosts.precedence import Claim, Denial, Namers, judge_claim, not_allowed
from issuer_job.issuers.options import HostPolicy, Options, OptionsError, read_options
from issuer_job.record.phases import GONE
from issuer_job.record.record import Problem, Record
from issuer_job.record.store import list_records

ROUNDS = 5
"""How often it starts again because somebody changed a claim: each depends on those of others."""


def hold_hosts(attempt: Attempt) -> None:
    """Every host must be this namespace's to have, and none too many. Raises Permanent, Later, KubeError.

    A claim that was checked before costs one request. One that was not must stand against every older Ingress and
    every overlapping claim, is marked as checked then, and is given up at once if it does not stand.
    """
    hosts, namespace = attempt.record.intent.hosts, attempt.record.namespace
    adds = not adds_nothing(attempt.record)
    set_by_operator, used = both(
        partial(options_for, attempt), lambda: use_of_all(_others(attempt)) if adds else None
    )
    full = None if used is None else beyond(set_by_operator, attempt.record, used)
    if full is not None:
        raise Later(full)
    if (denied := not_allowed(set_by_operator, hosts, namespace)) is not None:
        detail = "the operator's list does not allow this host in this namespace"
        raise Permanent(Problem(type=denied.reason, detail=detail, host=denied.host, step="claims"))
    if set_by_operator.host_policy is not HostPolicy.FIRST_CLAIM:
        return
    for _ in range(ROUNDS):
        if _made_good(attempt, set_by_operator):
            return
    raise KubeError("the claims keep changing")


def give_up_hosts(attempt: Attempt) -> None:
    """Give up the claims of an attempt that no Ingress wants, unless something else of its namespace names the host.

    Otherwise an Ingress that was refused at admission would keep everybody else out. What was checked is a right, and
    lapses only by the looks of sweeps (`loss`). Raises KubeError.
    """
    namespace = attempt.record.namespace
    held = [claims.claim_of(attempt.cluster, host) for host in attempt.record.intent.hosts]
    mine = [claim for claim in held if claim is not None and claim.namespace == namespace and claim.checked is None]
    if not mine:
        return
    named = _namers(attempt, {claim.host for claim in mine}, namespace)
    mine = [claim for claim in mine if (namespace, claim.host) not in named]
    if mine:
        wanted = _wanted_by_records(attempt)
        for claim in mine:
            if claim.host not in wanted:
                claims.give_up_claim(attempt.cluster, claim)


def options_for(attempt: Attempt) -> Options:
    """The operator's options. Raises Later while they are broken, KubeError."""
    try:
        return read_options(attempt.cluster)
    except OptionsError as problem:
        raise Later(Problem(type="brokenOptions", detail=str(problem), step="options")) from None


def _made_good(attempt: Attempt, options: Options) -> bool:
    """Whether all claims are checked now; False if one changed meanwhile. Raises Permanent."""
    cluster, namespace = attempt.cluster, attempt.record.namespace
    hosts = sorted(attempt.record.intent.hosts)
    unchecked: list[Claim] = []
    made, held = both(
        partial(claims.namespace_made, cluster, namespace),
        partial(at_once, partial(claims.claim_of, cluster), hosts),
    )
    # All are there before anybody else's is looked for: of two that overlap, at least one Job sees the other's.
    for host, found in zip(hosts, held, strict=True):
        mine = found or claims.take(cluster, host, namespace)
        if not mine.is_of(namespace, made):
            if mine.namespace == namespace and mine.checked is None:
                claims.give_up_claim(cluster, mine)
                return False
            raise _refused(host, free_from(mine, options))
        if mine.checked is None:
            unchecked.append(mine)
    if not unchecked:
        return True
    namers = _namers(attempt, {claim.host for claim in unchecked})
    yielding: dict[str, Claim] = {}
    above = cache(partial(claims.claim_of, cluster))
    for mine in unchecked:
        judged = judge_claim(mine, claims.rivals(cluster, mine, made=made, above=above), namers, made=made)
        if not judged.stands:
            claims.give_up_claim(cluster, mine)
            raise _contested(mine.host) if judged.contested else _refused(mine.host)
        yielding |= {rival.name: rival for rival in judged.yielding}
    # Their Jobs may mark them at this very moment: only one of the two writes takes place.
    if not all(claims.give_up_claim(cluster, rival) for rival in yielding.values()):
        return False
    return all(claims.mark_checked(cluster, mine, now=attempt.clock()) for mine in unchecked)


def _refused(host: str, until: datetime | None = None) -> Permanent:
    detail = "another namespace had this host first; an operator can transfer it"
    if until is not None:
        detail = (
            f"another namespace has this host, at least until {until:%Y-%m-%d %H:%M} UTC; an operator can transfer it"
        )
    return Permanent(Problem(type=Denial.CLAIMED, detail=detail, host=host, step="claims"))


def _contested(host: str) -> Permanent:
    detail = (
        "another namespace names this host in an older Ingress that was changed since: nobody can tell who was "
        "first. An operator decides, by transfer-host"
    )
    return Permanent(Problem(type=Denial.CONTESTED, detail=detail, host=host, step="claims"))


def _namers(attempt: Attempt, hosts: Collection[str], namespace: str | None = None) -> Namers:
    """Who names the hosts, in all namespaces or in one, read page by page."""

    def read() -> Namers:
        namers = Namers(only=frozenset(hosts))
        for asker in list_askers(attempt.cluster, namespace):
            namers.add(asker)
        return namers

    return read_whole(read, "what may name the hosts")


def _wanted_by_records(attempt: Attempt) -> set[str]:
    """Hosts of the namespace's other certificates, which need not be for an Ingress."""
    return {host for record in _others(attempt) if record.phase not in GONE for host in record.intent.hosts}


def _others(attempt: Attempt) -> Iterator[Record]:
    """The records of the namespace's other certificates."""
    for record in list_records(attempt.cluster, attempt.record.namespace):
        if record.name != attempt.record.name:
            yield record
