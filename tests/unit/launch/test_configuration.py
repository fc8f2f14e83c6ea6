"""What every launch needs, loaded anew in the background."""

from __future__ import annotations

import threading

import pytest

from issuer_job import vocabulary as v
from issuer_job.cluster.api import POD_TEMPLATES, Cluster, Unreachable
from issuer_job.launch.configuration import SettingsCache
from tests.fakes.api import FakeApi
from tests.worlds.job import pod_template


def kept_fresh(api: FakeApi, rounds: int) -> None:
    """Loads everything anew so often; the thread sleeps for ever then."""
    left, done = iter(range(rounds)), threading.Event()

    def sleep(seconds: float) -> None:
        if next(left, None) is None:
            done.set()
            threading.Event().wait()

    SettingsCache(Cluster(api), sleep=sleep).keep_fresh()
    assert done.wait(10), "the thread has ended"


def loads(api: FakeApi, path: str) -> int:
    return sum(path in request.path for request in api.requests)


@pytest.fixture
def api() -> FakeApi:
    api = FakeApi()
    api.add(POD_TEMPLATES, v.NAMESPACE, pod_template())
    return api


@pytest.mark.parametrize("trouble", [Unreachable("cut"), ValueError("no JSON"), RuntimeError("a bug")])
def test_what_cannot_be_loaded_is_logged_and_loaded_again(
    api: FakeApi, trouble: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    api.fail("GET", "/podtemplates/", trouble, times=2)
    kept_fresh(api, 4)
    assert loads(api, "/podtemplates/") == 4
    assert [line.fields["problem"] for line in caplog.records] == 2 * [f"{type(trouble).__name__}: {trouble}"]  # type: ignore[attr-defined]


def test_one_that_cannot_be_loaded_keeps_no_other_from_it(api: FakeApi) -> None:
    api.fail("GET", "/configmaps", RuntimeError("a bug"), times=99)
    kept_fresh(api, 3)
    assert (loads(api, "/podtemplates/"), loads(api, f"/configmaps/{v.OPTIONS_CONFIG_MAP}")) == (3, 3)
