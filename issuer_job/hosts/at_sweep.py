"""What a sweep does about claims: gives up those that nothing needs or that cannot stand, and knows who has what."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import datetime

from issuer_job import log
from issuer_job import vocabulary as v
from issuer_job.cluster.api import CONFIGMAPS, ApiError, Cluster, Gone
from issuer_job.demand.askers import list_askers
from issuer_job.demand.common import is_being_deleted
from issuer_job.hosts import claims
from issuer_job.hosts.precedence import Claim, Denial, Namers, is_rival, judge_claim, not_allowed, wildcard_of
from issuer_job.issuers.options import HostPolicy, Options
from issuer_job.record.phases import ABSENCE_GRACE, GONE
from issuer_job.record.record import Record

Named = Collection[tuple[str, str]]


@dataclass
class Holders:
    """Who may have which host, as a pass has read it. Pure once it is filled."""

    options: Options
    namers: Namers
    now: datetime
    claims: dict[str, Claim] = field(default_factory=dict)
    whole: bool = False
    """Whether all claims were read."""
    _below: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))

    def add(self, claim: Claim) -> None:
        """A claim that is stored."""
        self.claims[claim.host] = claim
        if (wildcard := wildcard_of(claim.host)) is not None:
            self._below[wildcard].add(claim.host)

    def drop(self, claim: Claim) -> None:
        """A claim that was given up."""
        self.claims.pop(claim.host, None)
        if (wildcard := wildcard_of(claim.host)) is not None:
            self._below[wildcard].discard(claim.host)

    def free_again(self, record: Record) -> bool:
        """Whether the record failed for the want of a host, and its namespace may have all of them now."""
        if record.retry is None or record.retry.problem.type not in set(Denial):
            return False
        return all(self.may_have(record.namespace, host) for host in record.intent.hosts)

    def may_have(self, namespace: str, host: str) -> bool:
        """Whether a Job of the namespace would get the host; False as long as that is not known."""
        if self.options.host_policy is not HostPolicy.FIRST_CLAIM:
            return not_allowed(self.options, [host], namespace) is None
        held = self.claims.get(host)
        if not self.whole or (held is not None and held.namespace != namespace):
            return False
        if held is not None and held.checked is not None:
            return True
        mine = held or Claim(host, namespace, self.now)
        return not self.rivals(mine) and judge_claim(mine, (), self.namers).stands

    def rivals(self, mine: Claim) -> list[Claim]:
        """Claims of other namespaces that overlap."""
        wildcard = wildcard_of(mine.host)
        near = {wildcard} if wildcard is not None else self._below.get(mine.host, set())
        return [claim for host in near if (claim := self.claims.get(host)) is not None and is_rival(mine, claim)]


def tidy(
    cluster: Cluster, options: Options, namers: Namers, records: Iterable[Record], *, now: datetime, until: float
) -> tuple[Holders, Counter[str]]:
    """Read all claims, give up what must not stand until `until` (time.monotonic()); how many of each.

    `namers` are all live Ingresses. Under another policy than first-claim nothing is read or changed.
    Raises KubeError.
    """
    holders, counts = Holders(options, namers, now), Counter[str]()
    if options.host_policy is not HostPolicy.FIRST_CLAIM:
        return holders, counts
    records = list(records)
    certified = _certified(records)
    try:
        for item in cluster.items(CONFIGMAPS, v.NAMESPACE, labels=f"{v.CLAIM}=true"):
            claim = Claim.from_config_map(item)
            former = v.CLAIM_PARENT not in item["metadata"]["labels"]
            if former and _labelled(cluster, claim, now if (claim.namespace, claim.host) in certified else None):
                counts["claims labelled"] += 1  # what is to be done about it is the next pass's
            else:
                holders.add(claim)
        holders.whole = not counts
    except Gone:
        log.info("claims-put-off")  # the list expired on the way: the rest is the next pass's
    requested = _requested(records)
    for claim in list(holders.claims.values()):
        if time.monotonic() >= until:
            counts["claims put off"] += 1
        elif _must_go(cluster, claim, holders, requested) and claims.give_up_claim(cluster, claim):
            holders.drop(claim)
            counts["claims released"] += 1
    return holders, counts


def _labelled(cluster: Cluster, claim: Claim, checked: datetime | None) -> bool:
    """Whether the label was added. One that somebody made by hand may be what the policies refuse: it stays as it is.

    Raises KubeError when the cluster does not answer.
    """
    try:
        return claims.mark_checked(cluster, claim, now=claim.checked or checked)
    except ApiError as problem:
        log.warning("claim-unreadable", claim=claim.name, problem=str(problem))
        return False


def _certified(records: Iterable[Record]) -> Named:
    """Namespace and host of what was ordered: claims of a certjob that did not mark them were good for that."""
    return {
        (record.namespace, host)
        for record in records
        if record.issued is not None and record.issued.directory
        for host in record.issued.hosts
    }


def _must_go(cluster: Cluster, claim: Claim, holders: Holders, requested: Named) -> bool:
    """Nothing of its namespace needs it, or a Job would be refused for it.

    One that was checked stands as long as it is named. One that was not goes only if that is beyond doubt: otherwise
    whoever has an old Ingress could write a host into it, and take the claim away from a Job that is about to check.
    """
    key = (claim.namespace, claim.host)
    if key not in holders.namers and key not in requested:
        if holders.now - claim.since < ABSENCE_GRACE:
            return False
        return not _is_named_now(cluster, claim)
    if claim.checked is not None:
        return False
    if any(rival.checked is not None for rival in holders.rivals(claim)):
        return True
    return holders.namers.somebody_was_there(claim.namespace, claim.host, claimed=claim.created, provably=True)


def _is_named_now(cluster: Cluster, claim: Claim) -> bool:
    """Asks the cluster: an Ingress may have been made while the pass was under way. Raises KubeError."""
    live = (asker for asker in list_askers(cluster, claim.namespace) if not is_being_deleted(asker.object))
    return any(claim.host in asker.reader.named_hosts(asker.object) for asker in live)


def _requested(records: Iterable[Record]) -> Named:
    """Namespace and host of what only records know to be wanted."""
    return {
        (record.namespace, host)
        for record in records
        if record.phase not in GONE
        for source in record.sources
        if not source.kind.listed
        for host in source.hosts
    }
