"""The port that is scraped: whoever asks it, and however."""

from __future__ import annotations

import socket
import threading
import time
import tracemalloc
from contextlib import ExitStack
from http.client import HTTPConnection

import pytest

from tests.fakes.clock import QuickTime
from webhook import scraping
from webhook.scraping import CHUNK, CONNECTIONS, MAX_HEAD, ScrapeServer, ServedPage, kept

LARGE = bytes(range(256)) * 4096 * 16


@pytest.fixture(scope="module")
def port() -> int:
    def broken() -> ServedPage:
        raise ZeroDivisionError("boom")

    pages = {
        "/metrics": lambda: ServedPage(200, b"up 1\n", "text/odd"),
        "/large": lambda: ServedPage(200, LARGE),
        "/readyz": lambda: scraping.NOT_READY,
        "/broken": broken,
    }
    server = ScrapeServer(pages, port=0, seconds=2.0)
    server.start()
    return server.port


def asked(port: int, path: str, method: str = "GET") -> tuple[int, bytes, str]:
    connection = HTTPConnection("localhost", port, timeout=10)
    connection.request(method, path)
    answer = connection.getresponse()
    return answer.status, answer.read(), answer.getheader("Content-Type", "")


def raw(port: int, sent: bytes) -> bytes:
    """What comes back until the other side closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        try:
            connection.sendall(sent)
            return b"".join(iter(lambda: connection.recv(1 << 16), b""))
        except ConnectionError:
            return b""


def test_pages_are_served_whole(port: int) -> None:
    assert asked(port, "/metrics") == (200, b"up 1\n", "text/odd")
    assert asked(port, "/metrics?x=1")[0] == 200
    assert asked(port, "/large") == (200, LARGE, "text/plain; charset=utf-8")
    assert asked(port, "/readyz")[0] == 503


def test_nothing_else_is_there(port: int) -> None:
    for path in ("/", "/metrics/", "/mutate/annotated", "/..", "//metrics", "*"):
        assert asked(port, path)[0] == 404
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        assert asked(port, "/metrics", method)[0] == 405
    assert asked(port, "/metrics", "HEAD")[:2] == (200, b"")


def test_a_bug_is_an_answer_and_is_logged(port: int, caplog: pytest.LogCaptureFixture) -> None:
    assert asked(port, "/broken")[0] == 500
    assert "ZeroDivisionError" in caplog.text
    assert asked(port, "/metrics")[0] == 200


@pytest.mark.parametrize(
    "sent",
    [b"\r\n\r\n", b"GET\r\n\r\n", b"\xff\xfe\x00\r\n\r\n", b"GET /metrics\r\n\r\n", b"GET /\xe4 HTTP/1.1\r\n\r\n"],
)
def test_junk_is_answered_or_closed(port: int, sent: bytes) -> None:
    assert raw(port, sent).startswith((b"HTTP/1.1 404", b"HTTP/1.1 405", b"HTTP/1.1 200"))
    assert asked(port, "/metrics")[0] == 200


def test_a_long_head_ends_the_connection(port: int) -> None:
    assert raw(port, b"GET /metrics HTTP/1.1\r\nA: " + b"x" * 4 * MAX_HEAD + b"\r\n\r\n") == b""


def test_silent_ones_keep_nobody_out(port: int) -> None:
    with ExitStack() as open_ones:
        held = [
            open_ones.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10))
            for _ in range(3 * CONNECTIONS)
        ]
        assert asked(port, "/metrics")[0] == 200
        assert held[0].recv(1) == b""  # the oldest were cut


def test_one_that_reads_nothing_is_cut_and_has_little_of_our_memory() -> None:
    server = ScrapeServer({"/large": lambda: ServedPage(200, LARGE)}, port=0, seconds=0.3)
    server.start()
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(b"GET /large HTTP/1.1\r\n\r\n")
        assert connection.recv(9) == b"HTTP/1.1 "
        tracemalloc.start()
        end = time.monotonic() + 10
        while server.connections:
            assert time.monotonic() < end
            assert tracemalloc.get_traced_memory()[0] < 4 * CHUNK
            threading.Event().wait(0.01)
        tracemalloc.stop()


def test_a_page_is_made_as_often_as_a_fifth_of_a_cpu_allows() -> None:
    quick, made = QuickTime(), []

    def make() -> ServedPage:
        made.append(quick.monotonic())
        quick.sleep(3)
        return ServedPage(200, str(len(made)).encode())

    page = kept(make, clock=quick.monotonic)
    end = quick.monotonic() + 150
    while quick.monotonic() < end:
        page()
        quick.sleep(0.5)
    assert 8 <= len(made) <= 10


def test_what_is_not_known_yet_is_asked_for_each_time() -> None:
    answers = [scraping.NOT_READY, scraping.NOT_READY, scraping.OK, scraping.NOT_READY]
    page = kept(lambda: answers.pop(0), clock=lambda: 0.0)
    assert [page().status for _ in range(5)] == [503, 503, 200, 200, 200]
