"""Trying again: requests to the API server within a process, and attempts of a record."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from issuer_job import backoff
from issuer_job.backoff import wait_after
from issuer_job.cluster.api import Response, Unreachable
from issuer_job.cluster.retrying import RetryingTransport


@dataclass
class Server:
    """Answers in turn, and then with 200. `now` is moved by sleeping only."""

    answers: list[Response | Exception]
    now: float = 0.0
    slept: list[float] = field(default_factory=list)
    timeouts: list[float] = field(default_factory=list)

    def send(self, method: str, path: str, *, body: bytes | None, timeout: float) -> Response:
        self.timeouts.append(timeout)
        answer = self.answers.pop(0) if self.answers else Response(200, {}, b"{}")
        if isinstance(answer, Exception):
            raise answer
        return answer

    def stream(self, path: str, *, timeout: float) -> Iterator[bytes]:
        yield b"line"

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def ask(server: Server, *, deadline: float = 60.0) -> Response:
    transport = RetryingTransport(server, deadline, clock=lambda: server.now, sleep=server.sleep)
    return transport.send("GET", "/x", body=None, timeout=10)


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_what_passes_is_tried_again(status: int) -> None:
    server = Server([Response(status, {}, b""), Unreachable("cut"), Response(status, {}, b"")])
    assert ask(server).status == 200
    assert len(server.slept) == 3
    assert all(0.05 <= pause <= 0.6 for pause in server.slept)


@pytest.mark.parametrize("status", [200, 201, 400, 401, 403, 404, 409, 410, 422])
def test_an_answer_is_an_answer(status: int) -> None:
    server = Server([Response(status, {}, b"")])
    assert ask(server).status == status
    assert server.slept == []


def test_retry_after_is_honoured() -> None:
    server = Server([Response(429, {"retry-after": "7"}, b""), Response(429, {"retry-after": "x"}, b"")])
    assert ask(server).status == 200
    assert server.slept[0] == 7
    assert server.slept[1] < 1


def test_the_end_comes_before_the_deadline() -> None:
    server = Server([Unreachable("cut")] * 999)
    with pytest.raises(Unreachable):
        ask(server, deadline=20)
    assert 12 < server.now < 20
    assert max(server.slept) <= 7.5
    assert all(1.0 <= timeout <= 10 for timeout in server.timeouts)
    server = Server([Response(503, {"retry-after": "100"}, b"")] * 9)
    assert ask(server).status == 503
    assert server.slept == []


def test_a_watch_is_not_retried() -> None:
    assert list(RetryingTransport(Server([]), 1).stream("/x", timeout=1)) == [b"line"]


def wait(failures: int, asked: timedelta | None = None, *, limited: bool = False, jitter: float = 0.0) -> timedelta:
    return wait_after(failures=failures, asked=asked, rate_limited=limited, jitter=jitter)


def test_a_minute_doubled_to_six_hours() -> None:
    minutes = [wait(n).total_seconds() / 60 for n in range(1, 12)]
    assert minutes == [1, 2, 4, 8, 16, 32, 64, 128, 256, 360, 360]
    assert wait(10_000) == timedelta(hours=6)


def test_what_the_other_side_asked_for() -> None:
    assert wait(1, timedelta(hours=2)) == timedelta(hours=2)
    assert wait(9, timedelta(seconds=1)) == wait(9)
    assert wait(1, limited=True) == timedelta(hours=1)
    assert wait(1, timedelta(minutes=5), limited=True) == timedelta(minutes=5)
    assert wait(1, timedelta(days=400)) == timedelta(days=7)


def test_a_quarter_of_jitter() -> None:
    assert wait(1, jitter=0.999) < timedelta(seconds=75)
    assert wait(1, jitter=0.5) == timedelta(seconds=67.5)


@given(
    st.integers(1, 10**6),
    st.none() | st.timedeltas(timedelta(0), timedelta(days=10_000)),
    st.booleans(),
    st.floats(0, 1, exclude_max=True),
)
def test_never_longer_than_a_week(failures: int, asked: timedelta | None, limited: bool, jitter: float) -> None:
    found = wait(failures, asked, limited=limited, jitter=jitter)
    assert backoff.FIRST <= found <= backoff.LONGEST_ASKED
