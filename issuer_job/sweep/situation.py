"""What is known of one certificate in a sweep, and the words for what follows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum, StrEnum

from issuer_job.demand.common import Entry
from issuer_job.demand.plan import Plan, plan
from issuer_job.record import intents
from issuer_job.record.phases import LaunchReason
from issuer_job.record.record import Record

AttemptKey = tuple[str, int]
"""A record's uid and an attempt's epoch: what the labels of its Job say, whatever that is called."""


class Action(StrEnum):
    """What to do about a certificate."""

    NOTHING = "nothing"
    LAUNCH = "launch"
    """What an Ingress wants is not what its record says: merge it, and launch if that needs it."""
    SAME_EPOCH = "same epoch"
    NEW_EPOCH = "new epoch"
    GIVE_UP = "give up"
    """Wait before the next attempt: this one has crashed too often."""
    LOOK = "look"
    """What the Secret holds decides."""
    KNOCK = "knock"
    """Whether the Secret is certjob's to write by now decides."""
    ORPHAN = "orphan"
    RETIRE = "retire"
    FORGET = "forget"
    MARK_SOURCES = "mark sources"
    DROP_SOURCES = "drop sources"


class Priority(IntEnum):
    """Who goes first when not everything fits into a pass."""

    URGENT = 0
    """Less than a tenth of the certificate's life is left."""
    MISSED = 1
    RETRY = 2
    REST = 3


@dataclass(frozen=True, slots=True)
class Verdict:
    """What follows for one certificate. `entries`, if any, is what a look has shown to be wanted."""

    action: Action
    reason: LaunchReason
    priority: Priority = Priority.REST
    entries: tuple[Entry, ...] = ()

    def left(self, record: Record, now: datetime) -> Record:
        """The record without the sources that have been gone for long, if that is what follows."""
        return intents.without_gone(record, now) if self.action is Action.DROP_SOURCES else record


@dataclass(frozen=True, slots=True)
class Situation:
    """All that is known of one Secret's certificate, read beforehand.

    `entries` are what live Ingresses want; `named_by` are the names of all opted-in Ingresses that name the Secret,
    also of those whose issuer or hosts are wrong just now. `jobs` says of each attempt's Job whether it has finished.
    `hosts_free` says that it failed for the want of a host, and may have all of them now.
    `interval` is the time from one sweep to the next, `issuers` stand for the present configuration of each,
    `fallback` is the issuer that shall take over now, see `eligibility.due_fallback`.
    `issuer_ready` is when a test last found its issuer ready, or a Job other credentials of it, `account_reset` when
    an operator last gave that another account. `wish` is the time before which it was made, if an operator has all
    such certificates of its issuer replaced. `certificates` is how many there are in the cluster.
    `shares_key` says that another record's certificate has the same private key, `key_revoked` that one for this key
    was revoked, this record's or another's. `other_server` says that it is from a CA that its issuer names no more.
    """

    namespace: str
    secret_name: str
    record: Record | None
    entries: tuple[Entry, ...]
    named_by: frozenset[str]
    jobs: Mapping[AttemptKey, bool]
    issuers: Mapping[str, str]
    interval: timedelta
    now: datetime
    hosts_free: bool = False
    issuer_ready: datetime | None = None
    account_reset: datetime | None = None
    wish: datetime | None = None
    fallback: str = ""
    certificates: int = 0
    shares_key: bool = False
    key_revoked: bool = False
    other_server: bool = False

    def plan(self, entry: Entry) -> Plan:
        """What follows from the entry for the record."""
        return plan(self.record, entry, namespace=self.namespace, now=self.now)


IN_ORDER = Verdict(Action.NOTHING, LaunchReason.IN_ORDER)
