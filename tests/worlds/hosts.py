"""Who has which host in a cluster, as tests look at it."""

from __future__ import annotations

from issuer_job.cluster.api import Cluster
from issuer_job.hosts import claims


def holder(cluster: Cluster, host: str) -> str | None:
    """The namespace that holds the host, None if nobody does."""
    held = claims.claim_of(cluster, host)
    return None if held is None else held.namespace
