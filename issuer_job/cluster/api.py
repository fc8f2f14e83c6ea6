"""The cluster: typed verbs of the Kubernetes API over a transport. Objects are plain dicts."""

from __future__ import annotations

import json
import math
import random
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Protocol, TypeVar
from urllib.parse import quote, urlencode

import msgspec

from issuer_job import log

Json = dict[str, Any]
T = TypeVar("T")

MAX_ANSWER = 8 * 1024 * 1024
"""Bytes of one answer. An object has at most 1.5 MiB where it is stored, and some times that as JSON."""
FIRST_PAGE, PAGE = 50, 200
"""Objects asked for in the first page of a list, and at most: twice as many after each page that was small."""
SMALL = MAX_ANSWER // 8
"""Bytes of a page after which twice as many objects fit, too, unless they are of another kind of size."""
HEAD = 4096
"""Bytes of an answer that is too large which are kept: a list's continue token is in them."""
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
PODS = Resource("/api/v1", "pods")
POD_TEMPLATES = Resource("/api/v1", "podtemplates")
DEPLOYMENTS = Resource("/apis/apps/v1", "deployments")
JOBS = Resource("/apis/batch/v1", "jobs")
INGRESSES = Resource("/apis/networking.k8s.io/v1", "ingresses")
LEASES = Resource("/apis/coordination.k8s.io/v1", "leases")
EVENTS = Resource("/apis/events.k8s.io/v1", "events")
ENDPOINT_SLICES = Resource("/apis/discovery.k8s.io/v1", "endpointslices")
MUTATING_WEBHOOKS = Resource("/apis/admissionregistration.k8s.io/v1", "mutatingwebhookconfigurations")


class KubeError(Exception):
    """The API server could not be asked, or said no."""


class Unreachable(KubeError):
    """No answer: connection refused, cut or timed out. Whether a write happened is unknown."""


class TooLarge(KubeError):
    """The answer is larger than `MAX_ANSWER`; `head` is how it begins."""

    def __init__(self, message: str, head: bytes) -> None:
        super().__init__(message)
        self.head = head


class ApiError(KubeError):
    """The API server's answer was an error.

    `status` is the HTTP code, `reason` Kubernetes' word for it (AlreadyExists, Conflict, ...), `causes` what the
    Status has in `details.causes`, `kind` the plural in `details.kind`; `asked` is method and path of the request,
    `warnings` what the answer warns of (RFC 9111, 5.5, as it is written there).
    """

    asked: tuple[str, str] = ("", "")
    warnings = ""

    def __init__(
        self, status: int, reason: str, message: str, *, kind: str = "", causes: tuple[Cause, ...] = ()
    ) -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status = status
        self.reason = reason
        self.message = message
        self.kind = kind
        self.causes = causes


@dataclass(frozen=True)
class Cause:
    """A cause of an error answer: `reason` is a machine's word, `field` a path in the object."""

    reason: str
    field: str
    message: str


class NotFound(ApiError):
    """404."""


class AlreadyExists(ApiError):
    """409 of a create: the name is taken."""


class Conflict(ApiError):
    """409 of an update or a delete: the object is not the one that was read. Of a create: the quota was busy."""


class Gone(ApiError):
    """410: the list or watch must start again."""


class _ListMeta(msgspec.Struct, rename="camel"):
    resource_version: str = ""
    continue_: str = msgspec.field(name="continue", default="")


class Page(msgspec.Struct):
    """A part of a collection. Objects are decoded one by one: all of a page at once could take 20 times its size."""

    metadata: _ListMeta = msgspec.field(default_factory=_ListMeta)
    items: list[msgspec.Raw] | None = None

    @property
    def version(self) -> str:
        """The collection's resourceVersion."""
        return self.metadata.resource_version

    def objects(self, read: Read | None = None) -> Iterator[Json]:
        """Each as `read` makes it of its JSON; one that cannot be read is logged and left out."""
        for item in self.items or ():
            try:
                yield (read or msgspec.json.decode)(item)
            except msgspec.DecodeError as problem:
                log.error(
                    "object-unreadable",
                    problem=str(problem),
                    object=bytes(memoryview(item)[:200]).decode(errors="replace"),
                )


Read = Callable[[msgspec.Raw], Json]
"""Makes of an object's JSON what its reader needs of it. Raises msgspec.DecodeError."""


@dataclass(frozen=True)
class Response:
    """What a transport brings back: status, headers in lower case, and the body's bytes."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Transport(Protocol):
    """Sends one request. Raises Unreachable when there is no answer."""

    def send(self, method: str, path: str, *, body: bytes | None, timeout: float) -> Response:
        """`path` has the query string; `timeout` in seconds bounds connecting and each read. Raises TooLarge."""

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

    def get(self, resource: Resource, namespace: str | None, name: str, *, read: Read | None = None) -> Json:
        """One object, as `read` makes it of its JSON. Raises NotFound."""
        body = self._ask("GET", resource.path(namespace, name)).body
        return _object(body) if read is None else read(msgspec.Raw(body))

    def find(self, resource: Resource, namespace: str | None, name: str, *, read: Read | None = None) -> Json | None:
        """One object, or None."""
        try:
            return self.get(resource, namespace, name, read=read)
        except NotFound:
            return None

    def pages(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        labels: str = "",
        fields: str = "",
        limit: int = FIRST_PAGE,
    ) -> Iterator[Page]:
        """The collection in pages, the first one of `limit` objects; `labels` and `fields` are selectors.

        Whatever is in it, none is larger than `MAX_ANSWER`: then fewer objects are asked for, and one that is too
        large by itself is logged and left out. Raises Gone when a page's token expired: start again.
        """
        chosen = {"labelSelector": labels, "fieldSelector": fields}
        query = {"limit": str(limit)} | {name: selector for name, selector in chosen.items() if selector}
        path, most = resource.path(namespace), max(limit, PAGE)
        while True:
            try:
                size, page = self._page(path, query | {"limit": str(limit)})
            except TooLarge as problem:
                if limit > 1:
                    limit = max(1, limit // 4)
                    continue
                size, page = MAX_ANSWER, _without_its_object(problem)
            yield page
            if not page.metadata.continue_:
                return
            query["continue"] = page.metadata.continue_
            if size < SMALL:
                limit = min(2 * limit, most)

    def items(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        labels: str = "",
        fields: str = "",
        read: Read | None = None,
    ) -> Iterator[Json]:
        """Every object of a collection, page by page, as `read` makes it of its JSON."""
        for page in self.pages(resource, namespace, labels=labels, fields=fields):
            yield from page.objects(read)

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

    def patch(
        self,
        resource: Resource,
        namespace: str | None,
        name: str,
        body: Json,
        *,
        manager: str = "certjob",
        dry_run: bool = False,
    ) -> Json:
        """PATCH by a merge patch (RFC 7396): for what may be written and not read. Raises NotFound, and Conflict if
        the patch names a resourceVersion.
        """
        query = _write_query(dry_run) | {"fieldManager": manager}
        return self._send("PATCH", resource.path(namespace, name), query, body)

    def delete(
        self,
        resource: Resource,
        namespace: str | None,
        name: str,
        *,
        uid: str = "",
        resource_version: str = "",
        orphan: bool = False,
        dry_run: bool = False,
    ) -> None:
        """DELETE, with uid and resourceVersion of exactly that object; one that is gone already is fine. `orphan`:
        what it owns stays.

        Raises Conflict; a dry run NotFound, too.
        """
        body: Json = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Orphan" if orphan else "Background",
        }
        seen = {"uid": uid, "resourceVersion": resource_version}
        if any(seen.values()):
            body["preconditions"] = {key: value for key, value in seen.items() if value}
        try:
            self._send("DELETE", resource.path(namespace, name), {"dryRun": "All"} if dry_run else None, body)
        except NotFound:
            if dry_run:
                raise

    def watch(
        self, resource: Resource, namespace: str | None, *, labels: str, resource_version: str, seconds: int
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

    def server_version(self) -> str:
        """As the API server says it, "v1.36.4"; empty if it does not say."""
        return str(_object(self._ask("GET", "/version").body).get("gitVersion") or "")

    def _page(self, path: str, query: Mapping[str, str]) -> tuple[int, Page]:
        body = self._ask("GET", path, query).body
        try:
            return len(body), msgspec.json.decode(body, type=Page)
        except msgspec.DecodeError as problem:
            raise KubeError(f"GET {path}: {problem}") from None

    def server_time(self, *, timeout: float = 2.0) -> datetime | None:
        """The API server's clock, in whole seconds (RFC 9110, 6.6.1); None if it does not say. Raises Unreachable."""
        answer = self.transport.send("GET", "/version", body=None, timeout=timeout)
        try:
            said = parsedate_to_datetime(answer.headers.get("date", ""))
        except ValueError:
            return None
        return said if said.tzinfo else said.replace(tzinfo=UTC)

    def _send(self, method: str, path: str, query: Mapping[str, str] | None = None, body: Json | None = None) -> Json:
        return _object(self._ask(method, path, query, body).body)

    def _ask(
        self, method: str, path: str, query: Mapping[str, str] | None = None, body: Json | None = None
    ) -> Response:
        """The answer, if it is none of an error."""
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise KubeError("no time left")
        target = f"{path}?{urlencode(query)}" if query else path
        data = None if body is None else json.dumps(body, separators=(",", ":")).encode()
        response = self.transport.send(method, target, body=data, timeout=min(left, self.timeout))
        if response.status >= 400:
            problem = api_error(response.status, _object(response.body))
            problem.asked, problem.warnings = (method, path), response.headers.get("warning", "")
            raise problem
        return response


def _object(body: bytes) -> Json:
    try:
        answer = msgspec.json.decode(body) if body else {}
    except (ValueError, RecursionError):  # ValueError: msgspec's, and bytes that are not UTF-8
        answer = {"message": body[:200].decode(errors="replace")}
    return answer if isinstance(answer, dict) else {}


_META = re.compile(rb'"metadata":\s*(\{[^{}]*\})')


def _without_its_object(problem: TooLarge) -> Page:
    """The page of one object that is too large, without it: the API server writes the list's metadata first.

    Raises what was raised if that is not so: half a list must not be taken for the whole.
    """
    found = _META.search(problem.head)
    if found is None:
        raise problem
    log.error(
        "object-too-large", problem=str(problem), object=problem.head[found.end() :][:300].decode(errors="replace")
    )
    return Page(msgspec.json.decode(found[1], type=_ListMeta))


def read_whole(read: Callable[[], T], what: str) -> T:
    """What `read` makes of whole collections: when a page's token expires it starts again. Raises KubeError."""
    for _ in range(LIST_ROUNDS):
        with suppress(Gone):
            return read()
    raise KubeError(f"the list of {what} keeps expiring")


def _write_query(dry_run: bool) -> dict[str, str]:
    return {"fieldManager": "certjob"} | ({"dryRun": "All"} if dry_run else {})


def api_error(status: int, answer: Json) -> ApiError:
    """The exception for an error answer; `answer` is a Kubernetes Status object, or nearly.

    What somebody else refuses with such a code, as an admission webhook may with any, is no NotFound and no Conflict.
    """
    reason = str(answer.get("reason") or "Unknown")
    message = str(answer.get("message") or "")[:1000]
    kinds: dict[int, tuple[type[ApiError], str]] = {
        404: (NotFound, "NotFound"),
        409: (AlreadyExists if reason == "AlreadyExists" else Conflict, "AlreadyExists Conflict"),
        410: (Gone, "Gone Expired"),
    }
    kind, reasons = kinds.get(status, (ApiError, ""))
    if answer.get("kind") == "Status" and reason not in reasons.split():
        kind = ApiError
    details = answer.get("details")
    details = details if isinstance(details, dict) else {}
    causes = [
        Cause(str(cause.get("reason") or ""), str(cause.get("field") or ""), str(cause.get("message") or "")[:1000])
        for cause in (details.get("causes") or [])[:10]
        if isinstance(cause, dict)
    ]
    return kind(status, reason, message, kind=str(details.get("kind") or ""), causes=tuple(causes))
