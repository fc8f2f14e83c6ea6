"""Records and their parts for unit tests."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from msgspec.structs import replace

from issuer_job.record import transitions
from issuer_job.record.record import (
    AttemptState,
    Counted,
    HistoryEntry,
    IngressClass,
    Intent,
    Issued,
    LedgerEntry,
    Phase,
    Problem,
    Record,
    Renewal,
    Retry,
    Revoked,
    Settings,
    Source,
    SourceKind,
)

NOW = datetime(2026, 5, 5, 10, 0, tzinfo=UTC)
LATER = NOW + timedelta(minutes=5)
SETTINGS = Settings(issuer="le")
HOSTS = ("a.certjob.dev", "b.certjob.dev")
PROBLEM = Problem(type="dns", detail="no A record", host="a.certjob.dev", step="authorization")


def source(name: str = "web", hosts: tuple[str, ...] = HOSTS, **fields: object) -> Source:
    return replace(Source(hosts=hosts, settings=SETTINGS, name=name), **fields)


def record(phase: Phase = Phase.LAUNCHED, **fields: object) -> Record:
    """In any phase, with an attempt that has an order and a key; WANTED has none."""
    made = transitions.wanted(namespace="shop", secret_name="web-tls", sources=(source(),), now=NOW)
    if phase is not Phase.WANTED:
        made = replace(made, attempt=attempt())
    return replace(made, phase=phase, uid="record-uid", resource_version="7", **fields)


def attempt(**fields: object) -> AttemptState:
    made = AttemptState(
        epoch=int(NOW.timestamp()),
        launched_at=NOW,
        tries=1,
        holder="pod-1",
        generation=1,
        directory="https://ca/dir",
        account="https://ca/acct/1",
        ordered=True,
        order_url="https://ca/order/1",
        order_expires=LATER,
        orders_dropped=1,
        pending_key="pending-record-uid-1",
        secret_uid="s",
        secret_version="9",
    )
    return replace(made, **fields)


def issued(**fields: object) -> Issued:
    made = Issued(
        hosts=HOSTS,
        intent_hash="0123456789abcdef",
        directory="https://ca/dir",
        account="https://ca/acct/1",
        epoch=5,
        key_id="ab",
        serial="cd",
        not_before=NOW,
        not_after=LATER,
        at=NOW,
        cert_id="x.y",
        formats=("ca.crt",),
        secret_uid="s",
        secret_version="9",
    )
    return replace(made, **fields)


def full_record() -> Record:
    """Every field differs from its default."""
    intent = Intent(
        hosts=HOSTS,
        settings=Settings(
            issuer="le",
            key_algorithm="rsa-2048",
            profile="tlsserver",
            preferred_chain="ISRG Root X1",
            renew_before=86400,
            formats=("ca.crt",),
        ),
    )
    one = Source(
        hosts=HOSTS,
        settings=intent.settings,
        ingress_class=IngressClass(field="nginx", annotation="old"),
        kind=SourceKind.SECRET,
        name="web",
        generate_name="web-",
        uid="u",
        created=NOW,
        retry="again",
        renew=NOW,
        gone_since=NOW,
    )
    renewal = Renewal(check_after=LATER, at=LATER, start=NOW, end=LATER, explanation="https://ca.certjob.dev/why")
    retry = Retry(
        problem=PROBLEM,
        failures=2,
        intent_hash="abc",
        since=NOW,
        earlier=("def",),
        not_before=LATER,
        asked=True,
        issuer="0123456789",
    )
    return Record(
        namespace="shop",
        secret_name="web-tls",
        phase=Phase.WAITING,
        intent=intent,
        sources=(one,),
        generation=3,
        since=NOW,
        attempt=attempt(
            reason="RenewalDue",
            issuer="other",
            crashes=1,
            replaces="x.y",
            renews=True,
            interval=timedelta(hours=1),
            stretch=1.5,
            changed_at=NOW,
            looks_again=True,
            retry_asked=True,
            terms="profile -, lifetime -",
        ),
        issued=issued(leaf="PEM", vouched=True, put_back=True, renewal=renewal, forfeited=HOSTS[:1]),
        retry=retry,
        history=(HistoryEntry(at=NOW, epoch=5, event="issued", detail="d", type="dns"),),
        former=(issued(serial="ce", leaf="PEM", vouched=True, put_back=True),),
        revoked=(Revoked(serial="ce", key_id="ab", not_after=LATER, reason="superseded"),),
        renamed_from="old-tls",
        ledger=(LedgerEntry(at=NOW, kind=Counted.CERTIFICATE, issuer="le", hosts=HOSTS, exempt=True),),
        renew=NOW,
        uid="record-uid",
        resource_version="7",
    )
