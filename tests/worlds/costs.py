"""What a call costs: for tests that bound what a reader takes for hostile input. And such input."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from issuer_job.cluster.api import Json


@dataclass(frozen=True)
class Cost:
    """CPU seconds of this thread, and MiB that Python held at the highest point."""

    seconds: float
    mib: float


def cost_of(call: Callable[[], Any]) -> Cost:
    """Of one call; it is made twice, since watching the memory takes time."""
    begin = time.thread_time()
    call()
    seconds = time.thread_time() - begin
    tracemalloc.start()
    try:
        call()
        return Cost(seconds, tracemalloc.get_traced_memory()[1] / 2**20)
    finally:
        tracemalloc.stop()


def hostile_ingress(*, rules: int = 0, entries: int = 0, hosts: int = 0, name: str = "hostile") -> Json:
    """Opted in, with so many rules, entries of spec.tls without hosts, and hosts in one more entry."""
    tls: list[Json] = [{"secretName": f"s{n:x}"} for n in range(entries)]
    tls += [{"secretName": "all", "hosts": [f"{n:x}.evil.dev" for n in range(hosts)]}] if hosts else []
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {"name": name, "namespace": "evil", "annotations": {"kubernetes.io/tls-acme": "true"}},
        "spec": {
            "ingressClassName": "none",
            "rules": [{"host": f"{n:x}.evil.dev"} for n in range(rules)],
            "tls": tls,
        },
    }
