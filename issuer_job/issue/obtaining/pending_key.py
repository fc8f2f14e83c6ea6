"""The private key of an attempt's order: stored before the CA hears of it, mounted in the pods that follow."""

from __future__ import annotations

from datetime import timedelta

from certs.keys import KeyAlgorithm, PrivateKey, generate_key, is_of, key_from_pem, key_id, key_to_pem
from issuer_job import names
from issuer_job import vocabulary as v
from issuer_job.attempt.attempt import Attempt, Later, OtherPod
from issuer_job.cluster import bodies, changes
from issuer_job.cluster.api import SECRETS, Json
from issuer_job.record import transitions
from issuer_job.record.record import Problem, Record


def pending_key(attempt: Attempt, algorithm: KeyAlgorithm, *, finalized: bool) -> tuple[PrivateKey, str]:
    """The key of the attempt's order and the name of its Secret: mounted, or made now and stored before it is used.

    `finalized`: the CA has been told which it is. Raises OtherPod, Later, KubeError.
    """
    record, name = attempt.record, attempt.record.pending_name
    mounted = attempt.mounted("pending", v.PENDING_KEY)
    if mounted is not None:
        _require_own(attempt, finalized=finalized)
        held = key_from_pem(mounted)
        if record.has_revoked(key_id=key_id(held.public_key())):
            attempt.advance(transitions.key_dropped)
            detail = "the order's key is of a certificate that was revoked: the next attempt makes another"
            raise Later(Problem(type="keyRevoked", detail=detail, step="order"), wait=timedelta(0))
        if is_of(held, algorithm) or finalized:
            return held, name
        name = names.pending_key(record.uid, record.epoch)  # another algorithm is wanted by now
    key = generate_key(algorithm)
    pem = key_to_pem(key)
    secret = pending_secret(record, pem, name=name)
    if changes.swap(attempt.cluster, SECRETS, v.NAMESPACE, None, secret) is None:
        if mounted is None:
            raise OtherPod("the pending key was stored meanwhile: the next pod has it")
        detail = "the order's key is of another algorithm than is wanted by now: the next attempt has another"
        raise Later(Problem(type="keyOutdated", detail=detail, step="order"), wait=timedelta(0))
    attempt.made["pending"] = pem
    return key, name


def _require_own(attempt: Attempt, *, finalized: bool) -> None:
    """The mounted key is this record's own. Raises Later: whoever launched the Job mounted another's.

    One of 0.1.0 does not say whose it is. It is good for what was finalized with it, as the certificate then
    shows; for anything else the next attempt makes a new one.
    """
    record, own = attempt.record, "pending" in attempt.made
    owner = None if own else attempt.mounted("pending", v.PENDING_OWNER)
    if own or owner == record.uid.encode() or (owner is None and finalized):
        return
    fresh = names.pending_key(record.uid, record.epoch)
    attempt.advance(transitions.finalizing, pending_key=fresh)
    detail = "the key that was kept for this order is not known to be this certificate's: a new one is made"
    raise Later(Problem(type="foreignKey", detail=detail, step="finalize"))


def pending_secret(record: Record, key_pem: bytes, *, name: str = "") -> Json:
    """The key of an attempt's order, kept until the certificate is installed."""
    labels = {v.PENDING: "true", v.RECORD_UID: record.uid}
    metadata = bodies.own_metadata(name or record.pending_name, labels, owner=record.owner_reference)
    data = {v.PENDING_KEY: key_pem, v.PENDING_OWNER: record.uid.encode()}
    return bodies.secret(metadata, "Opaque", data) | {"immutable": True}
