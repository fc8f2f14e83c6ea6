"""Writing tenants' Secrets without any right to read them: look, preflight, conditional write.

A look is a dry-run PUT. The admission policy `certjob-look` answers it with the stored data, for managed Secrets
only; without that policy, before Kubernetes 1.36, the answer still has the Secret's uid and resourceVersion, which
say whether it is as certjob left it, and of a Secret that asks for its own certificate the webhook answers certjob's
labels and annotations. Every real write is conditional on the uid and resourceVersion that a look saw.
"""

from __future__ import annotations

from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from certs.validity import StoredCertificate
from issuer_job import vocabulary as v
from issuer_job.cluster import bodies
from issuer_job.cluster.api import SECRETS, AlreadyExists, ApiError, Cluster, Conflict, Json, NotFound
from issuer_job.cluster.refusals import RefusedBy, RefusedWrite, exempt, refusal
from issuer_job.record.record import Record


class Refusal(StrEnum):
    """Why a Secret cannot be written."""

    FOREIGN = "foreignSecret"
    IMMUTABLE = "immutableSecret"
    OWNED = "ownedSecret"
    OTHER_TOOL = "otherTool"
    QUOTA = "quotaExceeded"
    TERMINATING = "namespaceTerminating"
    NOT_IN_FORCE = "policiesNotInForce"
    METADATA = "foreignMetadata"
    """Somebody else's admission adds labels or annotations that nobody has allowed."""
    OTHER = "secretRefused"

    @property
    def is_permanent(self) -> bool:
        """Only a change by the Secret's owner helps."""
        return self in {Refusal.FOREIGN, Refusal.IMMUTABLE, Refusal.OWNED, Refusal.OTHER_TOOL}


class SecretRefused(Exception):
    """The Secret cannot be written; `reason` says what follows from it."""

    def __init__(self, reason: Refusal, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Content(StrEnum):
    """What a look says of the data in a Secret."""

    SHOWN = "shown"
    """It is in `stored`."""
    UNTOUCHED = "untouched"
    """Nobody has written the Secret since certjob did: it holds what the record says."""
    CHANGED = "changed"
    """Somebody else has written the Secret since."""
    UNKNOWN = "unknown"
    """It is not the Secret that the record remembers: a placeholder, or one that was handed over or made anew."""


@dataclass(frozen=True)
class Look:
    """What is stored. `uid` is empty when there is no such Secret; the rest is known only if the data was shown.

    `metadata` is known without the data, too, of a Secret whose record says that it asks for its own certificate.
    """

    uid: str = ""
    resource_version: str = ""
    content: Content = Content.SHOWN
    state: str = ""
    issuer: str = ""
    not_after: str = ""
    """As certjob noted it beside what it had put there."""
    stored: StoredCertificate = StoredCertificate(tls_crt=None, tls_key=None)  # noqa: RUF009 - frozen
    written_by: str = ""
    """Field managers that have written its certificate, with times, as far as the API server tells."""
    further: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    """The other keys of its data."""
    metadata: Json = field(default_factory=dict, repr=False)

    @property
    def found(self) -> bool:
        """Whether the Secret exists."""
        return bool(self.uid)


def look_secret(namespace: str, name: str, *, asking: bool = False) -> Json:
    """The body of a look: sent with dryRun, answered with the stored data if the Secret is managed.

    With `asking` the webhook is sent it, although the stored Secret may have lost the label.
    """
    metadata = {
        "name": name,
        "namespace": namespace,
        "labels": {v.MANAGED: "true"} | ({v.REQUEST: "true"} if asking else {}),
        "annotations": {v.LOOK: "true"},
    }
    return bodies.secret(metadata, v.TLS_SECRET_TYPE, {"tls.crt": b"", "tls.key": b""})


Looker = Callable[[Cluster, Record], Look]
"""Looks at a record's Secret. Raises SecretRefused for what is not certjob's, KubeError."""


def look_by_policy(cluster: Cluster, record: Record) -> Look:
    """The Secret with its data, as the policy certjob-look shows it. See `Looker`."""
    answer = _ask(cluster, record)
    if answer is None:
        return Look()
    if not _is_answered(answer):
        raise SecretRefused(Refusal.NOT_IN_FORCE, "the admission policy certjob-look is not in force")
    return seen(answer)


def look_by_version(cluster: Cluster, record: Record) -> Look:
    """Whether the Secret is as the record remembers it, where no policy shows data. See `Looker`."""
    asking = record.secret_is_its_owners
    answer = _ask(cluster, record, asking=asking)
    if answer is None:
        return Look()
    if asking and not _is_answered(answer):
        raise SecretRefused(Refusal.NOT_IN_FORCE, "the look was not answered: apply the manifests again")
    uid, version = answer["metadata"]["uid"], answer["metadata"]["resourceVersion"]
    issued = record.issued
    if issued is None or issued.secret_uid != uid:
        content = Content.UNKNOWN
    else:
        content = Content.UNTOUCHED if issued.secret_version == version else Content.CHANGED
    return Look(uid=uid, resource_version=version, content=content, metadata=answer["metadata"] if asking else {})


LOOKERS: dict[str, Looker] = {"policy": look_by_policy, "resource-version": look_by_version}
"""By the value of the environment variable CERTJOB_LOOK."""


def _is_answered(answer: Json) -> bool:
    return (answer["metadata"].get("annotations") or {}).get(v.LOOK) == "seen"


def _ask(cluster: Cluster, record: Record, *, asking: bool = False) -> Json | None:
    namespace, name = record.namespace, record.secret_name
    try:
        return cluster.update(SECRETS, namespace, look_secret(namespace, name, asking=asking), dry_run=True)
    except NotFound:
        return None
    except ApiError as problem:
        raise _refused(problem, namespace, name) from None


def seen(secret: Json) -> Look:
    """What a Secret says that came as the answer to a look or to a write."""
    metadata, data = secret["metadata"], secret.get("data") or {}
    notes: dict[str, str] = metadata.get("annotations") or {}
    return Look(
        uid=metadata["uid"],
        resource_version=metadata["resourceVersion"],
        state=(metadata.get("labels") or {}).get(v.STATE, ""),
        issuer=notes.get(v.ISSUER, ""),
        not_after=notes.get(v.NOT_AFTER, ""),
        stored=StoredCertificate(tls_crt=_decoded(data, "tls.crt"), tls_key=_decoded(data, "tls.key")),
        written_by=notes.get(v.WRITTEN_BY, "")[:300],
        further={key: _decoded(data, key) or b"" for key in data if key not in {"tls.crt", "tls.key"}},
        metadata=metadata,
    )


def write(cluster: Cluster, secret: Json, *, dry_run: bool = False) -> Json:
    """Create the Secret, or replace the one whose uid and resourceVersion the body carries.

    Raises Conflict or AlreadyExists when it is not the one that was looked at, SecretRefused, KubeError.
    """
    namespace, name = secret["metadata"]["namespace"], secret["metadata"]["name"]
    replaces = bool(secret["metadata"].get("resourceVersion"))
    send = cluster.update if replaces else cluster.create
    try:
        return send(SECRETS, namespace, secret, dry_run=dry_run)
    except NotFound as problem:
        if replaces:
            raise Conflict(409, "Conflict", f"Secret {name} was deleted") from None
        raise _refused(problem, namespace, name) from None
    except (Conflict, AlreadyExists):
        raise
    except ApiError as problem:
        raise _refused(problem, namespace, name) from None


def _refused(problem: ApiError, namespace: str, name: str) -> Exception:
    """`SecretRefused` if it is a refusal; else the problem itself."""
    found = refusal(problem)
    if found is None:
        return problem
    reason, why = _judged(found)
    if reason in {Refusal.OTHER, Refusal.METADATA}:
        why = f" cannot be written: {found.brief}{f'; {exempt()}' if found.is_others else ''}"
    return SecretRefused(reason, f"Secret {namespace}/{name}{why or f': {found.words}'}")


def _judged(found: RefusedWrite) -> tuple[Refusal, str]:
    if found.by is RefusedBy.POLICY and not found.is_others:
        own = next((case for case in _OWN_POLICIES if found.words.startswith(case[0])), None)
        return (Refusal.OTHER, "") if own is None else own[1:]
    if found.by is RefusedBy.FIELD:
        return next((case[1:] for case in _FIELDS if found.fields & case[0]), (Refusal.OTHER, ""))
    by = {RefusedBy.QUOTA: Refusal.QUOTA, RefusedBy.NAMESPACE: Refusal.TERMINATING}
    return by.get(found.by, Refusal.OTHER), ""


_HAND_OVER = (
    "name another one in spec.tls, or label a kubernetes.io/tls Secret certjob.io/managed=true to hand it over"
)

_OWNED = (
    "ownerReferences or finalizers, which a write of certjob would drop on this cluster (before Kubernetes 1.36): "
    "remove them, or name another Secret in spec.tls"
)
_OWN_POLICIES: tuple[tuple[str, Refusal, str], ...] = (
    ("certjob-foreign:", Refusal.FOREIGN, f" is not certjob's: {_HAND_OVER}"),
    ("certjob-meta:", Refusal.OWNED, f" has {_OWNED}"),
    ("certjob-foreign-metadata:", Refusal.METADATA, ""),
)
"""By how the message of a policy of certjob begins: what follows, and what is said."""
_FIELDS: tuple[tuple[frozenset[str], Refusal, str], ...] = (
    (frozenset({"type"}), Refusal.FOREIGN, f" exists with another type: {_HAND_OVER}"),
    (
        frozenset({"data", "immutable"}),
        Refusal.IMMUTABLE,
        " is immutable: delete it, or name another in spec.tls",
    ),
)
"""By the fields of the stored Secret that a write may not change."""


def _decoded(data: dict[str, str], key: str) -> bytes | None:
    text = data.get(key)
    if text is None:
        return None
    try:
        return b64decode(text)
    except (Base64Error, ValueError):
        return b""
