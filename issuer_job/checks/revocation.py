"""Certificates revoked by an issuer's own Job: only Jobs have the account's key.

Each step is written down before the next, so that another Job goes on where one has died: which certificate it is, in
the revocation; that neither it nor its key may stay, in the record; only then the CA is told. What follows from the
record, a new key and a new certificate, does not wait for the CA's word.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import partial

from cryptography.hazmat.primitives.serialization import Encoding

from certs.chain import IssuedCertificate, describe_chain, has_key
from certs.errors import CertError
from certs.keys import key_from_pem
from issuer_job import vocabulary as v
from issuer_job.attempt.attempt import Later, Permanent
from issuer_job.attempt.findings import MountedIssuer
from issuer_job.cluster.api import KubeError
from issuer_job.hosts.precedence import CLOCKS
from issuer_job.issue.obtaining.registry import obtaining_of
from issuer_job.issuers.types import directory_of
from issuer_job.record import transitions
from issuer_job.record.record import Record, RecordError, Revoked
from issuer_job.record.store import change_record, live_record
from issuer_job.tenant_secrets.access import Content, SecretRefused
from issuer_job.upkeep.revocations import (
    HeldRevocation,
    Outcome,
    issued_with,
    list_revocations,
    rewrite,
    tell,
)

RESERVE = timedelta(seconds=30)
"""Of the pod's time: for what is written after the CA's answer."""


class _NotFound(Exception):
    """Which certificate it is cannot be told; the message says why."""


def revoke_all(mounted: MountedIssuer) -> int:
    """Carry out what is this issuer's to revoke, within the pod's time; how many came to an end.

    What cannot be done now is left to the next Job. Raises OtherPod, KubeError.
    """
    attempt, ended = mounted.attempt, 0
    for held in list(list_revocations(attempt.cluster)):
        mine = held.revocation.issuer == mounted.name and held.revocation.outcome is None
        if not mine or attempt.clock() >= attempt.deadline - RESERVE:
            continue
        try:
            ended += _carry_out(mounted, held)
        except KubeError as problem:
            attempt.step("revocation-put-off", revocation=held.name, problem=str(problem))
    return ended


def _carry_out(mounted: MountedIssuer, held: HeldRevocation) -> bool:
    attempt, revocation = mounted.attempt, held.revocation
    try:
        record = live_record(attempt.cluster, revocation.record_name)
    except RecordError as problem:
        return _put_off(mounted, held, None, str(problem))
    try:
        certificate = _certificate(mounted, held, record)
    except _NotFound as problem:
        return _end(mounted, held, record, Outcome.REFUSED, f"not revoked: {problem}")
    issued = issued_with(record, certificate.serial)
    if issued is not None and issued.directory not in ("", directory_of(mounted.issuer)):
        # Edited since the sweep has chosen it: what another CA says of the certificate would be the last word.
        return _put_off(mounted, held, record, f"issuer {mounted.name} has another CA than it is from by now")
    found = rewrite(attempt.cluster, held, leaf=certificate.leaf_pem, serial=certificate.serial)
    if found is None:
        return False  # another Job is at it
    if record is not None:
        name, marked = record.name, partial(_marked, mounted, found)
        record = change_record(attempt.cluster, name, lambda stored: stored and marked(stored))
    der = certificate.leaf.public_bytes(Encoding.DER)
    try:
        first = obtaining_of(mounted.issuer).revoke(mounted, der, reason=revocation.reason.code)
    except Permanent as refused:
        return _end(mounted, found, record, Outcome.REFUSED, f"not revoked: {refused.problem.note}")
    except Later as later:
        return _put_off(mounted, found, record, later.problem.note)
    note = f"revoked with reason {revocation.reason}" if first else "it was revoked before"
    return _end(mounted, found, record, Outcome.REVOKED, note)


def _certificate(mounted: MountedIssuer, held: HeldRevocation, record: Record | None) -> IssuedCertificate:
    """The one that was found before; else the one with the serial number; else what the Secret holds, or where that
    is not shown what the record says was installed: as it was when it was asked for.
    """
    revocation = held.revocation
    if revocation.leaf:
        return _read(revocation.leaf)
    if record is None:
        raise _NotFound(f"there is no record {revocation.record_name}, and so nothing is known of its certificate")
    serial = revocation.serial or _replaced_since(held, record)
    issued = issued_with(record, serial)
    if serial and issued is not None and issued.leaf:
        return _read(issued.leaf)
    shown = _shown(mounted, record)
    if shown is not None and serial in ("", shown.serial):
        return shown
    if issued is None:
        raise _NotFound("neither Secret nor record have such a certificate")
    if not issued.leaf:
        why = "an earlier certjob has written the record, or somebody else has put the certificate there"
        raise _NotFound(f"the Secret does not show it, and the record has no more than serial {issued.serial}: {why}")
    return _read(issued.leaf)


def _replaced_since(held: HeldRevocation, record: Record) -> str:
    """Serial number of what the record says was installed when it was asked for, if something else is now."""
    created = datetime.fromisoformat(held.config_map["metadata"]["creationTimestamp"])
    asked = max(created, held.since)  # an operator's clock may be far behind
    if record.issued is None or record.issued.at <= asked + CLOCKS:
        return ""
    return next((one.serial for one in record.certificates if one.at <= asked), "")


def _shown(mounted: MountedIssuer, record: Record) -> IssuedCertificate | None:
    """What the Secret holds, as far as that is shown and no placeholder: a certificate with its key. Certificates are
    public, and one that somebody has copied there, which is others', is not to be revoked for it.
    """
    try:
        seen = mounted.attempt.looker(mounted.attempt.cluster, record)
    except SecretRefused as refused:
        mounted.attempt.step("look-refused", record=record.name, problem=str(refused))
        return None
    if not seen.found or seen.content is not Content.SHOWN or seen.state == v.SecretState.PLACEHOLDER:
        return None
    try:
        shown, key = describe_chain(seen.stored.tls_crt or b""), key_from_pem(seen.stored.tls_key or b"")
        return shown if has_key(shown.leaf, key) else None
    except CertError:
        return None


def _read(pem: str) -> IssuedCertificate:
    try:
        return describe_chain(pem.encode())
    except CertError as problem:
        raise _NotFound(f"what is stored of it is no certificate: {problem}") from None


def _marked(mounted: MountedIssuer, held: HeldRevocation, record: Record) -> Record:
    certificate = _read(held.revocation.leaf)
    entry = Revoked(
        serial=certificate.serial,
        key_id=certificate.key_id,
        not_after=certificate.not_after,
        reason=str(held.revocation.reason),
    )
    return transitions.revoked(record, mounted.now, certificate=entry)


def _put_off(mounted: MountedIssuer, held: HeldRevocation, record: Record | None, problem: str) -> bool:
    """The next Job tries again."""
    done = rewrite(mounted.attempt.cluster, held, problem=problem[:1000])
    if done is not None:
        tell(mounted.attempt.cluster, done, record, f"not revoked yet, it is tried again: {problem}", now=mounted.now)
    return False


def _end(mounted: MountedIssuer, held: HeldRevocation, record: Record | None, outcome: Outcome, note: str) -> bool:
    done = rewrite(mounted.attempt.cluster, held, outcome=outcome, problem=note[:1000], ended_at=mounted.now)
    if done is not None:
        tell(mounted.attempt.cluster, done, record, note, now=mounted.now)
    return done is not None
