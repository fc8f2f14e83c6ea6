"""The one compare-and-swap: what is written, how often it is asked, and when it gives up."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from issuer_job.cluster import changes
from issuer_job.cluster.api import CONFIGMAPS, Cluster, Json, KubeError, NotFound, Response
from tests.fakes.api import FakeApi, status
from tests.fakes.distant import DistantTransport

SPACE, NAME = "shop", "a"


def body(**data: str) -> Json:
    return {"metadata": {"name": NAME}, "data": data}


@pytest.fixture
def api() -> FakeApi:
    return FakeApi()


@pytest.fixture
def cluster(api: FakeApi) -> Cluster:
    return Cluster(api)


def asked(api: FakeApi) -> list[str]:
    return [request.method for request in api.requests]


def data(api: FakeApi) -> Json | None:
    found = api.stored(CONFIGMAPS, SPACE, NAME)
    return None if found is None else found["data"]


def with_x(held: Json | None) -> Json:
    held = held or body()
    held["data"]["x"] = "1"
    return held


def test_what_is_not_there_is_made(api: FakeApi, cluster: Cluster) -> None:
    change = changes.change(cluster, CONFIGMAPS, SPACE, NAME, with_x)
    assert (change.before, change.after["data"], change.written) == (None, {"x": "1"}, True)
    assert asked(api) == ["GET", "POST"]


def test_what_is_thought_to_be_missing_is_read_only_if_it_is_there(api: FakeApi, cluster: Cluster) -> None:
    changes.change(cluster, CONFIGMAPS, SPACE, NAME, with_x, held=None)
    assert asked(api) == ["POST"]
    api.add(CONFIGMAPS, SPACE, body(y="2"))
    changes.change(cluster, CONFIGMAPS, SPACE, NAME, with_x, held=None)
    assert asked(api)[1:] == ["POST", "GET", "PUT"]
    assert data(api) == {"x": "1", "y": "2"}


def test_what_was_read_already_is_not_read_again(api: FakeApi, cluster: Cluster) -> None:
    held = api.add(CONFIGMAPS, SPACE, body(y="2"))
    change = changes.change(cluster, CONFIGMAPS, SPACE, NAME, with_x, held=held)
    assert asked(api) == ["PUT"]
    assert change.before == held
    assert held["data"] == {"y": "2"}  # the edit had a copy


def test_what_is_right_already_is_not_written(api: FakeApi, cluster: Cluster) -> None:
    api.add(CONFIGMAPS, SPACE, body(x="1"))
    change = changes.change(cluster, CONFIGMAPS, SPACE, NAME, with_x)
    assert not change.written
    assert change.after == api.stored(CONFIGMAPS, SPACE, NAME)
    assert asked(api) == ["GET"]


def test_nothing_where_nothing_is(api: FakeApi, cluster: Cluster) -> None:
    change = changes.change(cluster, CONFIGMAPS, SPACE, NAME, lambda held: None)
    assert (change.after, change.written) == (None, False)
    assert asked(api) == ["GET"]


def test_exactly_what_was_read_is_deleted(api: FakeApi, cluster: Cluster) -> None:
    held = api.add(CONFIGMAPS, SPACE, body())
    assert changes.change(cluster, CONFIGMAPS, SPACE, NAME, lambda held: None).written
    assert data(api) is None
    sent = api.requests[-1].body or {}
    metadata = held["metadata"]
    assert sent["preconditions"] == {"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]}


def test_a_whole_new_body_takes_the_place_of_what_was_read(api: FakeApi, cluster: Cluster) -> None:
    uid = api.add(CONFIGMAPS, SPACE, body(y="2"))["metadata"]["uid"]
    change = changes.change(cluster, CONFIGMAPS, SPACE, NAME, lambda held: body(z="3"))
    assert (change.after["metadata"]["uid"], data(api)) == (uid, {"z": "3"})


@pytest.mark.parametrize("delete", [False, True])
def test_who_comes_in_between_is_read_and_decided_on(api: FakeApi, cluster: Cluster, delete: bool) -> None:
    former = api.add(CONFIGMAPS, SPACE, body())
    api.add(CONFIGMAPS, SPACE, body(y="2"))
    seen: list[Json] = []

    def edit(held: Json | None) -> Json | None:
        seen.append(dict((held or {})["data"]))
        return None if delete else with_x(held)

    changes.change(cluster, CONFIGMAPS, SPACE, NAME, edit, held=former)
    assert seen == [{}, {"y": "2"}]
    assert data(api) == (None if delete else {"x": "1", "y": "2"})


def test_an_object_that_is_deleted_in_between_is_made_anew(api: FakeApi, cluster: Cluster) -> None:
    held = api.add(CONFIGMAPS, SPACE, body(y="2"))
    api.remove(CONFIGMAPS, SPACE, NAME)
    changes.change(cluster, CONFIGMAPS, SPACE, NAME, with_x, held=held)
    assert data(api) == {"x": "1"}


def test_forty_who_change_one_object_at_once_all_get_through(api: FakeApi) -> None:
    cluster, start = Cluster(DistantTransport(api)), threading.Barrier(40)

    def add(number: int) -> None:
        def edit(held: Json | None) -> Json:
            held = held or body()
            return held | {"data": held["data"] | {str(number): ""}}

        start.wait()
        changes.change(cluster, CONFIGMAPS, SPACE, NAME, edit)

    with ThreadPoolExecutor(40) as pool:
        list(pool.map(add, range(40)))
    assert set(data(api) or {}) == {str(number) for number in range(40)}


def conflicts() -> Response:
    return status(409, "Conflict")


def test_what_never_rests_is_named_in_the_end(api: FakeApi, cluster: Cluster) -> None:
    api.add(CONFIGMAPS, SPACE, body())
    api.fail("PUT", "/configmaps/", conflicts(), times=99)
    pauses: list[float] = []
    with pytest.raises(KubeError, match=r"^the claim of a\.dev keeps changing$"):
        changes.change(cluster, CONFIGMAPS, SPACE, NAME, with_x, what="the claim of a.dev", sleep=pauses.append)
    assert asked(api) == ["GET", "PUT"] * changes.ROUNDS
    assert len(pauses) == changes.ROUNDS - changes.AT_ONCE
    assert max(pauses) <= changes.LONGEST_PAUSE
    with pytest.raises(KubeError, match=r"^configmaps a keeps changing$"):
        changes.change(cluster, CONFIGMAPS, SPACE, NAME, with_x, sleep=pauses.append)


def test_what_the_edit_raises_ends_it(api: FakeApi, cluster: Cluster) -> None:
    def refuse(held: Json | None) -> Json:
        raise LookupError("no")

    with pytest.raises(LookupError):
        changes.change(cluster, CONFIGMAPS, SPACE, NAME, refuse)
    assert asked(api) == ["GET"]


@pytest.mark.usefixtures("no_pauses")
@pytest.mark.parametrize("answer", [status(404, "NotFound"), conflicts()], ids=["namespace gone", "quota busy"])
def test_a_create_that_is_refused_is_not_tried_again(api: FakeApi, cluster: Cluster, answer: Response) -> None:
    api.fail("POST", "/configmaps", answer, times=99)
    with pytest.raises(KubeError, match=r"40[49]"):
        changes.change(cluster, CONFIGMAPS, SPACE, NAME, with_x)
    assert asked(api).count("GET") == 1


def test_the_time_left_bounds_each_request(api: FakeApi, cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    api.add(CONFIGMAPS, SPACE, body())
    api.fail("PUT", "/configmaps/", conflicts(), times=99)
    seconds = iter((7.0, 8.0, 9.0, 10.0))
    monkeypatch.setattr("issuer_job.cluster.api.time", SimpleNamespace(monotonic=seconds.__next__))
    with pytest.raises(KubeError, match="no time left"):
        changes.change(cluster.until(10.0), CONFIGMAPS, SPACE, NAME, with_x)
    assert asked(api) == ["GET", "PUT", "GET"]


def test_one_try_says_whether_it_still_was_what_was_read(api: FakeApi, cluster: Cluster) -> None:
    held = api.add(CONFIGMAPS, SPACE, body())
    done = changes.swap(cluster, CONFIGMAPS, SPACE, held, body(x="1"))
    assert done is not None
    assert done.after["data"] == {"x": "1"}
    assert changes.swap(cluster, CONFIGMAPS, SPACE, held, body(x="2")) is None
    assert changes.swap(cluster, CONFIGMAPS, SPACE, held, None) is None
    assert changes.swap(cluster, CONFIGMAPS, SPACE, None, body()) is None
    assert changes.swap(cluster, CONFIGMAPS, SPACE, done.after, None) is not None
    assert changes.swap(cluster, CONFIGMAPS, SPACE, done.after, None) is not None  # it is gone, as it should be
    with pytest.raises(NotFound):
        cluster.get(CONFIGMAPS, SPACE, NAME)
