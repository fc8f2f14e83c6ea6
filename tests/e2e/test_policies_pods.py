"""A Job's token is good for its own record, and what belongs to it: the token says which pod it is of."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from issuer_job import names
from issuer_job import vocabulary as v
from tests.e2e.api import CONFIGMAPS, SECRETS, Api, Endpoint, Json, path
from tests.e2e.attacks import assert_verdict, encoded

UID = "11111111-2222-4333-8444-555555555555"
OTHER = "11111111-2222-4334-8444-555555555555"
"""Pods' names have the first half of it."""
EPOCH = 1700000000
TokenOf = Callable[[str], Api]


@pytest.fixture(scope="module")
def token_of(cluster: tuple[Endpoint, Api]) -> Iterator[TokenOf]:
    """The identity of a pod of an issue Job with this name; it never runs."""
    endpoint, admin = cluster
    made: list[str] = []
    identities: list[Api] = []

    def give(name: str) -> Api:
        container = {
            "name": "issue",
            "image": "none",
            "resources": {"requests": {"cpu": "1m", "memory": "1Mi"}, "limits": {"memory": "1Mi"}},
            "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        }
        spec = {
            "serviceAccountName": "job",
            "schedulingGates": [{"name": "certjob.test/never"}],
            "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [container],
        }
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}
        stored = admin.call("POST", path("pods", v.NAMESPACE), pod)
        assert stored.status == 201, stored
        made.append(name)
        bound = {"apiVersion": "v1", "kind": "Pod", "name": name, "uid": stored.json["metadata"]["uid"]}
        request = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"boundObjectRef": bound, "expirationSeconds": 600},
        }
        token = admin.call("POST", path("serviceaccounts", v.NAMESPACE, "job") + "/token", request)
        assert token.status == 201, token
        identities.append(Api(endpoint, token.json["status"]["token"]))
        return identities[-1]

    try:
        yield give
    finally:
        for identity in identities:
            identity.close()
        for name in made:
            admin.call("DELETE", path("pods", v.NAMESPACE, name), gracePeriodSeconds="0")


@pytest.fixture(scope="module")
def pod(token_of: TokenOf) -> Api:
    return token_of(names.job("shop", "shop-tls", UID, EPOCH) + "-abcde")


def owner(uid: str) -> Json:
    return {"apiVersion": "v1", "kind": "ConfigMap", "name": "tenant.web", "uid": uid}


def challenge(uid: str) -> Json:
    metadata = {"name": names.challenge(uid, EPOCH), "labels": {v.CHALLENGE: "true"}, "ownerReferences": [owner(uid)]}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}


def trace(uid: str) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": names.dns_trace(uid), "labels": {v.DNS_CHALLENGE: "true"}},
    }


def pending(uid: str) -> Json:
    labels = {v.PENDING: "true", v.RECORD_UID: uid}
    metadata = {"name": names.pending_key(uid, EPOCH), "labels": labels, "ownerReferences": [owner(uid)]}
    data = {"tls.key": encoded("x")}
    return {"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "metadata": metadata, "data": data}


@pytest.mark.parametrize("body", [challenge, trace])
def test_a_pod_publishes_for_its_own_record_alone(pod: Api, body: Callable[[str], Json]) -> None:
    where = path(CONFIGMAPS, v.NAMESPACE)
    assert_verdict(pod.call("POST", where, body(UID), dryRun="All"), "ok")
    assert_verdict(pod.call("POST", where, body(OTHER), dryRun="All"), "not of the record that this pod works for")


def test_a_pod_keeps_a_key_for_its_own_record_alone(pod: Api) -> None:
    where = path(SECRETS, v.NAMESPACE)
    assert_verdict(pod.call("POST", where, pending(UID), dryRun="All"), "ok")
    assert_verdict(pod.call("POST", where, pending(OTHER), dryRun="All"), "certjob-own-name")


@pytest.fixture
def others(admin: Api) -> Iterator[list[tuple[str, Json]]]:
    """What belongs to another record."""
    bodies = [(CONFIGMAPS, challenge(OTHER)), (CONFIGMAPS, trace(OTHER)), (SECRETS, pending(OTHER))]
    for _, body in bodies:  # without an owner: the garbage collector would look for it
        body["metadata"].pop("ownerReferences", None)
    stored = []
    for resource, body in bodies:
        answer = admin.call("POST", path(resource, v.NAMESPACE), body)
        assert answer.status == 201, answer
        stored.append((resource, answer.json))
    yield stored
    for resource, body in stored:
        admin.call("DELETE", path(resource, v.NAMESPACE, body["metadata"]["name"]))


def test_a_pod_clears_away_nothing_of_anothers(pod: Api, token_of: TokenOf, others: list[tuple[str, Json]]) -> None:
    theirs = token_of(names.job("other", "other-tls", OTHER, EPOCH) + "-abcde")
    for resource, body in others:
        where = path(resource, v.NAMESPACE, body["metadata"]["name"])
        assert pod.call("DELETE", where, dryRun="All").status == 403
        assert pod.call("PUT", where, body, dryRun="All").status == 403
        assert theirs.call("DELETE", where, dryRun="All").status == 200


@pytest.fixture
def record(admin: Api) -> Iterator[Json]:
    labels = {v.RECORD: "true", "certjob.io/namespace": "e2e-pods"}
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "e2e-pods.web", "labels": labels}}
    answer = admin.call("POST", path(CONFIGMAPS, v.NAMESPACE), body)
    assert answer.status == 201, answer
    yield answer.json
    admin.call("DELETE", path(CONFIGMAPS, v.NAMESPACE, "e2e-pods.web"))


def test_a_pod_writes_its_own_record_alone(pod: Api, token_of: TokenOf, record: Json) -> None:
    where, uid = path(CONFIGMAPS, v.NAMESPACE, record["metadata"]["name"]), record["metadata"]["uid"]
    refused = pod.call("PUT", where, record, dryRun="All")
    assert_verdict(refused, "not of the record that this pod works for")
    own = token_of(names.job("e2e-pods", "web", uid, EPOCH) + "-abcde")
    assert_verdict(own.call("PUT", where, record, dryRun="All"), "ok")


@pytest.mark.parametrize(
    "name",
    ["check-pebble-0123456789-1700000000-abcde", "web-0123456789-1700000000-abcde", f"web-{UID}-1700000000-abcde"],
)
def test_jobs_that_test_issuers_and_those_of_versions_before_work_as_they_did(
    token_of: TokenOf, record: Json, name: str
) -> None:
    where = path(CONFIGMAPS, v.NAMESPACE, record["metadata"]["name"])
    assert_verdict(token_of(name).call("PUT", where, record, dryRun="All"), "ok")
