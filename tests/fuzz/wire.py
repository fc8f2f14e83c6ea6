"""Targets: what comes over the network, from CAs, DNS servers, hosts and whoever reaches a port."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import dns.exception
import dns.flags
import dns.message
import dns.query
import dns.rrset
import msgspec
from gunicorn.config import Config
from gunicorn.http import RequestParser
from gunicorn.http.errors import ParseException
from requests.structures import CaseInsensitiveDict

from issuer_job.acme_client import orders
from issuer_job.acme_client.answers import Answer, checked
from issuer_job.acme_client.directory import Directory
from issuer_job.acme_client.problems import AcmeError
from issuer_job.cluster.api import Cluster
from issuer_job.dns01 import lookup
from issuer_job.http01 import probe_http
from issuer_job.http01.challenge_index import ChallengeIndex
from issuer_job.http01.challenge_watch import ChallengeWatch
from issuer_job.http01.responder import Responder, _Connection
from tests.fakes.api import FakeApi
from tests.fakes.internet import Link
from tests.fuzz.target import Target
from webhook import gunicorn_conf
from webhook.review import MAX_BODY

NOW = datetime(2026, 5, 5, 10, 0, tzinfo=UTC)
URL = "https://ca.certjob.dev/order/1"
TOKEN = "tokenTOKENtokenTOKENtokenTOKENtoken0123456"
PATH = "/.well-known/acme-challenge/"


def targets() -> Iterator[Target]:
    """All of this module."""
    yield Target("acme-answer", _acme, [json.dumps(envelope).encode() for envelope in _answers()])
    yield Target("dns-answer", _dns, list(_messages()))
    yield Target("probe-answer", _probe, _PROBE_SEEDS)
    yield Target("responder-request", _responder(), _RESPONDER_SEEDS)
    yield Target("webhook-request", _webhook_request, _WEBHOOK_SEEDS)


def _answers() -> Iterator[dict[str, Any]]:
    headers = {"Retry-After": "5", "Date": "Tue, 05 May 2026 10:00:00 GMT", "Location": "/order/1"}
    link = '<https://ca.certjob.dev/cert/2>;rel="alternate", <x>; rel="next"; title="y"'
    base = "https://ca.certjob.dev/"
    order = {
        "status": "pending",
        "identifiers": [{"type": "dns", "value": "a.certjob.dev"}],
        "authorizations": [base + "authz/1"],
        "finalize": base + "finalize/1",
        "certificate": base + "cert/1",
        "expires": "2026-05-06T10:00:00Z",
        "error": {"type": "urn:ietf:params:acme:error:dns", "detail": "no A record"},
    }
    challenge = {"type": "http-01", "url": base + "chall/1", "token": TOKEN, "status": "pending"}
    authorization = {"status": "pending", "identifier": order["identifiers"][0], "challenges": [challenge]}  # type: ignore[index]
    window = {"suggestedWindow": {"start": "2026-05-05T10:00:00Z", "end": "2026-05-06T10:00:00Z"}}
    new = {"newNonce": base + "n", "newAccount": base + "a", "newOrder": base + "o", "meta": {"profiles": {"a": "b"}}}
    problem = {"type": "urn:ietf:params:acme:error:rateLimited", "detail": "too many", "status": 429}
    refused = problem | {"subproblems": [{**problem, "identifier": order["identifiers"][0]}]}  # type: ignore[index]
    for body in (order, authorization, window, new, {"status": "valid"}, {"orders": [URL]}):
        yield {"status": 200, "headers": {**headers, "Link": link}, "body": body}
    yield {"status": 429, "headers": {**headers, "Retry-After": "Tue, 05 May 2026 11:00:00 GMT"}, "body": refused}
    yield {"status": 503, "headers": headers, "body": "<html>"}


def _acme(data: bytes) -> None:
    """An answer of a CA as each reader takes it: a result or an AcmeError whose words can be shown."""
    status, headers, body = 200, {}, data
    with suppress(ValueError, RecursionError, TypeError, KeyError):
        envelope = json.loads(data)
        status, body = int(envelope["status"]) % 1000, json.dumps(envelope["body"]).encode()
        headers = {str(key): _line(value) for key, value in dict(envelope["headers"]).items()}
    answer = Answer(URL, status, CaseInsensitiveDict(headers), body, "order", NOW)
    wait = answer.retry_after
    assert wait is None or timedelta(0) <= wait <= timedelta(days=7)
    readers: tuple[Callable[[], object], ...] = (
        lambda: checked(answer),
        lambda: answer.read(orders.read_order, url=URL, retry_after=wait),
        lambda: answer.read(orders.read_authorization, url=URL, retry_after=wait).problem,
        lambda: answer.read(orders.read_challenge),
        lambda: answer.read(orders.read_account, url=URL),
        lambda: answer.read(orders.read_renewal_info, retry_after=timedelta(hours=6)),
        lambda: answer.read(orders.read_order_urls),
        lambda: answer.read(msgspec.convert, Directory),
        answer.location,
        lambda: answer.links("alternate"),
    )
    try:
        readers[len(data) % len(readers)]()  # an answer is read by one of them
    except AcmeError as refused:
        said = str(refused)
        assert len(said) < 3000
        assert said.isprintable() or not said.isascii(), said
        assert TOKEN not in said


def _line(value: object) -> str:
    """As it can come in a header."""
    return str(value).replace("\r", "").replace("\n", "")[:8192]


def _messages() -> Iterator[bytes]:
    texts = (
        ("_acme-challenge.a.test. 60 IN CNAME x.b.test.", "b.test. 60 IN SOA ns.b.test. h.b.test. 1 2 3 4 5"),
        ("a.test. 60 IN SOA ns.a.test. h.a.test. 1 2 3 4 5", "a.test. 60 IN NS ns.a.test."),
        ("ns.a.test. 60 IN A 127.0.0.53", "ns.a.test. 60 IN AAAA ::1"),
        ('_acme-challenge.a.test. 60 IN TXT "abc" "def"', "sub.a.test. 60 IN NS ns.sub.a.test."),
    )
    for answer, authority in texts:
        head = "id 1\nopcode QUERY\nrcode NOERROR\nflags QR AA\n"
        message = dns.message.from_text(f"{head};ANSWER\n{answer}\n;AUTHORITY\n{authority}\n")
        yield b"".join(len(wire).to_bytes(2, "big") + wire for wire in [message.to_wire()] * 3)


def _dns(data: bytes) -> None:
    """A row of answers, each behind its length, to whatever is asked in turn; at the end they begin again."""
    answers: list[bytes] = []
    while len(data) > 2 and len(answers) < 40:
        length = int.from_bytes(data[:2], "big")
        answers.append(data[2 : 2 + length])
        data = data[2 + length :]
    asked = iter(range(1 << 30))
    lock = threading.Lock()

    def ask(query: dns.message.Message, where: str, **options: object) -> tuple[dns.message.Message, bool]:
        with lock:
            number = next(asked)
        if not answers or number > 200:
            raise dns.exception.Timeout
        found = dns.message.from_wire(answers[number % len(answers)])
        if not query.is_response(found) and number % 4 == 0:
            raise dns.query.BadResponse
        return found, False

    real, dns.query.udp_with_fallback = dns.query.udp_with_fallback, ask  # type: ignore[assignment]
    try:
        known = lookup.Lookup((("127.0.0.53", 53),))
        with suppress(lookup.DnsLookupError):
            place = known.place("_acme-challenge.a.test")
            assert len(place.servers) <= lookup.MAX_SERVERS
            for server in place.servers:
                known.texts(server, place.name)
        with suppress(lookup.DnsLookupError):
            known.place("_acme-challenge.a.test", zone="b.test")
    finally:
        dns.query.udp_with_fallback = real
    lookup.configured(data.decode("latin-1"))


_PROBE_SEEDS = [
    f"HTTP/1.1 200 OK\r\nContent-Length: 47\r\n\r\n{TOKEN}.abc\r\n".encode(),
    b"HTTP/1.1 301 Moved\r\nLocation: https://a.test:443/.well-known/acme-challenge/x?y=1#z\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 404 Not Found\r\n\r\n",
]


def _probe(data: bytes) -> None:
    """The answer of a host to the self-check, and where its redirect leads."""
    near, far = socket.socketpair()
    with near, far:
        far.setblocking(False)
        with suppress(BlockingIOError):
            far.send(data)
        far.shutdown(socket.SHUT_WR)
        real, probe_http._connect = probe_http._connect, lambda *_: Link(near.dup(), ("192.0.2.1", 80))
        try:
            seen = probe_http.fetch("a.test", 80, PATH + TOKEN, f"{TOKEN}.abc")
        finally:
            probe_http._connect = real
    assert seen.detail.isprintable()
    assert len(seen.detail) < 300
    if seen.location is not None:
        probe_http._target(f"http://a.test:80{PATH}{TOKEN}", seen.location, probe_http.REDIRECT_PORTS)


_RESPONDER_SEEDS = [
    f"GET {PATH}{TOKEN} HTTP/1.1\r\nHost: a.test\r\nUser-Agent: x\r\n\r\n".encode(),
    f"GET http://a.test{PATH}{TOKEN}?x=1 HTTP/1.0\r\n\r\n".encode(),
    f"HEAD {PATH} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\nGET / HTTP/1.1\r\n\r\n".encode(),
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
]


def _responder() -> Callable[[bytes], None]:
    """Bytes to the challenge port, as they come, and then nothing more."""
    loop = asyncio.new_event_loop()
    index = ChallengeIndex()
    responder = Responder(ChallengeWatch(Cluster(FakeApi()), index))
    loop.run_until_complete(responder.start(port=0, health_port=0))
    server = responder._runners[0].server
    assert server is not None

    async def one(data: bytes) -> bytes:
        near, far = socket.socketpair()
        near.setblocking(False)
        far.setblocking(False)
        transport, _ = await loop.connect_accepted_socket(lambda: _Connection(server, 50), far)
        try:
            with suppress(ConnectionError):
                await loop.sock_sendall(near, data)
                near.shutdown(socket.SHUT_WR)
            answered = b""
            while part := await asyncio.wait_for(loop.sock_recv(near, 65536), 5):
                answered += part
        finally:
            transport.abort()
            near.close()
        return answered

    def run(data: bytes) -> None:
        try:
            answered = loop.run_until_complete(one(data))
        except ConnectionError:
            return
        assert not answered or answered.startswith(b"HTTP/1."), answered[:100]
        assert b"Traceback" not in answered

    return run


_WEBHOOK_HEAD = b"POST /mutate/annotated?timeout=5s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
_WEBHOOK_SEEDS = [
    _WEBHOOK_HEAD + b"Content-Length: 2\r\n\r\n{}",
    _WEBHOOK_HEAD + b"Transfer-Encoding: chunked\r\n\r\n2;x=y\r\n{}\r\n0\r\nTrailer: x\r\n\r\n",
    b"GET /readyz HTTP/1.0\r\n\r\nGET /livez HTTP/1.1\r\nHost: y\r\nExpect: 100-continue\r\n\r\n",
]
_CONFIG = Config()
for _name in ("limit_request_line", "limit_request_fields", "limit_request_field_size", "forwarded_allow_ips"):
    _CONFIG.set(_name, getattr(gunicorn_conf, _name))


def _webhook_request(data: bytes) -> None:
    """Bytes to the webhook's port behind TLS, up to the body, by the parser and with the limits that it runs with."""
    pieces = iter([data[start : start + 1000] for start in range(0, len(data), 1000)])
    with suppress(ParseException, StopIteration, OSError):
        for request in RequestParser(_CONFIG, pieces, ("127.0.0.1", 1)):
            assert len(request.body.read(MAX_BODY + 1)) <= MAX_BODY + 1
