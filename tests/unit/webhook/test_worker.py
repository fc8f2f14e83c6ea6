"""Which connection goes when all places are taken."""

from __future__ import annotations

import selectors
import socket
from collections.abc import Iterator
from concurrent.futures import Future

import pytest
from gunicorn.config import Config
from gunicorn.workers.gthread import TConn

from webhook.worker import TlsThreadWorker

THREADS = 4
PLACES = 10


@pytest.fixture
def worker() -> Iterator[TlsThreadWorker]:
    """As in its loop, with no connection yet."""
    config = Config()
    config.set("threads", THREADS)
    config.set("worker_connections", PLACES)
    worker = TlsThreadWorker(0, 0, [], None, 30, config, None)
    worker.poller = selectors.DefaultSelector()
    yield worker
    worker.poller.close()
    worker.tmp.close()
    for connection in worker.keepalived_conns:
        connection.close()


def idle(worker: TlsThreadWorker) -> TConn:
    """A connection after its handshake, waiting for a request."""
    near, far = socket.socketpair()
    far.close()
    connection = TConn(worker.cfg, near, None, None)
    worker.nr_conns += 1
    worker.keepalived_conns.append(connection)
    worker.poller.register(near, selectors.EVENT_READ)
    return connection


def test_the_oldest_idle_connection_makes_room_when_idle_ones_take_all_places(worker: TlsThreadWorker) -> None:
    connections = [idle(worker) for _ in range(PLACES)]
    worker.murder_pending()
    assert list(worker.keepalived_conns) == connections[1:]
    assert worker.nr_conns == PLACES - 1
    assert connections[0].sock.fileno() == -1


def test_the_one_idle_connection_stays_while_a_crowd_that_has_left_is_cleared_away(worker: TlsThreadWorker) -> None:
    worker.nr_conns = PLACES - 1  # they are in threads, or about to be closed
    newest = idle(worker)
    worker.murder_pending()
    assert list(worker.keepalived_conns) == [newest]


@pytest.mark.parametrize(
    ("taken", "initialized", "lingers"), [(1, True, True), (PLACES, True, False), (1, False, False)]
)
def test_an_end_lingers_only_after_an_answer_and_out_of_a_crowd(
    worker: TlsThreadWorker, taken: int, initialized: bool, lingers: bool
) -> None:
    ends: list[bool] = []

    class Ending(TConn):  # type: ignore[misc]  # gunicorn has no types
        def close(self, graceful: bool = False) -> None:
            ends.append(graceful)

    near, far = socket.socketpair()
    connection = Ending(worker.cfg, near, None, None)
    connection.initialized = initialized
    worker.nr_conns = taken
    worker._busy[connection] = float("inf")
    worker.finish_request(connection, _finished(False))
    worker._closers.shutdown()
    near.close()
    far.close()
    assert ends == [lingers]


def _finished(result: object) -> Future[object]:
    future: Future[object] = Future()
    future.set_result(result)
    return future
