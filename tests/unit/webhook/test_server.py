"""The webhook as it runs: gunicorn, TLS, and clients that behave badly."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from http.client import HTTPSConnection
from pathlib import Path
from typing import Any

import pytest
import yaml

from certs.authority import make_authority, make_leaf
from certs.keys import CertifiedKey
from issuer_job.upkeep.webhook import pods
from issuer_job.upkeep.webhook.certificate import DNS_NAMES
from tests.fakes.webhook_parts import ANNOTATED
from tests.worlds.reviews import ingress, review
from webhook import gunicorn_conf, worker
from webhook.review import MAX_BODY

pytestmark = pytest.mark.process

BODY = json.dumps(review(ingress())).encode()
JSON = {"Content-Type": "application/json"}
CROWD = 64
PATIENCE = 10.0
ROOT = Path(__file__).resolve().parents[3]


@dataclass
class Server:
    """A webhook process on loopback, and the CA that its certificate comes from."""

    process: subprocess.Popen[bytes]
    port: int
    tls: Path
    authority: CertifiedKey

    def connect(self, timeout: float = PATIENCE) -> HTTPSConnection:
        """A client's connection, made at its first request."""
        return HTTPSConnection("localhost", self.port, timeout=timeout, context=self.trust())

    def trust(self) -> ssl.SSLContext:
        """A client's context that checks the server as the API server does."""
        return ssl.create_default_context(cadata=self.authority.cert_chain_pems.decode())

    def tcp(self) -> socket.socket:
        """Just a TCP connection."""
        return socket.create_connection(("localhost", self.port), timeout=PATIENCE)

    def served_certificate(self) -> bytes:
        """The leaf as DER that a new connection gets."""
        with self.trust().wrap_socket(self.tcp(), server_hostname="localhost") as connection:
            return connection.getpeercert(binary_form=True) or b""


def start(tls: Path, **environment: str) -> Server:
    authority = make_authority(now=datetime.now(UTC))
    install(tls, authority)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "CERTJOB_TLS_DIR": str(tls), "CERTJOB_BIND": f"127.0.0.1:{port}", **environment}
    command = [sys.executable, "-m", "gunicorn", "-c", "python:webhook.gunicorn_conf"]
    process = subprocess.Popen([*command, "tests.fakes.webhook_parts:create_app()"], env=environment, process_group=0)
    server = Server(process, port, tls, authority)
    eventually(lambda: ready(server), seconds=60)
    return server


def install(tls: Path, authority: CertifiedKey) -> bytes:
    """Put a new serving certificate there, as the kubelet does; gives the leaf as DER."""
    leaf = make_leaf(authority, dns_names=["localhost", *DNS_NAMES], now=datetime.now(UTC))
    for name, content in (("tls.crt", leaf.cert_chain_pems), ("tls.key", leaf.key_pem)):
        part = tls / f"{name}.new"
        part.write_bytes(content)
        part.replace(tls / name)
    return ssl.PEM_cert_to_DER_cert(leaf.cert_chain_pems.decode())


def stop(server: Server) -> None:
    """At once, with its worker: the drain is a test's own subject, and gunicorn's quick end (SIGQUIT) may hang."""
    if server.process.poll() is None:
        os.killpg(server.process.pid, signal.SIGKILL)
    server.process.wait(timeout=PATIENCE)


def eventually(condition: Callable[[], bool], *, seconds: float = PATIENCE) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.02)


def ready(server: Server) -> bool:
    connection = server.connect()
    try:
        return get(connection, "/readyz") == 200
    except OSError:
        return False
    finally:
        connection.close()


def get(connection: HTTPSConnection, path: str) -> int:
    connection.request("GET", path)
    answer = connection.getresponse()
    answer.read()
    return answer.status


def admit(connection: HTTPSConnection) -> bool:
    connection.request("POST", f"{ANNOTATED}?timeout=5s", BODY, JSON)
    answer = connection.getresponse()
    return bool(json.loads(answer.read())["response"]["allowed"])


def admit_once(server: Server) -> float:
    """Seconds for one review on a new connection."""
    connection = server.connect()
    started = time.monotonic()
    try:
        assert admit(connection)
    finally:
        connection.close()
    return time.monotonic() - started


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = start(tmp_path_factory.mktemp("tls"))
    yield running
    stop(running)


def client_hello(server: Server) -> bytes:
    out = ssl.MemoryBIO()
    client = server.trust().wrap_bio(ssl.MemoryBIO(), out, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return out.read()


def test_a_pod_says_whether_it_knows_the_path_and_only_to_who_signed_its_certificate(server: Server) -> None:
    def asked(path: str, authority: CertifiedKey) -> int | None:
        return pods.answer(("127.0.0.1", server.port), authority.cert_chain_pems, path)

    assert asked(ANNOTATED, server.authority) == pods.KNOWN
    assert asked(f"/mutate/annotated/{'0' * 64}", server.authority) == 404
    assert asked(ANNOTATED, make_authority(now=datetime.now(UTC))) == 0
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        assert pods.answer(free.getsockname(), server.authority.cert_chain_pems, ANNOTATED) is None


def test_a_body_from_who_does_not_know_the_token_is_not_waited_for(server: Server) -> None:
    connection = server.connect()
    connection.putrequest("POST", "/mutate/annotated")
    connection.putheader("Content-Length", str(3 << 20))
    connection.endheaders()
    assert connection.getresponse().status == 404
    connection.close()


def test_idle_and_half_open_tls_connections_do_not_starve_it(server: Server) -> None:
    hello = client_hello(server)
    with ExitStack() as crowd:
        for _ in range(CROWD):
            crowd.enter_context(server.trust().wrap_socket(server.tcp(), server_hostname="localhost"))
        for number in range(CROWD):
            half = crowd.enter_context(server.tcp())
            # Some say nothing, some half a word, some do not listen to the answer.
            half.sendall((b"", hello[:100], hello)[number % 3])
        kept = server.connect()
        for _ in range(5):
            assert admit_once(server) < 1
            started = time.monotonic()
            assert admit(kept)
            assert time.monotonic() - started < 1
        kept.close()


def test_requests_that_never_end_are_ended(tmp_path: Path) -> None:
    server = start(tmp_path, CERTJOB_REQUEST_SECONDS="1")
    head = b"POST " + ANNOTATED.encode() + b" HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    try:
        with ExitStack() as crowd:
            for number in range(gunicorn_conf.threads + 20):
                slow = crowd.enter_context(server.trust().wrap_socket(server.tcp(), server_hostname="localhost"))
                slow.sendall(head if number % 2 else head + b"Content-Length: 1000\r\n\r\n{")
            assert admit_once(server) < 4
            eventually(lambda: admit_once(server) < 1)  # those that had to queue for a thread are ended, too
    finally:
        stop(server)


def test_more_idle_connections_than_places_push_out_the_oldest(server: Server) -> None:
    with ExitStack() as crowd:
        for _ in range(gunicorn_conf.worker_connections + 20):
            crowd.enter_context(server.tcp())
        assert admit_once(server) < 1


def test_a_connection_is_reused_after_a_pause_and_kept_longer_than_the_api_server_keeps_it(server: Server) -> None:
    connection = server.connect()
    assert admit(connection)
    first = connection.sock
    time.sleep(2.2)  # the pause is the subject: longer than gunicorn's default of 2 s
    assert admit(connection)
    assert connection.sock is first
    connection.close()
    assert gunicorn_conf.keepalive >= 95


def test_a_certificate_replaced_on_disk_is_served_without_restart(server: Server) -> None:
    before = server.served_certificate()
    new = install(server.tls, server.authority)
    assert new != before
    eventually(lambda: server.served_certificate() == new)
    (server.tls / "tls.key").write_bytes(b"not a key")
    assert server.served_certificate() == new
    assert install(server.tls, server.authority) == server.served_certificate()


def test_tls_below_1_2_is_refused(server: Server) -> None:
    old = server.trust()
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1 is deprecated"):
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises((ssl.SSLError, ConnectionError)):
        old.wrap_socket(server.tcp(), server_hostname="localhost")


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\nX-Long: " + b"a" * 5000 + b"\r\n\r\n", 431),
        (b"GET /" + b"a" * 2000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
        (b"POST " + ANNOTATED.encode() + b" HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
         b"Content-Length: 99999999999\r\n\r\n{", 413),
        (b"POST " + ANNOTATED.encode() + b" HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
         b"Transfer-Encoding: chunked\r\n\r\n400000\r\n" + b" " * 0x400000 + b"\r\n0\r\n\r\n", 413),
        (b"POST " + ANNOTATED.encode() + b" HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
         b"Transfer-Encoding: chunked\r\n\r\nzzz\r\n", 400),
        (b"nonsense\r\n\r\n", 400),
    ],
    ids=["long header", "long path", "lying length", "large chunk", "bad chunk", "no HTTP"],
)  # fmt: skip
def test_hostile_http_gets_a_4xx(server: Server, request_bytes: bytes, status: int) -> None:
    with server.trust().wrap_socket(server.tcp(), server_hostname="localhost") as connection:
        connection.sendall(request_bytes)
        line = connection.recv(4096).split(b"\r\n")[0]
    assert line.split()[1] == str(status).encode()


LARGEST = {
    "lists that nobody reads": BODY.replace(b'"spec": {', b'"x": [%s], "spec": {'),
    "rules": BODY.replace(b'"rules": [', b'"rules": [%s,'),
    "annotations": BODY.replace(b'"annotations": {', b'"annotations": {%s,'),
    "hosts": BODY.replace(b'"rules": [', b'"tls": [{"hosts": [%s]}], "rules": ['),
}
ITEMS = {"lists that nobody reads": "[]", "rules": "{}", "annotations": '"%x":""', "hosts": '"%x"'}
AT_ONCE = 16


def test_the_largest_reviews_at_once_fit_into_its_memory(tmp_path: Path) -> None:
    """Nor do small ones wait for them, and the process is the same afterwards."""
    container = deployed()
    server = start(tmp_path, **{entry["name"]: entry["value"] for entry in container["env"] if "value" in entry})
    most = int(container["resources"]["limits"]["memory"].removesuffix("Mi"))
    try:
        workers = children(server.process.pid)
        for name, frame in LARGEST.items():
            item = ITEMS[name]
            items, size = [], 0
            while size < MAX_BODY - len(frame):
                items.append((item % len(items) if "%" in item else item).encode())
                size += len(items[-1]) + 1
            body = frame.replace(b"%s", b",".join(items[:-1]))
            assert 0.99 * MAX_BODY < len(body) <= MAX_BODY
            with ThreadPoolExecutor(AT_ONCE) as pool:
                large = [pool.submit(post, server, body) for _ in range(AT_ONCE)]
                slowest = max(admit_once(server) for _ in range(20))
                answers = {answer.result() for answer in large}
                assert 200 in answers
                assert answers <= {200, 503}
            assert slowest < 4, "the API server waits for 5"
            peaks = [peak_mib(pid) for pid in workers]
            print(f"{name}: {peaks} MiB, a small review took at most {slowest:.2f} s")
            assert max(peaks) < 0.75 * most
        assert children(server.process.pid) == workers
    finally:
        stop(server)


def deployed() -> Any:
    """The container as the manifests have it."""
    documents = yaml.safe_load_all((ROOT / "manifests/base/webhook.yaml").read_text())
    (deployment,) = (document for document in documents if document["kind"] == "Deployment")
    return deployment["spec"]["template"]["spec"]["containers"][0]


def post(server: Server, body: bytes) -> int:
    """The status; also 503 where the rest of a body that found no room was not taken any more."""
    connection = server.connect()
    try:
        connection.request("POST", f"{ANNOTATED}?timeout=5s", body, JSON)
        answer = connection.getresponse()
        answer.read()
        return answer.status
    except OSError:
        return 503
    finally:
        connection.close()


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def peak_mib(pid: int) -> int:
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.partition("VmHWM:")[2].split()[0]) // 1024


def test_sigterm_loses_no_request(tmp_path: Path) -> None:
    server = start(tmp_path, CERTJOB_DRAIN_SECONDS="3", LAUNCH_SECONDS="0.05")  # time enough on a busy machine
    removed = threading.Event()  # the endpoint is gone: nobody sends requests here any more
    answered: list[float] = []
    failures: list[str] = []

    def client() -> None:
        connection = server.connect()
        while not removed.is_set():
            try:
                assert admit(connection)
                answered.append(time.monotonic())
            except (OSError, ValueError) as problem:
                failures.append(repr(problem))
        connection.close()

    clients = [threading.Thread(target=client) for _ in range(8)]
    try:
        for thread in clients:
            thread.start()
        eventually(lambda: len(answered) > 40)
        told = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        eventually(lambda: not ready(server))
        many = len(answered) + 20
        eventually(lambda: len(answered) > many)
    finally:
        removed.set()
        for thread in clients:
            thread.join()
    try:
        assert failures == []
        assert max(answered) > told + 0.05
        assert server.process.wait(timeout=PATIENCE) == 0
        assert time.monotonic() - told < worker.DRAIN_SECONDS + 3
    finally:
        stop(server)
