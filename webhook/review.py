"""AdmissionReview v1 (admission.k8s.io): bytes to a Review, and a decision's answer to bytes. Pure.

What the API server sends is well-formed, but anybody who reaches the port can send anything.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Annotated, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from issuer_job.cluster.api import Json

MAX_BODY = 3 * 1024 * 1024
"""Bytes of a review: the API server takes requests up to 3 MiB."""
MAX_WARNINGS = 10
MAX_WARNING = 250
"""Characters of one warning, if it quotes a policy: the API server cuts at 256, and at 4096 of all."""
MAX_ENTRIES = 1000
"""Labels, annotations, or keys of data of one object: each costs some 20 times what it takes in the review."""
API_VERSION = "admission.k8s.io/v1"
_PREFIX = "certjob: "
_MAX_UID = 128
_MAX_MESSAGE = 1000


Name = Annotated[str, msgspec.Meta(max_length=253)]
"""The API server allows no longer one, but looks after we have."""
S = TypeVar("S", bound=msgspec.Struct)
V = TypeVar("V")
Map = Annotated[dict[str, V], msgspec.Meta(max_length=MAX_ENTRIES)] | None | UnsetType
"""Unset and null are not the same for a patch."""


class BadRequest(ValueError):
    """The request cannot be answered as a review: `status` is 4xx, the message one sentence."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class ReviewedKind(msgspec.Struct, frozen=True):
    """GroupVersionKind of the object under review."""

    group: str = ""
    version: str = ""
    kind: str = ""


class UserInfo(msgspec.Struct, frozen=True):
    """Who sent the request."""

    username: str = ""


class Review(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The `request` of an AdmissionReview. With a `problem` (one line) only `uid` counts: the rest cannot be trusted.

    Objects have been checked in every place that certjob reads, so code behind this needs no type checks, and
    consist of nothing else.
    """

    uid: str
    kind: ReviewedKind = ReviewedKind()
    operation: str = ""
    sub_resource: str | None = None
    name: str | None = None
    namespace: str | None = None
    dry_run: bool | None = None
    user_info: UserInfo = UserInfo()
    object: Json | None = None
    old_object: Json | None = None
    problem: str = ""

    @property
    def asker(self) -> Json:
        """The object with the request's namespace: that of a CREATE need not have one."""
        new = self.object or {"metadata": {}}
        return new | {"metadata": new["metadata"] | {"namespace": self.namespace or ""}}

    @property
    def former(self) -> Json:
        """The object before an UPDATE; an empty one if there was none."""
        return self.old_object or {"metadata": {}}


class ReviewedMetadata(msgspec.Struct, rename="camel", omit_defaults=True):
    """What certjob reads of any object's metadata."""

    name: Name | None = None
    generate_name: Name | None = None
    namespace: Name | None = None
    uid: Name | None = None
    labels: Map[str] = UNSET
    annotations: Map[str] = UNSET
    creation_timestamp: datetime | None = None
    deletion_timestamp: str | None = None


class _Envelope(msgspec.Struct, rename="camel"):
    kind: str = ""
    api_version: str = ""
    request: msgspec.Raw = msgspec.Raw(b"null")


class _Uid(msgspec.Struct):
    uid: str = ""


class _Request(Review, frozen=True, kw_only=True, rename="camel"):
    """The objects as they came."""

    object: msgspec.Raw = msgspec.Raw(b"null")  # type: ignore[assignment]
    old_object: msgspec.Raw = msgspec.Raw(b"null")  # type: ignore[assignment]


def parse(
    body: bytes, *, kind: ReviewedKind, shape: type[S], reduce: Callable[[S], Json] = msgspec.to_builtins
) -> Review:
    """Read an AdmissionReview; objects of the kind must be of the shape, and are what `reduce` makes of that.

    What is in no shape is never decoded, so that memory and time are in proportion to what is read.
    Raises BadRequest if there is nothing that an answer could refer to.
    """
    if len(body) > MAX_BODY:
        raise too_large()
    try:
        envelope = msgspec.json.decode(body, type=_Envelope)
    except msgspec.ValidationError:
        raise BadRequest(400, "The body is not an AdmissionReview.") from None
    except (ValueError, RecursionError) as problem:  # ValueError: msgspec's, and bytes that are not UTF-8
        raise BadRequest(400, f"The body is not JSON: {_plain(str(problem), 200)}.") from None
    if envelope.kind != "AdmissionReview":
        raise BadRequest(400, "The body is not an AdmissionReview.")
    if envelope.api_version != API_VERSION:
        raise BadRequest(400, f"The AdmissionReview is not of version {API_VERSION}.")
    uid = _uid(envelope.request)
    if not uid or len(uid) > _MAX_UID:
        raise BadRequest(400, f"The AdmissionReview has no request.uid of 1 to {_MAX_UID} characters.")
    objects: list[Json | None] = []
    try:
        request = msgspec.json.decode(envelope.request, type=_Request)
        # `problem` is certjob's own field; a request must not set it.
        known = {name: getattr(request, name) for name in Review.__struct_fields__} | {"problem": ""}
        review = Review(**known | {"object": None, "old_object": None})
        if review.kind != kind:  # what is of another kind is not looked into
            return review
        for text in (request.object, request.old_object):
            found = msgspec.json.decode(text, type=shape | None)
            objects.append(None if found is None else reduce(found))
    except (ValueError, RecursionError) as problem:
        where = "oldObject: " if objects else ""
        return Review(uid=uid, problem=f"the review cannot be read: {where}{_plain(str(problem), 100)}")
    return msgspec.structs.replace(review, object=objects[0], old_object=objects[1])


def _uid(request: msgspec.Raw) -> str:
    try:
        return msgspec.json.decode(request, type=_Uid).uid
    except (ValueError, RecursionError):
        return ""


def too_large() -> BadRequest:
    """For a body that is longer than a review can be, before or after it was read."""
    return BadRequest(413, f"The body is larger than {MAX_BODY} bytes.")


def answer(uid: str, *, patch: Sequence[Json] = (), warnings: Iterable[str] = ()) -> bytes:
    """The AdmissionReview that lets the request pass, with a JSON patch (RFC 6902) and warnings for the user."""
    response: Json = {"uid": uid, "allowed": True}
    if patch:
        response |= {"patchType": "JSONPatch", "patch": b64encode(msgspec.json.encode(list(patch))).decode()}
    if lines := warning_lines(warnings):
        response["warnings"] = lines
    return msgspec.json.encode({"apiVersion": API_VERSION, "kind": "AdmissionReview", "response": response})


def denial(uid: str, *, code: int, message: str) -> bytes:
    """The AdmissionReview that refuses the request; `code` is an HTTP status, `message` what the user reads."""
    status = {"code": code, "message": _PREFIX + _plain(message, _MAX_MESSAGE)}
    response = {"uid": uid, "allowed": False, "status": status}
    return msgspec.json.encode({"apiVersion": API_VERSION, "kind": "AdmissionReview", "response": response})


def warning_lines(messages: Iterable[str]) -> list[str]:
    """Each message once, as a printable line with certjob's name before it; the last one counts what is left out."""
    lines = [_PREFIX + _plain(message.removeprefix(_PREFIX), MAX_WARNING - len(_PREFIX)) for message in messages]
    lines = list(dict.fromkeys(lines))
    if len(lines) > MAX_WARNINGS:
        left_out = len(lines) - (MAX_WARNINGS - 1)
        lines = [*lines[: MAX_WARNINGS - 1], f"{_PREFIX}and {left_out} more like these"]
    return lines


def _plain(text: str, limit: int) -> str:
    """At most `limit` printable characters: control characters could forge lines in terminals and logs."""
    text = "".join(c if c.isprintable() else " " for c in text[: limit + 1])
    return text if len(text) <= limit else text[: limit - 3] + "..."
