"""The way to the API server: urllib3 with the pod's service account, or outside of any cluster with a kubeconfig.

The only module that imports `kubernetes`, and only for a kubeconfig: in a pod two files and two variables say all,
and the library's imports alone would cost every Job half as much time as all that it does import, and 20 MiB.
"""

from __future__ import annotations

import json
import os
import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from urllib3 import HTTPHeaderDict, PoolManager, Timeout
from urllib3.exceptions import HTTPError
from urllib3.response import BaseHTTPResponse

from issuer_job.cluster.api import HEAD, MAX_ANSWER, KubeError, Response, TooLarge, Unreachable, api_error

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where a pod has its `token` and the API server's `ca.crt`. The kubelet replaces both while the pod runs."""
_MAX_ERROR = 1 << 16


@dataclass(frozen=True)
class _Server:
    """One API server: its URL, a pool of connections that verify it, and the headers that say who asks."""

    url: str
    pool: PoolManager
    credentials: Callable[[], Mapping[str, str]]
    """Asked for at each request: tokens are replaced while we run."""


class HttpTransport:
    """`api.Transport` over kept connections. Raises KubeError where there is no way to an API server."""

    def __init__(
        self,
        *,
        connections: int = 8,
        user: str = "",
        groups: Sequence[str] = (),
        context: str = "",
        kubeconfig: str = "",
        accept: Callable[[str, str], str] = lambda method, path: "application/json",
    ) -> None:
        """`user` and `groups`: on whose behalf, by impersonation. `context`: of the kubeconfig, which is the usual
        one if none is given. `accept` says which media type to ask for, given method and path.
        """
        self._user = [("Impersonate-User", user)] if user else []
        self._user += [("Impersonate-Group", group) for group in groups]
        self._accept = accept
        in_cluster = "KUBERNETES_SERVICE_HOST" in os.environ
        self._server = (
            _by_service_account(connections) if in_cluster else _by_kubeconfig(connections, context, kubeconfig)
        )

    def send(self, method: str, path: str, *, body: bytes | None, timeout: float) -> Response:
        """See Transport."""
        try:
            answer = self._request(method, path, body, Timeout(total=timeout))
            try:
                data = answer.read(MAX_ANSWER + 1)
                if len(data) > MAX_ANSWER:
                    answer.close()  # the rest would be in the way of the next one
            finally:
                answer.release_conn()
        except (HTTPError, OSError) as problem:
            raise Unreachable(f"{method} {_bare(path)}: {type(problem).__name__}") from problem
        if len(data) > MAX_ANSWER:
            raise TooLarge(f"{method} {_bare(path)}: the answer is larger than {MAX_ANSWER} bytes", data[:HEAD])
        # Merged: an answer may warn more than once.
        return Response(answer.status, {name.lower(): value for name, value in answer.headers.itermerged()}, data)

    def stream(self, path: str, *, timeout: float) -> Iterator[bytes]:
        """See Transport."""
        try:
            answer = self._request("GET", path, None, Timeout(connect=5, read=timeout))
            try:
                if answer.status >= 400:
                    raise api_error(answer.status, json.loads(answer.read(_MAX_ERROR) or b"{}"))
                rest = bytearray()
                for chunk in answer.stream(65536):
                    *ends, begin = chunk.split(b"\n")
                    for end in ends:
                        yield from filter(None, [bytes(rest + end)])
                        rest.clear()
                    rest += begin
                    if len(rest) > MAX_ANSWER:
                        raise KubeError("a watch event is too large")
            finally:
                answer.close()
        except (HTTPError, OSError, ValueError) as problem:
            raise Unreachable(f"watch {_bare(path)}: {type(problem).__name__}") from problem

    def _request(self, method: str, path: str, body: bytes | None, timeout: Timeout) -> BaseHTTPResponse:
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        headers = {"Content-Type": kind, "Accept": self._accept(method, path), "User-Agent": "certjob"}
        return self._server.pool.request(
            method,
            self._server.url + path,
            body=body,
            headers=HTTPHeaderDict([*headers.items(), *self._server.credentials().items(), *self._user]),
            timeout=timeout,
            preload_content=False,
            redirect=False,
            retries=False,
        )


def _by_service_account(connections: int) -> _Server:
    """As https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/ says; never through a proxy."""
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ.get("KUBERNETES_SERVICE_PORT", "")
    token, authority = SERVICE_ACCOUNT / "token", SERVICE_ACCOUNT / "ca.crt"
    if not (host and port and token.is_file() and authority.is_file()):
        raise KubeError("this pod has no service account's token, or no KUBERNETES_SERVICE_HOST and _PORT")
    # The CA's file is read anew for each connection.
    pool = PoolManager(maxsize=connections, cert_reqs=ssl.CERT_REQUIRED, ca_certs=str(authority))
    url = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
    return _Server(url, pool, lambda: {"Authorization": f"Bearer {token.read_text().strip()}"})


def _by_kubeconfig(connections: int, context: str, kubeconfig: str) -> _Server:
    try:
        from kubernetes.client import Configuration
        from kubernetes.client.rest import RESTClientObject
        from kubernetes.config import ConfigException, load_kube_config
    except ImportError:
        raise KubeError("outside of a cluster the package kubernetes is needed, and it is not installed") from None

    configuration = Configuration()
    configuration.connection_pool_maxsize = connections
    try:
        load_kube_config(kubeconfig or None, context=context or None, client_configuration=configuration)
    except ConfigException as problem:
        raise KubeError(f"neither a service account nor a kubeconfig is here: {problem}") from None

    def credentials() -> dict[str, str]:
        return {setting["key"]: setting["value"] for setting in configuration.auth_settings().values()}

    return _Server(configuration.host, RESTClientObject(configuration).pool_manager, credentials)


def _bare(path: str) -> str:
    return path.partition("?")[0]
