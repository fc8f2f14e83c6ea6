"""Whether what a Secret holds may stay, as its record has it: the one judge, asked by Job and sweep. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from msgspec.structs import replace

from certs import formats
from certs.chain import IssuedCertificate, describe_chain
from certs.errors import CertError
from certs.validity import ValidityReason, judge_stored
from issuer_job.record.record import Issued, Record
from issuer_job.record.renewal import due_at, is_for
from issuer_job.tenant_secrets.access import Content, Look

LARGEST_LEAF = 8 * 1024
"""Bytes of a certificate that its record keeps."""


class Misfit(StrEnum):
    """What is wrong with a certificate that is good in itself."""

    TO_BE_REPLACED = "ToBeReplaced"
    OTHER_INTENT = "OtherIntent"
    OTHER_ISSUER = "OtherIssuer"
    LACKS_FORMATS = "LacksFormats"
    REVOKED = "Revoked"


@dataclass(frozen=True)
class Fitness:
    """Why what a Secret holds may stay or not.

    `issued` is what the record has to say of it if it takes no order, else None; `same` whether that is, as far as
    can be seen, the certificate that the record knows; `lacks` are the formats that have to be added to it.
    """

    reason: ValidityReason | Misfit | Content
    message: str
    same: bool = False
    issued: Issued | None = None
    lacks: tuple[str, ...] = ()

    @property
    def good(self) -> bool:
        """Whether there is nothing to do."""
        return self.issued is not None and not self.lacks


def judge(record: Record, seen: Look, *, now: datetime, interval: timedelta, renews: bool) -> Fitness:
    """What to make of the Secret that was seen. Nothing in its data makes it raise.

    The certificate that the record knows stays until it is due, for sweeps that come by every `interval`, or until a
    launch `renews` it; another that is good stays too, because somebody has put it there, or a pod that died before
    it could say so. Neither does when something else is wanted by now. A record that knows of none takes what comes
    from its issuer. Of data that is not shown the record is believed: what somebody may have changed counts as it.
    """
    if seen.found and seen.content is not Content.SHOWN:
        return _by_record(record, seen, now=now, interval=interval, renews=renews)
    former, issued = record.issued, _held(record, seen, now=now)
    same = former is not None and issued is not None and _facts(former) == _facts(issued)
    stored = judge_stored(
        seen.stored if seen.found else None,
        hosts=record.intent.hosts,
        now=now,
        renew_at=None if issued is None else due_at(replace(record, issued=issued), interval=interval),
    )
    if not stored.ok or issued is None:
        return Fitness(stored.reason, stored.message, same)
    if record.has_revoked(serial=issued.serial, key_id=issued.key_id):
        return _REVOKED
    if same and renews:
        return _TO_BE_REPLACED
    if former is None and seen.issuer not in {"", record.intent.settings.issuer}:
        return Fitness(Misfit.OTHER_ISSUER, f"It is from issuer {seen.issuer}.")
    if former is not None and not is_for(former, record.intent, but_formats=True):
        return Fitness(Misfit.OTHER_INTENT, "Something else was wanted when it was issued.", same)
    if lacks := _lacking(record, seen):
        return Fitness(Misfit.LACKS_FORMATS, f"It lacks {', '.join(lacks)}.", same, issued, lacks)
    return Fitness(stored.reason, stored.message, same, issued)


def is_spoilt(seen: Look, *, now: datetime) -> bool:
    """Whether the Secret is there and serves nobody: emptied, garbage, or another key; not a placeholder."""
    if not seen.found or seen.content is not Content.SHOWN:
        return False
    return judge_stored(seen.stored, hosts=(), now=now).reason in _SPOILT


DAMAGED = "the Secret held no certificate with its key any more: a placeholder is there until the next one comes"
_SPOILT = {ValidityReason.NO_CERTIFICATE, ValidityReason.UNREADABLE, ValidityReason.KEY_DOES_NOT_MATCH}


def installed(
    record: Record, certificate: IssuedCertificate, seen: Look, *, now: datetime, ordered: bool = False
) -> Issued:
    """What the record says of a certificate in its Secret: its attempt `ordered` it, or else its owner has put it
    there, so that no CA will be asked about it.
    """
    attempt, leaf = record.attempt if ordered else None, certificate.leaf_pem
    return Issued(
        hosts=record.intent.hosts,
        intent_hash=record.intent.hash,
        directory=attempt.directory if attempt else "",
        account=attempt.account if attempt else "",
        epoch=record.epoch,
        key_id=certificate.key_id,
        serial=certificate.serial,
        not_before=certificate.not_before,
        not_after=certificate.not_after,
        at=now,
        cert_id=(certificate.ari_cert_id or "") if ordered else "",
        formats=record.intent.settings.formats,
        secret_uid=seen.uid,
        secret_version=seen.resource_version,
        leaf=leaf if ordered and len(leaf) <= LARGEST_LEAF else "",
    )


_REVOKED = Fitness(Misfit.REVOKED, "It was revoked, or its key's certificate was.", same=True)
_TO_BE_REPLACED = Fitness(Misfit.TO_BE_REPLACED, "A new one is wanted in any case.", same=True)


def _by_record(record: Record, seen: Look, *, now: datetime, interval: timedelta, renews: bool) -> Fitness:
    former = record.issued
    if former is None or seen.content is Content.UNKNOWN:
        return Fitness(seen.content, "The record knows nothing of this Secret.")
    if not is_for(former, record.intent):  # what it was written in cannot be seen, either
        return Fitness(Misfit.OTHER_INTENT, "Something else was wanted when it was issued.", same=True)
    if record.is_revoked:
        return _REVOKED
    if renews:
        return _TO_BE_REPLACED
    if now >= due_at(record, interval=interval):
        return Fitness(ValidityReason.RENEWAL_DUE, "By the record its renewal is due.", same=True)
    return Fitness(seen.content, "Its data is not shown on this cluster.", same=True, issued=former)


def _held(record: Record, seen: Look, *, now: datetime) -> Issued | None:
    """What the Secret holds, if that is a certificate, as the record would have it: its own, or one put there."""
    try:
        certificate = describe_chain(seen.stored.tls_crt or b"")
    except CertError:
        return None
    found = installed(record, certificate, seen, now=now)
    if record.issued is None or record.issued.serial != certificate.serial:
        return found
    return replace(
        record.issued,
        intent_hash=replace(record.intent, hosts=record.issued.hosts).hash,
        formats=found.formats,
        secret_uid=found.secret_uid,
        secret_version=found.secret_version,
        key_id=found.key_id,
        not_before=found.not_before,
        not_after=found.not_after,
    )


def _facts(issued: Issued) -> tuple[object, ...]:
    """What the certificate itself says: where a record says something else, it is the record that is wrong."""
    return issued.serial, issued.key_id, issued.not_before, issued.not_after


def _lacking(record: Record, seen: Look) -> tuple[str, ...]:
    """The formats that are wanted and missing, or of another certificate."""
    chain, key = seen.stored.tls_crt or b"", seen.stored.tls_key or b""
    return tuple(formats.stale(record.intent.settings.formats, seen.further, chain_pem=chain, key_pem=key))
