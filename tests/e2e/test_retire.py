"""An Ingress is deleted: what the sweep's identity gives back on a real API server, and what stays."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

import pytest
from msgspec.structs import replace

from issuer_job import names
from issuer_job import vocabulary as v
from issuer_job.cluster.api import CONFIGMAPS, INGRESSES, JOBS, SECRETS, Cluster, Json, Response, Transport
from issuer_job.demand.askers import Asker
from issuer_job.hosts import at_sweep, claims
from issuer_job.hosts.precedence import Namers
from issuer_job.http01 import routes
from issuer_job.http01.solver import challenge_body
from issuer_job.issue.obtaining.pending_key import pending_secret
from issuer_job.issuers.options import Options
from issuer_job.issuers.schema import Issuer
from issuer_job.polling import utc_now
from issuer_job.record import transitions
from issuer_job.record.phases import LaunchReason
from issuer_job.record.record import (
    IngressClass,
    Phase,
    Record,
    Settings,
    Source,
    SourceKind,
)
from issuer_job.record.store import from_config_map, to_config_map
from issuer_job.upkeep import leftovers, retire
from tests.e2e import world
from tests.e2e.api import Api, wait_for
from tests.e2e.observe import cluster
from tests.worlds.hosts import holder

pytestmark = pytest.mark.usefixtures("no_sweeps")

ELEVEN_MINUTES = timedelta(minutes=11)
ISSUER = Issuer(server="https://ca.test/dir")


class ApiTransport:
    """`issuer_job.cluster.api.Transport` over a client of the API server with one service account's token."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def send(self, method: str, path: str, *, body: bytes | None, timeout: float) -> Response:
        answer = self._api.call(method, path, None if body is None else body.decode())
        return Response(answer.status, {}, answer.text.encode())

    def stream(self, path: str, *, timeout: float) -> Iterator[bytes]:
        raise NotImplementedError("the sweep watches nothing")


class Mine:
    """The same, but lists show one test's objects alone: other tests are at work in certjob's namespace."""

    def __init__(self, transport: Transport, namespace: str) -> None:
        self._transport = transport
        self._namespace = namespace

    def send(self, method: str, path: str, *, body: bytes | None, timeout: float) -> Response:
        answer = self._transport.send(method, path, body=body, timeout=timeout)
        found = json.loads(answer.body)
        if method == "GET" and "items" in found:
            found["items"] = [item for item in found["items"] if self._namespace in json.dumps(item)]
            return Response(answer.status, answer.headers, json.dumps(found).encode())
        return answer

    def stream(self, path: str, *, timeout: float) -> Iterator[bytes]:
        return self._transport.stream(path, timeout=timeout)


@pytest.fixture
def as_sweep(identity: Callable[[str], Api]) -> Cluster:
    return Cluster(ApiTransport(identity("sweep")))


def rewrite(record: Record, **fields: object) -> Record:
    """The administrator edits the record."""
    stored = cluster().update(CONFIGMAPS, v.NAMESPACE, to_config_map(replace(record, **fields)))
    return from_config_map(stored)


def current(namespace: str, secret: str) -> Record:
    found = world.record(namespace, secret)
    assert found is not None
    return found


def unwanted(namespace: str, secret: str) -> Record:
    """Since eleven minutes."""
    return rewrite(current(namespace, secret), phase=Phase.ORPHANED, since=utc_now() - ELEVEN_MINUTES)


def leave_behind(record: Record) -> None:
    """What an attempt that was killed leaves: route, challenge, pending key."""
    for host, ingress_class in record.routes:
        routes.join_route(cluster(), record, host, ingress_class, ISSUER)
    cluster().create(CONFIGMAPS, v.NAMESPACE, challenge_body(record, {"t" * 43: "k"}))
    cluster().create(SECRETS, v.NAMESPACE, pending_secret(record, b"key"))


def left_by(record: Record) -> list[str]:
    """What is there of that."""
    found = [(INGRESSES, names.route(klass.identity, host)) for host, klass in record.routes]
    found.append((CONFIGMAPS, names.challenge(record.uid, record.epoch)))
    found.append((SECRETS, names.pending_key(record.uid, record.epoch)))
    return [name for resource, name in found if cluster().find(resource, v.NAMESPACE, name) is not None]


def delete_ingress(namespace: str, name: str) -> None:
    cluster().delete(INGRESSES, namespace, name)
    wait_for(lambda: cluster().find(INGRESSES, namespace, name) is None, what=f"Ingress {name} is gone")


def finished_jobs(namespace: str) -> list[str]:
    jobs = cluster().items(JOBS, v.NAMESPACE, labels=f"{v.RECORD_NAMESPACE}={namespace}")
    return [job["metadata"]["name"] for job in jobs if (job.get("status") or {}).get("succeeded")]


def orders(namespace: str) -> int:
    return len([line for line in world.job_logs(namespace) if line["event"] == "order-created"])


def test_an_issued_secret_stays_and_serves_again_without_an_order(as_sweep: Cluster, namespace: str) -> None:
    host = f"back.{namespace}.test"
    world.create(namespace, world.manifest("back", [host], tls_acme="true"))
    world.wait_issued(namespace, "back-tls", [host])
    wait_for(lambda: len(finished_jobs(namespace)) == 1, what="the first Job has finished")
    before, ordered = cluster().get(SECRETS, namespace, "back-tls"), orders(namespace)
    delete_ingress(namespace, "back")
    record = unwanted(namespace, "back-tls")
    leave_behind(record)

    assert retire.retire(as_sweep, record, now=utc_now())

    assert left_by(record) == []
    assert cluster().get(SECRETS, namespace, "back-tls") == before
    retired = current(namespace, "back-tls")
    assert (retired.phase, retired.epoch) == (Phase.RETIRED, record.epoch)
    assert [entry.event for entry in retired.history][-1] == "retired"

    world.create(namespace, world.manifest("back", [host], tls_acme="true"))
    again = world.wait_issued(namespace, "back-tls", [host])
    assert again.epoch > record.epoch
    wait_for(lambda: len(finished_jobs(namespace)) == 2, what="its Job exits with 0")
    assert orders(namespace) == ordered == 1
    assert cluster().get(SECRETS, namespace, "back-tls")["data"] == before["data"]


def test_a_placeholder_goes_with_everything_else(as_sweep: Cluster, namespace: str) -> None:
    host = f"gone.{namespace}.test"
    world.break_dns(host)
    try:
        world.create(namespace, world.manifest("gone", [host], tls_acme="true"))
        world.wait_phase(namespace, "gone-tls", Phase.WAITING)
        assert world.holds_placeholder(namespace, "gone-tls")
        delete_ingress(namespace, "gone")
        record = unwanted(namespace, "gone-tls")
        wait_for(lambda: left_by(record) == [], what="the Job has released its route")
        leave_behind(record)

        assert retire.retire(as_sweep, record, now=utc_now())

        assert left_by(record) == []
        assert cluster().find(SECRETS, namespace, "gone-tls") is None
        assert current(namespace, "gone-tls").phase is Phase.RETIRED
        assert retire.forget(as_sweep, current(namespace, "gone-tls"))
        assert world.record(namespace, "gone-tls") is None
    finally:
        world.mend_dns(host)


def test_an_ingress_that_is_there_keeps_everything(as_sweep: Cluster, namespace: str) -> None:
    host = f"stays.{namespace}.test"
    world.break_dns(host)
    try:
        world.create(namespace, world.manifest("stays", [host], tls_acme="true"))
        world.wait_phase(namespace, "stays-tls", Phase.WAITING)
        record = unwanted(namespace, "stays-tls")
        assert not retire.retire(as_sweep, record, now=utc_now())
        assert world.holds_placeholder(namespace, "stays-tls")
        assert current(namespace, "stays-tls") == record
    finally:
        world.mend_dns(host)


def wants(namespace: str, secret: str, *hosts: str) -> Record:
    """A record that no Ingress stands behind, stored just now and not launched."""
    source = Source(
        hosts=hosts, settings=Settings(issuer="pebble"), ingress_class=IngressClass(field="traefik"), name="none"
    )
    return transitions.wanted(namespace=namespace, secret_name=secret, sources=(source,), now=utc_now())


def stored(record: Record) -> Record:
    return from_config_map(cluster().create(CONFIGMAPS, v.NAMESPACE, to_config_map(record)))


def test_leftovers_of_an_attempt_that_is_over_go_and_those_of_others_stay(as_sweep: Cluster, namespace: str) -> None:
    over, shared = f"over.{namespace}.test", f"shared.{namespace}.test"
    now = utc_now()
    launched = transitions.launched(
        wants(namespace, "over-tls", over, shared), now=now - timedelta(hours=2), reason=LaunchReason.NEW
    )
    ended = stored(replace(launched, phase=Phase.FAILED))
    leave_behind(ended)
    active = stored(transitions.launched(wants(namespace, "other-tls", shared), now=now, reason=LaunchReason.NEW))
    routes.join_route(cluster(), active, shared, active.sources[0].ingress_class, ISSUER)
    records = [ended, active]

    def clean(minutes: int) -> int:
        mine = Cluster(Mine(as_sweep.transport, namespace))
        return sum(leftovers.release_leftovers(mine, records, now=now + timedelta(minutes=minutes)).values())

    assert clean(0) == 0, "all of it is young"
    released = 0

    def all_are_released() -> bool:
        nonlocal released
        released += clean(3)
        return released == 3

    # The ingress controller writes to routes too: what it changed just then is the next pass's.
    wait_for(all_are_released, what="all three are released")
    route = cluster().get(INGRESSES, v.NAMESPACE, names.route("field:traefik", shared))
    assert [owner["name"] for owner in route["metadata"]["ownerReferences"]] == [active.name]
    assert left_by(ended) == [
        names.route("field:traefik", shared),
        names.pending_key(ended.uid, ended.epoch),
    ]
    assert clean(3) == 0
    leftovers.delete_keys(as_sweep, ended, now)
    assert left_by(ended) == [names.route("field:traefik", shared)]
    for record in records:
        cluster().delete(CONFIGMAPS, v.NAMESPACE, record.name)


def test_a_claim_goes_when_nothing_names_its_host(as_sweep: Cluster, namespace: str) -> None:
    host = f"claimed.{namespace}.test"
    claims.take(as_sweep, host, namespace)
    mine, later = Cluster(Mine(as_sweep.transport, namespace)), utc_now() + ELEVEN_MINUTES

    def released(*ingresses: Json, now: datetime = later) -> int:
        namers = Namers()
        for ingress in ingresses:
            namers.add(Asker(SourceKind.INGRESS, ingress))
        holders, until = at_sweep.Holders(Options(), namers, now), time.monotonic() + 60
        return at_sweep.tidy(mine, holders, at_sweep.Records(), at_sweep.read_claims(mine), until=until)[
            "claims released"
        ]

    def naming(other: str) -> Json:
        return world.manifest("web", [host]) | {"metadata": {"name": "web", "namespace": other}}

    assert released(naming(namespace)) == 0
    assert released(naming("elsewhere")) == 0, "one look is none"
    assert released(naming("elsewhere"), now=later + ELEVEN_MINUTES) == 1
    assert holder(cluster(), host) is None
