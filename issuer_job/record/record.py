"""The certificate record: what is wanted for one Secret (intent) and what happened (state).

`transitions` has the arrows, `store` reads and writes it.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum

from msgspec.structs import replace

from certs.hostnames import without_redundant
from issuer_job import names
from issuer_job.cluster.api import Json
from issuer_job.record.annotations import Settings, Stored
from issuer_job.record.phases import ACTIVE, SWEEP_INTERVAL, Phase
from issuer_job.record.sources import IngressClass, Intent, Moment, RoutePlace, Source, SourceKind

# Handed on from the modules that this one is built of, besides its own.
__all__ = ["ACTIVE", "IngressClass", "Intent", "Moment", "Phase", "Settings", "Source", "SourceKind"]

SCHEMA_VERSION = 2
"""Of a record that refers to a pending key by its own uid. All others are of version 1, which 0.1.0 can read, too."""
HISTORY_LENGTH = 20


class RecordError(ValueError):
    """A ConfigMap that claims to be a record cannot be read."""


class Problem(Stored, frozen=True):
    """Why an attempt did not succeed. `type` is an ACME error type (RFC 8555, section 6.7) or certjob's own word."""

    type: str
    detail: str
    host: str = ""
    step: str = ""

    def __str__(self) -> str:
        return f"{self.type}: {self.detail}"

    @property
    def note(self) -> str:
        """One line for people: what went wrong, with the host it is about."""
        about = f"{self.host}: " if self.host else ""
        return f"{about}{self.detail} ({self.type})"


class AttemptState(Stored, frozen=True):
    """The current attempt. `epoch` identifies it; the holder is the uid of the pod that works on it.

    `ordered` says that newOrder may have happened although no URL is known, in this attempt or in one that crashed
    before it; `replaces` is the CertID that the order names (RFC 9773, section 5), `terms` stands for what it asks
    for besides its hosts (empty: an earlier certjob has made it). `crashes` counts the attempts before this one whose
    Jobs ended without a word.
    `issuer` is set if it is not the intent's: its fallback. `renews` says that what is issued is to be replaced,
    however good: for that this attempt was launched, or one before it that did not do it. `interval` is the time
    from one sweep to the next, as the last one that launched had it. `changed_at` is when what is wanted changed last
    since it was launched; `looks_again`: its Job looks at that again before it orders, which those of 0.1.0 do not.
    `retry_asked`: somebody has asked for another since it was launched, which follows at once if it fails.
    """

    epoch: int
    launched_at: Moment
    reason: str = ""
    issuer: str = ""
    crashes: int = 0
    tries: int = 0
    holder: str = ""
    generation: int = 0
    directory: str = ""
    account: str = ""
    ordered: bool = False
    order_url: str = ""
    order_expires: Moment | None = None
    replaces: str = ""
    terms: str = ""
    orders_dropped: int = 0
    pending_key: str = ""
    secret_uid: str = ""
    secret_version: str = ""
    renews: bool = False
    interval: timedelta = SWEEP_INTERVAL
    stretch: float = 0.0  # of the start of the holder's process: its time by its CPU time, 0 if not known
    changed_at: Moment | None = None
    looks_again: bool = False
    retry_asked: bool = False


class Renewal(Stored, frozen=True):
    """What the CA suggests for renewing a certificate (RFC 9773, section 4.2), and when to ask it again.

    `at` is the moment chosen in the window `start` to `end`, None if the CA has nothing to suggest.
    """

    check_after: Moment
    at: Moment | None = None
    start: Moment | None = None
    end: Moment | None = None
    explanation: str = ""


class Issued(Stored, frozen=True):
    """The certificate that was last installed and proven; `directory` is empty if its owner put it there.

    `vouched`: it was found in the Secret, and its chain says that its issuer gave it, or would give it. `put_back`:
    it was ordered because somebody had written another pair over the one before.

    `formats` are those that were written with it. `secret_uid` and `secret_version` are those of the Secret when it
    was proven, empty while it is being written. `forfeited` are hosts of it to which its namespace has lost the right
    since (see `hosts.loss`): it is to be revoked. `leaf` is its PEM if a CA issued it, without the chain; empty if
    that is larger than 8 KiB, in lists of records, and in records of an earlier certjob.
    """

    hosts: tuple[str, ...]
    intent_hash: str
    directory: str
    account: str
    epoch: int
    key_id: str
    serial: str
    not_before: Moment
    not_after: Moment
    at: Moment
    cert_id: str = ""
    formats: tuple[str, ...] = ()
    secret_uid: str = ""
    secret_version: str = ""
    renewal: Renewal | None = None
    forfeited: tuple[str, ...] = ()
    leaf: str = ""
    vouched: bool = False
    put_back: bool = False

    def __str__(self) -> str:
        return f"until {self.not_after:%Y-%m-%d %H:%M:%SZ}, serial {self.serial}"

    @property
    def lifetime(self) -> timedelta:
        """From its notBefore to its notAfter."""
        return self.not_after - self.not_before

    @property
    def left(self) -> timedelta:
        """From when it was installed or found to its notAfter."""
        return self.not_after - max(self.at, self.not_before)

    def is_suggested(self, now: datetime) -> bool:
        """Whether the CA suggests to renew just now: CAs do not count orders that replace something within that.

        Not of a certificate that has hardly been in use: a CA that suggests it all the time is not to be believed.
        """
        window = self.renewal
        young = now - self.at < self.lifetime / 10
        return bool(not young and window and window.start and window.end and window.start <= now < window.end)


class Revoked(Stored, frozen=True):
    """A certificate that is to be revoked, or was: neither it nor its key may stay anywhere."""

    serial: str
    key_id: str
    not_after: Moment
    reason: str = ""


class Retry(Stored, frozen=True):
    """When and why to try again. `not_before` None: only after a change. `earlier` failed before `intent_hash`.

    `asked` says that the wait is the CA's wish or a limit: nothing shortens it. `issuer` stands for the issuer's
    configuration at the time: an edit of it ends the wait. `since` is when the first of the `failures` happened.
    """

    problem: Problem
    failures: int
    intent_hash: str
    since: Moment | None = None
    earlier: tuple[str, ...] = ()
    not_before: Moment | None = None
    asked: bool = False
    issuer: str = ""

    @property
    def hashes(self) -> tuple[str, ...]:
        """The intents that failed lately, the last one first."""
        return (self.intent_hash, *self.earlier)


class Counted(StrEnum):
    """What CAs limit."""

    ORDER = "order"
    CERTIFICATE = "certificate"
    FAILURE = "failure"


class LedgerEntry(Stored, frozen=True):
    """Something that counts against a limit of the issuer's CA: for an order no hosts, for a failure its host.

    `exempt`: a renewal that names what it replaces, which CAs with renewal information do not count.
    """

    at: Moment
    kind: Counted
    issuer: str
    hosts: tuple[str, ...] = ()
    exempt: bool = False


class HistoryEntry(Stored, frozen=True):
    """One line of the story, newest last: a `HistoryEvent`, and the type of the problem if it is about one."""

    at: Moment
    epoch: int
    event: str
    detail: str = ""
    type: str = ""


class Record(Stored, frozen=True, kw_only=True):
    """One target Secret's certificate. `resource_version` and `uid` are the ConfigMap's.

    `renamed_from` is the Secret that its Ingress named for the same hosts before it named this one. `former` are
    certificates from a CA before the one that is issued which are still valid, the last one last.
    `renew` is the operator's wish that the certificate be not older than this.
    """

    namespace: str
    secret_name: str
    phase: Phase
    intent: Intent
    sources: tuple[Source, ...]
    generation: int = 1
    since: Moment
    attempt: AttemptState | None = None
    issued: Issued | None = None
    retry: Retry | None = None
    history: tuple[HistoryEntry, ...] = ()
    ledger: tuple[LedgerEntry, ...] = ()
    former: tuple[Issued, ...] = ()
    revoked: tuple[Revoked, ...] = ()
    renew: Moment | None = None
    renamed_from: str = ""
    version: int = 1
    uid: str = ""
    resource_version: str = ""

    @property
    def name(self) -> str:
        """The ConfigMap's name."""
        return names.record(self.namespace, self.secret_name)

    @property
    def old_hash(self) -> str:
        """Stood for the record until 0.1.0: in what was left by then, and for nothing that is made now."""
        return names.old_hash(self.namespace, self.secret_name)

    @property
    def epoch(self) -> int:
        """Of the current attempt, 0 before the first."""
        return self.attempt.epoch if self.attempt else 0

    @property
    def job_name(self) -> str:
        """Of the Job of the current attempt."""
        return names.job(self.namespace, self.secret_name, self.uid, self.epoch)

    @property
    def pending_name(self) -> str:
        """Of the Secret with the key of the attempt's order: inherited with the order, or the attempt's own.

        Whatever the record says, it is never another record's.
        """
        inherited = self.attempt.pending_key if self.attempt else ""
        epoch = names.epoch_of(inherited)
        own = inherited in {names.pending_key(self.uid, epoch), names.pending_key(self.old_hash, epoch)}
        return inherited if own else names.pending_key(self.uid, self.epoch)

    @property
    def reader_version(self) -> int:
        """The least `SCHEMA_VERSION` of a certjob that may go on with it."""
        pending = self.attempt.pending_key if self.attempt else ""
        return SCHEMA_VERSION if self.uid and pending.startswith(names.pending_key(self.uid, 0)[:-1]) else 1

    @property
    def issuer(self) -> str:
        """Name of the issuer that the current attempt has to do with: the intent's, or that one's fallback."""
        return (self.attempt.issuer if self.attempt else "") or self.intent.settings.issuer

    @property
    def state(self) -> str:
        """What the label says: a certificate that is being renewed stays Issued."""
        if self.issued is not None and self.phase in ACTIVE | {Phase.WAITING, Phase.UNCONFIRMED}:
            return Phase.ISSUED
        return self.phase

    @property
    def routes(self) -> list[RoutePlace]:
        """Each host with each class that an Ingress has it in; no wildcards, and nothing that one of them covers."""
        every = {(host, source.ingress_class) for source in self.sources for host in source.hosts}
        ordered = set(without_redundant(host for host, _ in every))
        pairs = (pair for pair in every if pair[0] in ordered and not pair[0].startswith("*."))
        return sorted(pairs, key=lambda pair: (pair[0], pair[1].identity))

    @property
    def secret_is_its_owners(self) -> bool:
        """Whether its owner makes the Secret, so that certjob neither creates nor deletes it."""
        return any(source.kind.makes_secret for source in self.sources)

    @property
    def only_its_secret_asks(self) -> bool:
        """Whether nobody but the owner of the Secret wants it, as far as is known."""
        return all(source.kind.makes_secret for source in self.sources)

    @property
    def renewal_asked(self) -> datetime | None:
        """The latest moment that the certificate must not be older than, as an operator or what asks for it says."""
        asked = (self.renew, *(source.renew for source in self.sources if source.gone_since is None))
        return max((moment for moment in asked if moment is not None), default=None)

    @property
    def certificates(self) -> tuple[Issued, ...]:
        """Those from a CA that may still be valid, the last one first."""
        every = (self.issued, *self.former[::-1])
        return tuple(one for one in every if one is not None and one.directory)

    def has_revoked(self, *, serial: str = "", key_id: str = "") -> bool:
        """Whether a certificate with this serial number, or for this key, is one that may not stay."""
        return any(one.serial == serial or one.key_id == key_id for one in self.revoked)

    @property
    def is_revoked(self) -> bool:
        """Whether what is issued is."""
        issued = self.issued
        return issued is not None and self.has_revoked(serial=issued.serial, key_id=issued.key_id)

    @property
    def listed(self) -> Record:
        """Without what is only of use to whoever has to do with this one record."""
        short = tuple(replace(one, leaf="") for one in self.former)
        issued = self.issued and replace(self.issued, leaf="")
        return replace(self, history=(), ledger=(), issued=issued, former=short)

    @property
    def owner_reference(self) -> Json:
        """Makes Kubernetes delete what belongs to the record with it."""
        return {"apiVersion": "v1", "kind": "ConfigMap", "name": self.name, "uid": self.uid}
