"""What a server may send back instead of an answer: each is given up within bounds of time and bytes, in words."""

from __future__ import annotations

import gzip
import socket
import time
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from requests.adapters import HTTPAdapter

from issuer_job.acme_client import AcmeUnavailable, RenewalClient
from issuer_job.acme_client import transport as wire
from issuer_job.dns01.providers import lexicon
from tests.fakes.hostile import HostileServer, for_ever, hostile_server, slowly
from tests.fakes.proxy import Proxy, http_proxy

pytestmark = pytest.mark.process

OK = b"HTTP/1.1 200 OK\r\n"
ENDLESS = OK + b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
LONG = OK + b"Content-Length: 67108864\r\n\r\n"
KIB = b"x" * 1024
SECONDS = 0.5
"""That an answer may take here."""


@pytest.fixture
def hostile(monkeypatch: pytest.MonkeyPatch) -> Iterator[HostileServer]:
    monkeypatch.setattr(wire, "LONGEST_ANSWER", timedelta(seconds=SECONDS))
    with hostile_server() as server:
        yield server


def ask(server: HostileServer) -> RenewalClient:
    return RenewalClient(f"{server.base}/dir", ca_bundle_pem=server.ca_pem, user_agent="certjob/test")


def head(*, status: bytes = b"200 OK", body: bytes = b"{}", **headers: bytes) -> bytes:
    lines = {b"Content-Length": str(len(body)).encode()} | {
        name.replace("_", "-").encode(): value for name, value in headers.items()
    }
    return b"\r\n".join([b"HTTP/1.1 " + status, *(name + b": " + lines[name] for name in lines), b"", b""]) + body


SLOW: dict[str, Callable[[], Iterable[bytes | None]]] = {
    "a status line": lambda: slowly(b"HTTP/1.1 200 " + b"O" * 10_000),
    "headers": lambda: slowly(OK + b"X-Slow: yes\r\n" * 1000),
    "a body": lambda: slowly(LONG + KIB),
    "chunks": lambda: slowly(ENDLESS + b"1\r\nx\r\n" * 1000),
    "the size of a chunk": lambda: slowly(ENDLESS + b"1;" + KIB),
    "what comes before an answer": lambda: slowly(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000),
}


@pytest.mark.parametrize("what", SLOW)
def test_what_drips_is_given_up_in_time(hostile: HostileServer, what: str) -> None:
    hostile.answer = lambda path: SLOW[what]()
    started = time.monotonic()
    with pytest.raises(AcmeUnavailable, match=r"^directory: the answer of 127\.0\.0\.1:\d+ is too slow$"):
        ask(hostile)
    assert time.monotonic() - started < 4 * SECONDS
    assert hostile.paths == ["/dir"]


BIG: dict[str, tuple[Callable[[], Iterable[bytes | None]], str]] = {
    "64 MiB, as announced": (lambda: for_ever(KIB, after=LONG), "is too big"),
    "chunks without an end": (lambda: for_ever(b"400\r\n" + KIB + b"\r\n", after=ENDLESS), "is too big"),
    "a body until the connection ends": (lambda: for_ever(KIB, after=OK + b"\r\n"), "is too big"),
    "one header line": (lambda: for_ever(KIB, after=OK + b"X-Long: "), "got more than 65536 bytes"),
    "headers without an end": (lambda: for_ever(b"X-More: " + KIB + b"\r\n", after=OK), "got more than 100 headers"),
    "a status line": (lambda: for_ever(KIB, after=b"HTTP/1.1 200 "), "got more than 65536 bytes"),
    "the size of a chunk": (lambda: for_ever(KIB, after=ENDLESS), "chunk size line exceeded"),
    "trailers": (lambda: for_ever(b"X-More: " + KIB + b"\r\n", after=ENDLESS + b"2\r\n{}\r\n0\r\n"), "is too big"),
    "one trailer": (lambda: for_ever(KIB, after=ENDLESS + b"2\r\n{}\r\n0\r\nX-Long: "), "trailer line exceeded"),
    "what comes before an answer": (lambda: for_ever(b"HTTP/1.1 100 Continue\r\n\r\n" * 500), "is too big"),
    "headers of what comes before": (
        lambda: for_ever(b"HTTP/1.1 100 Continue\r\n" + (b"X: " + KIB + b"\r\n") * 90 + b"\r\n"),
        "is too big",
    ),
}


@pytest.mark.parametrize("what", BIG)
def test_what_never_ends_is_given_up_after_few_bytes(
    hostile: HostileServer, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    monkeypatch.setattr(wire, "LONGEST_ANSWER", timedelta(seconds=30))  # it is the bytes that count
    answer, words = BIG[what]
    hostile.answer = lambda path: answer()
    tracemalloc.start()
    try:
        with pytest.raises(AcmeUnavailable, match=words):
            ask(hostile)
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()
    # What the kernel had taken before the client went away comes on top.
    assert hostile.sent < len(hostile.paths) * (12 << 20)


@pytest.fixture(params=["http", "https"])
def proxy(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Proxy]:
    """Through which CAs are asked, itself without or with TLS."""
    with http_proxy(request.param) as found:
        trusted = tmp_path / "proxy.pem"
        trusted.write_bytes(found.ca_pem)
        monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
        for name, value in (("https_proxy", found.url), ("no_proxy", "")):
            monkeypatch.setenv(name, value)
            monkeypatch.setenv(name.upper(), value)
        yield found


def test_bounds_hold_behind_a_proxy(hostile: HostileServer, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    hostile.answer = lambda path: SLOW["headers"]()
    with pytest.raises(AcmeUnavailable, match="is too slow"):
        ask(hostile)
    monkeypatch.setattr(wire, "LONGEST_ANSWER", timedelta(seconds=30))
    hostile.answer = lambda path: BIG["what comes before an answer"][0]()
    with pytest.raises(AcmeUnavailable, match="is too big"):
        ask(hostile)
    urls = ", ".join(f'"{name}": "{hostile.base}/{name}"' for name in ("newNonce", "newAccount", "newOrder"))
    hostile.answer = lambda path: [head(body=f"{{{urls}}}".encode())]
    assert ask(hostile).directory.new_order == f"{hostile.base}/newOrder"
    assert proxy.connected == [hostile.base.removeprefix("https://")] * 3


def test_the_bounds_of_dns_providers_in_the_same_process_are_not_these(
    hostile: HostileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(HTTPAdapter, "send", HTTPAdapter.send)
    monkeypatch.setattr(socket, "create_connection", socket.create_connection)
    lexicon._bound_http()
    for what in ("64 MiB, as announced", "chunks without an end"):
        hostile.answer = lambda path, answer=BIG[what][0]: answer()  # type: ignore[misc]
        with pytest.raises(AcmeUnavailable, match="is too big"):
            ask(hostile)


@pytest.mark.parametrize("status", [b"200 OK", b"302 Found", b"400 Bad Request"])
def test_a_bomb_does_not_go_off(hostile: HostileServer, status: bytes) -> None:
    bomb = gzip.compress(b" " * (64 << 20), 1)
    hostile.answer = lambda path: [head(status=status, body=bomb, Content_Encoding=b"gzip", Location=b"/dir")]
    tracemalloc.start()
    try:
        with pytest.raises(AcmeUnavailable, match="is too big"):
            ask(hostile)
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()


ODD: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "Remote end closed connection"),
    "no HTTP": (b"SSH-2.0-OpenSSH_9.9\r\n\r\n", "failed: SSH-2.0-OpenSSH_9.9"),
    "half of a body": (OK + b"Content-Length: 100\r\n\r\n{", "failed"),
    "no number of bytes": (OK + b"Content-Length: -5\r\n\r\n{}", "is malformed"),
    "another protocol": (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", "HTTP 101. is unexpected"),
    "a page": (head(body=b"<html>", Content_Type=b"text/html"), "is not JSON"),
    "an empty body": (head(body=b""), "is not JSON"),
    "not modified": (head(status=b"304 Not Modified", body=b""), "HTTP 304. is unexpected"),
    "deep JSON": (head(body=b"[" * 500_000), "is not JSON"),
    "deep objects": (head(body=b'{"a":' * 150_000), "is not JSON"),
    "a problem that is deep": (head(status=b"400 Bad", body=b"[" * 500_000), "gives no reason"),
    "a long number": (head(body=b'{"newNonce": ' + b"9" * 100_000 + b"}"), "is not JSON"),
    "a problem with a long number": (
        head(status=b"400 Bad", body=b'{"detail": "x", "status": ' + b"9" * 100_000 + b"}"),
        "gives no reason",
    ),
    "not UTF-8": (head(body=b'{"newNonce": "\xff"}'), "is not JSON"),
    "a list": (head(body=b"[]"), "is malformed: Expected `object`"),
    "half a directory": (head(body=b'{"newNonce": "https://127.0.0.1/n"}'), "is malformed: .*newAccount"),
}


@pytest.mark.parametrize("what", ODD)
def test_what_is_no_answer_is_told_in_words(hostile: HostileServer, what: str) -> None:
    content, words = ODD[what]
    hostile.answer = lambda path: [content]
    with pytest.raises(AcmeUnavailable, match=words):
        ask(hostile)


@pytest.mark.parametrize(
    "target",
    ["http://127.0.0.1/dir", "file:///etc/passwd", "https://[::1", "https://ca.example.org\\@127.0.0.1/", ""],
)
def test_a_directory_that_leads_to_what_is_no_https_url(hostile: HostileServer, target: str) -> None:
    hostile.answer = lambda path: [head(status=b"302 Found", Location=target.encode())]
    with pytest.raises(AcmeUnavailable, match=r"has no usable https URL|lacks a Location|is no URL"):
        ask(hostile)
    assert hostile.paths == ["/dir"]


def test_directories_that_lead_to_each_other(hostile: HostileServer) -> None:
    hostile.answer = lambda path: [head(status=b"307 Temporary", Location=(path + "x").encode())]
    with pytest.raises(AcmeUnavailable, match="redirects without an end"):
        ask(hostile)
    assert len(hostile.paths) == wire.MAX_REDIRECTS
