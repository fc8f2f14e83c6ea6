"""A reverse proxy in front of an ACME server that misbehaves by rules: for tests of what a CA can do to a client.

    with fault_proxy() as proxy:
        proxy.on("newOrder", SWALLOW)  # the first one reaches the CA, its answer is lost
        proxy.on("finalize", problem("serverInternal", status=500))  # the first one does not reach the CA
        proxy.on("authorization", Delay(2.0), times=None)  # every one, until the proxy is cleared
        proxy.on("newOrder", proxy.first_order_again(), times=None)  # one order for several records
        ...  # an issuer with server: proxy.directory and caBundle: proxy.ca_pem
        assert len(proxy.orders) == 1

It listens on its own port with a certificate of its own CA. Pebble builds its URLs from the Host header, which is
passed on as it came, so every further request leads through the proxy again. Accounts and orders made through it are
Pebble's own: seen from another address they have other URLs.

The steps, and what can be done at one, are in `fault_rules`. Rules are tried in the order in which they were made;
the first one that matches and is not used up decides; a request without one goes through as it is. What passed
is in `proxy.passed`, in the order in which it was done. Everything may be called while requests are under way. A
rule's function that raises cuts the connection, and its exception is raised when the proxy ends.
"""

from __future__ import annotations

import http.client
import ipaddress
import os
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from tests.fakes.fault_rules import STEPS, Action, Answer, Change, Cut, Delay, Request, problem, step_of
from tests.fakes.serving import served

UPSTREAM_TIMEOUT = 20.0
_NOT_PASSED_ON = frozenset({"connection", "transfer-encoding", "content-length", "keep-alive"})


@dataclass(frozen=True)
class Passed:
    """One request that came. `answer` is the CA's own, None if it was not asked; `action` is its rule's, if any."""

    request: Request
    answer: Answer | None
    action: Action | None


@dataclass
class _Rule:
    step: str
    action: Action
    where: Callable[[Request], bool]
    skip: int
    times: int | None


class FaultProxy:
    """See the module. Made by `fault_proxy`."""

    def __init__(self, *, upstream: str, upstream_tls: ssl.SSLContext, url: str, ca_pem: bytes) -> None:
        self.url = url
        self.ca_pem = ca_pem
        self.directory = url + urlsplit(upstream).path
        self.passed: list[Passed] = []
        self.broken: list[Exception] = []
        self._upstream = urlsplit(upstream)
        self._upstream_tls = upstream_tls
        self._rules: list[_Rule] = []
        self._lock = threading.Lock()

    def on(
        self,
        step: str,
        action: Action,
        *,
        skip: int = 0,
        times: int | None = 1,
        where: Callable[[Request], bool] = lambda request: True,
    ) -> None:
        """Do this to `times` requests of the step (None: to all) after `skip` others, of those that `where` takes."""
        assert step in STEPS.values(), step
        with self._lock:
            self._rules.append(_Rule(step, action, where, skip, times))

    def clear(self) -> None:
        """From now on everything passes."""
        with self._lock:
            self._rules.clear()

    def first_order_again(self) -> Change:
        """For newOrder: the order that the CA made first through this proxy, as it was then. The CA makes another."""

        def change(request: Request, answer: Answer) -> Answer:
            made = self.answers("newOrder", status=201)
            if not made or answer.status != 201:
                return answer
            return Answer(201, made[0].body, {**made[0].headers, "Replay-Nonce": answer.headers["Replay-Nonce"]})

        return Change(change)

    def count(self, step: str) -> int:
        """How many requests of the step came."""
        return len([one for one in list(self.passed) if one.request.step == step])

    def answers(self, step: str, *, status: int | None = None) -> list[Answer]:
        """The CA's own answers to a step, also those that the client never saw."""
        found = [one.answer for one in list(self.passed) if one.request.step == step and one.answer is not None]
        return [answer for answer in found if status is None or answer.status == status]

    @property
    def orders(self) -> list[str]:
        """URLs of the orders that the CA made, in the order of their making."""
        return list(dict.fromkeys(answer.headers["Location"] for answer in self.answers("newOrder", status=201)))

    @property
    def accounts(self) -> list[str]:
        """URLs of the accounts that the CA made."""
        return list(dict.fromkeys(answer.headers["Location"] for answer in self.answers("newAccount", status=201)))

    def handle(self, request: Request) -> Answer | None:
        """What the client gets; None: no answer."""
        action = self._action(request)
        seen: Answer | None = None
        reply: Answer | None = None
        match action:
            case Answer():
                nonce = self._fresh_nonce(request) if action.fresh_nonce else {}
                reply = Answer(action.status, action.body, {**action.headers, **nonce})
            case Cut(forward=False):
                pass
            case Cut():
                seen = self._forward(request)
            case Change():
                seen = self._forward(request)
                reply = action.change(request, seen)
            case _:
                if isinstance(action, Delay):
                    time.sleep(action.seconds)
                    last = time.monotonic() + action.most - action.seconds
                    while not action.until() and time.monotonic() < last:
                        time.sleep(0.05)
                seen = reply = self._forward(request)
        with self._lock:
            self.passed.append(Passed(request, seen, action))
        return reply

    def _action(self, request: Request) -> Action | None:
        with self._lock:
            for rule in self._rules:
                if rule.step != request.step or rule.times == 0 or not rule.where(request):
                    continue
                if rule.skip:
                    rule.skip -= 1
                    continue
                if rule.times is not None:
                    rule.times -= 1
                return rule.action
        return None

    def _forward(self, request: Request) -> Answer:
        """Ask the CA as if we were the client, Host header and all."""
        where = self._upstream
        connection = http.client.HTTPSConnection(
            where.hostname or "", where.port, context=self._upstream_tls, timeout=UPSTREAM_TIMEOUT
        )
        try:
            connection.putrequest(request.method, request.path, skip_host=True, skip_accept_encoding=True)
            for name, value in request.headers.items():
                if name.lower() not in _NOT_PASSED_ON:
                    connection.putheader(name, value)
            connection.putheader("Content-Length", str(len(request.body)))
            connection.endheaders(request.body)
            answer = connection.getresponse()
            headers: dict[str, str] = {}
            for name, value in answer.getheaders():
                if name.lower() not in _NOT_PASSED_ON:
                    headers[name] = f"{headers[name]}, {value}" if name in headers else value
            return Answer(answer.status, answer.read(), headers)
        except OSError as error:
            return problem("serverInternal", f"the proxy does not reach the CA: {error}", status=502)
        finally:
            connection.close()

    def _fresh_nonce(self, request: Request) -> dict[str, str]:
        path = next(path for path, step in STEPS.items() if step == "newNonce")
        headers = {name: request.headers[name] for name in ("Host", "User-Agent")}
        answer = self._forward(Request("newNonce", "HEAD", path, headers, b""))
        return {"Replay-Nonce": answer.headers["Replay-Nonce"]}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one segment: two would wait for each other's acknowledgement
    timeout = 60
    server: _Server

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        request = Request(step_of(self.path), self.command, self.path, dict(self.headers), body)
        try:
            answer = self.server.proxy.handle(request)
        except Exception as error:  # noqa: BLE001 - a rule's own mistake, raised in the test's thread at the end
            self.server.proxy.broken.append(error)
            answer = None
        if answer is None:
            self.close_connection = True
            return
        self.send_response_only(answer.status)
        for name, value in {"Content-Length": str(len(answer.body)), **answer.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    do_HEAD = do_POST = do_GET

    def log_message(self, *args: Any) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    proxy: FaultProxy

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that leave, or refuse the certificate, are part of the tests."""


@contextmanager
def fault_proxy(
    *, address: str | None = None, name: str = "", upstream: str | None = None, upstream_ca: bytes | None = None
) -> Iterator[FaultProxy]:
    """Run a proxy on a free port of `address`, which its clients must be able to reach, and by its `name`.

    Unless given, that is the local cluster's node, and `upstream` (with the PEM that its TLS is
    trusted by) is its Pebble.
    """
    address = address or os.environ["CERTJOB_TRAEFIK_ADDRESS"]
    upstream = upstream or os.environ["CERTJOB_PEBBLE_DIRECTORY"]
    upstream_ca = upstream_ca or Path(os.environ["CERTJOB_PEBBLE_CA"]).read_bytes()
    tls, ca_pem = _server_tls(address, name)
    with _Server((address, 0), _Handler) as server:
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        server.proxy = FaultProxy(
            upstream=upstream,
            upstream_tls=ssl.create_default_context(cadata=upstream_ca.decode()),
            url=f"https://{name or address}:{server.server_address[1]}",
            ca_pem=ca_pem,
        )
        with served(server, poll_interval=0.05):
            yield server.proxy
    if server.proxy.broken:
        raise server.proxy.broken[0]


def _server_tls(address: str, name: str) -> tuple[ssl.SSLContext, bytes]:
    """A TLS context for the address and its name, and the PEM of the CA that its certificate comes from."""
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Fault Proxy CA")])
    now = datetime.now(UTC)

    def signed(subject: x509.Name, public_key: ec.EllipticCurvePublicKey, *extensions: x509.ExtensionType) -> bytes:
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(ca_name)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=2))
            .not_valid_after(now + timedelta(days=1))
        )
        for extension in extensions:
            builder = builder.add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
        return builder.sign(ca_key, hashes.SHA256()).public_bytes(Encoding.PEM)

    ca_pem = signed(ca_name, ca_key.public_key(), x509.BasicConstraints(ca=True, path_length=0))
    known = [x509.IPAddress(ipaddress.ip_address(address)), *([x509.DNSName(name)] if name else [])]
    names = x509.SubjectAlternativeName(known)
    leaf = signed(x509.Name([]), key.public_key(), names)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with TemporaryDirectory() as directory:
        pair = Path(directory) / "pair.pem"
        pair.touch(mode=0o600)
        pair.write_bytes(leaf + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        context.load_cert_chain(pair)
    return context, ca_pem
