"""Which namespace holds a host, and when a claim is given up."""

from __future__ import annotations

from datetime import timedelta

import pytest

from issuer_job import claims, names
from issuer_job import vocabulary as v
from issuer_job.attempt import utc_now
from issuer_job.kube import CONFIGMAPS, Cluster, Json
from tests.fake_api import Attempt, FakeApi, Response, status


def ingress(namespace: str, *, rule: str = "", tls: str = "") -> Json:
    spec: Json = {"rules": [{"host": rule}] if rule else [], "tls": [{"hosts": [tls]}] if tls else None}
    return {"metadata": {"name": "web", "namespace": namespace}, "spec": spec}


@pytest.fixture
def api() -> FakeApi:
    return FakeApi()


@pytest.fixture
def cluster(api: FakeApi) -> Cluster:
    return Cluster(api)


def release(cluster: Cluster, *ingresses: Json, after: timedelta = claims.GRACE + timedelta(seconds=5)) -> int:
    named = {(i["metadata"]["namespace"], host) for i in ingresses for host in claims.named_hosts(i)}
    return claims.release_unused(cluster, named, now=utc_now() + after)


def test_the_first_one_holds_it(cluster: Cluster) -> None:
    assert claims.holder(cluster, "a.dev") is None
    assert claims.take(cluster, "a.dev", "one") == "one"
    assert claims.take(cluster, "a.dev", "two") == "one"
    assert claims.take(cluster, "a.dev", "one") == "one"
    assert claims.holder(cluster, "a.dev") == "one"


@pytest.mark.parametrize(
    ("ingresses", "released"),
    [
        ([], True),
        ([ingress("one", rule="a.dev")], False),
        ([ingress("one", tls="A.dev.")], False),
        ([ingress("two", rule="a.dev")], True),
        ([ingress("one", rule="b.dev")], True),
    ],
    ids=["no ingress", "in a rule", "in tls, spelled otherwise", "other namespace", "other host"],
)
def test_a_claim_is_given_up_when_no_ingress_of_its_namespace_names_the_host(
    cluster: Cluster, ingresses: list[Json], released: bool
) -> None:
    claims.take(cluster, "a.dev", "one")
    assert release(cluster, *ingresses) == int(released)
    assert (claims.holder(cluster, "a.dev") is None) is released


def test_a_young_claim_stays(cluster: Cluster) -> None:
    claims.take(cluster, "a.dev", "one")
    assert release(cluster, after=timedelta(minutes=9)) == 0
    assert claims.holder(cluster, "a.dev") == "one"


def test_a_claim_that_changed_meanwhile_stays(cluster: Cluster, api: FakeApi) -> None:
    claims.take(cluster, "a.dev", "one")

    def changed_just_before(attempt: Attempt) -> Response | None:
        if attempt.method == "DELETE" and attempt.old is not None and attempt.old["data"]["namespace"] == "one":
            return status(409, "Conflict", "the resourceVersion is another")
        return None

    api.hooks["configmaps"] = changed_just_before
    assert release(cluster) == 0
    assert claims.holder(cluster, "a.dev") == "one"


def test_exactly_the_claim_that_was_read_is_deleted(cluster: Cluster, api: FakeApi) -> None:
    claims.take(cluster, "a.dev", "one")
    held = cluster.get(CONFIGMAPS, v.NAMESPACE, names.claim("a.dev"))["metadata"]
    release(cluster)
    bodies = [request.body for request in api.requests if request.method == "DELETE" and request.body]
    assert [body["preconditions"] for body in bodies] == [
        {"uid": held["uid"], "resourceVersion": held["resourceVersion"]}
    ]


def test_an_expired_list_leaves_the_rest_to_the_next_pass(cluster: Cluster, api: FakeApi) -> None:
    claims.take(cluster, "a.dev", "one")
    api.fail("GET", "configmaps", status(410, "Expired", "too old"))
    assert release(cluster) == 0
    assert release(cluster) == 1
