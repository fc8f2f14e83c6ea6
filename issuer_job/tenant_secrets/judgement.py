"""Whether what a Secret holds may stay, as its record has it: the one judge, asked by Job and sweep. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from msgspec.structs import replace

from certs import formats
from certs.chain import IssuedCertificate, describe_chain, parse_chain
from certs.errors import CertError
from certs.placeholder import is_placeholder
from certs.trust import IssuerTrust, Origin
from certs.validity import ValidityReason, judge_stored
from issuer_job import vocabulary as v
from issuer_job.record.record import Issued, Problem, Record
from issuer_job.record.renewal import due_at, is_for
from issuer_job.tenant_secrets.access import Content, Look, Refusal

LARGEST_LEAF = 8 * 1024
"""Bytes of a certificate that its record keeps."""
PUT_BACK_AGAIN = timedelta(days=1)
"""After a certificate was ordered because somebody had written another pair over the one before: in a fight that
goes on, each time costs an order.
"""


class Misfit(StrEnum):
    """What is wrong with a certificate that is good in itself."""

    TO_BE_REPLACED = "ToBeReplaced"
    OTHER_INTENT = "OtherIntent"
    OTHER_ISSUER = "OtherIssuer"
    OTHER_SERVER = "OtherServer"
    UNKNOWN_SIGNER = "UnknownSigner"
    OTHER_TOOL = "OtherTool"
    LACKS_FORMATS = "LacksFormats"
    REVOKED = "Revoked"


@dataclass(frozen=True)
class Fitness:
    """Why what a Secret holds may stay or not.

    `issued` is what the record has to say of it if it takes no order, else None; `same` whether that is, as far as
    can be seen, the certificate that the record knows; `lacks` are the formats that have to be added to it.
    `overwrites`: it stands in the place of one that the issuer has given; `until` when another may be ordered, if not
    now.
    """

    reason: ValidityReason | Misfit | Content
    message: str
    same: bool = False
    issued: Issued | None = None
    lacks: tuple[str, ...] = ()
    overwrites: bool = False
    until: datetime | None = None

    @property
    def good(self) -> bool:
        """Whether there is nothing to do."""
        return self.issued is not None and not self.lacks


def judge(
    record: Record, seen: Look, trust: IssuerTrust, *, now: datetime, interval: timedelta, renews: bool
) -> Fitness:
    """What to make of the Secret that was seen. Nothing in its data makes it raise.

    The certificate that the record knows stays until it is due, for sweeps that come by every `interval`, or until a
    launch `renews` it, or the issuer has another server. Another one stays if it is good and what the issuer would
    give, by the `trust` in whoever signed it: somebody has put it there, a pod that died before it could say so, or
    the record was lost. None does when something else is wanted by now. A chain is verified once: then the record
    knows the certificate. Of data that is not shown the record is believed: what somebody may have changed counts
    as it.
    """
    if seen.found and seen.content is not Content.SHOWN:
        return _by_record(record, seen, trust, now=now, interval=interval, renews=renews)
    former, issued = record.issued, _held(record, seen, now=now)
    same = former is not None and issued is not None and _facts(former) == _facts(issued)
    if issued is not None and _is_of_other_tool(record, seen, issued):
        return Fitness(Misfit.OTHER_TOOL, "cert-manager has written it since.")
    stored = judge_stored(
        seen.stored if seen.found else None,
        hosts=record.intent.hosts,
        now=now,
        renew_at=None if issued is None else due_at(replace(record, issued=issued), interval=interval),
    )
    if not stored.ok or issued is None:
        return _not_good(record, seen, stored.reason, stored.message, now=now, same=same)
    if record.has_revoked(serial=issued.serial, key_id=issued.key_id):
        return _REVOKED
    if same and renews:
        return _TO_BE_REPLACED
    if former is None and seen.issuer not in {"", record.intent.settings.issuer}:
        return Fitness(Misfit.OTHER_ISSUER, f"It is from issuer {seen.issuer}.")
    if former is not None and not is_for(former, record.intent, but_formats=True):
        return Fitness(Misfit.OTHER_INTENT, "Something else was wanted when it was issued.", same)
    if same and is_of_another_server(record, trust):
        return _OTHER_SERVER
    if not same or former is None or not (former.directory or former.vouched):
        same, found = False, _vouched(record, issued, seen, trust, now=now)
        if found is None:
            said = f"Its issuer has not signed it, nor anybody whom clients trust: {_signer_of(seen)} has."
            return _not_good(record, seen, Misfit.UNKNOWN_SIGNER, said, now=now)
        issued = found
    if lacks := _lacking(record, seen):
        return Fitness(Misfit.LACKS_FORMATS, f"It lacks {', '.join(lacks)}.", same, issued, lacks)
    return Fitness(stored.reason, stored.message, same, issued)


def own_certificate(record: Record, seen: Look, trust: IssuerTrust, *, now: datetime) -> IssuedCertificate | None:
    """The valid certificate that the record's issuer gave, as its chain and certjob's notes on the Secret say, with
    its key; None for anything else. One that is signed with its own key says nothing of who has made it.
    """
    if not seen.found or seen.content is not Content.SHOWN or trust.signs_itself:
        return None
    held = _held(record, seen, now=now)
    if held is None or _is_of_other_tool(record, seen, held) or not judge_stored(seen.stored, hosts=(), now=now).ok:
        return None
    found = _vouched(record, held, seen, trust, now=now)
    return describe_chain(seen.stored.tls_crt or b"") if found is not None and found.directory else None


def is_spoilt(seen: Look, *, now: datetime) -> bool:
    """Whether the Secret is there and serves nobody: emptied, garbage, or another key; not a placeholder."""
    if not seen.found or seen.content is not Content.SHOWN:
        return False
    return judge_stored(seen.stored, hosts=(), now=now).reason in _SPOILT


DAMAGED = "the Secret held no certificate with its key any more: a placeholder is there until the next one comes"
_SPOILT = {ValidityReason.NO_CERTIFICATE, ValidityReason.UNREADABLE, ValidityReason.KEY_DOES_NOT_MATCH}


def installed(
    record: Record,
    certificate: IssuedCertificate,
    seen: Look,
    *,
    now: datetime,
    ordered: bool = False,
    put_back: bool = False,
) -> Issued:
    """What the record says of a certificate in its Secret: its attempt `ordered` it, or else its owner has put it
    there, so that no CA will be asked about it. `put_back`: see `Issued`.
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
        put_back=put_back,
    )


def is_of_another_server(record: Record, trust: IssuerTrust) -> bool:
    """Whether what is issued is from a CA that its issuer names no more, nor its issuer's fallback."""
    directory = record.issued.directory if record.issued is not None else ""
    return bool(directory) and not trust.knows(directory)


def overwrites(record: Record, seen: Look) -> bool:
    """Whether somebody has written another certificate over one from the record's issuer."""
    former = record.issued
    try:
        held = parse_chain(seen.stored.tls_crt or b"")[0]
    except CertError:
        return False
    ours = former is None or not former.directory or f"{held.serial_number:x}" == former.serial
    return not ours and not is_placeholder(held)


def of_other_tool(record: Record, seen: Look) -> Problem:
    """What to say of a Secret that cert-manager writes, too."""
    certificate = (seen.metadata.get("annotations") or {}).get(v.CERT_MANAGER)
    detail = (
        f"cert-manager has written Secret {record.secret_name}, too, for its Certificate {certificate!r:.80}, and it "
        f"is left to that. For certjob's delete the Certificate, and the Secret's annotation {v.CERT_MANAGER}; for "
        "cert-manager's alone take certjob's annotations from the Ingress. Both act on kubernetes.io/tls-acme"
    )
    return Problem(type=str(Refusal.OTHER_TOOL), detail=detail, step="look")


def overwritten(record: Record, seen: Look, found: Fitness) -> Problem:
    """What to say when somebody has written another certificate over the one that the issuer gave."""
    by = f" by {seen.written_by}" if seen.written_by else ""
    what = f"the certificate from issuer {record.issuer} was overwritten{by} with one signed by {_signer_of(seen)}"
    then = "another one is ordered, and put back"
    if found.until is not None:
        then = (
            f"it was put back less than a day ago. Nothing is ordered before {found.until:%Y-%m-%d %H:%M} UTC. Keep "
            "whoever writes it from doing so, or name another Secret in spec.tls"
        )
    return Problem(type="overwritten", detail=f"{what}; {then}", step="look")


def _signer_of(seen: Look) -> str:
    """The name of who has signed what the Secret holds, for people to read: quoted, as its owner chose it."""
    try:
        return repr(describe_chain(seen.stored.tls_crt or b"").issuer_name[:64])
    except CertError:
        return "nobody"


_REVOKED = Fitness(Misfit.REVOKED, "It was revoked, or its key's certificate was.", same=True)
_TO_BE_REPLACED = Fitness(Misfit.TO_BE_REPLACED, "A new one is wanted in any case.", same=True)
_OTHER_SERVER = Fitness(Misfit.OTHER_SERVER, "The issuer has another server now.", same=True)


def _not_good(
    record: Record, seen: Look, reason: ValidityReason | Misfit, message: str, *, now: datetime, same: bool = False
) -> Fitness:
    """It may not stay. In the place of one that was put back lately nothing is ordered again so soon."""
    former, over = record.issued, not same and overwrites(record, seen)
    again = over and former is not None and former.put_back and now < former.at + PUT_BACK_AGAIN
    until = former.at + PUT_BACK_AGAIN if again and former is not None else None
    return Fitness(reason, message, same, overwrites=over, until=until)


def _is_of_other_tool(record: Record, seen: Look, issued: Issued) -> bool:
    """Whether cert-manager's mark is there with a certificate that certjob has not seen before, in a Secret that it
    has written or taken over: the mark alone stays behind where a Secret was handed over.
    """
    if v.CERT_MANAGER not in (seen.metadata.get("annotations") or {}):
        return False
    former = record.issued
    return bool(seen.state) if former is None else former.serial != issued.serial


def _vouched(record: Record, issued: Issued, seen: Look, trust: IssuerTrust, *, now: datetime) -> Issued | None:
    """What the record has to say of a certificate that was found, if it is what the issuer would give; else None.

    Where the record was lost, all is known again that Secret and chain tell: of which CA it is, so that this one is
    asked about its renewal, and told what the renewal replaces. certjob's notes on the Secret are not believed about
    anything but where to ask.
    """
    chain = seen.stored.tls_crt or b""
    origin = trust.origin(chain, now=now)
    if origin is Origin.UNKNOWN:
        return None
    certificate, former = describe_chain(chain), record.issued
    lost = former is None or (not former.directory and former.serial == issued.serial)
    if not lost or not (origin is Origin.ISSUER or _has_noted(record, seen, certificate, trust.name)):
        return replace(issued, vouched=True)
    return replace(
        issued,
        vouched=True,
        directory=trust.directory,
        cert_id=certificate.ari_cert_id or "",
        leaf=certificate.leaf_pem if len(certificate.leaf_pem) <= LARGEST_LEAF else "",
        at=certificate.not_before,
    )


def _has_noted(record: Record, seen: Look, certificate: IssuedCertificate, issuer: str) -> bool:
    """Whether certjob has put just that into the Secret, as its notes there say, from this issuer."""
    of = {issuer, ""} if record.secret_is_its_owners else {issuer}
    noted = seen.not_after == f"{certificate.not_after:{v.NOTED_TIME}}"
    return bool(issuer) and seen.state == v.SecretState.ISSUED and noted and seen.issuer in of


def _by_record(
    record: Record, seen: Look, trust: IssuerTrust, *, now: datetime, interval: timedelta, renews: bool
) -> Fitness:
    former = record.issued
    if former is None or seen.content is Content.UNKNOWN:
        return Fitness(seen.content, "The record knows nothing of this Secret.")
    if not is_for(former, record.intent):  # what it was written in cannot be seen, either
        return Fitness(Misfit.OTHER_INTENT, "Something else was wanted when it was issued.", same=True)
    if record.is_revoked:
        return _REVOKED
    if renews:
        return _TO_BE_REPLACED
    if is_of_another_server(record, trust):
        return _OTHER_SERVER
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
