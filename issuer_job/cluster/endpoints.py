"""Where a Service leads: addresses and ports of its EndpointSlices."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from issuer_job.cluster.api import ENDPOINT_SLICES, Cluster


class Endpoint(NamedTuple):
    """One pod of a Service. `ready` and `serving`: what is not told is yes (discovery.k8s.io/v1)."""

    address: str
    port: int
    ready: bool
    serving: bool


def endpoints(cluster: Cluster, namespace: str, service: str) -> Iterator[Endpoint]:
    """By the first port and the first address of each. Raises KubeError."""
    for piece in cluster.items(ENDPOINT_SLICES, namespace, labels=f"kubernetes.io/service-name={service}"):
        for port in (piece.get("ports") or [])[:1]:
            for endpoint in piece.get("endpoints") or []:
                said = endpoint.get("conditions") or {}
                ready, serving = (said.get(name) is not False for name in ("ready", "serving"))
                for address in endpoint["addresses"][:1]:
                    yield Endpoint(address, int(port["port"]), ready, serving)
