"""Reviews of Ingresses, golden ones too, and issuers for the tests of the webhook."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from issuer_job.issuers.load import Issuers
from tests.fakes.webhook_parts import ISSUERS
from webhook.decide_ingress import IngressPolicy
from webhook.policy import AdmissionPolicy, Decision, untouched
from webhook.review import Review, parse

GOLDEN = Path(__file__).resolve().parents[1] / "unit/webhook/golden"


@dataclass(frozen=True)
class Golden:
    """One file of tests/unit/webhook/golden: a review, and the decision and answer it must lead to."""

    name: str
    namespace_enabled: bool
    review: dict[str, Any]
    expected: dict[str, Any]

    @property
    def body(self) -> bytes:
        """The review as the API server sends it."""
        return json.dumps(self.review).encode()


def golden_reviews() -> list[Golden]:
    """All of them."""
    found = []
    for path in sorted(GOLDEN.glob("*.json")):
        case = json.loads(path.read_text())
        found.append(Golden(path.stem, case["namespaceEnabled"], case["review"], case["expected"]))
    return found


def ingress(hosts: list[str] | None = None, **metadata: Any) -> dict[str, Any]:
    """An opted-in Ingress without spec.tls."""
    notes = {"kubernetes.io/tls-acme": "true"}
    rules = [{"host": host} for host in (["shop.certjob.dev"] if hosts is None else hosts)]
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {"name": "web", "annotations": notes, **metadata},
        "spec": {"ingressClassName": "traefik", "rules": rules},
    }


def review(
    new: Any, *, old: Any = None, operation: str = "CREATE", uid: Any = "u-1", **request: Any
) -> dict[str, Any]:
    """An AdmissionReview of that Ingress in the namespace shop."""
    kind = {"group": "networking.k8s.io", "version": "v1", "kind": "Ingress"}
    request = {"namespace": "shop", "kind": kind, "dryRun": False, **request}
    request |= {"uid": uid, "operation": operation, "object": new, "oldObject": old}
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}


ADDED = "shop.certjob.dev-a68a890713-tls"
"""The Secret that such an Ingress gets with the issuer staging."""
BY_ITSELF = IngressPolicy(namespace_enabled=False)


def read(body: bytes, policy: AdmissionPolicy = BY_ITSELF) -> Review:
    """As the path of that kind reads it."""
    return parse(body, kind=policy.kind, shape=policy.shape, reduce=policy.reduced)


def decision_on(
    found: Review, policy: AdmissionPolicy = BY_ITSELF, *, issuers: Issuers = ISSUERS, now: datetime | None = None
) -> Decision:
    """Everything about one review."""
    return untouched(found, policy) or policy.decide(found, issuers=issuers, now=now or datetime.now(UTC))
