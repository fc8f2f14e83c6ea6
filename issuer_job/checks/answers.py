"""Whether each part of the installation answers: `python -m issuer_job answers`, which `helm test` runs.

Pods are asked themselves, by their addresses, and on the ports that they name in their specification.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from http.client import HTTPConnection, HTTPException
from socket import create_connection

from issuer_job import vocabulary as v
from issuer_job.background import Background, at_once
from issuer_job.cluster.api import PODS, Cluster, Json

PATIENCE = 3.0
"""Seconds for connecting, and for each read; for all of it twice as many."""


@dataclass(frozen=True)
class Question:
    """A GET on the port of that name, and the status of the right answer."""

    port: str
    path: str
    status: int = 200
    tls: bool = False


QUESTIONS = {
    "webhook": Question("https", "/livez", tls=True),
    "responder": Question("http", f"{v.CHALLENGE_PATH}answers", 404),
    "view": Question("metrics", "/readyz"),
}
"""By component."""

Ask = Callable[[tuple[str, int], Question], int | None]


def ask(pod: tuple[str, int], question: Question) -> int | None:
    """The status; None from nobody, or not in time. Whose the certificate is nobody asks: the API server does."""
    try:
        return Background(lambda: _ask(pod, question)).result(2 * PATIENCE)
    except (OSError, HTTPException):
        return None


def _ask(pod: tuple[str, int], question: Question) -> int:
    connection = HTTPConnection(*pod, timeout=PATIENCE)
    plain = create_connection(pod, PATIENCE)
    with plain:
        connection.sock = _unverified().wrap_socket(plain) if question.tls else plain
        with connection.sock:
            connection.request("GET", question.path)
            return connection.getresponse().status


def _unverified() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def answers(cluster: Cluster, *, ask: Ask = ask, say: Callable[[str], None] = print) -> v.ExitCode:
    """Ask every pod that is ready, and tell it line by line; PERMANENT if a part has none or one says something else.

    Raises KubeError.
    """
    pods = list(filter(_is_ready, cluster.items(PODS, v.NAMESPACE, labels=f"{v.APP_NAME}=certjob")))
    failed = False
    for component, question in QUESTIONS.items():
        own = [pod for pod in pods if pod["metadata"]["labels"].get(v.APP_COMPONENT) == component]
        said = at_once(partial(_asked, ask, question), own)
        failed |= not own or set(said) != {question.status}
        for pod, status in zip(own, said, strict=True):
            right = status == question.status
            told = "no answer" if status is None else f"answers {question.path} with {status}"
            say(f"{'ok' if right else 'FAILED':<8}{component:<11}{pod['metadata']['name']}: {told}")
        if not own:
            say(f"{'FAILED':<8}{component:<11}no pod of it is ready: kubectl get pods -n {v.NAMESPACE}")
    return v.ExitCode.PERMANENT if failed else v.ExitCode.DONE


def _asked(ask: Ask, question: Question, pod: Json) -> int | None:
    return ask((pod["status"]["podIP"], _port(pod, question.port)), question)


def _is_ready(pod: Json) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or []
    ready = any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
    return ready and "deletionTimestamp" not in pod["metadata"]


def _port(pod: Json, name: str) -> int:
    """0, which nobody listens on, if the pod has no such port."""
    ports = (port for container in pod["spec"]["containers"] for port in container.get("ports") or [])
    return next((int(port["containerPort"]) for port in ports if port.get("name") == name), 0)
