"""DNS-01 (RFC 8555, section 8.4): publish TXT records, wait until authoritative servers have them, remove them.

The contract of a solver: what it presented MUST be there before the CA is asked to look, and it MUST clean up
whatever happened. So each TXT record is written down before it is added (`dns_leftovers`).
"""

from __future__ import annotations

import hashlib
import logging
import secrets
import time
from base64 import urlsafe_b64encode
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial

from msgspec.structs import replace

from issuer_job.attempt.attempt import Attempt, Later, utc_now
from issuer_job.cluster.api import Cluster, KubeError
from issuer_job.dns01 import propagation
from issuer_job.dns01 import trace as dns_leftovers
from issuer_job.dns01.changes import ChangeFailed, Changes, grouped
from issuer_job.dns01.lookup import Address, DnsLookupError, Lookup, Place
from issuer_job.dns01.providers import registry
from issuer_job.dns01.providers.registry import ReadSecret
from issuer_job.dns01.trace import TxtRecord
from issuer_job.issuers.schema import Dns01, Issuer, nameserver
from issuer_job.record.record import Problem, RecordError
from issuer_job.record.store import live_record

logger = logging.getLogger(__name__)

PREFIX = "_acme-challenge."
RESERVE = timedelta(seconds=60)
"""What the CA and the Secret need of an attempt's time after the wait for propagation."""
CLEAN_UP = timedelta(seconds=25)
"""For removing TXT records at the end: the pod is ended half a minute after the process should have given up."""
LEFTOVERS = timedelta(seconds=100)
"""For those of one record: longer than a lock stays that nobody gave back."""
AT_ONCE = 8
"""Names that are looked up at the same time."""
VOLUME = "credentials"
STEP = "dns"


@dataclass(frozen=True)
class DnsChallenge:
    """The host as ordered (with its `*.`), what the TXT record has to say, and the solver that says it."""

    host: str
    value: str = field(repr=False)
    ingress_class: str
    dns01: Dns01


def value_of(key_authorization: str) -> str:
    """What the TXT record says: the base64url of the key authorization's SHA-256 (RFC 8555, section 8.4). Pure."""
    digest = hashlib.sha256(key_authorization.encode()).digest()
    return urlsafe_b64encode(digest).decode().rstrip("=")


def present(attempt: Attempt, challenges: list[DnsChallenge], *, lookup: Callable[..., Lookup] = Lookup) -> None:
    """Add the TXT records, and wait until the zones' servers have them. Raises Later, KubeError.

    The wait is advisory and bounded: a server that we cannot ask must not block.
    """
    started = attempt.clock()
    deadline = attempt.deadline - RESERVE
    places, servers = _places(challenges, lookup, lambda: (deadline - attempt.clock()).total_seconds())
    txt_records = [_txt_record(attempt, one, place) for one, place in zip(challenges, places, strict=True)]
    _no_more_than_kept(txt_records)
    written = [txt for txt in txt_records if txt.provider != registry.ACME_DNS]
    if written:
        dns_leftovers.write_down(attempt.cluster, attempt.record, written)
    changes = _changes(attempt)
    solvers = {one.host: one.dns01 for one in challenges}
    for dns01, group in grouped(txt_records, solvers):
        try:
            changes.add(dns01, group, deadline)
        except ChangeFailed as problem:
            if problem.under_way:
                _leave_to_the_sweep(attempt, [txt for txt in group if txt in written])
            detail = str(problem)
            raise Later(Problem(type="dnsProvider", detail=detail, host=group[0].host, step=STEP)) from None
    seconds = (attempt.clock() - started).total_seconds()
    attempt.step("dns-presented", names=sorted({txt.name for txt in txt_records}), seconds=round(seconds, 3))
    _propagate(attempt, txt_records, places, max(one.dns01.patience for one in challenges), servers)


def clean_up(attempt: Attempt, issuer: Issuer) -> None:
    """Remove this attempt's TXT records, and those that earlier ones of its record left. What fails is logged."""
    try:
        trace = dns_leftovers.find(attempt.cluster, attempt.record.hash)
        if trace is None:
            return
        mine = [txt for txt in trace.txt_records if _is_ours(attempt, txt)]
        removed = _remove(_changes(attempt), attempt.record.hash, issuer, mine, attempt.clock() + CLEAN_UP)
        dns_leftovers.cross_out(attempt.cluster, attempt.record.hash, removed)
        attempt.step("dns-cleaned", removed=len(removed), left=len(mine) - len(removed))
    except (KubeError, RecordError) as problem:
        attempt.step("dns-clean-up-failed", problem=str(problem))


def clean_leftovers(
    cluster: Cluster,
    *,
    name: str,
    issuer: Issuer,
    mounted: ReadSecret,
    now: datetime,
    deadline: datetime | None = None,
    clock: Callable[[], datetime] = utc_now,
    sleep: Callable[[float], None] = time.sleep,
) -> int:
    """Remove the TXT records that ended attempts of this issuer left in DNS; how many. Raises KubeError.

    `mounted` reads a key of the issuer's credentials. No removal begins after the `deadline`, and none that has
    begun is waited for after it.
    """
    count = 0
    changes = Changes(cluster, mounted, f"cleaner-{secrets.token_hex(8)}", clock, sleep)
    for record_hash, trace in dns_leftovers.traces(cluster):
        mine = [txt for txt in trace.txt_records if txt.issuer == name]
        try:
            record = live_record(cluster, trace.record) if mine else None
        except RecordError:
            continue  # written by a later certjob: leave it alone
        left = [txt for txt in mine if dns_leftovers.is_left_over(txt, record, now=now)]
        if not left:
            continue
        if deadline is not None and clock() >= deadline:
            break
        until = clock() + LEFTOVERS
        removed = _remove(changes, record_hash, issuer, left, until if deadline is None else min(until, deadline))
        count += len(removed)
        hopeless = [txt for txt in left if txt not in removed and dns_leftovers.is_hopeless(txt, now=now)]
        for txt in hopeless:
            fields = {"name": txt.name, "value": txt.value, "issuer": name}
            logger.warning("txt-record-given-up", extra={"fields": fields})
        dns_leftovers.cross_out(cluster, record_hash, [*removed, *hopeless])
    return count


def _places(
    challenges: list[DnsChallenge], lookup: Callable[..., Lookup], seconds_left: Callable[[], float]
) -> tuple[list[Place], Lookup]:
    """Where each TXT record belongs, and who has asked for it. Raises Later."""
    nameservers = [tuple(nameserver(server) for server in one.dns01.nameservers) for one in challenges]
    lookups = {servers: lookup(servers, seconds_left=seconds_left) for servers in nameservers}

    def place(one: DnsChallenge, servers: tuple[Address, ...]) -> Place:
        try:
            return lookups[servers].place(_name_for(one.host), zone=one.dns01.zone)
        except DnsLookupError as problem:
            raise Later(Problem(type="dnsLookup", detail=str(problem), host=one.host, step=STEP)) from None

    with ThreadPoolExecutor(max_workers=AT_ONCE) as pool:
        return list(pool.map(place, challenges, nameservers)), lookups[nameservers[0]]


def _remove(
    changes: Changes, record_hash: str, issuer: Issuer, txt_records: list[TxtRecord], deadline: datetime
) -> list[TxtRecord]:
    """Those that the certificate record has no more: removed, or left to others that need them. Raises KubeError."""
    others = dns_leftovers.needed_by_others(changes.cluster, record_hash, txt_records)
    return others + changes.remove(issuer, [txt for txt in txt_records if txt not in others], deadline)


def _leave_to_the_sweep(attempt: Attempt, txt_records: list[TxtRecord]) -> None:
    """What is still being added can only be removed by somebody who comes later: nobody of this attempt will."""
    if txt_records:
        nobodys = [replace(txt, holder="") for txt in txt_records]
        dns_leftovers.write_down(attempt.cluster, attempt.record, nobodys)


def _changes(attempt: Attempt) -> Changes:
    mounted = partial(attempt.mounted, VOLUME)
    return Changes(attempt.cluster, mounted, attempt.pod.uid, attempt.clock, attempt.sleep)


def _name_for(host: str) -> str:
    """A wildcard is proven at the same name as the domain itself (RFC 8555, section 8.4)."""
    return PREFIX + host.removeprefix("*.")


def _txt_record(attempt: Attempt, challenge: DnsChallenge, place: Place) -> TxtRecord:
    return TxtRecord(
        name=place.name,
        zone=place.zone,
        value=challenge.value,
        host=challenge.host,
        provider=challenge.dns01.provider,
        issuer=attempt.record.issuer,
        ingress_class=challenge.ingress_class,
        epoch=attempt.record.epoch,
        holder=attempt.pod.uid,
    )


def _no_more_than_kept(txt_records: Iterable[TxtRecord]) -> None:
    """acme-dns keeps two values of an account: enough for a domain and its wildcard. Raises Later."""
    values = Counter(txt.name for txt in txt_records if txt.provider == registry.ACME_DNS)
    for name, count in values.items():
        if count > 2:
            detail = f"{count} hosts are aliases of {name}, and acme-dns keeps two values: one account for each"
            raise Later(Problem(type="dnsProvider", detail=detail, step=STEP))


def _propagate(
    attempt: Attempt,
    txt_records: list[TxtRecord],
    places: list[Place],
    patience: timedelta,
    lookup: Lookup,
) -> None:
    started = attempt.clock()
    wanted: dict[Place, set[str]] = defaultdict(set)
    for txt, place in zip(txt_records, places, strict=True):
        wanted[place].add(txt.value)
    deadline = max(started, min(started + patience, attempt.deadline - RESERVE))
    lags = propagation.wait(wanted, lookup.texts, clock=attempt.clock, sleep=attempt.sleep, deadline=deadline)
    missing = sorted({f"{lag.server[0]}: {'no answer' if lag.silent else 'lacks'} {lag.name}" for lag in lags})
    servers = len({server for place in places for server in place.servers})
    seconds = round((attempt.clock() - started).total_seconds(), 3)
    attempt.step("dns-propagated", ok=not lags, servers=servers, missing=missing[:20], seconds=seconds)


def _is_ours(attempt: Attempt, txt: TxtRecord) -> bool:
    """Whether it is this pod's, or of an attempt or pod that this one took the place of. Raises KubeError."""
    if txt.issuer != attempt.record.issuer:
        return False  # for a Job with that issuer's credentials
    if txt.holder == attempt.pod.uid or txt.epoch < attempt.pod.epoch:
        return True
    if txt.epoch > attempt.pod.epoch or not txt.holder:
        return False
    now = live_record(attempt.cluster, attempt.record.name)
    state = now.attempt if now is not None else None
    return state is not None and (state.epoch, state.holder) == (attempt.pod.epoch, attempt.pod.uid)
