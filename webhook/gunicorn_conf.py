"""gunicorn's settings: `gunicorn -c python:webhook.gunicorn_conf "webhook.app:create_app()"`.

Environment: CERTJOB_TLS_DIR (tls.crt and tls.key, default /tls), CERTJOB_BIND (default all addresses, port 8443),
CERTJOB_DRAIN_SECONDS (default 5), CERTJOB_REQUEST_SECONDS (default 12), CERTJOB_LOG (json or text).
Writes nothing but an unlinked file in /dev/shm or /tmp.
"""

from __future__ import annotations

import logging
import os
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

from issuer_job import log
from issuer_job import vocabulary as v  # noqa: F401 - here CERTJOB_NAMESPACE ends the master, not worker after worker
from webhook.gunicorn_log import GunicornLogger, Tokenless
from webhook.serving_certificate import serving

_tls = Path(os.environ.get("CERTJOB_TLS_DIR", "/tls"))


def _any_address() -> str:
    """Both IP versions where the kernel has both."""
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::", 0))
    except OSError:
        return "0.0.0.0"  # noqa: S104 - a pod's own network namespace
    return "[::]"


bind = os.environ.get("CERTJOB_BIND") or f"{_any_address()}:8443"
certfile = str(_tls / "tls.crt")
keyfile = str(_tls / "tls.key")

workers = 1  # the replicas are the parallelism: a second process would double the memory
worker_class = "webhook.worker.TlsThreadWorker"
threads = 100
worker_connections = 400
backlog = 512
keepalive = 100  # the API server's idle connections live 90 s
timeout = 30
graceful_timeout = 25  # the drain, then the running requests; terminationGracePeriodSeconds is 30

limit_request_line = 1024
limit_request_fields = 40
limit_request_field_size = 4096
http_parser = "python"
forwarded_allow_ips = ""

control_socket_disable = True
worker_tmp_dir = "/dev/shm" if os.access("/dev/shm", os.W_OK) else "/tmp"  # noqa: S108 - tmpfs of the container
logger_class = GunicornLogger
accesslog = None  # the decision's line is enough
errorlog = "-"
loglevel = "info"


def ssl_context(config: object, default_ssl_context_factory: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
    """gunicorn's hook, called for each connection."""
    return serving().context()


def post_fork(arbiter: object, worker: object) -> None:
    """gunicorn's hook, in the worker before it loads the application."""
    log.configure(os.environ.get("CERTJOB_LOG", "json"))
    for handler in logging.getLogger().handlers:
        handler.setFormatter(Tokenless(handler.formatter or logging.Formatter()))
