"""The way to the API server: the Kubernetes client's configuration and REST layer over one urllib3 pool.

The only module that imports `kubernetes`, and of it no more than it needs: the package's own imports and its
models cost every Job a third of its start-up, and every pod 20 MiB.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from urllib3 import Timeout
from urllib3.exceptions import HTTPError
from urllib3.response import BaseHTTPResponse

from issuer_job.cluster.api import MAX_ANSWER, KubeError, Response, Unreachable, api_error

_MAX_ERROR = 1 << 16


class LibraryTransport:
    """`api.Transport` with the pod's service account, or outside of any cluster with a kubeconfig."""

    def __init__(self, *, connections: int = 8) -> None:
        in_cluster = "KUBERNETES_SERVICE_HOST" in os.environ
        if in_cluster:
            _without_package_imports()
        from kubernetes.client.configuration import Configuration
        from kubernetes.client.rest import RESTClientObject

        self._configuration = Configuration()
        self._configuration.connection_pool_maxsize = connections
        _load(self._configuration, in_cluster=in_cluster)
        self._pool = RESTClientObject(self._configuration).pool_manager

    def send(self, method: str, path: str, *, body: bytes | None, timeout: float) -> Response:
        """See Transport."""
        try:
            answer = self._request(method, path, body, Timeout(total=timeout))
            try:
                data = answer.read(MAX_ANSWER + 1)
            finally:
                answer.release_conn()
        except (HTTPError, OSError) as problem:
            raise Unreachable(f"{method} {_bare(path)}: {type(problem).__name__}") from problem
        if len(data) > MAX_ANSWER:
            raise KubeError(f"{method} {_bare(path)}: the answer is larger than {MAX_ANSWER} bytes")
        return Response(answer.status, {name.lower(): value for name, value in answer.headers.items()}, data)

    def stream(self, path: str, *, timeout: float) -> Iterator[bytes]:
        """See Transport."""
        try:
            answer = self._request("GET", path, None, Timeout(connect=5, read=timeout))
            try:
                if answer.status >= 400:
                    raise api_error("GET", answer.status, json.loads(answer.read(_MAX_ERROR) or b"{}"), {})
                rest = b""
                for chunk in answer.stream(65536):
                    *lines, rest = (rest + chunk).split(b"\n")
                    yield from filter(None, lines)
                    if len(rest) > MAX_ANSWER:
                        raise KubeError("a watch event is too large")
            finally:
                answer.close()
        except (HTTPError, OSError, ValueError) as problem:
            raise Unreachable(f"watch {_bare(path)}: {type(problem).__name__}") from problem

    def _request(self, method: str, path: str, body: bytes | None, timeout: Timeout) -> BaseHTTPResponse:
        headers = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "certjob"}
        # Asked for at each request: the service account's token is replaced on disk while we run.
        for setting in self._configuration.auth_settings().values():
            headers[setting["key"]] = setting["value"]
        answer: BaseHTTPResponse = self._pool.request(
            method,
            self._configuration.host + path,
            body=body,
            headers=headers,
            timeout=timeout,
            preload_content=False,
            redirect=False,
            retries=False,
        )
        return answer


def _load(configuration: Any, *, in_cluster: bool) -> None:
    """Fill in server, trust and credentials. Raises KubeError."""
    from kubernetes.config.config_exception import ConfigException

    try:
        if in_cluster:
            # The module looks for this name in its package, which was kept from importing it.
            setattr(sys.modules["kubernetes.client"], type(configuration).__name__, type(configuration))
            from kubernetes.config.incluster_config import load_incluster_config

            load_incluster_config(client_configuration=configuration)
        else:
            from kubernetes.config import load_kube_config

            load_kube_config(client_configuration=configuration)
    except ConfigException as problem:
        raise KubeError(f"neither a service account nor a kubeconfig is here: {problem}") from None


def _without_package_imports() -> None:
    """Make the client's submodules importable one by one, without the packages' `__init__` that import everything."""
    if "kubernetes" in sys.modules:
        return
    found = importlib.util.find_spec("kubernetes")
    if found is None or found.submodule_search_locations is None:
        return
    roots = list(found.submodule_search_locations)
    for name in ("kubernetes", "kubernetes.client", "kubernetes.config", "kubernetes.utils"):
        package = ModuleType(name)
        package.__path__ = [os.path.join(root, *name.split(".")[1:]) for root in roots]
        sys.modules[name] = package


def _bare(path: str) -> str:
    return path.partition("?")[0]
