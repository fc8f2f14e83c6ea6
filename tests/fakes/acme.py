"""A small ACME server over real TLS on loopback, strict about JWS and nonces, with faults on demand."""

from __future__ import annotations

import json
import threading
from collections import defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from acme import jws
from cryptography import x509
from josepy.b64 import b64decode, b64encode
from josepy.jwk import JWK

from tests.fakes.acme_ca import FakeCA
from tests.fakes.serving import served

TOKEN = "tokenTOKENtokenTOKENtokenTOKENtoken0123456"
PROBLEM = "application/problem+json"
DATE = "Tue, 05 May 2026 10:00:00 GMT"


@dataclass(frozen=True)
class Reply:
    """What to answer: JSON, or `raw` bytes. `hang` closes the connection without an answer; `slow` takes longer than
    anybody waits, over a wire as if it had been closed.
    """

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    raw: bytes | None = None
    hang: bool = False
    slow: bool = False
    nonce: bool = True


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    headers: dict[str, str]
    protected: dict[str, Any]
    payload: Any  # parsed JSON; "" for POST-as-GET; None without a JWS
    client: tuple[str, int]


def problem(kind: str, detail: str = "said the fake", *, status: int = 400, **more: Any) -> Reply:
    headers = {"Content-Type": PROBLEM, **more.pop("headers", {})}
    body = {"type": f"urn:ietf:params:acme:error:{kind}", "detail": detail, "status": status, **more}
    return Reply(status, body, headers)


def signing_key(document: dict[str, Any]) -> JWK:
    key = JWK.from_json(document)
    assert isinstance(key, JWK)
    return key


class FakeAcme:
    """`script(path, reply...)` queues replies that are given before the normal ones; `requests` is the log.

    Paths: /dir, and /elsewhere as another, /nonce /account /acct/1 /orders /order /order/1 /authz/1 /chall/1
    /finalize/1 /cert/1 /ari/ID.
    Authorizations are valid once their challenge was answered; orders are then `ready`.
    """

    def __init__(self, base: str) -> None:
        self.base = base
        self.requests: list[Request] = []
        self.directory: dict[str, Any] = {
            "newNonce": f"{base}/nonce",
            "newAccount": f"{base}/account",
            "newOrder": f"{base}/order",
            "renewalInfo": f"{base}/ari",
            "meta": {"profiles": {"tlsserver": "45 days"}},
        }
        self.issuing_ca = FakeCA("Fake Root")
        self.reject_every_other_nonce = False
        self.bad_signature = "accountDoesNotExist"
        self._scripts: dict[str, deque[Reply]] = defaultdict(deque)
        self._nonces: set[str] = set()
        self._nonce_lock = threading.Lock()
        self._count = 0
        self._keys: dict[str, JWK] = {}
        self._hosts: list[str] = []
        self._answered = False
        self._chain: bytes | None = None

    def script(self, path: str, *replies: Reply) -> None:
        self._scripts[path].extend(replies)

    def paths(self) -> list[str]:
        return [f"{request.method} {request.path}" for request in self.requests]

    def fresh_nonce(self) -> str:
        with self._nonce_lock:
            self._count += 1
            nonce = b64encode(self._count.to_bytes(16, "big")).decode()
            self._nonces.add(nonce)
            return nonce

    def handle(self, request: Request, body: bytes) -> Reply:
        if request.method == "POST":
            request, refusal = self._authenticate(request, body)
            if refusal is not None:
                self.requests.append(request)
                return refusal
        self.requests.append(request)
        if self._scripts[request.path]:
            return self._scripts[request.path].popleft()
        return self._default(request)

    def sent(self, reply: Reply) -> tuple[dict[str, str], bytes]:
        """Headers and body of an answer."""
        content = reply.raw if reply.raw is not None else json.dumps(reply.body).encode()
        nonce = {"Replay-Nonce": self.fresh_nonce()} if reply.nonce else {}
        defaults = {"Date": DATE, "Content-Type": "application/json", "Content-Length": str(len(content))}
        return {**defaults, **nonce, **reply.headers}, content

    def _authenticate(self, request: Request, body: bytes) -> tuple[Request, Reply | None]:
        """RFC 8555 6.2 to 6.5, with the account's or the embedded key."""
        signed = jws.JWS.json_loads(body)
        protected = json.loads(signed.signature.protected)
        payload = json.loads(signed.payload) if signed.payload else ""
        request = Request(request.method, request.path, request.headers, protected, payload, request.client)
        if request.headers.get("Content-Type") != "application/jose+json":
            return request, problem("malformed", "content type", status=415)
        if protected["url"] != self.base + request.path:
            return request, problem("unauthorized", "url")
        key = signing_key(protected["jwk"]) if "jwk" in protected else self._keys.get(protected["kid"])
        if key is None or not signed.verify(key):
            return request, problem(self.bad_signature, "signature")
        if ("jwk" in protected) != (request.path == "/account"):
            return request, problem("malformed", "jwk and kid")
        known = protected["nonce"] in self._nonces
        self._nonces.discard(protected["nonce"])
        if not known or (self.reject_every_other_nonce and self._count % 2):
            return request, problem("badNonce")
        return request, None

    def _default(self, request: Request) -> Reply:
        match request.path.split("/")[1:]:
            case ["dir"] | ["elsewhere"]:
                return Reply(200, self.directory, nonce=False)
            case ["nonce"]:
                return Reply(200)
            case ["account"]:
                return self._account(request)
            case ["acct", "1"]:
                return Reply(200, {"status": "valid", "orders": f"{self.base}/orders"})
            case ["orders"]:
                return Reply(200, {"orders": [f"{self.base}/order/1"] if self._hosts else []})
            case ["order"]:
                self._hosts = [item["value"] for item in request.payload["identifiers"]]
                return Reply(201, self.order(), {"Location": f"{self.base}/order/1"})
            case ["order", "1"]:
                return Reply(200, self.order())
            case ["authz", "1"]:
                return Reply(200, self.authorization())
            case ["chall", "1"]:
                self._answered = True
                return Reply(200, self.authorization()["challenges"][0])
            case ["finalize", "1"]:
                csr = x509.load_der_x509_csr(b64decode(request.payload["csr"]))
                self._chain = self.issuing_ca.issue(csr.public_key(), self._hosts) + self.issuing_ca.pem
                return Reply(200, self.order())
            case ["cert", "1"] if self._chain is not None:
                return Reply(200, raw=self._chain)
        return problem("malformed", "no such page", status=404)

    def _account(self, request: Request) -> Reply:
        url = f"{self.base}/acct/1"
        known = url in self._keys
        if not known and request.payload.get("onlyReturnExisting"):
            return problem("accountDoesNotExist")
        self._keys[url] = signing_key(request.protected["jwk"])
        return Reply(200 if known else 201, {"status": "valid"}, {"Location": url})

    def order(self, **changes: Any) -> dict[str, Any]:
        status = "valid" if self._chain else "ready" if self._answered else "pending"
        document = {
            "status": status,
            "expires": "2026-05-06T10:00:00.123456789Z",
            "identifiers": [{"type": "dns", "value": host} for host in self._hosts or ["a.example.org"]],
            "authorizations": [f"{self.base}/authz/1"],
            "finalize": f"{self.base}/finalize/1",
        }
        if self._chain:
            document["certificate"] = f"{self.base}/cert/1"
        return {**document, **changes}

    def authorization(self, **changes: Any) -> dict[str, Any]:
        status = "valid" if self._answered else "pending"
        challenge = {"type": "http-01", "url": f"{self.base}/chall/1", "token": TOKEN, "status": status}
        host = (self._hosts or ["a.example.org"])[0]
        document = {
            "identifier": {"type": "dns", "value": host},
            "status": status,
            "expires": "2026-05-06T10:00:00Z",
            "challenges": [challenge],
        }
        return {**document, **changes}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True  # a part of the answer would wait for the acknowledgement of the one before
    server: _Server

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        host, port = self.client_address[:2]
        request = Request(self.command, self.path, dict(self.headers), {}, None, (str(host), int(port)))
        reply = self.server.fake.handle(request, body)
        if reply.hang or reply.slow:
            self.close_connection = True
            return
        headers, content = self.server.fake.sent(reply)
        self.send_response_only(reply.status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_HEAD = do_POST = do_GET

    def log_message(self, *args: Any) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64
    fake: FakeAcme

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that leave, or refuse the certificate, are part of the tests."""


@contextmanager
def fake_acme() -> Iterator[tuple[FakeAcme, bytes]]:
    """Run a server; gives it and the PEM of the CA that its TLS certificate comes from."""
    tls_ca = FakeCA("Fake TLS CA")
    context = tls_ca.server_context()
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        server.fake = FakeAcme(f"https://127.0.0.1:{server.server_address[1]}")
        with served(server):
            yield server.fake, tls_ca.pem
