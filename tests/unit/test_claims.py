"""Which namespace holds a host, and when a claim is given up."""

from __future__ import annotations

from datetime import timedelta

import pytest

from issuer_job import claims, names
from issuer_job import vocabulary as v
from issuer_job.attempt import utc_now
from issuer_job.kube import CONFIGMAPS, Cluster, Json
from tests.fake_api import FakeApi


def ingress(namespace: str, *, rule: str = "", tls: str = "") -> Json:
    spec: Json = {"rules": [{"host": rule}] if rule else [], "tls": [{"hosts": [tls]}] if tls else None}
    return {"metadata": {"name": "web", "namespace": namespace}, "spec": spec}


@pytest.fixture
def cluster() -> Cluster:
    return Cluster(FakeApi())


def held(cluster: Cluster) -> list[Json]:
    return list(cluster.items(CONFIGMAPS, v.NAMESPACE, labels=f"{v.CLAIM}=true"))


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
    later = utc_now() + claims.GRACE + timedelta(seconds=5)
    assert claims.release_unused(cluster, held(cluster), ingresses, now=later) == int(released)
    assert (claims.holder(cluster, "a.dev") is None) is released


def test_a_young_claim_stays(cluster: Cluster) -> None:
    claims.take(cluster, "a.dev", "one")
    assert claims.release_unused(cluster, held(cluster), [], now=utc_now() + timedelta(minutes=9)) == 0
    assert claims.holder(cluster, "a.dev") == "one"


def test_a_claim_that_changed_meanwhile_stays(cluster: Cluster) -> None:
    claims.take(cluster, "a.dev", "one")
    seen = held(cluster)
    current = cluster.get(CONFIGMAPS, v.NAMESPACE, names.claim("a.dev"))
    current["data"]["namespace"] = "two"
    cluster.update(CONFIGMAPS, v.NAMESPACE, current)
    later = utc_now() + claims.GRACE + timedelta(seconds=5)
    assert claims.release_unused(cluster, seen, [], now=later) == 0
    assert claims.holder(cluster, "a.dev") == "two"
