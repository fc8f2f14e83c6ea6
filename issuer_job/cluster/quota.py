"""What certjob's own ResourceQuotas say is used: the API server counts, over all processes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from issuer_job.cluster.api import Cluster, Json, Resource

RESOURCE_QUOTAS = Resource("/api/v1", "resourcequotas")

JOBS = "count/jobs.batch"
CONFIGMAPS = "count/configmaps"
PODS = "pods"
"""Of issue Jobs alone, as the manifests have it."""

_QUANTITY = re.compile(
    r"\+?([0-9]{1,40}(?:\.[0-9]{0,40})?|\.[0-9]{1,40})([numkMGTPE]|[KMGTPE]i|[eE][+-]?[0-9]{1,2})?"
)
_UNITS = {unit: Decimal(1000) ** power for power, unit in enumerate(("n", "u", "m", "", *"kMGTPE"), -3)}
_UNITS |= {f"{unit}i": Decimal(1024) ** power for power, unit in enumerate("KMGTPE", 1)}


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
    """The whole of a number as Kubernetes writes it (apimachinery, `resource.Quantity`): "250", "50k", "50Ki", "5e3".

    What is none counts as 0. The reader of the library `kubernetes` takes half a second to import.
    """
    found = _QUANTITY.fullmatch(quantity)
    if found is None:
        return 0
    digits, unit = found[1], found[2] or ""
    return int(Decimal(digits) * _UNITS[unit] if unit in _UNITS else Decimal(digits + unit))
