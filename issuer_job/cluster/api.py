"""The cluster: typed verbs of the Kubernetes API over a transport. Objects are plain dicts."""

from __future__ import annotations

import json
import math
import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar
from urllib.parse import quote, urlencode

Json = dict[str, Any]
T = TypeVar("T")

MAX_ANSWER = 64 * 1024 * 1024
"""Bytes of one answer: a page of 500 large objects fits."""
PAGE = 500
LIST_ROUNDS = 3
"""How often a collection is read anew."""
LONGEST_CALL = 10.0
"""Seconds for one request."""
QUOTA_PAUSES = (0.02, 0.05, 0.1, 0.2)
"""Seconds before a creation that met a busy ResourceQuota is sent again."""


@dataclass(frozen=True)
class Resource:
    """One kind of object: `api` is its group's path, for example "/apis/batch/v1"."""

    api: str
    plural: str

    def path(self, namespace: str | None = None, name: str | None = None) -> str:
        """URL path of one object, of a namespace's collection, or of the whole collection."""
        parts = [self.api]
        if namespace is not None:
            parts += ["namespaces", quote(namespace, safe="")]
        parts.append(self.plural)
        if name is not None:
            parts.append(quote(name, safe=""))
        return "/".join(parts)

    @property
    def api_version(self) -> str:
        """As objects say it, for example "batch/v1"."""
        return self.api.removeprefix("/apis/").removeprefix("/api/")


CONFIGMAPS = Resource("/api/v1", "configmaps")
SECRETS = Resource("/api/v1", "secrets")
NAMESPACES = Resource("/api/v1", "namespaces")
POD_TEMPLATES = Resource("/api/v1", "podtemplates")
JOBS = Resource("/apis/batch/v1", "jobs")
INGRESSES = Resource("/apis/networking.k8s.io/v1", "ingresses")
EVENTS = Resource("/apis/events.k8s.io/v1", "events")
ENDPOINT_SLICES = Resource("/apis/discovery.k8s.io/v1", "endpointslices")
MUTATING_WEBHOOKS = Resource("/apis/admissionregistration.k8s.io/v1", "mutatingwebhookconfigurations")


class KubeError(Exception):
    """The API server could not be asked, or said no."""


class Unreachable(KubeError):
    """No answer: connection refused, cut or timed out. Whether a write happened is unknown."""


class ApiError(KubeError):
    """The API server's answer was an error.

    `status` is the HTTP code, `reason` Kubernetes' word for it (AlreadyExists, Conflict, ...).
    """

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status = status
        self.reason = reason
        self.message = message


class NotFound(ApiError):
    """404."""


class AlreadyExists(ApiError):
    """409 of a create: the name is taken."""


class Conflict(ApiError):
    """409 of an update or a delete: the object is not the one that was read. Of a create: the quota was busy."""


class Gone(ApiError):
    """410: the list or watch must start again."""


@dataclass(frozen=True)
class Response:
    """What a transport brings back: status, headers in lower case, and the body's bytes."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Transport(Protocol):
    """Sends one request. Raises Unreachable when there is no answer."""

    def send(self, method: str, path: str, *, body: bytes | None, timeout: float) -> Response:
        """`path` has the query string; `timeout` in seconds bounds connecting and each read."""

    def stream(self, path: str, *, timeout: float) -> Iterator[bytes]:
        """Lines of a watch; `timeout` in seconds bounds the wait for each."""


@dataclass(frozen=True)
class Cluster:
    """Typed verbs over a transport. Thread-safe when the transport is.

    No call takes longer than `timeout` in seconds, nor than until `deadline` (time.monotonic()); none begins later.
    """

    transport: Transport
    timeout: float = LONGEST_CALL
    deadline: float = math.inf

    def until(self, deadline: float) -> Cluster:
        """The same for a piece of work that has to end by then."""
        return replace(self, timeout=LONGEST_CALL, deadline=deadline)

    def get(self, resource: Resource, namespace: str | None, name: str) -> Json:
        """One object. Raises NotFound."""
        return self._send("GET", resource.path(namespace, name))

    def find(self, resource: Resource, namespace: str | None, name: str) -> Json | None:
        """One object, or None."""
        try:
            return self.get(resource, namespace, name)
        except NotFound:
            return None

    def pages(
        self, resource: Resource, namespace: str | None = None, *, labels: str = "", limit: int = PAGE
    ) -> Iterator[Json]:
        """The collection in pages of `limit`, each the API server's List object.

        Raises Gone when a page's token expired: start again.
        """
        query = {"limit": str(limit)} | ({"labelSelector": labels} if labels else {})
        while True:
            answer = self._send("GET", resource.path(namespace), query)
            yield answer
            token = answer.get("metadata", {}).get("continue")
            if not token:
                return
            query["continue"] = token

    def items(self, resource: Resource, namespace: str | None = None, *, labels: str = "") -> Iterator[Json]:
        """Every object of a collection, page by page."""
        for page in self.pages(resource, namespace, labels=labels):
            yield from page.get("items") or []

    def create(self, resource: Resource, namespace: str | None, body: Json, *, dry_run: bool = False) -> Json:
        """POST. Raises AlreadyExists, and Conflict when a ResourceQuota stays too busy."""
        path, query = resource.path(namespace), _write_query(dry_run)
        for pause in QUOTA_PAUSES:
            try:
                return self._send("POST", path, query, body)
            except Conflict:
                # Many creations at once changed the namespace's ResourceQuota: this one did not happen.
                time.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 - jitter
        return self._send("POST", path, query, body)

    def update(self, resource: Resource, namespace: str | None, body: Json, *, dry_run: bool = False) -> Json:
        """PUT of a whole object, conditional on its resourceVersion and uid if set. Raises Conflict, NotFound."""
        path = resource.path(namespace, body["metadata"]["name"])
        return self._send("PUT", path, _write_query(dry_run), body)

    def delete(
        self, resource: Resource, namespace: str | None, name: str, *, uid: str = "", resource_version: str = ""
    ) -> None:
        """DELETE, with uid and resourceVersion of exactly that object; one that is gone already is fine.

        Raises Conflict.
        """
        body: Json = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"}
        seen = {"uid": uid, "resourceVersion": resource_version}
        if any(seen.values()):
            body["preconditions"] = {key: value for key, value in seen.items() if value}
        try:
            self._send("DELETE", resource.path(namespace, name), None, body)
        except NotFound:
            return

    def watch(
        self, resource: Resource, namespace: str, *, labels: str, resource_version: str, seconds: int
    ) -> Iterator[Json]:
        """Watch events (`type`, `object`) from a resourceVersion on, for about `seconds`. Raises Gone."""
        query = {
            "watch": "1",
            "labelSelector": labels,
            "resourceVersion": resource_version,
            "timeoutSeconds": str(seconds),
            "allowWatchBookmarks": "true",
        }
        for line in self.transport.stream(f"{resource.path(namespace)}?{urlencode(query)}", timeout=seconds + 5):
            event: Json = json.loads(line)
            if event["type"] == "ERROR":
                status = event["object"]
                raise api_error(int(status.get("code", 500)), status)
            yield event

    def ready(self, *, timeout: float = 2.0) -> bool:
        """Whether the API server answers `/readyz`."""
        try:
            return self.transport.send("GET", "/readyz", body=None, timeout=timeout).status == 200
        except Unreachable:
            return False

    def _send(self, method: str, path: str, query: Mapping[str, str] | None = None, body: Json | None = None) -> Json:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise KubeError("no time left")
        target = f"{path}?{urlencode(query)}" if query else path
        data = None if body is None else json.dumps(body, separators=(",", ":")).encode()
        response = self.transport.send(method, target, body=data, timeout=min(left, self.timeout))
        try:
            answer = json.loads(response.body) if response.body else {}
        except ValueError:
            answer = {"message": response.body[:200].decode(errors="replace")}
        if not isinstance(answer, dict):
            answer = {}
        if response.status >= 400:
            raise api_error(response.status, answer)
        return answer


def read_whole(read: Callable[[], T], what: str) -> T:
    """What `read` makes of whole collections: when a page's token expires it starts again. Raises KubeError."""
    for _ in range(LIST_ROUNDS):
        with suppress(Gone):
            return read()
    raise KubeError(f"the list of {what} keeps expiring")


def _write_query(dry_run: bool) -> dict[str, str]:
    return {"fieldManager": "certjob"} | ({"dryRun": "All"} if dry_run else {})


def api_error(status: int, answer: Json) -> ApiError:
    """The exception for an error answer; `answer` is a Kubernetes Status object, or nearly."""
    reason = str(answer.get("reason") or "Unknown")
    message = str(answer.get("message") or "")[:1000]
    kinds: dict[int, type[ApiError]] = {404: NotFound, 409: Conflict, 410: Gone}
    kind = AlreadyExists if status == 409 and reason == "AlreadyExists" else kinds.get(status, ApiError)
    return kind(status, reason, message)
