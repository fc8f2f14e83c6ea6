"""When a right to a host that was checked is lost: by lapse, or because an operator gives the host to others.

This is the one place that says so, and `at_sweep.tidy` the one that acts on it, in every pass:

1. `lost_by` names the records of the former holder whose certificates are still good for the host.
2. Each is written down first: `transitions.forfeited` puts the host into `record.issued.forfeited`. From then on that
   tuple, which those in `record.former` have too, says that the certificate is to be revoked; it stays with it,
   unless the namespace gets the host back.
3. Only then does the claim go. A pass that dies in between does both again; what was written down already is not
   named again.

A transfer leaves the former holder's name on the claim (`Claim.former`), so that it is found by the next pass.
A claim that was never checked is no right, and nothing follows from its end.

A right lapses when nothing of its namespace has named the host for the operator's `claimGrace`, at every look of the
sweeps in that time: the first marks the claim, one that sees the host named takes the mark away. When no sweep looked
for long, the time begins anew, since nobody knows what was there meanwhile.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from issuer_job.hosts.precedence import Claim
from issuer_job.issuers.options import Options
from issuer_job.record.phases import ABSENCE_GRACE
from issuer_job.record.record import Record

LOOKS = timedelta(hours=1)
"""How often it is written down that a host is still not named."""
LONGEST_BLINK = timedelta(hours=3)
"""For how long sweeps may be away, or three of them if that is longer, before a lapse begins anew."""

UNDER_WAY = timedelta(hours=1)
"""From a transfer until no attempt that had passed before it can end with a certificate."""


class Loss(StrEnum):
    """How a right is lost."""

    LAPSED = "nothing of the namespace has named it for long"
    TRANSFERRED = "an operator gave it to another namespace"


@dataclass(frozen=True)
class LostRight:
    """The record's certificate is good for `host`, to which the record's namespace has no right any more."""

    record: Record
    host: str
    cause: Loss


Certified = Mapping[tuple[str, str], Collection[Record]]
"""By namespace and host the records with a certificate from a CA that is good for the host."""


def certified(records: Iterable[Record]) -> Certified:
    """Whose certificates, and for what. Pure."""
    found: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for record in records:
        for host in {host for issued in record.certificates for host in issued.hosts}:
            found[record.namespace, host].append(record)
    return found


def lost_by(claim: Claim, known: Certified, *, lapses: bool, now: datetime) -> Iterator[LostRight]:
    """The certificates that outlive the right to the claim's host, those aside that say so already. Pure.

    `lapses`: the claim is about to be given up.
    """
    lapsed = lapses and claim.checked is not None
    for record in known.get((claim.namespace if lapsed else claim.former, claim.host), ()):
        good = [one for one in record.certificates if one.not_after > now and claim.host in one.hosts]
        if not lapsed:  # what came later came under another policy
            good = [one for one in good if one.at <= claim.since + UNDER_WAY]
        if any(claim.host not in one.forfeited for one in good):
            yield LostRight(record, claim.host, Loss.LAPSED if lapsed else Loss.TRANSFERRED)


def grace_of(claim: Claim, options: Options) -> timedelta:
    """How long nothing of its namespace may name the host before the claim goes."""
    return ABSENCE_GRACE if claim.checked is None else options.grace


def free_from(claim: Claim, options: Options) -> datetime | None:
    """When others can have the host at the earliest, as far as can be told; None while it is named. Pure."""
    return None if claim.unnamed_since is None else claim.unnamed_since + grace_of(claim, options)


def looked_at(claim: Claim, options: Options, *, named: bool, now: datetime, interval: timedelta) -> Claim | None:
    """The claim as it is to be stored after this look of a sweep, None if it is to be given up. Pure.

    `interval` is the time from one sweep to the next.
    """
    since, seen = claim.unnamed_since, claim.unnamed_seen
    if named:
        return replace(claim, unnamed_since=None, unnamed_seen=None)
    if since is None or seen is None or now - seen > max(LONGEST_BLINK, 3 * interval):
        return replace(claim, unnamed_since=now, unnamed_seen=now)
    if now - since >= grace_of(claim, options):
        return None
    return replace(claim, unnamed_seen=now) if now - seen >= LOOKS else claim
