"""Who may have which host, as a launcher asks it: by the operator's list, or by taking claims.

What is refused here costs no Job. What is not refused is still checked by the Job, whose word counts.
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Executor

from issuer_job.cluster.api import Cluster
from issuer_job.hosts import claims
from issuer_job.hosts.loss import free_from
from issuer_job.hosts.precedence import Denial, Denied, Namers, judge_claim, not_allowed, wildcard_of
from issuer_job.issuers.options import HostPolicy, Options


def denied(
    cluster: Cluster,
    options: Options,
    hosts: Iterable[str],
    namespace: str,
    *,
    pool: Executor,
    only_looks: bool = False,
) -> Denied | None:
    """Take a claim of each host; the first that the namespace cannot have, None if it has them all now.

    `pool` is for what can be asked meanwhile. One that `only_looks` takes none. Raises KubeError.
    """
    wanted = sorted(set(hosts))
    if options.host_policy is not HostPolicy.FIRST_CLAIM:
        return not_allowed(options, wanted, namespace)
    above = {
        wildcard: pool.submit(claims.claim_of, cluster, wildcard)
        for wildcard in dict.fromkeys(filter(None, map(wildcard_of, wanted)))
    }
    # One after the other in the order of their names: of two namespaces that want the same hosts, one gets all.
    for host in wanted:
        mine = claims.foreseen(cluster, host, namespace) if only_looks else claims.take(cluster, host, namespace)
        if mine.namespace != namespace:
            return Denied(host, Denial.CLAIMED, free_from(mine, options))
        if mine.checked is None:
            rivals = claims.rivals(cluster, mine, above=lambda wildcard: above[wildcard].result())
            # As far as the claims alone tell: who else names the host in an Ingress is the Job's to find out.
            if not judge_claim(mine, rivals, Namers()).stands:
                return Denied(host, Denial.CLAIMED)
    return None
