"""Ways to make the API server give a Secret's contents away: by an answer, or by the text of an error."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.e2e.api import APPLY_PATCH, JSON_PATCH, MERGE_PATCH, SECRETS, STRATEGIC_PATCH, Answer, Api, Json, path

SENTINEL = "s3ntinel-Zq8vW4tR7xKp2mLc"
"""What foreign Secrets hold; it must never be seen in an answer."""
UID = "00000000-0000-0000-0000-000000000000"
OWNER = {"apiVersion": "v1", "kind": "ConfigMap", "name": "tenant.web", "uid": "11111111-1111-1111-1111-111111111111"}
"""Of a record that is not there; for objects that are not stored."""


def encoded(text: str) -> str:
    """As in a Secret's data."""
    return base64.b64encode(text.encode()).decode()


def tells(answer: Answer) -> bool:
    """Whether the answer gives away what a foreign Secret holds, or a part of it, plain or in base64."""
    parts = [SENTINEL[:8], SENTINEL[8:16], SENTINEL[16:]]
    text = json.dumps(SENTINEL)[1:-1]
    shifted = [encoded(" " * shift + text)[4:-4] for shift in range(3)]
    return any(part in answer.text for part in parts + [piece[:12] for piece in shifted])


def assert_verdict(answer: Answer, verdict: str) -> None:
    """`verdict` is "ok", or a part of the 403's message."""
    if verdict == "ok":
        assert answer.status in {200, 201}, answer
    else:
        assert answer.status == 403, answer
        assert verdict in answer.message


def create(admin: Api, body: Json) -> Json:
    """Store a Secret; it as stored."""
    answer = admin.call("POST", path(SECRETS, body["metadata"]["namespace"]), body)
    assert answer.status == 201, answer
    return answer.json


def tls_secret(namespace: str, name: str, **changes: Any) -> Json:
    """A managed placeholder as certjob writes it; `metadata` is merged, other changes replace."""
    metadata = {
        "name": name,
        "namespace": namespace,
        "labels": {"certjob.io/managed": "true", "certjob.io/state": "placeholder"},
    } | changes.pop("metadata", {})
    body = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata,
        "type": "kubernetes.io/tls",
        "data": {"tls.crt": "", "tls.key": ""},
    }
    return body | changes


def look(namespace: str, name: str) -> Json:
    """The body of a look."""
    metadata = {"labels": {"certjob.io/managed": "true"}, "annotations": {"certjob.io/look": "true"}}
    return tls_secret(namespace, name, metadata={"name": name, "namespace": namespace} | metadata)


@dataclass(frozen=True)
class Attack:
    """One request. `target`: the Secret itself, its namespace's Secrets, or those of the whole cluster."""

    title: str
    method: str
    target: str = "object"
    body: Any = None
    content_type: str = "application/json"
    query: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.title

    def send(self, api: Api, namespace: str, name: str) -> Answer:
        """Try it on a Secret. The words NAMESPACE and NAME in the body are replaced."""
        where = {
            "object": path(SECRETS, namespace, name),
            "collection": path(SECRETS, namespace),
            "cluster": path(SECRETS),
            "watch": f"/api/v1/watch/namespaces/{namespace}/secrets/{name}",
        }[self.target]
        body = self.body
        if body is not None:
            text = body if isinstance(body, str) else json.dumps(body)
            body = text.replace("NAMESPACE", namespace).replace("NAME", name)
        return api.call(self.method, where, body, content_type=self.content_type, **self.query)


def secret_attacks() -> list[Attack]:
    """All of them: every verb, every kind of patch, plain and as a dry run, well-formed and malformed."""
    return [*_reads(), *_patches(), *_puts(), *_creates(), *_deletes()]


def _reads() -> Iterator[Attack]:
    yield Attack("get", "GET")
    yield Attack("list", "GET", "collection")
    yield Attack("list by name", "GET", "collection", query={"fieldSelector": "type=Opaque"})
    yield Attack("list everywhere", "GET", "cluster", query={"limit": "500"})
    yield Attack("watch", "GET", "collection", query={"watch": "1", "timeoutSeconds": "1"})
    yield Attack("watch everywhere", "GET", "cluster", query={"watch": "1", "timeoutSeconds": "1"})
    yield Attack("watch one", "GET", "watch", query={"timeoutSeconds": "1"})


def _patches() -> Iterator[Attack]:
    copies = [
        "/metadata/labels",
        "/metadata/labels/x",
        "/type",
        "/metadata/finalizers",
        "/metadata/creationTimestamp",
    ]
    bodies: list[tuple[str, str, Any]] = [
        ("merge immutable=x", MERGE_PATCH, {"immutable": "x"}),
        ("merge data=x", MERGE_PATCH, {"data": "x"}),
        ("merge label", MERGE_PATCH, {"metadata": {"labels": {"certjob.io/managed": "true"}}}),
        ("strategic immutable=x", STRATEGIC_PATCH, {"immutable": "x"}),
        ("strategic data=x", STRATEGIC_PATCH, {"data": {"password": {"a": 1}}}),
        ("strategic malformed", STRATEGIC_PATCH, '{"data"'),
        ("merge malformed", MERGE_PATCH, "[["),
        ("JSON patch test", JSON_PATCH, [{"op": "test", "path": "/data/password", "value": encoded(SENTINEL[:4])}]),
        ("JSON patch remove", JSON_PATCH, [{"op": "remove", "path": "/data/absent"}]),
        ("JSON patch immutable", JSON_PATCH, [{"op": "add", "path": "/immutable", "value": "x"}]),
        ("apply", APPLY_PATCH, {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "NAME"}}),
        ("apply immutable=x", APPLY_PATCH, {"apiVersion": "v1", "kind": "Secret", "immutable": "x"}),
        ("CBOR apply", "application/apply-patch+cbor", "x"),
    ]
    for to in copies:
        operation = {"op": "copy", "from": "/data/password", "path": to}
        bodies.append((f"JSON patch copy to {to}", JSON_PATCH, [operation]))
    for dry in ({}, {"dryRun": "All"}):
        for title, content_type, body in bodies:
            query = dict(dry)
            if content_type == APPLY_PATCH:
                query |= {"fieldManager": "certjob", "force": "true"}
            yield Attack(title + (", dry run" if dry else ""), "PATCH", "object", body, content_type, query)


def _puts() -> Iterator[Attack]:
    def put(**changes: Any) -> Json:
        return tls_secret("NAMESPACE", "NAME", **changes)

    bodies: list[tuple[str, Any]] = [
        ("overwrite", put()),
        ("look", look("NAMESPACE", "NAME")),
        ("look, Opaque", look("NAMESPACE", "NAME") | {"type": "Opaque"}),
        ("Opaque", put(type="Opaque", data={"password": ""})),
        ("no type", put(type="", data={})),
        ("immutable=x", put(immutable="x")),
        ("data=x", put(data="x")),
        ("no base64", put(data={"tls.crt": "%", "tls.key": ""})),
        ("unknown field", put(password={"a": 1})),
        ("truncated", '{"apiVersion":"v1","kind":"Secret","data":{'),
        ("stale", put(metadata={"name": "NAME", "resourceVersion": "1"})),
        ("another uid", put(metadata={"name": "NAME", "uid": UID})),
        ("another name", put(metadata={"name": "another"})),
        ("finalizers of a wrong type", put(metadata={"name": "NAME", "finalizers": "x"})),
        (
            "managed fields",
            put(metadata={"name": "NAME", "managedFields": [{"manager": "x", "fieldsV1": {"f:data": 1}}]}),
        ),
    ]
    for dry in ({}, {"dryRun": "All"}):
        for title, body in bodies:
            query = {"fieldValidation": "Strict"} | dry
            yield Attack("put " + title + (", dry run" if dry else ""), "PUT", body=body, query=query)


def _creates() -> Iterator[Attack]:
    for dry in ({}, {"dryRun": "All"}):
        end = ", dry run" if dry else ""
        yield Attack("create over it" + end, "POST", "collection", tls_secret("NAMESPACE", "NAME"), query=dry)
        body = tls_secret("NAMESPACE", "NAME", type="Opaque", data={})
        yield Attack("create Opaque over it" + end, "POST", "collection", body, query=dry)
        yield Attack("create malformed" + end, "POST", "collection", '{"kind":"Secret","data":3', query=dry)


def _deletes() -> Iterator[Attack]:
    options = {"apiVersion": "v1", "kind": "DeleteOptions"}
    bodies: list[tuple[str, Json]] = [
        ("plain", options),
        ("another uid", options | {"preconditions": {"uid": UID}}),
        ("stale", options | {"preconditions": {"resourceVersion": "1"}}),
        # With a finalizer pending, a DELETE answers with the object.
        ("foreground", options | {"propagationPolicy": "Foreground"}),
        ("orphan", options | {"propagationPolicy": "Orphan"}),
    ]
    for dry in ({}, {"dryRun": "All"}):
        for title, body in bodies:
            yield Attack(f"delete {title}" + (", dry run" if dry else ""), "DELETE", body=body, query=dry)
        yield Attack("delete all" + (", dry run" if dry else ""), "DELETE", "collection", query=dry)
