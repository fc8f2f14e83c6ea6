"""Only the API server moves the webhook: it alone knows the paths."""

from __future__ import annotations

import io
import json
import logging
import threading
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from issuer_job import vocabulary as v
from issuer_job.cluster.api import CONFIGMAPS, JOBS, MUTATING_WEBHOOKS, Cluster, Unreachable
from issuer_job.log import JsonFormatter, TextFormatter
from tests.fakes.api import FakeApi, status
from tests.fakes.clock import QuickTime
from tests.fakes.webhook_parts import ANNOTATED, PATHS, TOKEN, FakeLauncher, configuration, known_paths, parts
from tests.worlds.reviews import ingress, review
from webhook import door
from webhook.app import POLICIES, Parts, create_app
from webhook.door import Door, KnownPaths, configured_paths
from webhook.gunicorn_log import Tokenless

OTHER = "0" * 64
FORGED = [
    "/",
    "/mutate",
    "/mutate/annotated",
    "/mutate/namespace",
    "/mutate/request",
    "/mutate/annotated/",
    f"/mutate/annotated/{OTHER}",
    f"/mutate/annotated/{TOKEN[:-1]}0",
    f"/mutate/annotated/{TOKEN[:-1]}",
    f"/mutate/annotated/{TOKEN}/",
    f"/mutate/annotated/{TOKEN.upper()}",
    f"/mutate//annotated/{TOKEN}",
    f"/mutate/namespace/../annotated/{OTHER}",
    f"/{TOKEN}",
    f"/mutate/{TOKEN}",
    f"/mutate/annotated?{TOKEN}",
]


@pytest.mark.parametrize("path", FORGED)
def test_whoever_does_not_know_the_token_makes_nothing(path: str) -> None:
    launcher = FakeLauncher()
    answer = create_app(parts(launcher)).test_client().post(path, json=review(ingress()))
    assert (answer.status_code, answer.data) == (404, b"Not found.\n")
    assert launcher.launched == []


class Unread(io.BytesIO):
    """A body that nobody may ask for."""

    def read(self, *args: Any) -> bytes:
        raise AssertionError("the body was read")

    readline = read  # type: ignore[assignment]


def asked(at: Door, path: str, **environ: Any) -> tuple[str, bytes]:
    statuses: list[str] = []
    body = at({"PATH_INFO": path, **environ}, lambda line, headers: statuses.append(line))
    return statuses[0], b"".join(body)


@pytest.mark.parametrize("path", FORGED)
def test_of_what_a_stranger_sends_no_byte_is_read(path: str) -> None:
    def inside(environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        raise AssertionError("let in")

    environ = {"REQUEST_METHOD": "POST", "wsgi.input": Unread(), "CONTENT_LENGTH": str(3 << 20)}
    assert asked(Door(inside, known_paths()), path, **environ)[0] == "404 Not Found"


@pytest.mark.exhaustive
@given(st.text(max_size=100) | st.from_regex(r"/mutate/[a-z]+/[0-9a-f]{64}", fullmatch=True))
def test_no_other_path_is_known(path: str) -> None:
    assert (known_paths().kind(path) != "") == (path in PATHS)


def test_the_token_goes_no_further_than_the_door() -> None:
    seen: list[dict[str, Any]] = []

    def inside(environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        seen.append(environ)
        start("200 OK", [])
        return [b"in"]

    uris = {"RAW_URI": f"{ANNOTATED}?timeout=5s", "REQUEST_URI": ANNOTATED}
    assert asked(Door(inside, known_paths()), ANNOTATED, QUERY_STRING="timeout=5s", **uris) == ("200 OK", b"in")
    assert seen == [{"PATH_INFO": "/mutate/annotated", "QUERY_STRING": "timeout=5s"}]
    assert {known_paths().kind(path) for path in PATHS} == POLICIES.keys()


def test_a_bug_in_the_application_logs_no_token(caplog: pytest.LogCaptureFixture) -> None:
    app = create_app(parts())

    def broken() -> None:
        raise ZeroDivisionError("boom")

    app.before_request(broken)
    assert app.test_client().post(ANNOTATED, json={}).status_code == 500
    assert "ZeroDivisionError" in caplog.text
    assert TOKEN not in caplog.text


@pytest.mark.parametrize("inner", [JsonFormatter(), TextFormatter()])
@pytest.mark.parametrize("said", ["Error handling request %s", "Invalid HTTP request line: 'POST %s HTTP/9'"])
def test_what_gunicorn_says_of_a_request_has_no_token(inner: logging.Formatter, said: str) -> None:
    record = logging.LogRecord("gunicorn.error", logging.ERROR, "f", 1, said, (f"{ANNOTATED}?timeout=5s",), None)
    line = Tokenless(inner).format(record)
    assert TOKEN not in line
    assert "/mutate/annotated/...?timeout=5s" in line


# What the configuration says now.


@pytest.fixture
def api() -> FakeApi:
    api = FakeApi()
    api.add(MUTATING_WEBHOOKS, None, configuration())
    return api


def paths_of(api: FakeApi, time: QuickTime | None = None) -> KnownPaths:
    time = time or QuickTime()
    return KnownPaths(lambda: configured_paths(Cluster(api)), clock=time.monotonic, sleep=time.sleep)


def test_a_new_path_is_known_at_once_and_the_old_one_for_a_while(api: FakeApi) -> None:
    time = QuickTime()
    paths = paths_of(api, time)
    assert paths.kind(ANNOTATED)
    api.add(MUTATING_WEBHOOKS, None, configuration(f"/mutate/annotated/{OTHER}"))
    assert paths.kind(f"/mutate/annotated/{OTHER}")
    assert paths.kind(ANNOTATED)
    time.sleep(door.REMEMBERED + 1)
    paths.look()
    assert not paths.kind(ANNOTATED)
    assert paths.kind(f"/mutate/annotated/{OTHER}")


def test_the_paths_of_0_1_0_are_good_while_its_configuration_is_sent_anything(api: FakeApi) -> None:
    fixed = tuple(POLICIES)
    former = configuration(*fixed, name=v.FORMER_WEBHOOK_CONFIGURATION)
    api.add(MUTATING_WEBHOOKS, None, former)
    time = QuickTime()
    paths = paths_of(api, time)
    assert [paths.kind(path) for path in (*fixed, *PATHS)] == [*fixed, *fixed]
    for entry in former["webhooks"]:
        del entry["rules"]
    api.add(MUTATING_WEBHOOKS, None, former)
    time.sleep(door.REMEMBERED + 1)
    paths.look()
    assert [paths.kind(path) for path in (*fixed, *PATHS)] == [*("" for _ in fixed), *fixed]


def test_an_entry_whose_path_is_not_filled_in_yet_opens_nothing(api: FakeApi) -> None:
    made = configuration()
    for entry in made["webhooks"]:
        del entry["clientConfig"]["service"]["path"]
    api.add(MUTATING_WEBHOOKS, None, made)
    assert [paths_of(api).kind(path) for path in FORGED] == [""] * len(FORGED)


@pytest.mark.parametrize("problem", [Unreachable("cut"), status(403, "Forbidden", "rolled back")])
def test_an_api_server_that_does_not_tell_takes_nothing_away(api: FakeApi, problem: Any) -> None:
    time = QuickTime()
    paths = paths_of(api, time)
    assert paths.read()
    api.fail("GET", "/mutating", problem, 99)
    time.sleep(10 * door.REMEMBERED)
    assert paths.kind(ANNOTATED)
    assert not paths.kind(f"/mutate/annotated/{OTHER}")
    assert paths.read()


def test_made_up_tokens_have_the_configuration_read_once_a_second(api: FakeApi) -> None:
    time = QuickTime()
    paths = paths_of(api, time)
    paths.look()
    api.requests.clear()
    start = time.monotonic()
    for number in range(100):
        assert not paths.kind(f"/mutate/annotated/{number:064x}")
    assert len(api.requests) <= 2 * (time.monotonic() - start + 1) / door.PAUSE


def test_made_up_tokens_keep_few_threads_waiting() -> None:
    gate, reading = threading.Event(), threading.Event()

    def read() -> frozenset[str]:
        reading.set()
        gate.wait()
        return frozenset(PATHS)

    paths = KnownPaths(read, sleep=lambda seconds: None)
    threads = [
        threading.Thread(target=paths.kind, args=(f"/mutate/annotated/{number:064x}",)) for number in range(50)
    ]
    for thread in threads:
        thread.start()
    try:
        assert reading.wait(10)
        for thread in threads:
            thread.join(0.02)
        assert sum(thread.is_alive() for thread in threads) == door.WAITING
    finally:
        gate.set()
        for thread in threads:
            thread.join()
    assert paths.kind(ANNOTATED)


def test_a_pod_is_not_ready_before_it_knows_the_way_in(api: FakeApi) -> None:
    api.fail("GET", "/mutating", status(403, "Forbidden"), 99)
    made = parts()
    client = create_app(
        Parts(made.launcher, made.foresight, made.settings, made.losses, paths_of(api), lambda: True)
    ).test_client()
    assert client.get("/readyz").status_code == 503
    assert client.get("/livez").status_code == 200
    api.clear_faults()
    later = create_app(
        Parts(made.launcher, made.foresight, made.settings, made.losses, paths_of(api), lambda: True)
    ).test_client()
    assert later.get("/readyz").status_code == 200


def test_a_forged_review_on_the_real_launcher_writes_nothing(api: FakeApi) -> None:
    client = create_app(Parts.of(Cluster(api))).test_client()
    body = json.dumps(review(ingress()))
    for path in ("/mutate/annotated", f"/mutate/annotated/{OTHER}"):
        assert client.post(path, data=body, content_type="application/json").status_code == 404
    assert api.all(JOBS) == api.all(CONFIGMAPS) == []
    assert {request.method for request in api.requests} <= {"GET"}
