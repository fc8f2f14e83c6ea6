"""A plain HTTP client of the API server, so that tests see status codes and error bodies as they are."""

from __future__ import annotations

import base64
import http.client
import json
import ssl
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from issuer_job import vocabulary as v

Json = dict[str, Any]
NewNamespace = Callable[..., str]
"""Of the fixture `new_namespace`: its prefix, labels as keywords; the namespace's name."""

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"


@dataclass(frozen=True)
class Answer:
    """Status, and the body as text and (if it is JSON) parsed."""

    status: int
    text: str

    @property
    def json(self) -> Json:
        """The body as a JSON object."""
        parsed: Json = json.loads(self.text)
        return parsed

    @property
    def message(self) -> str:
        """The message of an error, else the whole body."""
        return str(self.json.get("message", "")) or self.text

    def __str__(self) -> str:
        return f"{self.status} {self.text[:600]}"


@dataclass(frozen=True)
class Endpoint:
    """Where the API server is, and the TLS settings for it."""

    host: str
    port: int
    tls: ssl.SSLContext


class Api:
    """One identity at the API server. Each thread has its own connection."""

    def __init__(self, endpoint: Endpoint, token: str | None, *, acts_as: str = "") -> None:
        self._endpoint = endpoint
        self._token = token
        self._acts_as = acts_as
        self._local = threading.local()

    def acting_as(self, user: str) -> Api:
        """The same identity, which speaks for another user: of the administrator."""
        return Api(self._endpoint, self._token, acts_as=user)

    def call(
        self,
        method: str,
        path: str,
        body: Json | list[Json] | str | None = None,
        *,
        content_type: str = "application/json",
        **query: str,
    ) -> Answer:
        """Send one request. A string is sent as it is, so that malformed bodies can be tried."""
        url = path + ("?" + urlencode(query) if query else "")
        headers = {"Accept": "application/json", "Content-Type": content_type}
        if self._token is not None:
            headers["Authorization"] = "Bearer " + self._token
        if self._acts_as:
            headers["Impersonate-User"] = self._acts_as
        data = None if body is None else (body if isinstance(body, str) else json.dumps(body)).encode()
        try:
            return self._send(method, url, data, headers)
        except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError, ssl.SSLEOFError):
            return self._send(method, url, data, headers)  # an idle connection was closed meanwhile

    def _send(self, method: str, url: str, data: bytes | None, headers: dict[str, str]) -> Answer:
        connection = getattr(self._local, "connection", None)
        if connection is None:
            where = self._endpoint
            connection = http.client.HTTPSConnection(where.host, where.port, context=where.tls, timeout=30)
            self._local.connection = connection
        try:
            connection.request(method, url, data, headers)
            answer = connection.getresponse()
            return Answer(answer.status, answer.read().decode(errors="replace"))
        except (OSError, http.client.HTTPException):
            connection.close()
            self._local.connection = None
            raise

    def close(self) -> None:
        """Close this thread's connection."""
        connection = getattr(self._local, "connection", None)
        if connection is not None:
            connection.close()


def path(resource: str, namespace: str | None = None, name: str | None = None) -> str:
    """URL path of an object or a collection. `resource` as kubectl spells it: `secrets`, `jobs.batch/v1`, ..."""
    plural, _, group = resource.partition(".")
    parts = ["/apis/" + group if group else "/api/v1"]
    if namespace is not None:
        parts += ["namespaces", quote(namespace)]
    parts += [plural] if name is None else [plural, quote(name)]
    return "/".join(parts)


SECRETS = "secrets"
CONFIGMAPS = "configmaps"
JOBS = "jobs.batch/v1"
INGRESSES = "ingresses.networking.k8s.io/v1"
MUTATING_WEBHOOKS = "mutatingwebhookconfigurations.admissionregistration.k8s.io/v1"


def kubectl(*args: str, stdin: str | None = None) -> str:
    """Run kubectl as the administrator; its output. An error's text is in the exception."""
    done = subprocess.run(["kubectl", *args], input=stdin, capture_output=True, text=True, check=False, timeout=120)
    if done.returncode:
        raise RuntimeError(f"kubectl {' '.join(args)}: {done.stderr.strip()}")
    return done.stdout


def admin() -> tuple[Endpoint, Api]:
    """The cluster of the kubeconfig and its administrator. An administrator with a password is not supported."""
    config = json.loads(kubectl("config", "view", "--raw", "--flatten", "--minify", "-o", "json"))
    cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    address = urlsplit(cluster["server"])
    authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
    endpoint = Endpoint(str(address.hostname), address.port or 443, ssl.create_default_context(cadata=authority))
    if "token" in user:
        return endpoint, Api(endpoint, user["token"])
    tls = ssl.create_default_context(cadata=authority)
    with tempfile.TemporaryDirectory() as directory:
        pair = Path(directory) / "pair.pem"
        pair.touch(mode=0o600)
        pair.write_bytes(
            base64.b64decode(user["client-certificate-data"]) + b"\n" + base64.b64decode(user["client-key-data"])
        )
        tls.load_cert_chain(pair)
    return endpoint, Api(Endpoint(endpoint.host, endpoint.port, tls), None)


def wait_for(condition: Callable[[], bool], *, what: str, seconds: float = 60) -> None:
    """Wait until the condition holds; it is asked about every 50 ms. What is usual in a second may take many."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.05)


def canary(api: Api) -> Answer:
    """What certjob asks before it acts: a dry-run create that only the policies refuse."""
    body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "certjob-canary"}, "type": "Opaque"}
    return api.call("POST", path(SECRETS, v.CANARY_NAMESPACE), body, dryRun="All")
