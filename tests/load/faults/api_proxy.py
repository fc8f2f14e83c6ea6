"""A proxy between certjob's pods and the API server that misbehaves as it is told.

The node sends to it what pods send to the API server's Service; everybody else goes the direct way. It has the API
server's own certificate, and passes the caller's token on. Watches are passed on as they come.
"""

from __future__ import annotations

import http.client
import random
import ssl
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.cluster import settings as s
from tests.e2e import parts
from tests.load.faults import machine

PORT = 16443
TIMEOUT = 60.0
_NOT_PASSED_ON = frozenset({"connection", "transfer-encoding", "content-length", "keep-alive"})


class Way(Enum):
    """What happens to a request besides a delay."""

    THROUGH = "through"
    CUT_BEFORE = "cut before it came there"
    CUT_AFTER = "done, and the answer lost"
    ERROR = "500"
    UNAVAILABLE = "503"
    THROTTLED = "429"


@dataclass(frozen=True)
class Fate:
    """Of one request: `delay` seconds, and then its way."""

    way: Way = Way.THROUGH
    delay: float = 0.0


Fault = Callable[[], Fate]
"""Asked for each request."""
NO_FAULT: Fault = Fate


def slow(seconds: float) -> Fault:
    """Every request takes so much longer."""
    return lambda: Fate(delay=seconds)


def flaky(share: float, seed: int = 1) -> Fault:
    """That share of all requests is answered 5xx or cut, half of the cut ones when they were done."""
    chance = random.Random(seed)
    ways = (Way.CUT_BEFORE, Way.CUT_AFTER, Way.ERROR, Way.UNAVAILABLE)
    return lambda: Fate(chance.choice(ways) if chance.random() < share else Way.THROUGH)


def storms(seconds: float) -> Fault:
    """For so many seconds everything is refused with 429 and `Retry-After: 1`, then for as long nothing."""
    return lambda: Fate(Way.THROTTLED if int(time.monotonic() / seconds) % 2 else Way.THROUGH)


class ApiProxy:
    """`fault` may be set at any time; `seen` counts what happened to the requests."""

    def __init__(self, upstream: ssl.SSLContext) -> None:
        self.fault = NO_FAULT
        self.seen: Counter[Way] = Counter()
        self.upstream = upstream
        self._lock = threading.Lock()

    def fate(self) -> Fate:
        """Of the next request."""
        with self._lock:
            fate = self.fault()
            self.seen[fate.way] += 1
            return fate


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    timeout = 300
    server: _Server

    def setup(self) -> None:
        super().setup()
        self._upstream: http.client.HTTPSConnection | None = None

    def finish(self) -> None:
        if self._upstream is not None:
            self._upstream.close()
        super().finish()

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        fate = self.server.proxy.fate()
        time.sleep(fate.delay)
        match fate.way:
            case Way.CUT_BEFORE:
                self.close_connection = True
            case Way.CUT_AFTER:
                if not self.path.partition("?")[2].count("watch="):
                    self._forward(body).read()
                self.close_connection = True
            case Way.ERROR | Way.UNAVAILABLE | Way.THROTTLED:
                self._refuse(int(fate.way.value))
            case Way.THROUGH:
                self._pass_on(self._forward(body))

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET

    def _forward(self, body: bytes) -> http.client.HTTPResponse:
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _NOT_PASSED_ON}
        if self._upstream is None:
            self._upstream = http.client.HTTPSConnection(
                s.NODE_IP, 6443, context=self.server.proxy.upstream, timeout=TIMEOUT
            )
        try:
            self._upstream.request(self.command, self.path, body or None, headers)
            return self._upstream.getresponse()
        except (OSError, http.client.HTTPException):
            self._upstream.close()
            self._upstream = None
            raise

    def _refuse(self, status: int) -> None:
        body = b'{"kind":"Status","apiVersion":"v1","status":"Failure","message":"made up by the test","code":%d}'
        body %= status
        self.send_response_only(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if status == int(Way.THROTTLED.value):
            self.send_header("Retry-After", "1")
        self.end_headers()
        self.wfile.write(body)

    def _pass_on(self, answer: http.client.HTTPResponse) -> None:
        self.send_response_only(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in _NOT_PASSED_ON:
                self.send_header(name, value)
        length = answer.getheader("Content-Length")
        if length is not None:
            self.send_header("Content-Length", length)
            self.end_headers()
            self.wfile.write(answer.read())
            return
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.flush()
        while chunk := answer.read1(65536):
            self.wfile.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
            self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *args: Any) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256
    proxy: ApiProxy

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Connections that end are what this is for."""


@contextmanager
def between_pods_and_api_server() -> Iterator[ApiProxy]:
    """certjob's pods, made anew, speak through it until the block ends; then new ones go the direct way again."""
    pki = parts.settings().state / "pki"
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(pki / "apiserver.pem", pki / "apiserver.key")
    with _Server((s.NODE_IP, PORT), _Handler) as server:
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        server.proxy = ApiProxy(ssl.create_default_context(cafile=str(Path(pki / "cluster-ca.pem"))))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        redirect = ["-s", s.POD_CIDR, "-d", s.API_SERVICE_IP, "-p", "tcp", "--dport", "443"]
        redirect += ["-j", "DNAT", "--to-destination", f"{s.NODE_IP}:{PORT}"]
        _iptables("-I", redirect)
        try:
            machine.restart_deployments()
            yield server.proxy
        finally:
            server.proxy.fault = NO_FAULT
            _iptables("-D", redirect)
            machine.restart_deployments()
            server.shutdown()


def _iptables(what: str, rule: list[str]) -> None:
    subprocess.run(
        ["iptables", "-w", "-t", "nat", what, "PREROUTING", *rule], check=True, capture_output=True, timeout=30
    )
