"""Who may have which host, as a launcher asks it: by the operator's list, or by taking claims.

What is refused here costs no Job. What is not refused is still checked by the Job, whose word counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from dataclasses import dataclass
from enum import StrEnum

from issuer_job.cluster.api import Cluster
from issuer_job.hosts import claims
from issuer_job.hosts.precedence import Claim, Namers, is_rival, judge_claim, wildcard_of
from issuer_job.issuers import host_rules
from issuer_job.issuers.options import HostPolicy, Options


class Denial(StrEnum):
    """Why a namespace may not have a host."""

    CLAIMED = "Claimed"
    NOT_ALLOWED = "NotAllowed"


@dataclass(frozen=True)
class Denied:
    """The first host that the namespace may not have."""

    host: str
    reason: Denial


def not_allowed(options: Options, hosts: Iterable[str], namespace: str) -> Denied | None:
    """What the operator's list does not give the namespace, None if the policy is another one. Pure."""
    if options.host_policy is not HostPolicy.ALLOW_LIST:
        return None
    refused = (host for host in hosts if not host_rules.allow(options.allowed_hosts, namespace, host))
    return next((Denied(host, Denial.NOT_ALLOWED) for host in refused), None)


def denied(
    cluster: Cluster,
    options: Options,
    hosts: Iterable[str],
    namespace: str,
    *,
    pool: Executor,
    timeout: Callable[[], float],
) -> Denied | None:
    """Take a claim of each host; the first that the namespace cannot have, None if it has them all now.

    `timeout` gives the seconds that are left for a request, `pool` is for what can be asked meanwhile.
    Raises KubeError.
    """
    wanted = sorted(set(hosts))
    if options.host_policy is not HostPolicy.FIRST_CLAIM:
        return not_allowed(options, wanted, namespace)
    above = {
        wildcard: pool.submit(claims.find, cluster, wildcard, timeout=timeout())
        for wildcard in dict.fromkeys(filter(None, map(wildcard_of, wanted)))
    }
    # One after the other in the order of their names: of two namespaces that want the same hosts, one gets all.
    for host in wanted:
        mine = claims.take(cluster, host, namespace, timeout=timeout)
        if mine.namespace != namespace:
            return Denied(host, Denial.CLAIMED)
        if mine.checked is not None:
            continue
        wildcard = wildcard_of(host)
        if wildcard is not None:
            covering = above[wildcard].result()
            rivals = [covering] if covering is not None and is_rival(mine, covering) else []
        else:
            rivals = claims.rivals(cluster, mine, timeout=timeout())
        if not _stands(mine, rivals):
            return Denied(host, Denial.CLAIMED)
    return None


def _stands(mine: Claim, rivals: Iterable[Claim]) -> bool:
    """As far as the claims alone tell: who else names the host in an Ingress is the Job's to find out."""
    return judge_claim(mine, rivals, Namers()).stands
