"""HTTP-01 (RFC 8555, section 8.3): publish key authorizations, lead the hosts' challenge path to the responder.

The contract of a solver: what it presented MUST be there before the CA is asked to look, and it MUST clean
up whatever happened.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

from issuer_job import names, objects
from issuer_job import vocabulary as v
from issuer_job.attempt.attempt import Attempt
from issuer_job.cluster.api import (
    CAS_ROUNDS,
    CONFIGMAPS,
    ENDPOINT_SLICES,
    INGRESSES,
    AlreadyExists,
    Cluster,
    Conflict,
    Json,
    KubeError,
    NotFound,
)
from issuer_job.http01 import probe
from issuer_job.http01.probe import HostChallenge
from issuer_job.issuers.schema import Issuer
from issuer_job.record.record import IngressClass, Record


def present(attempt: Attempt, challenges: list[HostChallenge], issuer: Issuer) -> None:
    """Publish the key authorizations, and wait until responders and routes answer with them.

    The wait is advisory and bounded: a cluster that cannot reach itself through its own front door must
    not block.
    """
    attempt.released = False
    publish(attempt, {challenge.token: challenge.expected for challenge in challenges})
    for host, ingress_class in attempt.record.routes:
        if issuer.uses_route(host, ingress_class.name):
            join_route(attempt.cluster, attempt.record, host, ingress_class, issuer)
    addresses = responder_addresses(attempt.cluster)
    last = challenges[-1]
    found = probe.probe_endpoints(addresses, last.token, last.expected, deadline=_half_time(attempt))
    attempt.step("probe-responders", ok=found.ok, responders=len(addresses), seconds=round(found.seconds, 3))
    results = attempt.probe_hosts(challenges, deadline=_half_time(attempt))
    for challenge, result in zip(challenges, results, strict=True):
        attempt.step(
            "probe-host", host=challenge.host, ok=result.ok, reason=result.reason, seconds=round(result.seconds, 3)
        )


def _half_time(attempt: Attempt) -> float:
    """When half of the attempt's time that is left will be over: the other half is for what comes after."""
    return time.monotonic() + (attempt.deadline - attempt.clock()).total_seconds() / 2


def publish(attempt: Attempt, key_authorizations: dict[str, str]) -> None:
    """Create or replace the attempt's challenge ConfigMap."""
    body = objects.challenge(attempt.record, key_authorizations)
    for _ in range(CAS_ROUNDS):
        try:
            attempt.cluster.create(CONFIGMAPS, v.NAMESPACE, body)
        except AlreadyExists:
            held = attempt.cluster.find(CONFIGMAPS, v.NAMESPACE, body["metadata"]["name"])
            if held is None:
                continue
            if held.get("data") == body["data"]:
                return
            body["metadata"] |= {key: held["metadata"][key] for key in ("uid", "resourceVersion")}
            try:
                attempt.cluster.update(CONFIGMAPS, v.NAMESPACE, body)
            except (Conflict, NotFound):
                body["metadata"].pop("resourceVersion")
                body["metadata"].pop("uid")
                continue
        return


def release(attempt: Attempt) -> None:
    """The order needs challenge and routes no more. What cannot be released is left to the sweep, with a log line."""
    if attempt.released:
        return
    record = attempt.record
    try:
        name = names.challenge(record.namespace, record.secret_name, record.epoch)
        attempt.cluster.delete(CONFIGMAPS, v.NAMESPACE, name)
        for host, ingress_class in record.routes:
            release_route(attempt.cluster, record, host, ingress_class)
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


def join_route(cluster: Cluster, record: Record, host: str, ingress_class: IngressClass, issuer: Issuer) -> None:
    """Make sure that the host's route exists and that this attempt holds it."""
    wanted = objects.route(record, host, ingress_class, issuer)
    for _ in range(CAS_ROUNDS):
        held = cluster.find(INGRESSES, v.NAMESPACE, wanted["metadata"]["name"])
        try:
            if held is None:
                cluster.create(INGRESSES, v.NAMESPACE, wanted)
            elif _epoch_on(held, record) != str(record.epoch):
                cluster.update(INGRESSES, v.NAMESPACE, _held_by(held, record))
        except (AlreadyExists, Conflict, NotFound):
            continue
        return
    raise KubeError(f"the challenge route of {host} keeps changing")


def release_route(
    cluster: Cluster, record: Record, host: str, ingress_class: IngressClass, *, or_older: bool = False
) -> None:
    """Take our hold off the route if it is still this attempt's; the last holder deletes it.

    With `or_older` also if it is that of an earlier attempt of the record.
    """
    name = names.route(ingress_class.identity, host)
    for _ in range(CAS_ROUNDS):
        held = cluster.find(INGRESSES, v.NAMESPACE, name)
        if held is None or not _is_ours(_epoch_on(held, record), record.epoch, or_older):
            return
        metadata = held["metadata"]
        others = _other_owners(held, record)
        try:
            if others:
                metadata["ownerReferences"] = others
                del metadata["annotations"][v.EPOCH_PREFIX + record.hash]
                cluster.update(INGRESSES, v.NAMESPACE, held)
            else:
                version = metadata["resourceVersion"]
                cluster.delete(INGRESSES, v.NAMESPACE, name, uid=metadata["uid"], resource_version=version)
        except (Conflict, NotFound):
            continue
        return


def _is_ours(on_route: str | None, epoch: int, or_older: bool) -> bool:
    if or_older and on_route is not None and on_route.isdecimal():
        return int(on_route) <= epoch
    return on_route == str(epoch)


def _held_by(route: Json, record: Record) -> Json:
    metadata = route["metadata"]
    metadata["ownerReferences"] = [*_other_owners(route, record), record.owner_reference]
    metadata["annotations"] = (metadata.get("annotations") or {}) | {v.EPOCH_PREFIX + record.hash: str(record.epoch)}
    return route


def _other_owners(route: Json, record: Record) -> list[Json]:
    owners: Iterable[Json] = route["metadata"].get("ownerReferences") or []
    return [owner for owner in owners if owner["name"] != record.name]


def _epoch_on(route: Json, record: Record) -> str | None:
    annotations: dict[str, str] = route["metadata"].get("annotations") or {}
    return annotations.get(v.EPOCH_PREFIX + record.hash)
