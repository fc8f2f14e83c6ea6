"""DNS-01 (RFC 8555, section 8.4): publish TXT records, wait until authoritative servers have them, remove them."""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64encode
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from msgspec.structs import replace

from issuer_job.attempt.attempt import Attempt, Later
from issuer_job.attempt.solver import HostChallenge
from issuer_job.background import at_once
from issuer_job.dns01 import propagation, trace
from issuer_job.dns01.changes import ChangeFailed, Changes, grouped
from issuer_job.dns01.lookup import DnsLookupError, Lookup, Place
from issuer_job.dns01.providers.errors import ProviderError
from issuer_job.dns01.providers.registry import find_provider
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
    _lookup: Lookup = field(init=False)
    _wanted: dict[Place, set[str]] = field(init=False)

    def present(self, challenges: Sequence[HostChallenge], issuer: Issuer) -> None:
        """See ChallengeSolver."""
        attempt, started = self.attempt, self.attempt.clock()
        deadline = attempt.deadline - RESERVE
        solvers = {one.host: one.solver.dns01 for one in challenges if one.solver.dns01 is not None}
        kept = _kept(solvers)
        places, self._lookup = _places(solvers, lambda: (deadline - attempt.clock()).total_seconds())
        txt_records = [self._txt_record(one, solvers[one.host], places[one.host]) for one in challenges]
        _no_more_than_kept(txt_records, kept)
        self._write_down(txt for txt in txt_records if not kept[txt.provider])
        for dns01, group in grouped((txt, solvers[txt.host]) for txt in txt_records):
            try:
                Changes(self.attempt).add(dns01, group, deadline)
            except ChangeFailed as problem:
                if problem.under_way:  # what is still being added, only somebody who comes later can remove
                    self._write_down(replace(txt, holder="") for txt in group if not kept[txt.provider])
                detail, host = str(problem), group[0].host
                raise Later(Problem(type="dnsProvider", detail=detail, host=host, step=STEP)) from None
        self._wanted = defaultdict(set)
        for txt in txt_records:
            self._wanted[places[txt.host]].add(txt.value)
        seconds = (attempt.clock() - started).total_seconds()
        attempt.step("dns-presented", names=sorted({txt.name for txt in txt_records}), seconds=round(seconds, 3))

    def wait(self, challenges: Sequence[HostChallenge]) -> None:
        """See ChallengeSolver. Each of the zones' servers is asked: CAs ask them themselves."""
        attempt, wanted, started = self.attempt, self._wanted, self.attempt.clock()
        patience = max(one.solver.dns01.patience for one in challenges if one.solver.dns01 is not None)
        deadline = max(started, min(started + patience, attempt.deadline - RESERVE))
        ask, clock, sleep = self._lookup.texts, attempt.clock, attempt.sleep
        lags = propagation.wait(wanted, ask, clock=clock, sleep=sleep, deadline=deadline)
        missing = sorted({f"{lag.server[0]}: {'no answer' if lag.silent else 'lacks'} {lag.name}" for lag in lags})
        servers = len({server for place in wanted for server in place.servers})
        seconds = round((clock() - started).total_seconds(), 3)
        attempt.step("dns-propagated", ok=not lags, servers=servers, missing=missing[:20], seconds=seconds)

    def release(self, issuer: Issuer | None) -> None:
        """See ChallengeSolver. Without an issuer a Job of that one does it."""
        attempt = self.attempt
        found = trace.find(attempt.cluster, attempt.record)
        if found is None or issuer is None:
            return
        mine = [txt for txt in found.txt_records if self._is_ours(txt)]
        removed = self._remove(found.name, issuer, mine, attempt.clock() + CLEAN_UP)
        trace.cross_out(attempt.cluster, found.name, removed)
        attempt.step("dns-cleaned", removed=len(removed), left=len(mine) - len(removed))

    def leftovers(self, issuer: Issuer, name: str, *, deadline: datetime) -> int:
        """See ChallengeSolver. No removal that has begun is waited for after the deadline, either."""
        cluster, clock, count, now = self.attempt.cluster, self.attempt.clock, 0, self.attempt.clock()
        for found in trace.traces(cluster):
            mine = [txt for txt in found.txt_records if txt.issuer == name]
            try:
                record = live_record(cluster, found.record) if mine else None
            except RecordError:
                continue  # written by a later certjob: leave it alone
            owner = record if found.is_of(record) else None
            left = [txt for txt in mine if trace.is_left_over(txt, owner, now=now)]
            if not left:
                continue
            if clock() >= deadline:
                break
            removed = self._remove(found.name, issuer, left, min(clock() + LEFTOVERS, deadline))
            count += len(removed)
            trace.cross_out(cluster, found.name, removed)
            trace.give_up(cluster, found.name, [txt for txt in left if txt not in removed], now=now)
        return count

    def _txt_record(self, challenge: HostChallenge, dns01: Dns01, place: Place) -> TxtRecord:
        return TxtRecord(
            name=place.name,
            zone=place.zone,
            value=value_of(challenge.key_authorization),
            host=challenge.host,
            provider=dns01.provider,
            issuer=self.attempt.record.issuer,
            ingress_class=challenge.ingress_class or "",
            epoch=self.attempt.record.epoch,
            holder=self.attempt.pod.uid,
        )

    def _write_down(self, txt_records: Iterable[TxtRecord]) -> None:
        if written := tuple(txt_records):
            trace.write_down(self.attempt.cluster, self.attempt.record, written)

    def _remove(self, name: str, issuer: Issuer, txt_records: list[TxtRecord], deadline: datetime) -> list[TxtRecord]:
        """Those that the trace of that name need not have any more: removed, or left to others that need them."""
        others = trace.needed_by_others(self.attempt.cluster, name, txt_records)
        return others + Changes(self.attempt).remove(
            issuer, [txt for txt in txt_records if txt not in others], deadline
        )

    def _is_ours(self, txt: TxtRecord) -> bool:
        """Whether it is this pod's, or of an attempt or pod that this one took the place of."""
        pod, record = self.attempt.pod, self.attempt.record
        if txt.issuer != record.issuer:
            return False  # for a Job with that issuer's credentials
        if txt.holder == pod.uid or txt.epoch < pod.epoch:
            return True
        if txt.epoch > pod.epoch or not txt.holder:
            return False
        now = live_record(self.attempt.cluster, record.name)
        state = now.attempt if now is not None else None
        return state is not None and (state.epoch, state.holder) == (pod.epoch, pod.uid)


def _places(solvers: Mapping[str, Dns01], seconds_left: Callable[[], float]) -> tuple[dict[str, Place], Lookup]:
    """Where the TXT record of each host belongs, and who has asked for the first. Raises Later."""
    servers = {host: tuple(map(nameserver, dns01.nameservers)) for host, dns01 in solvers.items()}
    lookups = {asked: Lookup(asked, seconds_left=seconds_left) for asked in servers.values()}

    def place(host: str) -> Place:
        name = PREFIX + host.removeprefix("*.")  # a wildcard's is the domain's own (RFC 8555, section 8.4)
        try:
            dns01, anywhere = solvers[host], find_provider(solvers[host].provider).by_name
            lookup = lookups[servers[host]]
            return lookup.place(name, zone=dns01.zone, alias_zones=dns01.alias_zones, anywhere=anywhere)
        except DnsLookupError as problem:
            raise Later(Problem(type="dnsLookup", detail=str(problem), host=host, step=STEP)) from None

    return dict(zip(solvers, at_once(place, solvers), strict=True)), next(iter(lookups.values()))


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
