"""First claim: which namespace holds a host. One ConfigMap per host, created atomically, changed by compare-and-swap.

Webhook and sweep take claims, which are hints: admission may be refused later. The Job that orders makes each of its
claims good (`at_order`): it looks for claims that overlap after its own is there, and then marks it as checked.
Of two namespaces that do so at the same moment each sees the other's claim; the one that may stay deletes the other's
claim, and that write and the other's mark exclude each other, since both are conditional on the same object.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

from issuer_job import log, names
from issuer_job import vocabulary as v
from issuer_job.cluster import bodies, changes
from issuer_job.cluster.api import CONFIGMAPS, NAMESPACES, Cluster, Json
from issuer_job.hosts.precedence import Claim, is_rival, wildcard_of


def take(cluster: Cluster, host: str, namespace: str) -> Claim:
    """The host's claim: a new one of `namespace` if nobody had it. Raises KubeError."""

    def whose(held: Json | None) -> Json:
        return held or claim_body(host, namespace)

    name, what = names.claim(host), f"the claim of {host}"
    taken = changes.change(cluster, CONFIGMAPS, v.NAMESPACE, name, whose, held=None, what=what)
    return Claim.from_config_map(taken.after)


def foreseen(cluster: Cluster, host: str, namespace: str) -> Claim:
    """What `take` would find; nothing is taken. Who has no claim yet would have the youngest. Raises KubeError."""
    return claim_of(cluster, host) or Claim(host, namespace, datetime.max.replace(tzinfo=UTC))


def claim_of(cluster: Cluster, host: str) -> Claim | None:
    """The host's claim, None if nobody holds it. Raises KubeError."""
    held = cluster.find(CONFIGMAPS, v.NAMESPACE, names.claim(host))
    return None if held is None else Claim.from_config_map(held)


def namespace_made(cluster: Cluster, namespace: str) -> datetime | None:
    """When the namespace was made, None if it is gone. Raises KubeError."""
    found = cluster.find(NAMESPACES, None, namespace)
    return None if found is None else datetime.fromisoformat(found["metadata"]["creationTimestamp"])


def rivals(
    cluster: Cluster,
    mine: Claim,
    *,
    made: datetime | None = None,
    above: Callable[[str], Claim | None] | None = None,
) -> list[Claim]:
    """The claims of other namespaces that overlap this one, as they are stored now. Raises KubeError.

    `made` is when this one's namespace was made, if that is known. `above` knows the claims of wildcards without
    asking: names next to each other have the same one above them.
    """
    wildcard = wildcard_of(mine.host)
    if wildcard is not None:
        found = above(wildcard) if above is not None else claim_of(cluster, wildcard)
        return [found] if found is not None and is_rival(mine, found, made=made) else []
    below = f"{v.CLAIM}=true,{v.CLAIM_PARENT}={names.claim_parent(mine.host)}"
    unlabelled = f"{v.CLAIM}=true,!{v.CLAIM_PARENT}"  # by hand, or by an earlier certjob: the sweep labels them
    items = (item for labels in (below, unlabelled) for item in cluster.items(CONFIGMAPS, v.NAMESPACE, labels=labels))
    return [claim for claim in map(Claim.from_config_map, items) if is_rival(mine, claim, made=made)]


def mark_checked(cluster: Cluster, claim: Claim, *, now: datetime) -> bool:
    """Write down that the claim holds; False if it is not any more the one that was read. Raises KubeError."""
    return rewrite(cluster, replace(claim, checked=now))


def rewrite(cluster: Cluster, claim: Claim) -> bool:
    """Store what the claim says besides host and namespace in the place of exactly the one that was read; whether it
    was that still. It gets the label by which wildcards find it, too: earlier ones had none. Raises KubeError.
    """
    return changes.swap(cluster, CONFIGMAPS, v.NAMESPACE, _metadata(claim), _body(claim)) is not None


def give_up_claim(cluster: Cluster, claim: Claim) -> bool:
    """Delete exactly the claim that was read; whether it was that still, or is gone. Raises KubeError."""
    if changes.swap(cluster, CONFIGMAPS, v.NAMESPACE, _metadata(claim), None) is None:
        return False
    log.info("claim-released", host=claim.host, namespace=claim.namespace)
    return True


def transfer(cluster: Cluster, host: str, namespace: str, *, now: datetime) -> str | None:
    """Give the host to the namespace, whoever has it and whether or not anybody has; who had it. Raises KubeError.

    It stays there against every older Ingress and every claim that overlaps it, until it lapses. Whose it was is
    left for the next sweep (`loss`).
    """

    def moved(held: Json | None) -> Json:
        before = None if held is None else Claim.from_config_map(held)
        former = "" if before is None else before.former if before.namespace == namespace else before.namespace
        return _body(Claim(host, namespace, now, checked=now, former=former))

    what = f"the claim of {host}"
    given = changes.change(cluster, CONFIGMAPS, v.NAMESPACE, names.claim(host), moved, what=what)
    return None if given.before is None else Claim.from_config_map(given.before).namespace


def claim_body(host: str, namespace: str, *, checked: datetime | None = None) -> Json:
    """Says that a host belongs to a namespace, and since when that is `checked`.

    Created atomically: the first one holds it.
    """
    return _body(Claim(host, namespace, datetime.max, checked))


def _body(claim: Claim) -> Json:
    labels = {v.CLAIM: "true", v.CLAIM_PARENT: names.claim_parent(claim.host)}
    data = {"host": claim.host, "namespace": claim.namespace}
    return bodies.config_map(
        bodies.own_metadata(names.claim(claim.host), labels, annotations=claim.annotations), data
    )


def _metadata(claim: Claim) -> Json:
    return {"metadata": {"name": claim.name, "uid": claim.uid, "resourceVersion": claim.resource_version}}
