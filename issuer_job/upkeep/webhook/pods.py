"""Asked of each webhook pod: which certificate it shows, and whether it knows the way in."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable
from http.client import HTTPConnection, HTTPException
from socket import create_connection

from issuer_job import log
from issuer_job import vocabulary as v
from issuer_job.background import Background, at_once
from issuer_job.cluster.api import Cluster
from issuer_job.cluster.endpoints import endpoints
from issuer_job.upkeep.webhook.certificate import DNS_NAMES

PATIENCE = 3.0
"""Seconds for connecting, and for each read; for all of it twice as many: a pod may be in a stranger's hands."""
POLL = 0.2
SETTLE = 1.0
"""Seconds from an endpoint's being ready until every node leads there."""
KNOWN = 415
"""The answer to a POST that is no review, where the path is known; it is 404 elsewhere."""

Ask = Callable[[tuple[str, int], bytes, str], int | None]


def answer(pod: tuple[str, int], ca_pem: bytes, path: str) -> int | None:
    """The status; 0 from who is not trusted, who is not told the path; None from nobody, or not in time."""
    try:
        return Background(lambda: _answer(pod, ca_pem, path)).result(2 * PATIENCE)
    except (ssl.SSLError, HTTPException):
        return 0
    except OSError:
        return None


def _answer(pod: tuple[str, int], ca_pem: bytes, path: str) -> int:
    context = ssl.create_default_context(cadata=ca_pem.decode())
    name, plain = DNS_NAMES[0], create_connection(pod, PATIENCE)
    with plain, context.wrap_socket(plain, server_hostname=name) as tls:
        connection = HTTPConnection(name)
        connection.sock = tls
        connection.request("POST", path)
        return connection.getresponse().status


def lacking(cluster: Cluster, ca_pem: bytes, path: str, *, ask: Ask = answer) -> list[str]:
    """IP addresses of the webhook's pods that do not show a certificate of this CA alone, or do not know the path.

    One that gets no requests any more counts only if it answers. Raises KubeError.
    """
    found = list(endpoints(cluster, v.NAMESPACE, v.WEBHOOK_SERVICE))
    said = at_once(lambda pod: ask((pod.address, pod.port), ca_pem, path), found)
    return [
        pod.address
        for pod, status in zip(found, said, strict=True)
        if status != KNOWN and (status is not None or pod.serving)
    ]


def wait_ready(
    cluster: Cluster, *, until: float, sleep: Callable[[float], None] = time.sleep, settle: float = SETTLE
) -> None:
    """Until the webhook's Service leads to a pod, at most `until` (time.monotonic()). Raises KubeError."""
    while not any(pod.ready for pod in endpoints(cluster, v.NAMESPACE, v.WEBHOOK_SERVICE)):
        if time.monotonic() >= until:
            log.warning("webhook-not-ready", do=f"kubectl describe pods -n {v.NAMESPACE}")
            return
        sleep(POLL)
    sleep(settle)
