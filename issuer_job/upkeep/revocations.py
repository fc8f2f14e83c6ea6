"""Certificates that are to be revoked (RFC 8555, section 7.6): one ConfigMap each, written before anything is done.

An operator asks for it, or the sweep, when a namespace has lost the right to a host. The issuer's own Job carries it
out, as only Jobs have the account's key. The sweep launches it, and another an hour after one that could not, until
the revocation ends: done, refused by the CA for good, or given up after a week. The webhook may write none of this.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import msgspec
from msgspec.structs import replace

from issuer_job import log, names
from issuer_job import vocabulary as v
from issuer_job.attempt import events
from issuer_job.cluster import bodies, changes
from issuer_job.cluster.api import CONFIGMAPS, Cluster, Json
from issuer_job.demand.askers import with_uids
from issuer_job.issuers.load import Issuers
from issuer_job.issuers.state import load_state
from issuer_job.issuers.types import directory_of
from issuer_job.record.annotations import Stored
from issuer_job.record.record import Issued, Record
from issuer_job.record.sources import Moment


class Reason(StrEnum):
    """Why, as CAs take it from whoever has the certificate (RFC 5280, section 5.3.1)."""

    UNSPECIFIED = "unspecified"
    KEY_COMPROMISE = "keyCompromise"
    AFFILIATION_CHANGED = "affiliationChanged"
    SUPERSEDED = "superseded"
    CESSATION = "cessationOfOperation"
    PRIVILEGE_WITHDRAWN = "privilegeWithdrawn"

    @property
    def code(self) -> int:
        """The CRLReason."""
        return _CODES[self]


_CODES = {
    Reason.UNSPECIFIED: 0,
    Reason.KEY_COMPROMISE: 1,
    Reason.AFFILIATION_CHANGED: 3,
    Reason.SUPERSEDED: 4,
    Reason.CESSATION: 5,
    Reason.PRIVILEGE_WITHDRAWN: 9,
}


class Outcome(StrEnum):
    """How a revocation ended."""

    REVOKED = "revoked"
    REFUSED = "refused"
    GIVEN_UP = "given up"


class Revocation(Stored, frozen=True):
    """What is to be revoked: the certificate with this `serial`, or if that is empty what the Secret holds.

    `lost` are the hosts to which its namespace has lost the right, none if an operator asks. `issuer` is whose Job is
    to do it, `leaf` the certificate (PEM) once it was found. `problem` is what kept the last Job from it.
    """

    namespace: str
    secret_name: str
    reason: Reason = Reason.UNSPECIFIED
    serial: str = ""
    lost: tuple[str, ...] = ()
    asked_at: Moment | None = None
    issuer: str = ""
    leaf: str = ""
    problem: str = ""
    outcome: Outcome | None = None
    ended_at: Moment | None = None

    @property
    def key(self) -> tuple[str, str]:
        """Namespace and name of its Secret."""
        return self.namespace, self.secret_name

    @property
    def record_name(self) -> str:
        """Of the record of its Secret."""
        return names.record(self.namespace, self.secret_name)

    @property
    def about(self) -> str:
        """For people: which certificate."""
        number = f", serial {self.serial}" if self.serial else ""
        return f"the certificate of Secret {self.namespace}/{self.secret_name}{number}"


@dataclass(frozen=True)
class HeldRevocation:
    """As it is stored in a ConfigMap."""

    config_map: Json
    revocation: Revocation

    @property
    def name(self) -> str:
        return str(self.config_map["metadata"]["name"])

    @property
    def since(self) -> datetime:
        """When it was asked for."""
        return self.revocation.asked_at or datetime.fromisoformat(self.config_map["metadata"]["creationTimestamp"])


def read_revocation(config_map: Json) -> HeldRevocation | None:
    """None if it cannot be read: somebody wrote it by hand."""
    try:
        text = (config_map.get("data") or {}).get(v.REVOCATION_KEY, "")
        return HeldRevocation(config_map, msgspec.json.decode(text, type=Revocation))
    except (msgspec.DecodeError, RecursionError) as problem:
        log.error("revocation-unreadable", name=config_map["metadata"]["name"], problem=str(problem)[:300])
        return None


def list_revocations(cluster: Cluster) -> Iterator[HeldRevocation]:
    """All that can be read. Raises KubeError."""
    found = cluster.items(CONFIGMAPS, v.NAMESPACE, labels=f"{v.REVOCATION}=true")
    return (held for held in map(read_revocation, found) if held is not None)


def find_revocation(cluster: Cluster, name: str) -> HeldRevocation | None:
    """As it is stored now. Raises KubeError."""
    found = cluster.find(CONFIGMAPS, v.NAMESPACE, name)
    return None if found is None else read_revocation(found)


def ask_for(cluster: Cluster, revocation: Revocation, *, now: datetime) -> str:
    """Write it down, unless the same was asked for before; its ConfigMap's name. Raises KubeError."""
    name = names.revocation(revocation.namespace, revocation.secret_name, revocation.serial or now.isoformat())
    changes.swap(cluster, CONFIGMAPS, v.NAMESPACE, None, _body(name, replace(revocation, asked_at=now)))
    return name


def rewrite(cluster: Cluster, held: HeldRevocation, **fields: object) -> HeldRevocation | None:
    """With other values of these fields; None if somebody else has changed it meanwhile. Raises KubeError."""
    revocation = replace(held.revocation, **fields)
    if revocation == held.revocation:
        return held
    done = changes.swap(cluster, CONFIGMAPS, v.NAMESPACE, held.config_map, _body(held.name, revocation))
    return None if done is None else HeldRevocation(done.after, revocation)


def tell(cluster: Cluster, held: HeldRevocation, record: Record | None, note: str, *, now: datetime) -> None:
    """Say what became of it, or what is in its way, where it is asked for, on the Secret, and on its issuer; once."""
    revocation = held.revocation
    done = revocation.outcome is Outcome.REVOKED
    reason = "CertificateRevoked" if done else "CertificateNotRevoked"
    note = f"{revocation.about}: {note}"
    say = log.info if done else log.error
    say("revocation", name=held.name, outcome=revocation.outcome, note=note)
    news = events.News(reason, note, now, (held.name, note), warning=not done)
    secret = {"apiVersion": "v1", "kind": "Secret", "namespace": revocation.namespace, "name": revocation.secret_name}
    uids = [one.secret_uid for one in record.certificates if one.secret_uid] if record else []
    events.tell_one(cluster, secret | ({"uid": uids[0]} if uids else {}), news)
    for source in with_uids(cluster, record) if record else ():
        kind, where = source.kind, {"namespace": revocation.namespace, "name": source.name, "uid": source.uid}
        if kind.listed:
            events.tell_one(cluster, kind.reference(**where), news)
    issuer = cluster.find(CONFIGMAPS, v.NAMESPACE, revocation.issuer) if revocation.issuer else None
    metadata = (issuer or held.config_map)["metadata"]
    about = {"apiVersion": "v1", "kind": "ConfigMap"} | {key: metadata[key] for key in ("namespace", "name", "uid")}
    events.tell_one(cluster, about, news)


def issued_with(record: Record | None, serial: str) -> Issued | None:
    """What the record knows of the certificate with this serial number; without one, of what it issued last."""
    if record is None:
        return None
    every = (*record.certificates, *([record.issued] if record.issued else []))
    return next((one for one in every if serial in ("", one.serial)), None)


def issuer_for(cluster: Cluster, revocation: Revocation, record: Record | None, issuers: Issuers) -> str:
    """Whose Job can have it revoked: an issuer of the same CA, if possible with the account that ordered it.

    Of a certificate that no order is known of, the record's. Empty if there is none. Raises KubeError.
    """
    issued = issued_with(record, revocation.serial)
    if issued is None or not issued.directory:
        name = "" if record is None else record.issuer
        return name if name in issuers.valid else ""
    same = sorted(name for name, issuer in issuers.valid.items() if directory_of(issuer) == issued.directory)
    if record is not None and record.issuer in same:
        same = [record.issuer, *(name for name in same if name != record.issuer)]
    for name in same if len(same) > 1 else ():
        if load_state(cluster, name, issued.directory).account_url == issued.account:
            return name
    return same[0] if same else ""


def _body(name: str, revocation: Revocation) -> Json:
    text = msgspec.json.format(msgspec.json.encode(revocation), indent=1).decode()
    return bodies.config_map(bodies.own_metadata(name, {v.REVOCATION: "true"}), {v.REVOCATION_KEY: text})
