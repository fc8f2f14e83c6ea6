"""What certjob's own ResourceQuotas say is used: the API server counts, over all processes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from issuer_job.cluster.api import Cluster, Json, Resource

RESOURCE_QUOTAS = Resource("/api/v1", "resourcequotas")

JOBS = "count/jobs.batch"
CONFIGMAPS = "count/configmaps"
PODS = "pods"
"""Of issue Jobs alone, as the manifests have it."""

_UNITS = {"k": 1_000, "M": 1_000_000, "G": 1_000_000_000}


@dataclass(frozen=True)
class Quota:
    """How many of each kind are there, and how many there may be; of one that nothing bounds nothing is known."""

    kinds: dict[str, tuple[int, int]] = field(default_factory=dict)

    def free(self, kind: str, share: float = 1.0) -> int | None:
        """How many more fit into this share of what may be there; negative if it is exceeded, None if unbounded."""
        if kind not in self.kinds:
            return None
        used, hard = self.kinds[kind]
        return int(hard * share) - used

    def is_within(self, shares: Mapping[str, float]) -> bool:
        """Whether of each kind no more than this share is used."""
        return all((free := self.free(kind, share)) is None or free >= 0 for kind, share in shares.items())


def read_quota(cluster: Cluster, namespace: str) -> Quota:
    """All quotas of the namespace; of a kind that several bound the one with the least room. Raises KubeError."""
    kinds: dict[str, tuple[int, int]] = {}
    for item in cluster.items(RESOURCE_QUOTAS, namespace):
        status: Json = item.get("status") or {}
        for kind, hard in (status.get("hard") or {}).items():
            if kind in {JOBS, CONFIGMAPS, PODS}:
                found = (_number((status.get("used") or {}).get(kind, "0")), _number(hard))
                kinds[kind] = min(found, kinds.get(kind, found), key=lambda numbers: numbers[1] - numbers[0])
    return Quota(kinds)


def _number(quantity: str) -> int:
    """A whole number as Kubernetes writes it, for example "250" or "50k"."""
    unit = _UNITS.get(quantity[-1:], 1)
    digits = quantity[:-1] if unit > 1 else quantity
    return int(digits) * unit if digits.isascii() and digits.isdecimal() else 0
