"""The fake API server behaves like the real one where the code relies on it."""

from __future__ import annotations

import pytest

from issuer_job.cluster.api import (
    CONFIGMAPS,
    INGRESSES,
    JOBS,
    NAMESPACES,
    AlreadyExists,
    ApiError,
    Cluster,
    Conflict,
    Gone,
    Json,
    NotFound,
    Unreachable,
)
from tests.fakes.api import Attempt, FakeApi, denied, status


def configmap(name: str, **labels: str) -> Json:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": labels}, "data": {}}


def test_create_completes_metadata_and_refuses_a_second_one() -> None:
    cluster = Cluster(FakeApi())
    made = cluster.create(CONFIGMAPS, "certjob", configmap("a"))
    assert made["metadata"]["uid"]
    assert made["metadata"]["resourceVersion"]
    assert made["metadata"]["creationTimestamp"].endswith("Z")
    assert made["metadata"]["namespace"] == "certjob"
    with pytest.raises(AlreadyExists):
        cluster.create(CONFIGMAPS, "certjob", configmap("a"))
    assert cluster.get(CONFIGMAPS, "certjob", "a") == made


def test_generate_name() -> None:
    body: Json = {"metadata": {"generateName": "web-"}, "spec": {}}
    made = Cluster(FakeApi()).create(INGRESSES, "shop", body)
    assert made["metadata"]["name"].startswith("web-")
    assert len(made["metadata"]["name"]) == len("web-") + 5
    assert made["metadata"]["generation"] == 1


def test_update_is_conditional() -> None:
    api = FakeApi()
    cluster = Cluster(api)
    first = cluster.create(CONFIGMAPS, "certjob", configmap("a"))
    second = cluster.update(CONFIGMAPS, "certjob", {**first, "data": {"x": "1"}})
    assert second["metadata"]["resourceVersion"] != first["metadata"]["resourceVersion"]
    with pytest.raises(Conflict):
        cluster.update(CONFIGMAPS, "certjob", {**first, "data": {"x": "2"}})
    other = {**second, "metadata": {**second["metadata"], "uid": "another"}}
    with pytest.raises(Conflict):
        cluster.update(CONFIGMAPS, "certjob", other)
    with pytest.raises(NotFound):
        cluster.update(CONFIGMAPS, "certjob", configmap("missing"))
    assert api.stored(CONFIGMAPS, "certjob", "a") == second


def test_an_update_without_a_change_keeps_the_version() -> None:
    cluster = Cluster(FakeApi())
    first = cluster.create(CONFIGMAPS, "certjob", configmap("a"))
    assert cluster.update(CONFIGMAPS, "certjob", first) == first


def test_delete_has_preconditions() -> None:
    api = FakeApi()
    cluster = Cluster(api)
    meta = cluster.create(CONFIGMAPS, "certjob", configmap("a"))["metadata"]
    with pytest.raises(Conflict):
        cluster.delete(CONFIGMAPS, "certjob", "a", uid="another")
    with pytest.raises(Conflict):
        cluster.delete(CONFIGMAPS, "certjob", "a", uid=meta["uid"], resource_version="0")
    cluster.delete(CONFIGMAPS, "certjob", "a", uid=meta["uid"], resource_version=meta["resourceVersion"])
    assert api.stored(CONFIGMAPS, "certjob", "a") is None
    cluster.delete(CONFIGMAPS, "certjob", "a", uid=meta["uid"])


def test_dry_run_stores_nothing() -> None:
    api = FakeApi()
    cluster = Cluster(api)
    cluster.create(CONFIGMAPS, "certjob", configmap("a"), dry_run=True)
    assert api.all(CONFIGMAPS) == []
    first = cluster.create(CONFIGMAPS, "certjob", configmap("a"))
    cluster.update(CONFIGMAPS, "certjob", {**first, "data": {"x": "1"}}, dry_run=True)
    assert api.stored(CONFIGMAPS, "certjob", "a") == first


def test_lists_select_and_come_in_pages() -> None:
    api = FakeApi()
    cluster = Cluster(api)
    for number in range(5):
        api.add(CONFIGMAPS, "certjob", configmap(f"c{number}", odd=str(number % 2), x="y"))
    api.add(CONFIGMAPS, "other", configmap("c9", odd="1"))
    pages = [list(page.objects()) for page in cluster.pages(CONFIGMAPS, "certjob", labels="odd=0,x", limit=2)]
    assert [[item["metadata"]["name"] for item in page] for page in pages] == [["c0", "c2"], ["c4"]]
    assert "kind" not in pages[0][0]
    assert len(list(cluster.items(CONFIGMAPS, labels="odd!=0"))) == 3
    assert len(list(cluster.items(CONFIGMAPS, labels="!x"))) == 1


def test_an_expired_page_is_gone() -> None:
    api = FakeApi()
    for number in range(3):
        api.add(CONFIGMAPS, "certjob", configmap(f"c{number}"))
    pages = Cluster(api).pages(CONFIGMAPS, "certjob", limit=2)
    next(pages)
    api.expire()
    with pytest.raises(Gone):
        next(pages)


def test_cluster_scoped_objects() -> None:
    api = FakeApi()
    api.add(NAMESPACES, None, {"metadata": {"name": "shop"}})
    assert Cluster(api).get(NAMESPACES, None, "shop")["metadata"]["name"] == "shop"


def test_faults_and_the_log() -> None:
    api = FakeApi()
    cluster = Cluster(api)
    busy = status(429, "TooManyRequests", retry_after=3)
    assert busy.headers["retry-after"] == "3"
    api.fail("POST", "/jobs", busy)
    api.fail("POST", "/jobs", Unreachable("cut"), after=True)
    with pytest.raises(ApiError, match="429"):
        cluster.create(JOBS, "certjob", configmap("j"))
    with pytest.raises(Unreachable):
        cluster.create(JOBS, "certjob", configmap("j"))
    with pytest.raises(AlreadyExists):
        cluster.create(JOBS, "certjob", configmap("j"), dry_run=True)
    assert [(request.method, request.query.get("dryRun")) for request in api.requests] == [
        ("POST", None),
        ("POST", None),
        ("POST", "All"),
    ]


def test_hooks_deny_and_mutate() -> None:
    api = FakeApi()
    cluster = Cluster(api)

    def admit(attempt: Attempt) -> Json | None:
        return {**(attempt.new or {}), "data": {"seen": "yes"}} if attempt.dry_run else None

    api.hooks["configmaps"] = admit
    assert cluster.create(CONFIGMAPS, "certjob", configmap("a"), dry_run=True)["data"] == {"seen": "yes"}
    api.hooks["configmaps"] = lambda attempt: denied(f"no {attempt.name}")
    with pytest.raises(ApiError, match="403 Forbidden: no a"):
        cluster.create(CONFIGMAPS, "certjob", configmap("a"))


def test_watch_sees_what_enters_and_leaves_the_selection() -> None:
    api = FakeApi()
    events = Cluster(api).watch(CONFIGMAPS, "certjob", labels="x=y", resource_version="1", seconds=30)
    api.add(CONFIGMAPS, "certjob", configmap("other"))
    made = api.add(CONFIGMAPS, "certjob", configmap("a", x="y"))
    api.add(CONFIGMAPS, "certjob", {**made, "data": {"k": "v"}})
    api.bookmark()
    api.add(CONFIGMAPS, "certjob", configmap("a"))
    api.add(CONFIGMAPS, "certjob", configmap("a", x="y"))
    api.remove(CONFIGMAPS, "certjob", "a")
    kinds = [next(events)["type"] for _ in range(6)]
    assert kinds == ["ADDED", "MODIFIED", "BOOKMARK", "DELETED", "ADDED", "DELETED"]
    api.close_watches()
    assert list(events) == []


def test_an_old_watch_is_gone() -> None:
    api = FakeApi()
    api.expire()
    with pytest.raises(Gone):
        next(Cluster(api).watch(CONFIGMAPS, "certjob", labels="x", resource_version="1", seconds=30))


def test_a_frozen_watch_times_out() -> None:
    api = FakeApi()
    lines = api.stream("/api/v1/namespaces/certjob/configmaps?resourceVersion=1", timeout=0.05)
    api.add(CONFIGMAPS, "certjob", configmap("a"))
    next(lines)
    api.freeze_watches()
    api.add(CONFIGMAPS, "certjob", configmap("b"))
    with pytest.raises(Unreachable):
        next(lines)


def test_a_create_is_refused_before_its_name_is_found_taken() -> None:
    api = FakeApi()
    cluster = Cluster(api)
    made = cluster.create(CONFIGMAPS, "certjob", configmap("a"))
    api.hooks["configmaps"] = lambda attempt: denied("no")
    with pytest.raises(ApiError, match="403"):
        cluster.create(CONFIGMAPS, "certjob", configmap("a"))
    stale = {**made, "metadata": {**made["metadata"], "resourceVersion": "0"}}
    with pytest.raises(Conflict):
        cluster.update(CONFIGMAPS, "certjob", stale)


def test_a_uid_makes_a_missing_object_a_conflict() -> None:
    cluster = Cluster(FakeApi())
    body = configmap("a")
    body["metadata"]["uid"] = "gone"
    with pytest.raises(Conflict):
        cluster.update(CONFIGMAPS, "certjob", body)
