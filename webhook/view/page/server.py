"""Serves the page at 127.0.0.1 of its pod, where no other pod reaches it; `kubectl port-forward` does.

By gunicorn's thread worker, in this process: what it shows is in the memory of this one, and a master beside it would
take as much memory as a thousand certificates. Who restarts it is the kubelet.
"""

from __future__ import annotations

import os
import socket

from flask import Flask
from gunicorn.app.base import BaseApplication
from gunicorn.workers.gthread import ThreadWorker

from webhook.gunicorn_log import GunicornLogger

ADDRESS, PORT = "127.0.0.1", 8080
THREADS = 4
"""A page takes a tenth of a second at most; who asks is a few people."""


class _Application(BaseApplication):  # type: ignore[misc]  # gunicorn has no types
    """The page and its settings, as gunicorn wants them."""

    def __init__(self, page: Flask) -> None:
        self._page = page
        super().__init__()

    def load_config(self) -> None:
        """See BaseApplication."""
        settings = {
            "threads": THREADS,
            "worker_connections": 40,
            "keepalive": 10,
            "graceful_timeout": 5,
            "limit_request_line": 4094,
            "limit_request_fields": 60,
            "limit_request_field_size": 8190,  # single sign-on adds headers
            "http_parser": "python",
            "forwarded_allow_ips": "",
            "worker_tmp_dir": "/dev/shm" if os.access("/dev/shm", os.W_OK) else "/tmp",  # noqa: S108 - unlinked at once
            "logger_class": GunicornLogger,
        }
        for name, value in settings.items():
            self.cfg.set(name, value)

    def load(self) -> Flask:
        """See BaseApplication."""
        return self._page


class _Worker(ThreadWorker):  # type: ignore[misc]
    """One that has no master."""

    def is_parent_alive(self) -> bool:
        """Nobody's end ends this one."""
        return True


class PageServer:
    """The port, from the beginning on, and who serves it once `run` is called."""

    def __init__(self, page: Flask, *, port: int = PORT) -> None:
        """Opens the port, 0 for any that is free. Raises OSError if it is taken."""
        listening = socket.create_server((ADDRESS, port), backlog=64)
        listening.setblocking(False)
        self.port = int(listening.getsockname()[1])
        application = _Application(page)
        settings = application.cfg
        logger = GunicornLogger(settings)
        self._worker = _Worker(1, os.getppid(), [listening], application, settings.timeout, settings, logger)

    def run(self) -> None:
        """Until SIGTERM or SIGINT, which it takes; in the main thread."""
        self._worker.init_process()
