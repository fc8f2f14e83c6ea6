"""DNS-01 (RFC 8555, section 8.4): publish TXT records, wait until authoritative servers have them, remove them."""

from __future__ import annotations

import hashlib
import secrets
import time
from base64 import urlsafe_b64encode
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial

from msgspec.structs import replace

from issuer_job import log
from issuer_job.attempt.attempt import Attempt, Later, utc_now
from issuer_job.attempt.solver import HostChallenge
from issuer_job.background import at_once
from issuer_job.cluster.api import Cluster
from issuer_job.dns01 import propagation
from issuer_job.dns01 import trace as dns_leftovers
from issuer_job.dns01.changes import ChangeFailed, Changes, grouped
from issuer_job.dns01.lookup import DnsLookupError, Lookup, Place
from issuer_job.dns01.providers.errors import ProviderError
from issuer_job.dns01.providers.registry import ReadSecret, find_provider
from issuer_job.dns01.trace import TxtRecord
from issuer_job.issuers.schema import Dns01, Issuer, nameserver
from issuer_job.record.record import Problem, RecordError
from issuer_job.record.store import live_record

PREFIX = "_acme-challenge."
RESERVE = timedelta(seconds=60)
"""What the CA and the Secret need of an attempt's time after the wait for propagation."""
CLEAN_UP = timedelta(seconds=25)
"""For removing TXT records at the end: the pod is ended half a minute after the process should have given up."""
LEFTOVERS = timedelta(seconds=100)
"""For those of one record: longer than a lock stays that nobody gave back."""
VOLUME = "credentials"
STEP = "dns"


def value_of(key_authorization: str) -> str:
    """What the TXT record says: the base64url of the key authorization's SHA-256 (RFC 8555, section 8.4). Pure."""
    digest = hashlib.sha256(key_authorization.encode()).digest()
    return urlsafe_b64encode(digest).decode().rstrip("=")


@dataclass
class Dns01Solver:
    """`ChallengeSolver` by TXT records, each of which is written down before it is added (see `trace`)."""

    attempt: Attempt
    slow_release = True
    _lookup: Lookup | None = None
    _wanted: dict[Place, set[str]] = field(default_factory=lambda: defaultdict(set))

    def present(self, challenges: Sequence[HostChallenge], issuer: Issuer) -> None:
        """See ChallengeSolver."""
        attempt, started = self.attempt, self.attempt.clock()
        deadline = attempt.deadline - RESERVE
        solvers = {one.host: one.solver.dns01 for one in challenges if one.solver.dns01 is not None}
        kept = _kept(solvers)
        places, self._lookup = _places(solvers, lambda: (deadline - attempt.clock()).total_seconds())
        txt_records = [_txt_record(attempt, one, solvers[one.host], places[one.host]) for one in challenges]
        _no_more_than_kept(txt_records, kept)
        written = [txt for txt in txt_records if not kept[txt.provider]]
        if written:
            dns_leftovers.write_down(attempt.cluster, attempt.record, written)
        changes = _changes(attempt)
        for dns01, group in grouped(txt_records, solvers):
            try:
                changes.add(dns01, group, deadline)
            except ChangeFailed as problem:
                if problem.under_way:
                    _leave_to_the_sweep(attempt, [txt for txt in group if txt in written])
                detail = str(problem)
                raise Later(Problem(type="dnsProvider", detail=detail, host=group[0].host, step=STEP)) from None
        self._wanted.clear()
        for txt in txt_records:
            self._wanted[places[txt.host]].add(txt.value)
        seconds = (attempt.clock() - started).total_seconds()
        attempt.step("dns-presented", names=sorted({txt.name for txt in txt_records}), seconds=round(seconds, 3))

    def wait(self, challenges: Sequence[HostChallenge]) -> None:
        """See ChallengeSolver. Each of the zones' servers is asked: CAs ask them themselves."""
        attempt, started, lookup = self.attempt, self.attempt.clock(), self._lookup
        if lookup is None:
            return
        patience = max(one.solver.dns01.patience for one in challenges if one.solver.dns01 is not None)
        deadline = max(started, min(started + patience, attempt.deadline - RESERVE))
        wanted, clock, sleep = self._wanted, attempt.clock, attempt.sleep
        lags = propagation.wait(wanted, lookup.texts, clock=clock, sleep=sleep, deadline=deadline)
        missing = sorted({f"{lag.server[0]}: {'no answer' if lag.silent else 'lacks'} {lag.name}" for lag in lags})
        servers = len({server for place in wanted for server in place.servers})
        seconds = round((clock() - started).total_seconds(), 3)
        attempt.step("dns-propagated", ok=not lags, servers=servers, missing=missing[:20], seconds=seconds)

    def release(self, issuer: Issuer | None) -> None:
        """See ChallengeSolver. Without an issuer a Job of that one does it."""
        attempt, record = self.attempt, self.attempt.record
        trace = dns_leftovers.find(attempt.cluster, record.hash)
        if trace is None or issuer is None:
            return
        mine = [txt for txt in trace.txt_records if _is_ours(attempt, txt)]
        removed = _remove(_changes(attempt), record.hash, issuer, mine, attempt.clock() + CLEAN_UP)
        dns_leftovers.cross_out(attempt.cluster, record.hash, removed)
        attempt.step("dns-cleaned", removed=len(removed), left=len(mine) - len(removed))

    def leftovers(self, issuer: Issuer, name: str, *, deadline: datetime) -> int:
        """See ChallengeSolver."""
        attempt = self.attempt
        return clean_leftovers(
            attempt.cluster,
            name=name,
            issuer=issuer,
            mounted=partial(attempt.mounted, VOLUME),
            now=attempt.clock(),
            deadline=deadline,
            clock=attempt.clock,
            sleep=attempt.sleep,
        )


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
            log.warning("txt-record-given-up", name=txt.name, value=txt.value, issuer=name)
        dns_leftovers.cross_out(cluster, record_hash, [*removed, *hopeless])
    return count


def _places(solvers: Mapping[str, Dns01], seconds_left: Callable[[], float]) -> tuple[dict[str, Place], Lookup]:
    """Where the TXT record of each host belongs, and who has asked for the first. Raises Later."""
    servers = {host: tuple(map(nameserver, dns01.nameservers)) for host, dns01 in solvers.items()}
    lookups = {asked: Lookup(asked, seconds_left=seconds_left) for asked in servers.values()}

    def place(host: str) -> Place:
        try:
            return lookups[servers[host]].place(_name_for(host), zone=solvers[host].zone)
        except DnsLookupError as problem:
            raise Later(Problem(type="dnsLookup", detail=str(problem), host=host, step=STEP)) from None

    return dict(zip(solvers, at_once(place, solvers), strict=True)), next(iter(lookups.values()))


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


def _txt_record(attempt: Attempt, challenge: HostChallenge, dns01: Dns01, place: Place) -> TxtRecord:
    return TxtRecord(
        name=place.name,
        zone=place.zone,
        value=value_of(challenge.key_authorization),
        host=challenge.host,
        provider=dns01.provider,
        issuer=attempt.record.issuer,
        ingress_class=challenge.ingress_class or "",
        epoch=attempt.record.epoch,
        holder=attempt.pod.uid,
    )


def _kept(solvers: Mapping[str, Dns01]) -> dict[str, int]:
    """How many values of a name each provider keeps, 0 if all. Raises Later."""
    try:
        return {dns01.provider: find_provider(dns01.provider).keeps for dns01 in solvers.values()}
    except ProviderError as problem:
        raise Later(Problem(type="dnsProvider", detail=str(problem), host=next(iter(solvers)), step=STEP)) from None


def _no_more_than_kept(txt_records: Iterable[TxtRecord], kept: Mapping[str, int]) -> None:
    """Two are enough for a domain and its wildcard. Raises Later."""
    values = Counter((txt.name, txt.provider) for txt in txt_records if kept[txt.provider])
    for (name, provider), count in values.items():
        if count > kept[provider]:
            detail = f"{count} hosts are aliases of {name}, and {provider} keeps {kept[provider]} values: "
            raise Later(Problem(type="dnsProvider", detail=f"{detail}one account for each", step=STEP))


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
