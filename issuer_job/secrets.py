"""Writing tenants' Secrets without any right to read them: canary, look, preflight, conditional write.

A look is a dry-run PUT that the admission policy `certjob-look` answers with the stored data, for managed
Secrets only. Every real write is conditional on the uid and resourceVersion that a look saw.
"""

from __future__ import annotations

from base64 import b64decode
from binascii import Error as Base64Error
from dataclasses import dataclass
from enum import StrEnum

from certs.validity import StoredCertificate
from issuer_job import objects
from issuer_job import vocabulary as v
from issuer_job.kube import SECRETS, AlreadyExists, ApiError, Cluster, Conflict, Json, NotFound


class Refusal(StrEnum):
    """Why a Secret cannot be written."""

    FOREIGN = "foreignSecret"
    IMMUTABLE = "immutableSecret"
    QUOTA = "quotaExceeded"
    TERMINATING = "namespaceTerminating"
    NOT_IN_FORCE = "policiesNotInForce"
    OTHER = "secretRefused"

    @property
    def is_permanent(self) -> bool:
        """Only a change by the Secret's owner helps."""
        return self in {Refusal.FOREIGN, Refusal.IMMUTABLE}


class SecretRefused(Exception):
    """The Secret cannot be written; `reason` says what follows from it."""

    def __init__(self, reason: Refusal, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class Look:
    """What is stored. `uid` is empty when there is no such Secret."""

    uid: str = ""
    resource_version: str = ""
    state: str = ""
    issuer: str = ""
    stored: StoredCertificate = StoredCertificate(tls_crt=None, tls_key=None)  # noqa: RUF009 - frozen

    @property
    def found(self) -> bool:
        """Whether the Secret exists."""
        return bool(self.uid)


def policies_in_force(cluster: Cluster, *, timeout: float | None = None) -> bool:
    """The canary: an unlabelled Opaque Secret outside certjob must be refused by our own policy.

    Any other answer means that the policies are missing or do not bind; raises KubeError without an answer.
    """
    try:
        cluster.create(SECRETS, v.CANARY_NAMESPACE, objects.canary_secret(), dry_run=True, timeout=timeout)
    except AlreadyExists:
        return False
    except ApiError as answer:
        if answer.status in {403, 422} and v.CANARY_DENIAL in answer.message:
            return True
        if answer.status >= 429:
            raise
    return False


def look(cluster: Cluster, namespace: str, name: str) -> Look:
    """Ask for a managed Secret's data. Raises SecretRefused for what is not certjob's, KubeError."""
    try:
        answer = cluster.update(SECRETS, namespace, objects.look_secret(namespace, name), dry_run=True)
    except NotFound:
        return Look()
    except ApiError as problem:
        raise _refused(problem, namespace, name) from None
    if (answer["metadata"].get("annotations") or {}).get(v.LOOK) != "seen":
        raise SecretRefused(Refusal.NOT_IN_FORCE, "the admission policy certjob-look is not in force")
    return seen(answer)


def seen(secret: Json) -> Look:
    """What a Secret says that came as the answer to a look or to a write."""
    metadata, data = secret["metadata"], secret.get("data") or {}
    return Look(
        uid=metadata["uid"],
        resource_version=metadata["resourceVersion"],
        state=(metadata.get("labels") or {}).get(v.STATE, ""),
        issuer=(metadata.get("annotations") or {}).get(v.ISSUER, ""),
        stored=StoredCertificate(tls_crt=_decoded(data, "tls.crt"), tls_key=_decoded(data, "tls.key")),
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
    except ApiError as problem:
        if problem.status == 409:
            raise
        raise _refused(problem, namespace, name) from None


def _refused(problem: ApiError, namespace: str, name: str) -> Exception:
    about = f"Secret {namespace}/{name}"
    text = problem.message
    if problem.status == 403 and "certjob-foreign:" in text:
        return SecretRefused(Refusal.FOREIGN, f"{about} is not certjob's: {_HAND_OVER}")
    if problem.status == 422 and "when `immutable` is set" in text and "type: Invalid value" not in text:
        return SecretRefused(Refusal.IMMUTABLE, f"{about} is immutable: delete it, or name another in spec.tls")
    if problem.status == 422:
        return SecretRefused(Refusal.FOREIGN, f"{about} exists with another type: {_HAND_OVER}")
    if problem.status == 403 and "exceeded quota" in text:
        return SecretRefused(Refusal.QUOTA, f"{about}: a ResourceQuota of the namespace is used up")
    if problem.status == 403 and "being terminated" in text:
        return SecretRefused(Refusal.TERMINATING, f"{about}: the namespace is being deleted")
    if problem.status == 404:
        return SecretRefused(Refusal.TERMINATING, f"{about}: the namespace is gone")
    if problem.status in {400, 403}:
        return SecretRefused(Refusal.OTHER, f"{about}: the API server refuses the write ({problem.status})")
    return problem


_HAND_OVER = (
    "name another one in spec.tls, or label a kubernetes.io/tls Secret certjob.io/managed=true to hand it over"
)


def _decoded(data: dict[str, str], key: str) -> bytes | None:
    text = data.get(key)
    if text is None:
        return None
    try:
        return b64decode(text)
    except (Base64Error, ValueError):
        return b""
