"""Lists whose pages are too large: read all the same, in smaller ones."""

from __future__ import annotations

import msgspec
import pytest

from issuer_job.cluster.api import (
    CONFIGMAPS,
    FIRST_PAGE,
    HEAD,
    MAX_ANSWER,
    PAGE,
    ApiError,
    Cluster,
    Json,
    KubeError,
    Response,
    TooLarge,
)
from tests.fakes.api import FakeApi, status
from tests.fakes.bounded import BoundedTransport, OnePage
from tests.worlds.costs import cost_of


def api_with(*sizes: int) -> FakeApi:
    api = FakeApi()
    for number, size in enumerate(sizes):
        api.add(CONFIGMAPS, "certjob", {"metadata": {"name": f"c{number:04}"}, "data": {"x": "x" * size}})
    return api


def names(cluster: Cluster) -> list[str]:
    return [item["metadata"]["name"] for item in cluster.items(CONFIGMAPS, "certjob")]


class Named(msgspec.Struct):
    metadata: dict[str, str]


def read_named(text: msgspec.Raw) -> Json:
    return dict(msgspec.json.decode(text, type=Named).metadata)


def test_small_objects_come_in_pages_that_grow() -> None:
    transport = BoundedTransport(api_with(*[10] * 500))
    assert len(names(Cluster(transport))) == 500
    assert transport.limits == [FIRST_PAGE, 2 * FIRST_PAGE, PAGE, PAGE]


@pytest.mark.exhaustive
@pytest.mark.parametrize("place", [0, 60, 119])
def test_large_objects_come_in_smaller_pages(place: int) -> None:
    sizes = [10] * 120
    sizes[place : place + 10] = [MAX_ANSWER // 3] * len(sizes[place : place + 10])
    transport = BoundedTransport(api_with(*sizes))
    assert names(Cluster(transport)) == [f"c{number:04}" for number in range(len(sizes))]
    assert transport.refused <= 10


def test_one_that_is_too_large_by_itself_is_left_out_and_said(caplog: pytest.LogCaptureFixture) -> None:
    transport = BoundedTransport(api_with(10, 10, MAX_ANSWER, 10, MAX_ANSWER))
    assert names(Cluster(transport)) == ["c0000", "c0001", "c0003"]
    said = [record.__dict__["fields"] for record in caplog.records if record.message == "object-too-large"]
    assert ["c0002" in line["object"] for line in said] == [True, False]
    assert ["c0004" in line["object"] for line in said] == [False, True]
    assert all(len(line["object"]) <= 300 for line in said)


def test_half_a_list_is_never_taken_for_the_whole() -> None:
    """Without the list's metadata nobody knows how it goes on."""
    api = api_with(10)
    api.fail("GET", "/configmaps", Response(200, {}, b"x" * (MAX_ANSWER + 1)), times=99)
    with pytest.raises(TooLarge):
        names(Cluster(BoundedTransport(api)))


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"items": 7}', b'{"items": [}', b"\xff"])
def test_an_answer_that_is_no_list(body: bytes) -> None:
    api = api_with(10)
    api.fail("GET", "/configmaps", Response(200, {}, body))
    with pytest.raises(KubeError):
        names(Cluster(api))


def test_an_object_that_cannot_be_read_is_left_out_and_said(caplog: pytest.LogCaptureFixture) -> None:
    page = OnePage.of({"metadata": {"name": name}} for name in ("a", 7, "c"))
    found = list(Cluster(page).items(CONFIGMAPS, "certjob", read=read_named))
    assert found == [{"name": "a"}, {"name": "c"}]
    assert "object-unreadable" in caplog.text


@pytest.mark.exhaustive
def test_a_page_is_decoded_object_by_object() -> None:
    """All at once they would take many times its size."""
    page = OnePage.of({"metadata": {"name": f"c{number:02}"}, "x": [[]] * 20_000} for number in range(15))
    taken = cost_of(lambda: [None for _ in Cluster(page).items(CONFIGMAPS, "certjob")])
    assert taken.mib < 6


def test_the_error_of_a_page_is_what_the_api_server_says() -> None:
    api = api_with(10)
    api.fail("GET", "/configmaps", status(403, "Forbidden", "no" + "x" * HEAD))
    with pytest.raises(ApiError, match="403 Forbidden: no"):
        names(Cluster(api))
