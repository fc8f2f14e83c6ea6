"""Servers of the tests: run in a thread for as long as a block lasts."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from socketserver import BaseServer


@contextmanager
def served(server: BaseServer, *, poll_interval: float = 0.01) -> Iterator[None]:
    """Until the block ends; `poll_interval` in seconds is how long that may take to be seen."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": poll_interval})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
