"""HTTP-01 (RFC 8555, section 8.3): publish key authorizations, lead the hosts' challenge path to the responder."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from issuer_job import names
from issuer_job import vocabulary as v
from issuer_job.attempt.attempt import Attempt
from issuer_job.attempt.solver import HostChallenge
from issuer_job.background import at_once
from issuer_job.cluster import bodies, changes
from issuer_job.cluster.api import CONFIGMAPS, Cluster, Json
from issuer_job.cluster.endpoints import endpoints
from issuer_job.http01 import probe, routes
from issuer_job.http01.probe import ProbeResult
from issuer_job.http01.probe_http import ProbeReason
from issuer_job.issuers.schema import Issuer
from issuer_job.record.record import Record

ALL_REDIRECTED = (
    "port 80 redirects to https, where the challenge route is not served: have the ingress controller redirect after "
    "its routes, or serve them over TLS too (docs/living-with.md, Redirects to https)"
)
"""What a user is told of the self-check, and all: what else answers inside is not for tenants to find out by it."""


class ProbeHosts(Protocol):
    """Whether each host shows its key authorization, by a deadline of `time.monotonic`; see `probe.probe_hosts`."""

    def __call__(self, challenges: Sequence[HostChallenge], *, deadline: float) -> list[ProbeResult]: ...


@dataclass
class Http01Solver:
    """`ChallengeSolver` by a ConfigMap that the responder reads, and a challenge route for each host and class."""

    attempt: Attempt
    probe_hosts: ProbeHosts = probe.probe_hosts
    slow_release = False
    _issuer: Issuer | None = None

    def present(self, challenges: Sequence[HostChallenge], issuer: Issuer) -> None:
        """See ChallengeSolver. The trace is in the objects' names and owners."""
        self._issuer = issuer
        self._present(challenges, issuer)

    def wait(self, challenges: Sequence[HostChallenge]) -> None:
        """See ChallengeSolver. A cluster that cannot reach itself through its own front door does not block."""
        attempt, last = self.attempt, challenges[-1]
        addresses = responder_addresses(attempt.cluster)
        found = probe.probe_endpoints(addresses, last.token, last.key_authorization, deadline=_half_time(attempt))
        self._tell("probe-responders", found, responders=len(addresses))
        results = self.probe_hosts(challenges, deadline=_half_time(attempt))
        unseen = not all(result.ok for result in results)
        if unseen and self._issuer is not None and self._present(challenges, self._issuer):
            attempt.step("presented-again", hosts=[challenge.host for challenge in challenges])
            results = self.probe_hosts(challenges, deadline=_half_time(attempt))
        for challenge, result in zip(challenges, results, strict=True):
            self._tell("probe-host", result, host=challenge.host)
            if result.reason is ProbeReason.FOREIGN_OVER_HTTPS:
                attempt.advice[challenge.host] = ALL_REDIRECTED

    def _present(self, challenges: Sequence[HostChallenge], issuer: Issuer) -> bool:
        """Whether anything had to be written: somebody may have deleted what was there."""
        attempt, record = self.attempt, self.attempt.record
        published = publish(attempt, {challenge.token: challenge.key_authorization for challenge in challenges})
        needed = routes.needed_routes(record, issuer)
        joined = at_once(lambda place: routes.join_route(attempt.cluster, record, *place, issuer), needed)
        return published or any(joined)

    def _tell(self, event: str, seen: ProbeResult, **about: object) -> None:
        seconds = round(seen.seconds, 3)
        self.attempt.step(event, **about, ok=seen.ok, reason=seen.reason, detail=seen.message, seconds=seconds)

    def release(self, issuer: Issuer | None) -> None:
        """See ChallengeSolver: the application gets its path back."""
        record, cluster = self.attempt.record, self.attempt.cluster
        cluster.delete(CONFIGMAPS, v.NAMESPACE, names.challenge(record.uid, record.epoch))
        at_once(lambda place: routes.release_route(cluster, record, *place), record.routes)

    def leftovers(self, issuer: Issuer, name: str, *, deadline: datetime) -> int:
        """None: they are objects of the cluster, which the sweep takes away without anybody's credentials."""
        return 0


def _half_time(attempt: Attempt) -> float:
    """When half of the attempt's time that is left will be over: the other half is for what comes after."""
    return time.monotonic() + (attempt.deadline - attempt.clock()).total_seconds() / 2


def publish(attempt: Attempt, key_authorizations: dict[str, str]) -> bool:
    """Create or replace the attempt's challenge ConfigMap, if it is not so already; whether it was written.

    Raises KubeError.
    """
    body = challenge_body(attempt.record, key_authorizations)

    def published(held: Json | None) -> Json:
        return held if held is not None and held.get("data") == body["data"] else body

    name = body["metadata"]["name"]
    return changes.change(attempt.cluster, CONFIGMAPS, v.NAMESPACE, name, published, held=None).written


def challenge_body(record: Record, key_authorizations: dict[str, str]) -> Json:
    """What the responder answers for one attempt: token -> key authorization (RFC 8555, section 8.3)."""
    name = names.challenge(record.uid, record.epoch)
    labels = {v.CHALLENGE: "true", v.RECORD_UID: record.uid}
    metadata = bodies.own_metadata(name, labels, owner=record.owner_reference)
    return bodies.config_map(metadata, key_authorizations)


def responder_addresses(cluster: Cluster) -> list[tuple[str, int]]:
    """Address and port of every responder that serves, from the Service's EndpointSlices."""
    found = endpoints(cluster, v.NAMESPACE, v.RESPONDER_SERVICE)
    return [(endpoint.address, endpoint.port) for endpoint in found if endpoint.ready]
