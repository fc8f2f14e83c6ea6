"""Challenges and routes: published, joined, released, also with several records on one host."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from msgspec.structs import replace

from issuer_job import names
from issuer_job import vocabulary as v
from issuer_job.attempt.solver import HostChallenge
from issuer_job.cluster.api import CONFIGMAPS, ENDPOINT_SLICES, EVENTS, INGRESSES, Cluster, KubeError
from issuer_job.http01 import routes, solver
from issuer_job.http01.probe import ProbeResult
from issuer_job.http01.probe_http import ProbeReason
from issuer_job.issuers.schema import Issuer, PathType
from issuer_job.record.record import IngressClass, Phase, Record
from tests.fakes.acme import Request
from tests.fakes.api import FakeApi, status
from tests.worlds.job import HOST, JobWorld, ingress
from tests.worlds.samples import attempt, record, source

ISSUER = Issuer(server="https://ca.dev/dir")
NGINX = IngressClass(field="nginx")
ROUTE = names.route(NGINX.identity, HOST)


def mine(epoch: int = 5, secret: str = "web-tls", uid: str = "uid-1") -> Record:
    made = record(sources=(source(hosts=(HOST,), ingress_class=NGINX),), attempt=attempt(epoch=epoch))
    return replace(made, secret_name=secret, uid=uid)


THEIRS = mine(epoch=9, secret="other-tls", uid="uid-2")


def holders(api: FakeApi) -> set[str]:
    found = api.stored(INGRESSES, v.NAMESPACE, ROUTE)
    return set() if found is None else {owner["uid"] for owner in found["metadata"]["ownerReferences"]}


@pytest.fixture
def api() -> FakeApi:
    return FakeApi()


def test_a_route_is_made_by_who_comes_first_and_joined_by_the_others(api: FakeApi) -> None:
    cluster = Cluster(api)
    routes.join_route(cluster, mine(), HOST, NGINX, ISSUER)
    routes.join_route(cluster, THEIRS, HOST, NGINX, ISSUER)
    assert holders(api) == {"uid-1", "uid-2"}
    before = len(api.requests)
    routes.join_route(cluster, mine(), HOST, NGINX, ISSUER)
    assert [request.method for request in api.requests[before:]] == ["GET"]


def test_a_release_leaves_it_to_the_others_and_the_last_one_deletes(api: FakeApi) -> None:
    cluster = Cluster(api)
    for one in (mine(), THEIRS):
        routes.join_route(cluster, one, HOST, NGINX, ISSUER)
    routes.release_route(cluster, mine(), HOST, NGINX)
    assert holders(api) == {"uid-2"}
    stored = api.stored(INGRESSES, v.NAMESPACE, ROUTE)
    assert stored is not None
    assert [k for k in stored["metadata"]["annotations"] if k.startswith(v.EPOCH_PREFIX)] == [
        v.EPOCH_PREFIX + THEIRS.uid
    ]
    routes.release_route(cluster, THEIRS, HOST, NGINX)
    assert api.stored(INGRESSES, v.NAMESPACE, ROUTE) is None
    assert [r.body["preconditions"].keys() for r in api.requests if r.method == "DELETE" and r.body] == [
        {"uid", "resourceVersion"}
    ]


def test_an_old_attempt_does_not_take_the_new_ones_route_away(api: FakeApi) -> None:
    cluster = Cluster(api)
    routes.join_route(cluster, mine(5), HOST, NGINX, ISSUER)
    routes.join_route(cluster, mine(6), HOST, NGINX, ISSUER)
    routes.release_route(cluster, mine(5), HOST, NGINX)
    assert holders(api) == {"uid-1"}
    routes.release_route(cluster, mine(6), HOST, NGINX)
    assert holders(api) == set()


def test_a_record_made_anew_replaces_its_former_self(api: FakeApi) -> None:
    cluster = Cluster(api)
    routes.join_route(cluster, mine(), HOST, NGINX, ISSUER)
    routes.join_route(cluster, mine(6, uid="uid-3"), HOST, NGINX, ISSUER)
    assert holders(api) == {"uid-3"}


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_races_are_run_again(api: FakeApi, method: str) -> None:
    cluster = Cluster(api)
    if method != "POST":
        routes.join_route(cluster, THEIRS, HOST, NGINX, ISSUER)
    api.fail(method, "/ingresses", status(409, "Conflict"), times=3)
    if method == "DELETE":
        routes.release_route(cluster, THEIRS, HOST, NGINX)
        assert holders(api) == set()
    else:
        routes.join_route(cluster, mine(), HOST, NGINX, ISSUER)
        assert "uid-1" in holders(api)


@pytest.mark.usefixtures("no_pauses")
def test_a_route_that_never_rests(api: FakeApi) -> None:
    api.fail("POST", "/ingresses", status(409, "AlreadyExists"), times=99)
    with pytest.raises(KubeError, match="keeps changing"):
        routes.join_route(Cluster(api), mine(), HOST, NGINX, ISSUER)


def test_a_challenge_is_made_or_replaced(world: JobWorld) -> None:
    world.apply(ingress())
    pod = world.pod()
    pod.load()
    solver.publish(pod, {"t1": "t1.x"})
    solver.publish(pod, {"t2": "t2.x"})
    name = names.challenge(pod.record.uid, pod.record.epoch)
    stored = world.api.stored(CONFIGMAPS, v.NAMESPACE, name)
    assert stored is not None
    assert stored["data"] == {"t2": "t2.x"}
    assert stored["metadata"]["ownerReferences"] == [pod.record.owner_reference]
    solver.publish(pod, {"t2": "t2.x"})
    assert world.api.stored(CONFIGMAPS, v.NAMESPACE, name) == stored
    world.api.fail("PUT", "/challenge-", status(409, "Conflict"), times=2)
    solver.publish(pod, {"t3": "t3.x"})
    assert (world.api.stored(CONFIGMAPS, v.NAMESPACE, name) or {})["data"] == {"t3": "t3.x"}


@pytest.mark.usefixtures("no_pauses")
def test_a_challenge_that_never_rests_is_not_taken_for_published(world: JobWorld) -> None:
    world.apply(ingress())
    pod = world.pod()
    pod.load()
    solver.publish(pod, {"t1": "t1.x"})
    world.api.fail("PUT", "/challenge-", status(409, "Conflict"), times=99)
    with pytest.raises(KubeError, match="keeps changing"):
        solver.publish(pod, {"t2": "t2.x"})


def test_the_responders_that_are_ready(api: FakeApi) -> None:
    endpoints = [
        {"addresses": ["10.0.0.1"], "conditions": {"ready": True}},
        {"addresses": ["10.0.0.2"], "conditions": {"ready": False}},
        {"addresses": ["10.0.0.3"], "conditions": None},
        {"addresses": ["fd00::1"]},
    ]
    labels = {"kubernetes.io/service-name": v.RESPONDER_SERVICE}
    piece = {"metadata": {"name": "a", "labels": labels}, "ports": [{"port": 8080}], "endpoints": endpoints}
    api.add(ENDPOINT_SLICES, v.NAMESPACE, piece)
    api.add(ENDPOINT_SLICES, v.NAMESPACE, {"metadata": {"name": "b", "labels": labels}, "ports": None})
    api.add(ENDPOINT_SLICES, v.NAMESPACE, piece | {"metadata": {"name": "c", "labels": {}}})
    found = solver.responder_addresses(Cluster(api))
    assert found == [("10.0.0.1", 8080), ("10.0.0.3", 8080), ("fd00::1", 8080)]


def test_a_release_that_fails_is_left_to_the_sweep(world: JobWorld) -> None:
    world.apply(ingress())
    world.api.fail("DELETE", "/certjob/(configmaps|ingresses)", status(500, "InternalError"), times=99)
    assert world.run() is v.ExitCode.DONE
    assert world.left_over() == [names.route("field:traefik", HOST), world_challenge(world)]


def world_challenge(world: JobWorld) -> str:
    return names.challenge(world.record().uid, world.record().epoch)


def test_route_and_token_of_the_newer_attempt_survive_the_end_of_the_older(world: JobWorld, tmp_path: Path) -> None:
    """N ends while N+1 waits for the same host."""
    world.apply(ingress())
    old = world.pod()
    seen: list[list[str]] = []

    def newer(request: Request) -> None:
        if request.path != "/finalize/1":
            return
        world.ca.before = lambda request: None
        world.relaunch()
        pod = world.pod()
        pod.load()
        routes.join_route(pod.cluster, pod.record, HOST, IngressClass(field="traefik"), ISSUER)
        solver.publish(pod, {"t": "t.x"})
        seen.append(world.left_over())

    world.ca.before = newer
    assert world.issue(old) is v.ExitCode.SUPERSEDED
    assert {names.route("field:traefik", HOST), world_challenge(world)} <= set(world.left_over())
    assert seen


def test_two_records_on_one_host(world: JobWorld) -> None:
    world.apply(ingress())
    world.apply(ingress("web2", secret="web2-tls"))
    assert len(world.api.all(INGRESSES, v.NAMESPACE)) == 1
    held: list[int] = []
    first = world.pod()

    def second(request: Request) -> None:
        if request.path == "/chall/1/0":
            held.append(len(world.api.all(INGRESSES, v.NAMESPACE)[0]["metadata"]["ownerReferences"]))
            pod = world.pod(secret="web2-tls")
            pod.load()
            routes.join_route(pod.cluster, pod.record, HOST, IngressClass(field="traefik"), ISSUER)

    world.ca.before = second
    assert world.issue(first) is v.ExitCode.DONE
    assert held == [1]
    [route] = world.api.all(INGRESSES, v.NAMESPACE)
    assert [owner["name"] for owner in route["metadata"]["ownerReferences"]] == ["shop.web2-tls"]
    world.ca.before = lambda request: None
    assert world.run(secret="web2-tls") is v.ExitCode.DONE
    assert world.api.all(INGRESSES, v.NAMESPACE) == []
    assert world.record("web2-tls").phase is Phase.ISSUED


def test_the_route_leads_just_the_challenge_path_of_one_host_to_the_responder() -> None:
    body = routes.route_body(mine(), HOST, IngressClass(annotation="old"), ISSUER)
    [rule] = body["spec"]["rules"]
    [path] = rule["http"]["paths"]
    assert (rule["host"], path["path"], path["pathType"]) == (HOST, "/.well-known/acme-challenge/", "Prefix")
    assert path["backend"] == {"service": {"name": "certjob-responder", "port": {"name": "http"}}}
    assert "ingressClassName" not in body["spec"]
    assert "tls" not in body["spec"]
    assert body["metadata"]["annotations"] == {
        **v.ROUTE_ANNOTATIONS,
        v.INGRESS_CLASS: "old",
        v.EPOCH_PREFIX + mine().uid: "5",
    }


def test_a_route_carries_what_its_issuer_asks_for() -> None:
    issuer = Issuer(
        server="https://ca.dev/dir", route_annotations={"x": "y"}, path_type=PathType.IMPLEMENTATION_SPECIFIC
    )
    body = routes.route_body(mine(), HOST, NGINX, issuer)
    assert body["metadata"]["annotations"]["x"] == "y"
    assert v.ROUTE_ANNOTATIONS.items() <= body["metadata"]["annotations"].items()
    assert [path["pathType"] for path in body["spec"]["rules"][0]["http"]["paths"]] == ["ImplementationSpecific"]


def test_what_is_deleted_meanwhile_is_put_back_before_the_ca_looks(world: JobWorld) -> None:
    """An order whose challenge path leads nowhere is a failure that the CA counts, and needs another order."""
    world.apply(ingress())
    asked: list[int] = []

    def probe(challenges: Sequence[HostChallenge], *, deadline: float) -> list[ProbeResult]:
        asked.append(len(world.left_over()))
        if len(asked) == 1:
            for resource in (INGRESSES, CONFIGMAPS):
                for item in world.api.all(resource, v.NAMESPACE):
                    if {v.ROUTE, v.CHALLENGE} & item["metadata"].get("labels", {}).keys():
                        world.api.remove(resource, v.NAMESPACE, item["metadata"]["name"])
            return [ProbeResult(ProbeReason.FOREIGN, "404", 60.0) for _ in challenges]
        return world.probe(challenges, deadline=deadline)

    assert world.issue(world.pod(), probe_hosts=probe) is v.ExitCode.DONE
    assert asked == [2, 2]


@pytest.mark.parametrize("prefix", ["external-dns.alpha.kubernetes.io", "external-dns.kubernetes.io"])
def test_external_dns_is_told_to_pass_a_route_by(prefix: str) -> None:
    """It does so for any value but its own, dns-controller; its prefix is another as of 0.22."""
    annotations = routes.route_body(mine(), HOST, NGINX, ISSUER)["metadata"]["annotations"]
    assert annotations[f"{prefix}/controller"] not in {"", "dns-controller"}


@pytest.mark.parametrize("reason", [ProbeReason.FOREIGN_OVER_HTTPS, ProbeReason.FOREIGN, ProbeReason.UNREACHABLE])
def test_a_user_whose_port_80_is_all_redirected_is_told_what_to_do(world: JobWorld, reason: ProbeReason) -> None:
    """The CA says what it found, the self-check knows why. What else that sees is for the log alone."""
    world.apply(ingress())
    world.ca.failing[HOST] = {"type": "urn:ietf:params:acme:error:unauthorized", "detail": "got 404" * 200}

    def probe(challenges: Sequence[HostChallenge], *, deadline: float) -> list[ProbeResult]:
        return [ProbeResult(reason, "seen inside", 60.0) for _ in challenges]

    assert world.issue(world.pod(), probe_hosts=probe) is v.ExitCode.LATER
    retry = world.record().retry
    assert retry is not None
    detail = str(retry.problem)
    (event,) = world.api.all(EVENTS)
    assert "got 404" in detail
    assert "seen inside" not in detail + event["note"]
    for told in (detail, event["note"]):
        assert (solver.ALL_REDIRECTED in told) is (reason is ProbeReason.FOREIGN_OVER_HTTPS)


def test_what_is_still_there_is_not_waited_for_twice(world: JobWorld) -> None:
    world.apply(ingress())
    asked: list[float] = []

    def probe(challenges: Sequence[HostChallenge], *, deadline: float) -> list[ProbeResult]:
        asked.append(deadline)
        return [ProbeResult(ProbeReason.FOREIGN, "404", 60.0) for _ in challenges]

    world.issue(world.pod(), probe_hosts=probe)
    assert len(asked) == 1
