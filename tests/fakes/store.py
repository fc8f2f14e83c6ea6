"""What the fake API server stores, and what its lists, watches and error answers look like."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar, cast

import msgspec

from issuer_job.cluster.api import Json, Response

Key = tuple[str, str | None, str]
"""API and plural ("/api/v1/configmaps"), namespace, name."""

PATH = re.compile(r"(/api/v1|/apis/[^/]+/[^/]+)(?:/namespaces/([^/]+)(?=/[^/]))?/([^/]+)(?:/([^/]+))?")


@dataclass(frozen=True)
class Change:
    """One write; `collection` is API and plural, empty for a bookmark."""

    version: int
    collection: str
    namespace: str | None
    old: Json | None
    new: Json | None


@dataclass(frozen=True)
class Request:
    """One request as it came in; `method` is WATCH for a stream."""

    method: str
    path: str
    query: dict[str, str]
    body: Json | None


@dataclass(frozen=True)
class Attempt:
    """A write under admission. `old` is None for a create, `new` for a delete."""

    method: str
    namespace: str | None
    name: str
    new: Json | None
    old: Json | None
    dry_run: bool


Hook = Callable[[Attempt], Json | Response | None]
"""None lets the write pass, an object replaces it (mutation), a Response refuses it.

As in the real one a create is refused before AlreadyExists is found, an update or delete after the conflict check.
"""


T = TypeVar("T")


def copied(body: T) -> T:
    """An object that shares nothing with the first: what copy.deepcopy does, for JSON alone."""
    return cast(T, msgspec.json.decode(msgspec.json.encode(body)))


class Store:
    """Objects, their versions and their history. The caller locks. What is stored is never changed, only replaced."""

    def __init__(self) -> None:
        self.objects: dict[Key, Json] = {}
        self.history: list[Change] = []
        self.version = 1

    def put(self, key: Key, new: Json, *, dry_run: bool = False) -> Json:
        """Stores `new`, which it completes and returns; an update that changes nothing writes nothing."""
        old = self.objects.get(key)
        metadata = new["metadata"]
        if key[1] is not None:
            metadata["namespace"] = key[1]
        known = old["metadata"] if old is not None else {}
        created = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        for name, value in (("uid", str(uuid.uuid4())), ("creationTimestamp", created)):
            metadata[name] = known.get(name) or metadata.get(name) or value
        if "spec" in new:
            grown = old is not None and old.get("spec") != new["spec"]
            metadata["generation"] = known.get("generation", 1) + grown
        metadata["resourceVersion"] = known.get("resourceVersion", "")
        if dry_run or new == old:
            return new
        self.version += 1
        metadata["resourceVersion"] = str(self.version)
        self.objects[key] = new
        self._log(key, old, new)
        return new

    def remove(self, key: Key) -> None:
        """Deletes an object that is there."""
        old = self.objects.pop(key)
        self.version += 1
        self._log(key, old, None)

    def _log(self, key: Key, old: Json | None, new: Json | None) -> None:
        self.history.append(Change(self.version, key[0], key[1], old, new))

    def bookmark(self) -> None:
        """An entry of the history that every watch shows as a bookmark."""
        self.version += 1
        self.history.append(Change(self.version, "", None, None, None))

    def collection(self, collection: str, namespace: str | None, selector: str = "") -> list[Json]:
        """Objects by namespace and name; without a namespace, of all namespaces."""
        keys = [key for key in self.objects if key[0] == collection and namespace in (None, key[1])]
        keys.sort(key=lambda key: (key[1] or "", key[2]))
        return [self.objects[key] for key in keys if selected(self.objects[key], selector)]


def watch_event(change: Change, path: str, selector: str) -> bytes | None:
    """What a watch with `selector` sees of a change: leaving the selection is a deletion."""
    if not change.collection:
        return line("BOOKMARK", {"metadata": {"resourceVersion": str(change.version)}})
    match = PATH.fullmatch(path)
    if match is None or f"{match[1]}/{match[3]}" != change.collection or match[2] not in (None, change.namespace):
        return None
    before = change.old is not None and selected(change.old, selector)
    if change.new is not None and selected(change.new, selector):
        return line("MODIFIED" if before else "ADDED", change.new)
    if not before or change.old is None:
        return None
    last = copied(change.old)
    last["metadata"]["resourceVersion"] = str(change.version)
    return line("DELETED", last)


def selected(item: Json, selector: str) -> bool:
    """Whether an object fits a label selector of the forms a=b, a!=b, a, !a."""
    labels = item["metadata"].get("labels") or {}
    for term in filter(None, (part.strip() for part in selector.split(","))):
        name, operator, value = re.fullmatch(r"!?([^=!]+)(?:(!=|==?)(.*))?", term).groups()  # type: ignore[union-attr]
        found = labels.get(name)
        if operator is None and (found is None) != term.startswith("!"):
            return False
        if operator is not None and (found != value) != (operator == "!="):
            return False
    return True


def merged(old: Json, patch: Json) -> Json:
    """A merge patch (RFC 7396, section 2)."""
    new = copied(old)
    for name, value in patch.items():
        if value is None:
            new.pop(name, None)
        elif isinstance(value, dict):
            held = new.get(name)
            new[name] = merged(held if isinstance(held, dict) else {}, value)
        else:
            new[name] = value
    return new


def fits(item: Json, selector: str) -> bool:
    """Whether an object fits a field selector, of the form type=x alone."""
    return not selector or item.get("type", "Opaque") == selector.removeprefix("type=")


def missing(key: Key) -> Response:
    """404."""
    return status(404, "NotFound", f'{key[0].rpartition("/")[2]} "{key[2]}" not found')


def answer(code: int, body: Json) -> Response:
    """An answer in JSON."""
    return Response(code, {"content-type": "application/json"}, msgspec.json.encode(body))


def line(kind: str, item: Json) -> bytes:
    """A line of a watch."""
    return msgspec.json.encode({"type": kind, "object": item})


def conflict(key: Key, wanted: Json, old: Json | None) -> Response | None:
    """409 if the object is not the one that was meant. A missing one is a conflict too when a uid was given."""
    for name in ("uid", "resourceVersion"):
        found = old["metadata"][name] if old is not None else ""
        if wanted.get(name) and wanted[name] != found:
            message = f'Operation cannot be fulfilled on {key[0]} "{key[2]}": {name} is {found}, not {wanted[name]}'
            return status(409, "Conflict", message)
    return None


def status(
    code: int,
    reason: str,
    message: str = "",
    *,
    retry_after: int | None = None,
    causes: Sequence[Json] = (),
    kind: str = "",
) -> Response:
    """An error answer with a body of kind Status."""
    body: Json = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
    body |= {"message": message or reason, "reason": reason, "code": code}
    if causes or kind:
        body["details"] = {"kind": kind, "causes": list(causes)}
    headers = {"content-type": "application/json"}
    if retry_after is not None:
        headers["retry-after"] = str(retry_after)
    return Response(code, headers, msgspec.json.encode(body))


def denied(message: str) -> Response:
    """403 as an admission plugin gives it."""
    return status(403, "Forbidden", message)


def denied_by(
    policy: str, words: str, *, code: int = 403, reason: str = "Forbidden", what: str = 'secrets "web-tls"'
) -> Response:
    """As a ValidatingAdmissionPolicy with a binding of its own name denies: without `reason` it is 422 Invalid."""
    text = f"ValidatingAdmissionPolicy '{policy}' with binding '{policy}' denied request: {words}"
    return status(code, reason, f"{what} is forbidden: {text}", causes=[{"message": text}])
