"""A small API server in memory, at the transport level: `Cluster(FakeApi())` is a cluster for a unit test.

    api = FakeApi()
    cluster = Cluster(api)
    api.add(INGRESSES, "shop", {"metadata": {"name": "web"}, "spec": {}})     # seed; returns the stored object
    api.stored(SECRETS, "shop", "web-tls")                                    # look; None if missing
    api.fail("PUT", "/secrets/", status(503, "ServiceUnavailable"))           # the next PUT fails
    api.fail("POST", "/jobs", Unreachable("cut"), after=True)                 # done, but the answer is lost
    api.hooks["secrets"] = lambda attempt: denied("no") if ... else None      # admission
    api.requests                                                              # everything that was asked

It keeps what the code relies on: uid, resourceVersion, creationTimestamp, generation, generateName, optimistic
concurrency, delete preconditions, dryRun=All, label selectors (a=b, a!=b, a, !a), the field selector type=x, pages,
watches with bookmarks.
It knows nothing of schemas, finalizers, garbage collection, or whether a namespace exists.
"""

from __future__ import annotations

import json
import re
import secrets
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from urllib.parse import parse_qsl, unquote

import msgspec

from issuer_job.cluster.api import Json, Resource, Response, Unreachable
from tests.fakes.policies import refused_canary
from tests.fakes.store import (
    PATH,
    Attempt,
    Hook,
    Key,
    Request,
    Store,
    answer,
    conflict,
    copied,
    denied,
    denied_by,
    fits,
    line,
    merged,
    missing,
    status,
    watch_event,
)

__all__ = ["Attempt", "FakeApi", "Hook", "Request", "denied", "denied_by", "status"]

Outcome = Response | Exception


@dataclass
class _Fault:
    method: str
    pattern: str
    outcome: Outcome
    times: int
    after: bool


@dataclass
class FakeApi:
    """See the module. Thread-safe. Implements issuer_job.cluster.api.Transport."""

    hooks: dict[str, Hook] = field(default_factory=dict)
    """Admission by plural, for example "secrets"."""
    requests: list[Request] = field(default_factory=list)
    missing_policies: set[str] = field(default_factory=set)
    """Policies of certjob whose canaries are not refused. That for tenants' Secrets is a hook: see `policies`."""
    logs: dict[str, list[str]] = field(default_factory=dict)
    """Lines that a pod has written, by its name."""
    date: str = ""
    """Its clock, as `Date` says it (RFC 9110, 5.6.7); empty: it does not say."""
    version: str = "v1.36.4"
    """Of Kubernetes."""

    def __post_init__(self) -> None:
        self._changed = threading.Condition()
        self._store = Store()
        self._pages: dict[str, tuple[list[Json], str]] = {}
        self._faults: list[_Fault] = []
        self._oldest = 0
        self._frozen = self._closed = 0

    # What a test does.

    def add(self, resource: Resource, namespace: str | None, body: Json) -> Json:
        """Creates or replaces an object past hooks, faults and the log, with its own metadata kept where given."""
        with self._changed:
            return copied(self._put(_key(resource, namespace, body["metadata"]["name"]), copied(body)))

    def remove(self, resource: Resource, namespace: str | None, name: str) -> None:
        """Deletes an object past hooks, faults and the log."""
        with self._changed:
            self._remove(_key(resource, namespace, name))

    def stored(self, resource: Resource, namespace: str | None, name: str) -> Json | None:
        """A copy of an object as it is stored, or None."""
        with self._changed:
            return copied(self._store.objects.get(_key(resource, namespace, name)))

    def all(self, resource: Resource, namespace: str | None = None) -> list[Json]:
        """Copies of all objects of a kind, by namespace and name; without a namespace, of all namespaces."""
        with self._changed:
            return copied(self._store.collection(_key(resource, None, "")[0], namespace))

    def fail(self, method: str, path: str, outcome: Outcome, times: int = 1, *, after: bool = False) -> None:
        """Answers the next `times` requests of `method` ("WATCH" for streams) with `outcome` where the regular
        expression `path` is found in path and query; with `after` the request takes effect, only its answer is lost.
        """
        with self._changed:
            self._faults.append(_Fault(method, path, outcome, times, after))

    def clear_faults(self) -> None:
        """Nothing fails any more."""
        with self._changed:
            self._faults.clear()

    def expire(self) -> None:
        """What was read so far is too old: continue tokens and resourceVersions from before answer 410."""
        with self._changed:
            self._pages.clear()
            self._oldest = self._store.version = self._store.version + 1
            self._changed.notify_all()

    def bookmark(self) -> None:
        """Sends a bookmark to every watch."""
        with self._changed:
            self._store.bookmark()
            self._changed.notify_all()

    def close_watches(self) -> None:
        """Ends all open watches in the regular way."""
        with self._changed:
            self._closed += 1
            self._changed.notify_all()

    def freeze_watches(self) -> None:
        """All open watches stay open and silent until their reader times out."""
        with self._changed:
            self._frozen += 1

    # What the code under test does.

    def send(self, method: str, path: str, *, body: bytes | None, timeout: float) -> Response:
        """See Transport."""
        with self._changed:
            request = self._log(method, path, body)
            if (refusal := refused_canary(request, self.missing_policies)) is not None:
                return refusal
            fault = self._fault(method, path)
            if fault is None or fault.after:
                answer = self._answer(request)
            if fault is None:
                return answer
            if isinstance(fault.outcome, Exception):
                raise fault.outcome
            return fault.outcome

    def stream(self, path: str, *, timeout: float) -> Iterator[bytes]:
        """See Transport."""
        with self._changed:
            request = self._log("WATCH", path, None)
            fault = self._fault("WATCH", path)
            frozen, closed = self._frozen, self._closed
        if fault is not None:
            if isinstance(fault.outcome, Exception):
                raise fault.outcome
            yield line("ERROR", json.loads(fault.outcome.body))
            return
        if request.path.endswith("/log"):
            yield from map(str.encode, self.logs.get(request.path.split("/")[-2], []))
            return
        version = int(request.query["resourceVersion"])
        end = time.monotonic() + float(request.query.get("timeoutSeconds", "3600"))
        silence = time.monotonic() + timeout
        while True:
            with self._changed:
                if version < self._oldest and self._frozen == frozen:
                    yield line("ERROR", json.loads(status(410, "Expired", "too old resource version").body))
                    return
                news = (
                    [change for change in self._store.history if change.version > version]
                    if self._frozen == frozen
                    else []
                )
                if not news:
                    now = time.monotonic()
                    if self._frozen == frozen and (self._closed != closed or now >= end):
                        return
                    if now >= silence:
                        raise Unreachable(f"watch {request.path}: read timeout")
                    self._changed.wait(min(silence, end if self._frozen == frozen else silence) - now)
            for change in news:
                version = change.version
                event = watch_event(change, request.path, request.query.get("labelSelector", ""))
                if event is not None:
                    yield event
                    silence = time.monotonic() + timeout

    # The server.

    def _log(self, method: str, path: str, body: bytes | None) -> Request:
        bare, _, query = path.partition("?")
        request = Request(method, bare, dict(parse_qsl(query)), msgspec.json.decode(body) if body else None)
        self.requests.append(request)
        return request

    def _fault(self, method: str, path: str) -> _Fault | None:
        for fault in self._faults:
            if fault.times > 0 and fault.method == method and re.search(fault.pattern, path):
                fault.times -= 1
                return fault
        return None

    def _answer(self, request: Request) -> Response:
        if request.path in ("/readyz", "/livez"):
            return Response(200, {}, b"ok")
        if request.path == "/version":
            version = msgspec.json.encode({"gitVersion": self.version})
            return Response(200, {"date": self.date} if self.date else {}, version)
        match = PATH.fullmatch(request.path)
        if match is None:
            return status(404, "NotFound", "the server could not find the requested resource")
        api, namespace, plural, name = (unquote(part) if part else None for part in match.groups())
        collection = f"{api}/{plural}"
        if name is None:
            if request.method == "POST":
                return self._write(request, (collection, namespace, ""))
            return (
                self._list(request, collection, namespace)
                if request.method == "GET"
                else status(405, "MethodNotAllowed")
            )
        key = (collection, namespace, name)
        if request.method == "PUT":
            return self._write(request, key)
        stored = self._store.objects.get(key)
        if stored is None:
            return missing(key)
        if request.method == "PATCH":
            return self._write(replace(request, method="PUT", body=merged(stored, request.body or {})), key)
        if request.method == "GET":
            return answer(200, stored)
        return self._delete(request, key, stored) if request.method == "DELETE" else status(405, "MethodNotAllowed")

    def _list(self, request: Request, collection: str, namespace: str | None) -> Response:
        token = request.query.get("continue", "")
        if token and token not in self._pages:
            return status(410, "Expired", "The provided continue parameter is too old")
        if token:
            items, version = self._pages[token]
        else:
            items = self._store.collection(collection, namespace, request.query.get("labelSelector", ""))
            items = [item for item in items if fits(item, request.query.get("fieldSelector", ""))]
            version = str(self._store.version)
        limit = int(request.query.get("limit", "0")) or len(items)
        metadata = {"resourceVersion": version}
        if len(items) > limit:
            metadata["continue"] = secrets.token_hex(8)
            self._pages[metadata["continue"]] = (items[limit:], version)
        # As in a real answer, the items of a typed list do not say what they are.
        bare = [{name: item[name] for name in item if name not in ("kind", "apiVersion")} for item in items[:limit]]
        return answer(200, {"kind": "List", "apiVersion": "v1", "metadata": metadata, "items": bare})

    def _write(self, request: Request, key: Key) -> Response:
        """POST (the key has no name yet) and PUT, in the order of the real one (see Hook)."""
        new = copied(request.body or {})
        metadata = new.setdefault("metadata", {})
        if request.method == "POST":
            if metadata.get("resourceVersion"):
                return status(500, "", "resourceVersion should not be set on objects to be created")
            if not metadata.get("name"):
                suffix = "".join(secrets.choice("bcdfghjklmnpqrstvwxz2456789") for _ in range(5))
                metadata["name"] = metadata["generateName"] + suffix if "generateName" in metadata else ""
            metadata.pop("uid", None)
            key = (*key[:2], metadata["name"])
        old = self._store.objects.get(key)
        if request.method == "PUT" and old is None and not metadata.get("uid"):
            return missing(key)
        # Reviews have no name: they are answered and not kept.
        dry_run = request.query.get("dryRun") == "All" or not metadata["name"]
        hook = self.hooks.get(key[0].rpartition("/")[2])
        verdict = hook(Attempt(request.method, key[1], key[2], new, copied(old), dry_run)) if hook else None
        if isinstance(verdict, dict):
            new = verdict
        refused = verdict if isinstance(verdict, Response) else None
        if request.method == "PUT":
            refused = conflict(key, new["metadata"], old) or refused
        elif old is not None:
            refused = refused or status(409, "AlreadyExists", f'{key[0]} "{key[2]}" already exists')
        if refused is not None:
            return refused
        return answer(201 if request.method == "POST" else 200, self._put(key, new, dry_run=dry_run))

    def _delete(self, request: Request, key: Key, old: Json) -> Response:
        dry_run = request.query.get("dryRun") == "All"
        hook = self.hooks.get(key[0].rpartition("/")[2])
        verdict = hook(Attempt("DELETE", key[1], key[2], None, copied(old), dry_run)) if hook else None
        clash = conflict(key, (request.body or {}).get("preconditions") or {}, old)
        refused = clash or (verdict if isinstance(verdict, Response) else None)
        if refused is not None:
            return refused
        if not dry_run:
            self._remove(key)
        return answer(200, {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"})

    def _put(self, key: Key, new: Json, *, dry_run: bool = False) -> Json:
        stored = self._store.put(key, new, dry_run=dry_run)
        self._changed.notify_all()
        return stored

    def _remove(self, key: Key) -> None:
        self._store.remove(key)
        self._changed.notify_all()


def _key(resource: Resource, namespace: str | None, name: str) -> Key:
    return f"{resource.api}/{resource.plural}", namespace, name
