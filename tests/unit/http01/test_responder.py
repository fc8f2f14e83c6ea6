"""The responder over real sockets, with a fake API server behind it."""

from __future__ import annotations

import asyncio
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path

import pytest
import yaml

from issuer_job.cluster.api import CONFIGMAPS, Cluster, Json, Unreachable
from issuer_job.cluster.following import Timing
from issuer_job.http01 import responder
from issuer_job.http01.challenge_index import ChallengeIndex
from issuer_job.http01.challenge_watch import ChallengeWatch
from issuer_job.http01.responder import MAX_PIPELINED, Responder, ResponderLimits
from tests.fakes.api import FakeApi, status
from tests.worlds.documents import MANIFESTS
from tests.worlds.view import told_in

QUICK = Timing(watch=(20, 20), backoff=0.01, backoff_max=0.05)
LIMITS = ResponderLimits(connections=50)
WATCHES = "configmaps"


class HastyApi(FakeApi):
    """A reader's time is a hundred times shorter, so that it can be waited for."""

    def stream(self, path: str, *, timeout: float) -> Iterator[bytes]:
        return super().stream(path, timeout=timeout / 100)


class Running:
    """A responder in an event loop of its own."""

    def __init__(self, api: FakeApi, limits: ResponderLimits = LIMITS, timing: Timing = QUICK) -> None:
        self.index = ChallengeIndex()
        self.watch = ChallengeWatch(Cluster(api), self.index, timing=timing)
        self.port = self.health_port = 0
        self._limits = limits
        self._started = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._run(),))
        self._thread.start()
        assert self._started.wait(5)

    async def _run(self) -> None:
        self._draining, self._stop = asyncio.Event(), asyncio.Event()
        responder = Responder(self.watch, limits=self._limits)
        await responder.start(port=0, health_port=0)
        self.port, self.health_port = responder.ports
        self._started.set()
        await self._draining.wait()
        responder.drain()
        await self._stop.wait()
        await responder.stop()

    def drain(self) -> None:
        self._loop.call_soon_threadsafe(self._draining.set)

    def stop(self) -> None:
        self.drain()
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)
        assert not self._thread.is_alive()
        self._loop.close()


def get(port: int, path: str, method: str = "GET", **headers: str) -> tuple[HTTPResponse, bytes]:
    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request(method, path, headers=headers)
        response = connection.getresponse()
        return response, response.read()
    finally:
        connection.close()


def raw(port: int, data: bytes) -> bytes:
    """What comes back for these bytes until the responder closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(data)
        return b"".join(iter(lambda: connection.recv(4096), b""))


def until(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        threading.Event().wait(0.005)


def authorization(token: str) -> str:
    return f"{token}.{'h' * 43}"


def challenge(name: str, *tokens: str) -> Json:
    metadata = {"name": name, "labels": {"certjob.io/challenge": "true"}}
    return {"metadata": metadata, "data": {token: authorization(token) for token in tokens}}


def path(token: str) -> str:
    return f"/.well-known/acme-challenge/{token}"


A, B, C = ("a" * 22, "b" * 22, "c" * 43)


@pytest.fixture
def api() -> FakeApi:
    fake = FakeApi()
    fake.add(CONFIGMAPS, "certjob", challenge("one", A))
    return fake


@pytest.fixture
def running(api: FakeApi) -> Iterator[Running]:
    responder = Running(api)
    try:
        until(lambda: get(responder.health_port, "/readyz")[0].status == 200)
        until(lambda: any(request.method == "WATCH" for request in api.requests))
        yield responder
    finally:
        responder.stop()
        api.close_watches()


def answers(running: Running, token: str) -> bool:
    response, body = get(running.port, path(token))
    return response.status == 200 and body == authorization(token).encode()


def lists(api: FakeApi) -> int:
    return sum(request.method == "GET" for request in api.requests)


def lengths(api: FakeApi) -> list[int]:
    return [int(request.query["timeoutSeconds"]) for request in api.requests if request.method == "WATCH"]


def test_a_token_is_answered(running: Running) -> None:
    response, body = get(running.port, path(A), Host="whatever.example")
    assert (response.status, body) == (200, authorization(A).encode())
    assert response.getheader("Content-Type") == "application/octet-stream"
    assert response.getheader("Content-Length") == str(len(body))
    assert response.getheader("Cache-Control") == "no-store"
    assert response.getheader("Server") == "certjob"


def test_head_has_the_length_and_no_body(running: Running) -> None:
    response, body = get(running.port, path(A), "HEAD")
    assert (response.status, body, response.getheader("Content-Length")) == (200, b"", str(len(authorization(A))))
    answer = raw(running.port, f"HEAD {path(A)} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    assert answer.endswith(b"\r\n\r\n")
    assert authorization(A).encode() not in answer


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("GET", path(B)),
        ("GET", "/"),
        ("GET", path("")),
        ("GET", path(A + "/")),
        ("GET", path("../" + A)),
        ("GET", "/x/.." + path(A)),
        ("GET", path("a" * 129)),
        ("GET", "/readyz"),
        ("POST", path(A)),
        ("DELETE", path(A)),
        ("OPTIONS", path(A)),
        ("OPTIONS", "*"),
    ],
)
def test_everything_else_is_404(running: Running, method: str, target: str) -> None:
    assert get(running.port, target, method)[0].status == 404


def test_absolute_form_query_and_http_1_0(running: Running) -> None:
    for line in (f"GET http://h:80{path(A)} HTTP/1.1", f"GET {path(A)}?x=1 HTTP/1.1", f"GET {path(A)} HTTP/1.0"):
        answer = raw(running.port, f"{line}\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        assert answer.startswith((b"HTTP/1.1 200 OK\r\n", b"HTTP/1.0 200 OK\r\n"))
        assert answer.endswith(b"\r\n\r\n" + authorization(A).encode())


def test_both_families(running: Running) -> None:
    with socket.create_connection(("::1", running.port), timeout=5) as connection:
        connection.sendall(f"GET {path(A)} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert connection.recv(20).startswith(b"HTTP/1.1 200")


def test_without_ipv6_it_listens_on_ipv4(api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "has_dualstack_ipv6", lambda: False)
    running = Running(api)
    try:
        until(lambda: answers(running, A))
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("::1", running.port), timeout=5)
    finally:
        running.stop()
        api.close_watches()


@pytest.mark.parametrize(
    "request_head",
    [
        b"\x16\x03\x01\x02\x00\x01\xfc\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"get / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET aaaa HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/7.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX y\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 5000,
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 100 + b"\r\n",
        b"GET /" + b"y" * 4096,
        b"GET /" + b"y" * 4096 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    ],
)
def test_junk_is_refused(running: Running, caplog: pytest.LogCaptureFixture, request_head: bytes) -> None:
    assert raw(running.port, request_head).startswith((b"HTTP/1.1 400 ", b"HTTP/1.0 400 "))
    assert answers(running, A)
    assert [record for record in caplog.records if record.exc_info] == []


def test_a_connection_is_kept(running: Running) -> None:
    connection = HTTPConnection("127.0.0.1", running.port, timeout=5)
    try:
        for token, expected in ((A, 200), (B, 404), (A, 200)):
            connection.request("GET", path(token))
            response = connection.getresponse()
            response.read()
            assert (response.status, response.will_close) == (expected, False)
    finally:
        connection.close()


def test_pipelined_requests_are_answered_in_order(running: Running) -> None:
    one = f"GET {path(A)} HTTP/1.1\r\nHost: x\r\n\r\n"
    last = f"GET {path(B)} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    answer = raw(running.port, (one * 20 + last).encode())
    assert answer.count(b"HTTP/1.1 200 OK") == 20
    assert answer.rindex(b"HTTP/1.1 404") > answer.rindex(b"HTTP/1.1 200 OK")


def test_a_request_may_come_byte_by_byte(running: Running) -> None:
    with socket.create_connection(("127.0.0.1", running.port), timeout=5) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in f"GET {path(A)} HTTP/1.1\r\nHost: x\r\n\r\n".encode():
            connection.send(bytes([byte]))
            assert answers(running, A)  # so the byte before was read by itself
        assert connection.recv(20).startswith(b"HTTP/1.1 200")


def test_slow_clients_are_cut(api: FakeApi) -> None:
    running = Running(api, ResponderLimits(idle=0.1))
    try:
        assert raw(running.port, b"") == b""
        assert raw(running.port, b"GET / HT") == b""
        kept = raw(running.port, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert kept.count(b"HTTP/1.1 404") == 1
        assert b"close" not in kept
    finally:
        running.stop()
        api.close_watches()


def test_idle_connections_do_not_keep_others_out(running: Running) -> None:
    idle = [socket.create_connection(("127.0.0.1", running.port), timeout=5) for _ in range(200)]
    try:
        assert answers(running, A)
        # The oldest are cut, down to what is allowed; the others stay.
        assert [connection.recv(1) for connection in idle[:151]] == [b""] * 151
        idle[151].setblocking(False)
        with pytest.raises(BlockingIOError):
            idle[151].recv(1)
        assert answers(running, A)
    finally:
        for connection in idle:
            connection.close()


def test_the_watch_is_followed(api: FakeApi, running: Running) -> None:
    one = api.add(CONFIGMAPS, "certjob", challenge("two", B))
    until(lambda: answers(running, B))
    api.add(CONFIGMAPS, "certjob", {**one, "data": {C: authorization(C), "junk": "junk"}})
    until(lambda: answers(running, C))
    assert not answers(running, B)
    api.remove(CONFIGMAPS, "certjob", "two")
    until(lambda: not answers(running, C))
    assert answers(running, A)


def test_no_request_asks_the_api_server(api: FakeApi, running: Running) -> None:
    before = len(api.requests)
    for number in range(50):
        assert answers(running, A)
        assert not answers(running, f"{number:022}")
    assert len(api.requests) == before


def test_a_watch_that_ended_is_taken_up_where_it_was(api: FakeApi, running: Running) -> None:
    api.bookmark()
    api.close_watches()
    until(lambda: sum(request.method == "WATCH" for request in api.requests) >= 2)
    api.add(CONFIGMAPS, "certjob", challenge("two", B))
    until(lambda: running.index.lookup(B) is not None)
    watches = [request for request in api.requests if request.method == "WATCH"]
    assert lists(api) == 1
    assert int(watches[1].query["resourceVersion"]) > int(watches[0].query["resourceVersion"])


def test_gone_lists_again(api: FakeApi, running: Running) -> None:
    api.expire()
    until(lambda: lists(api) == 2)
    api.add(CONFIGMAPS, "certjob", challenge("two", B))
    until(lambda: answers(running, B))
    assert lists(api) == 2
    assert running.watch.alive()


def test_what_was_missed_is_made_up_for_after_an_error(api: FakeApi, running: Running) -> None:
    api.fail("WATCH", WATCHES, Unreachable("cut"))
    api.fail("GET", WATCHES, status(500, "InternalError"), times=3)
    api.close_watches()
    api.remove(CONFIGMAPS, "certjob", "one")
    api.add(CONFIGMAPS, "certjob", challenge("two", B))
    until(lambda: lists(api) == 5)
    until(lambda: running.index.lookup(B) is not None and running.index.lookup(A) is None)
    assert running.watch.alive()


def test_the_index_answers_while_the_api_server_is_away(api: FakeApi, running: Running) -> None:
    api.fail("WATCH", WATCHES, Unreachable("connection refused"), times=10**6)
    api.fail("GET", WATCHES, status(503, "ServiceUnavailable"), times=10**6)
    api.close_watches()
    until(lambda: lists(api) >= 4)
    assert answers(running, A)
    assert not answers(running, B)
    assert get(running.health_port, "/readyz")[0].status == 200


def test_a_frozen_watch_ends_with_a_list() -> None:
    api = HastyApi()
    api.add(CONFIGMAPS, "certjob", challenge("one", A))
    running = Running(api)
    try:
        until(lambda: any(request.method == "WATCH" for request in api.requests))
        before = lists(api)
        api.freeze_watches()
        api.remove(CONFIGMAPS, "certjob", "one")
        api.add(CONFIGMAPS, "certjob", challenge("two", B))
        until(lambda: answers(running, B) and not answers(running, A))
        assert lists(api) > before
    finally:
        running.stop()
        api.close_watches()


def test_watches_are_short_and_of_random_length(api: FakeApi) -> None:
    running = Running(api, timing=Timing(backoff=0.001, backoff_max=0.001))
    try:
        for number in range(1, 21):
            until(lambda number=number: len(lengths(api)) >= number)  # type: ignore[misc]
            api.close_watches()
        assert all(25 <= seconds <= 35 for seconds in lengths(api))
        assert len(set(lengths(api))) > 1
        assert lists(api) == 1
    finally:
        running.stop()
        api.close_watches()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_watch_that_died_of_a_bug_is_not_alive(api: FakeApi, running: Running) -> None:
    api.fail("WATCH", WATCHES, RuntimeError("bug"))
    assert get(running.health_port, "/livez")[0].status == 200
    api.close_watches()
    until(lambda: get(running.health_port, "/livez")[0].status == 503)
    assert get(running.health_port, "/readyz")[0].status == 503


def test_what_it_does_is_told_at_its_other_port(api: FakeApi, running: Running) -> None:
    for asked in (path(A), path(C), path(C), "/else"):
        get(running.port, asked)
    answer, text = get(running.health_port, "/metrics")
    assert answer.status == 200
    told = told_in(text)
    assert told["responder_requests_total"] == {
        (("result", "answered"),): 1,
        (("result", "unknown"),): 2,
        (("result", "other"),): 1,
    }
    assert told["responder_challenges"] == {(): len(running.index)}
    assert len([name for name in told if name.startswith("responder")]) == 2
    assert get(running.port, "/metrics")[0].status == 404


def test_ready_only_after_a_complete_list(api: FakeApi) -> None:
    for number in range(150):
        api.add(CONFIGMAPS, "certjob", challenge(f"n{number:03}", f"{number:022}"))
    api.fail("GET", "continue=", status(500, "InternalError"), times=10**6)
    running = Running(api)
    try:
        until(lambda: sum("continue" in request.query for request in api.requests) >= 2)
        assert get(running.health_port, "/readyz")[0].status == 503
        assert get(running.health_port, "/livez")[0].status == 200
        assert get(running.health_port, path(A))[0].status == 404
        assert len(running.index) == 0
        api.expire()
        api.clear_faults()
        until(lambda: get(running.health_port, "/readyz")[0].status == 200)
        assert len(running.index) == 151
    finally:
        running.stop()
        api.close_watches()


def test_while_it_drains_it_is_not_ready_and_still_answers(api: FakeApi) -> None:
    running = Running(api)
    until(lambda: get(running.health_port, "/readyz")[0].status == 200)
    with (
        socket.create_connection(("127.0.0.1", running.port), timeout=5) as idle,
        socket.create_connection(("127.0.0.1", running.port), timeout=5) as begun,
    ):
        begun.sendall(f"GET {path(A)} HT".encode())
        running.drain()
        until(lambda: get(running.health_port, "/readyz")[0].status == 503)
        assert get(running.health_port, "/livez")[0].status == 200
        assert answers(running, A)
        assert get(running.port, path(A))[0].getheader("Connection") == "close"
        begun.sendall(b"TP/1.1\r\nHost: x\r\n\r\n")
        assert begun.recv(20).startswith(b"HTTP/1.1 200")
        running.stop()
        assert idle.recv(1) == b""
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", running.port), timeout=5)
    api.close_watches()


def test_a_client_that_goes_on_does_not_hold_up_the_end(api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(responder, "_SHUTDOWN", 0.2)
    running = Running(api)
    with socket.create_connection(("127.0.0.1", running.port), timeout=5) as slow:
        slow.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nx")
        assert slow.recv(20).startswith(b"HTTP/1.1 404")
        begun = time.monotonic()
        running.stop()
        assert time.monotonic() - begun < 4
    api.close_watches()


PROGRAM = """
import logging, sys
logging.basicConfig(level=logging.INFO, format="%(message)s %(fields)s", stream=sys.stdout)
from issuer_job.cluster.api import Cluster
from issuer_job.http01.responder import MAX_PIPELINED, ResponderLimits, serve
from tests.fakes.api import FakeApi
serve(Cluster(FakeApi()), port=0, health_port=0, limits=ResponderLimits(drain=0.05))
"""


@contextmanager
def served() -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A responder in a process of its own that is ready, and its port."""
    root = Path(__file__).parents[3]
    command = [sys.executable, "-W", "error", "-c", PROGRAM]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True, env={**os.environ}) as process:
        assert process.stdout is not None
        try:
            said = ""
            while not all(event in said for event in ("responder-started", "challenges-listed")):
                line = process.stdout.readline()
                assert line, said
                said += line
            yield process, int(re.findall(r"'port': (\d+)", said)[0])
        finally:
            process.kill()


def pod_limit(deployment: str) -> str:
    """The memory that the manifest gives its container."""
    found = yaml.safe_load_all((MANIFESTS / "base/responder.yaml").read_text())
    (spec,) = [d["spec"] for d in found if (d["kind"], d["metadata"]["name"]) == ("Deployment", deployment)]
    (container,) = spec["template"]["spec"]["containers"]
    return str(container["resources"]["limits"]["memory"])


def peak_mib(process: subprocess.Popen[str]) -> int:
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) // 1024


FULL_HEAD = b"GET /x HTTP/1.1\r\n" + b"".join(b"X-%d: " % number + b"y" * 110 + b"\r\n" for number in range(46))
ONE_REQUEST = b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n"
MANY_REQUESTS = ONE_REQUEST * 200


@pytest.mark.process
@pytest.mark.parametrize("sent", [FULL_HEAD, FULL_HEAD * 40, MANY_REQUESTS], ids=["heads", "long", "unread"])
def test_memory_is_bounded_whatever_clients_send_and_never_read(sent: bytes) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = int(pod_limit("certjob-responder").removesuffix("Mi"))
    others = 30  # MiB, of what this process has not: the way to a real API server, and the kernel's part
    with served() as (process, port), ExitStack() as opened:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        opened.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        idle = peak_mib(process)
        for _ in range(ResponderLimits().connections + 100):
            client = opened.enter_context(socket.create_connection(("127.0.0.1", port), timeout=5))
            client.setblocking(False)
            with suppress(OSError):
                client.send(sent)
        assert get(port, path(A))[0].status == 404
        assert process.poll() is None
        assert idle < peak_mib(process) < limit - others


def test_more_requests_at_once_than_anybody_needs_end_the_connection(running: Running) -> None:
    with socket.create_connection(("127.0.0.1", running.port), timeout=5) as client:
        client.sendall(ONE_REQUEST * MAX_PIPELINED)
        got = b""
        while got.count(b"HTTP/1.1 404") < MAX_PIPELINED:
            got += client.recv(4096)
        client.sendall(ONE_REQUEST * (MAX_PIPELINED + 1))
        with suppress(ConnectionResetError):
            assert client.recv(4096) == b""
    assert answers(running, A)


def test_a_client_that_reads_nothing_gets_no_further_answers(running: Running) -> None:
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", running.port))
        client.settimeout(5)
        with pytest.raises(OSError, match=r"reset|Broken pipe|timed out"):
            client.sendall(MANY_REQUESTS * 1000)
    assert answers(running, A)


@pytest.mark.process
def test_sigterm_ends_the_process() -> None:
    with served() as (process, _):
        assert process.stdout is not None
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
        assert "responder-stopped" in process.stdout.read()
