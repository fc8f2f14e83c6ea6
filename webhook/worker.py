"""A gunicorn worker that idle and half-open TLS connections cannot starve, and that loses no request when it stops.

gunicorn's own thread worker shakes hands and waits for the first byte in a thread, without a timeout: as many
silent connections as threads and it answers no more. Here a connection has a thread only while there is something to
read or to answer, and that for a bounded time. The handshake is done without blocking, between turns of the poller.

On SIGTERM readiness goes false first, and requests are still answered for a while: until every kube-proxy has heard
that this endpoint is gone, new connections keep coming.
"""

from __future__ import annotations

import math
import os
import selectors
import socket
import ssl
import time
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

from gunicorn import http, sock
from gunicorn.workers.gthread import STOP_KEEPALIVE_LINGER, ThreadWorker

from webhook.readiness import draining

HANDSHAKE_SECONDS = 5.0
REQUEST_SECONDS = float(os.environ.get("CERTJOB_REQUEST_SECONDS", "12"))
"""For one request, from its first byte to the end of the answer. The API server waits for 5 s."""
UNREAD_SECONDS = 0.5
"""For what is left of a body that was refused."""
CLOSERS = 8
DRAIN_SECONDS = float(os.environ.get("CERTJOB_DRAIN_SECONDS", "5"))

_SHAKING = object()
_IDLE = object()


class TlsThreadWorker(ThreadWorker):  # type: ignore[misc]  # gunicorn has no types
    """gunicorn's thread worker with bounded handshakes and requests, and a drain."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.max_keepalived = self.worker_connections  # the oldest is let go when all places are taken
        self._busy: dict[Any, float] = {}  # connection in a thread -> when its time is over
        self._accepted: dict[Any, float] = {}  # connection in its handshake -> when its time is over
        self._drained_at: float | None = None
        self._looked_at = 0.0
        self._closers = ThreadPoolExecutor(CLOSERS, thread_name_prefix="close")

    def handle_exit(self, sig: int, frame: object) -> None:
        """SIGTERM: not ready any more, but still at work for DRAIN_SECONDS."""
        draining.set()
        if self._drained_at is None:
            self._drained_at = time.monotonic() + DRAIN_SECONDS
            # Answers say "Connection: close" from now on, so that clients move to another replica.
            self.max_keepalived = 0

    def enqueue_req(self, conn: Any) -> None:
        """Give the connection a thread as soon as one is free."""
        self._busy[conn] = math.inf
        super().enqueue_req(conn)

    def handle(self, conn: Any) -> Any:
        """In a thread, for a bounded time: go on with the handshake as far as there is data, or serve one request."""
        self._busy[conn] = time.monotonic() + REQUEST_SECONDS
        return super().handle(conn) if conn.initialized else self._shake_hands(conn)

    def finish_request(self, conn: Any, fs: Future[Any]) -> None:
        """In the main thread: what becomes of the connection after its turn in a thread."""
        in_time = time.monotonic() < self._busy.pop(conn)
        result = False if fs.cancelled() or fs.exception() else fs.result()
        if result is _SHAKING:
            self._accepted.setdefault(conn, time.monotonic() + HANDSHAKE_SECONDS)
            self.pending_conns.append(conn)
            self._poll(conn, self.on_pending_socket_readable)
            return
        self._accepted.pop(conn, None)
        if result is _IDLE:
            conn.set_timeout()
            if not self.alive:
                conn.timeout = min(conn.timeout, time.monotonic() + STOP_KEEPALIVE_LINGER)
            self.keepalived_conns.append(conn)
            self._poll(conn, self.on_client_socket_readable)
        elif result:
            super().finish_request(conn, fs)
        else:
            # Lingers for seconds if the other side is slow, which would keep everybody waiting here, and the places
            # taken; so it does not in a crowd, nor where nothing was said.
            lingers = in_time and conn.initialized and self.nr_conns < self.worker_connections // 2
            closing = self._closers.submit(conn.close, graceful=lingers)
            closing.add_done_callback(lambda _: self.method_queue.defer(self._closed))

    def murder_pending(self) -> None:
        """In the main thread, at each turn: end what has had its time; the oldest idle one goes in a crowd."""
        now = time.monotonic()
        if self._drained_at is not None and now >= self._drained_at:
            self.alive = False
        if self.nr_conns >= self.worker_connections:
            self._evict_oldest_idle()
        if now - self._looked_at < 0.5:
            return
        self._looked_at = now
        for conn in [c for c in self.pending_conns if self._accepted.get(c, 0.0) <= now]:
            self._drop(conn, self.pending_conns)
        for conn, end in list(self._busy.items()):
            if end <= now:
                # Wakes the thread that waits on it; SSLSocket.shutdown would pull TLS away under its feet.
                _shut(conn.sock)

    def _keepalive_after(self, conn: Any, keepalive: Any) -> bool:
        if not keepalive:
            return False
        return bool(conn.parser.finish_body(deadline=time.monotonic() + UNREAD_SECONDS))

    def _shake_hands(self, conn: Any) -> object:
        try:
            if not isinstance(conn.sock, ssl.SSLSocket):
                conn.sock = sock.ssl_wrap_socket(conn.sock, self.cfg)
            conn.sock.do_handshake()
        except ssl.SSLWantReadError:
            return _SHAKING
        except (OSError, ValueError):  # ssl.SSLError is an OSError
            return False
        conn.parser = http.get_parser(self.cfg, conn.sock, conn.client)
        conn.initialized = conn.data_ready = True
        return _IDLE

    def _poll(self, conn: Any, callback: Any) -> None:
        try:
            conn.sock.setblocking(False)
            self.poller.register(conn.sock, selectors.EVENT_READ, partial(callback, conn))
        except (OSError, ValueError, KeyError):
            for waiting in (self.pending_conns, self.keepalived_conns):
                if conn in waiting:
                    waiting.remove(conn)
            self._accepted.pop(conn, None)
            self._closed()
            conn.close()

    def _evict_oldest_idle(self) -> None:
        """Unless others wait for a thread or their end: their places come free by themselves, and soon.

        When a crowd leaves at once, the one connection that has just come is the only idle one, and the oldest.
        """
        if len(self.pending_conns) + len(self.keepalived_conns) > self.worker_connections - self.cfg.threads:
            waiting = self.pending_conns or self.keepalived_conns
            self._drop(waiting[0], waiting)

    def _drop(self, conn: Any, waiting: Any) -> None:
        waiting.remove(conn)
        self._accepted.pop(conn, None)
        self.poller.unregister(conn.sock)
        self._closed()
        conn.close()

    def _closed(self) -> None:
        self.nr_conns -= 1


def _shut(connection: socket.socket) -> None:
    try:
        socket.socket.shutdown(connection, socket.SHUT_RDWR)
    except OSError:
        return  # gone already
