"""HTTP-01 (RFC 8555, section 8.3): publish key authorizations, lead the hosts' challenge path to the responder.

The contract of a solver: what it presented MUST be there before the CA is asked to look, and it MUST clean
up whatever happened.
"""

from __future__ import annotations

import time

from issuer_job import names
from issuer_job import vocabulary as v
from issuer_job.attempt.attempt import Attempt
from issuer_job.cluster import bodies, changes
from issuer_job.cluster.api import CONFIGMAPS, ENDPOINT_SLICES, Cluster, Json, KubeError
from issuer_job.http01 import probe, routes
from issuer_job.http01.probe import HostChallenge
from issuer_job.issuers.schema import Issuer
from issuer_job.record.record import Record


def present(attempt: Attempt, challenges: list[HostChallenge], issuer: Issuer) -> None:
    """Publish the key authorizations, and wait until responders and routes answer with them.

    The wait is advisory and bounded: a cluster that cannot reach itself through its own front door must
    not block.
    """
    attempt.released = False
    publish(attempt, {challenge.token: challenge.expected for challenge in challenges})
    for host, ingress_class in attempt.record.routes:
        if issuer.uses_route(host, ingress_class.name):
            routes.join_route(attempt.cluster, attempt.record, host, ingress_class, issuer)
    addresses = responder_addresses(attempt.cluster)
    last = challenges[-1]
    found = probe.probe_endpoints(addresses, last.token, last.expected, deadline=_half_time(attempt))
    attempt.step("probe-responders", ok=found.ok, responders=len(addresses), seconds=round(found.seconds, 3))
    results = (attempt.probe_hosts or probe.probe_hosts)(challenges, deadline=_half_time(attempt))
    for challenge, result in zip(challenges, results, strict=True):
        attempt.step(
            "probe-host", host=challenge.host, ok=result.ok, reason=result.reason, seconds=round(result.seconds, 3)
        )


def _half_time(attempt: Attempt) -> float:
    """When half of the attempt's time that is left will be over: the other half is for what comes after."""
    return time.monotonic() + (attempt.deadline - attempt.clock()).total_seconds() / 2


def publish(attempt: Attempt, key_authorizations: dict[str, str]) -> None:
    """Create or replace the attempt's challenge ConfigMap. Raises KubeError."""
    body = challenge_body(attempt.record, key_authorizations)

    def published(held: Json | None) -> Json:
        return held if held is not None and held.get("data") == body["data"] else body

    changes.change(attempt.cluster, CONFIGMAPS, v.NAMESPACE, body["metadata"]["name"], published, held=None)


def challenge_body(record: Record, key_authorizations: dict[str, str]) -> Json:
    """What the responder answers for one attempt: token -> key authorization (RFC 8555, section 8.3)."""
    name = names.challenge(record.namespace, record.secret_name, record.epoch)
    labels = {v.CHALLENGE: "true", v.RECORD_HASH: record.hash}
    return bodies.config_map(name, labels, key_authorizations, owner=record.owner_reference)


def release(attempt: Attempt) -> None:
    """The order needs challenge and routes no more. What cannot be released is left to the sweep, with a log line."""
    if attempt.released:
        return
    record = attempt.record
    try:
        name = names.challenge(record.namespace, record.secret_name, record.epoch)
        attempt.cluster.delete(CONFIGMAPS, v.NAMESPACE, name)
        for host, ingress_class in record.routes:
            routes.release_route(attempt.cluster, record, host, ingress_class)
        attempt.released = True
    except KubeError as problem:
        attempt.step("release-failed", problem=str(problem))


def responder_addresses(cluster: Cluster) -> list[tuple[str, int]]:
    """Address and port of every responder that serves, from the Service's EndpointSlices."""
    slices = cluster.items(ENDPOINT_SLICES, v.NAMESPACE, labels=f"kubernetes.io/service-name={v.RESPONDER_SERVICE}")
    return [
        (address, int(port["port"]))
        for piece in slices
        for port in (piece.get("ports") or [])[:1]
        for endpoint in piece.get("endpoints") or []
        if (endpoint.get("conditions") or {}).get("ready") is not False
        for address in endpoint["addresses"][:1]
    ]
