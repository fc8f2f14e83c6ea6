"""What a sweep does about claims: gives up those that nothing needs or that cannot stand, and knows who has what."""

from __future__ import annotations

import random
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from certs.chain import IssuedCertificate
from issuer_job import log, names
from issuer_job import vocabulary as v
from issuer_job.cluster.api import CONFIGMAPS, NAMESPACES, ApiError, Cluster, read_whole
from issuer_job.demand.askers import list_askers
from issuer_job.hosts import claims
from issuer_job.hosts.loss import Certified, LostRight, certified, looked_at, lost_by
from issuer_job.hosts.precedence import Claim, Denial, Namers, is_rival, judge_claim, not_allowed, wildcard_of
from issuer_job.issuers.options import HostPolicy, Options
from issuer_job.record.phases import GONE, SWEEP_INTERVAL
from issuer_job.record.record import Record, RecordError

Named = Collection[tuple[str, str]]
INSTALLED_ANEW = timedelta(days=7)
"""After certjob's namespace was made: so long it looks for hosts that were given before."""
BACKDATED = timedelta(hours=1)
"""By how much CAs let a certificate begin before it was issued, at most."""


@dataclass
class Holders:
    """Who may have which host, as a pass has read it. Pure once it is filled."""

    options: Options
    namers: Namers
    now: datetime
    claims: dict[str, Claim] = field(default_factory=dict)
    made: dict[str, datetime] = field(default_factory=dict)
    """When each namespace was made."""
    whole: bool = False
    """Whether all claims were read."""
    _below: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))

    def add(self, claim: Claim) -> None:
        """A claim that is stored."""
        self.claims[claim.host] = claim
        if (wildcard := wildcard_of(claim.host)) is not None:
            self._below[wildcard].add(claim.host)

    def drop(self, claim: Claim) -> None:
        """A claim that was given up."""
        self.claims.pop(claim.host, None)
        if (wildcard := wildcard_of(claim.host)) is not None:
            self._below[wildcard].discard(claim.host)

    def is_of(self, claim: Claim, namespace: str) -> bool:
        """Whether it is that namespace's, and not that of an earlier one of the same name."""
        return claim.is_of(namespace, self.made.get(namespace))

    def is_others(self, host: str, namespace: str) -> bool:
        """Whether another namespace claims the host, or one that overlaps it."""
        held = self.claims.get(host)
        return bool(self.rivals(Claim(host, namespace, self.now))) or (
            held is not None and not self.is_of(held, namespace)
        )

    def free_again(self, record: Record) -> bool:
        """Whether the record failed for the want of a host, and its namespace may have all of them now."""
        if record.retry is None or record.retry.problem.type not in set(Denial):
            return False
        return all(self.may_have(record.namespace, host) for host in record.intent.hosts)

    def may_have(self, namespace: str, host: str) -> bool:
        """Whether a Job of the namespace would get the host; False as long as that is not known."""
        if self.options.host_policy is not HostPolicy.FIRST_CLAIM:
            return not_allowed(self.options, [host], namespace) is None
        held = self.claims.get(host)
        if not self.whole or (held is not None and not self.is_of(held, namespace)):
            return False
        if held is not None and held.checked is not None:
            return True
        mine = held or Claim(host, namespace, self.now)
        return not self.rivals(mine) and judge_claim(mine, (), self.namers).stands

    def rivals(self, mine: Claim) -> list[Claim]:
        """Claims of other namespaces that overlap."""
        wildcard = wildcard_of(mine.host)
        made = self.made.get(mine.namespace)
        near = {wildcard} if wildcard is not None else self._below.get(mine.host, set())
        return [
            claim
            for host in near
            if (claim := self.claims.get(host)) is not None and is_rival(mine, claim, made=made)
        ]


def read_claims(cluster: Cluster) -> list[Claim]:
    """All that are stored, in an order that differs from pass to pass: what there is no time for is not always the
    same. Raises KubeError.
    """

    def read() -> list[Claim]:
        items = cluster.items(CONFIGMAPS, v.NAMESPACE, labels=f"{v.CLAIM}=true")
        return list(map(Claim.from_config_map, items))

    found = read_whole(read, "claims")
    start = random.randrange(len(found) or 1)  # noqa: S311 - for fairness, not secrecy
    return found[start:] + found[:start]


@dataclass(frozen=True)
class Records:
    """What the pass knows of certificates, and what it does about them, of which claims know nothing.

    `forfeit` writes down in the former holder's record that a right was lost, see `loss`; while it cannot (False),
    the claim stays. `serves` looks whether the Secret holds the record's certificate; `warn` is told of a record's
    first claim that is from before its namespace was made, and so lapses although it is named. `wanting` are
    records, written down or not, that know no certificate; `own` looks for certjob's in their Secrets.
    """

    known: Collection[Record] = ()
    forfeit: Callable[[LostRight], bool] = lambda right: True
    serves: Callable[[Record], bool] = lambda record: False
    warn: Callable[[Record, Claim], None] = lambda record, claim: None
    wanting: Iterable[Record] = ()
    own: Callable[[Record], IssuedCertificate | None] = lambda record: None


def tidy(
    cluster: Cluster,
    holders: Holders,
    records: Records,
    stored: Iterable[Claim],
    *,
    until: float,
    interval: timedelta = SWEEP_INTERVAL,
) -> Counter[str]:
    """Of all claims mark and give up what must not stand until `until` (time.monotonic()); how many of each.

    `stored` are those from before the Ingresses were read, which are the holders' `namers`; the holders know them
    afterwards. `interval` is the time from one sweep to the next. Under another policy than first-claim nothing is
    changed. Raises KubeError.
    """
    counts = Counter[str]()
    if holders.options.host_policy is not HostPolicy.FIRST_CLAIM:
        return counts
    known = certified(records.known)
    holders.made.update(_namespaces(cluster))
    for claim in stored:
        in_use = (claim.namespace, claim.host) in known
        if not claim.labelled and _labelled(cluster, claim, holders.now if in_use else None):
            counts["claims labelled"] += 1  # what is to be done about it is the next pass's
        else:
            holders.add(claim)
    holders.whole = not counts
    pass_ = _Pass(cluster, holders, records, known, interval)
    for claim in list(holders.claims.values()):
        if time.monotonic() >= until:
            counts["claims put off"] += 1
            continue
        with _guarded(counts, claim.name):
            counts.update(pass_.settle(claim))
    for namespace, host in _unclaimed(holders, known):
        if time.monotonic() >= until:
            counts["claims put off"] += 1
            continue
        with _guarded(counts, names.claim(host)):
            counts["claims made good"] += _made_good(cluster, holders, host, namespace)
    for namespace, host in _Before(holders, records.own, counts, until).holders_of(records.wanting):
        with _guarded(counts, names.claim(host)):
            counts["claims made good"] += _made_good(cluster, holders, host, namespace)
    return counts


@contextmanager
def _guarded(counts: Counter[str], name: str) -> Iterator[None]:
    """One that the policies refuse to be written, as somebody made it by hand, or a full quota, keeps no other from
    what is to be done about it.
    """
    try:
        yield
    except (ApiError, RecordError) as problem:
        log.warning("claim-unreadable", claim=name, problem=str(problem))
        counts["trouble"] += 1


def _unclaimed(holders: Holders, known: Certified) -> list[tuple[str, str]]:
    """Namespaces with a certificate for a host that they name and nobody claims, and which is theirs to have.

    After a time of another policy, or when claims were deleted by mistake: else whoever names such a host meanwhile
    could keep it from them, and would be asked about only when the certificate is renewed.
    """
    return [
        (namespace, host)
        for (namespace, host), records in known.items()
        if host not in holders.claims
        and (namespace, host) in holders.namers
        and any(_is_in_use(record, host, holders) for record in records)
        and holders.may_have(namespace, host)
    ]


def _is_in_use(record: Record, host: str, holders: Holders) -> bool:
    issued, made = record.issued, holders.made.get(record.namespace)
    if issued is None or record.phase in GONE or host in issued.forfeited or issued.not_after <= holders.now:
        return False
    return host in issued.hosts and (made is None or issued.at >= made)


def _made_good(cluster: Cluster, holders: Holders, host: str, namespace: str) -> bool:
    """Take the claim, and mark it as a Job would: no other that overlaps may be there once it is (see `claims`)."""
    mine, made = claims.take(cluster, host, namespace), holders.made.get(namespace)
    if mine.namespace != namespace or mine.checked is not None or claims.rivals(cluster, mine, made=made):
        return False
    return claims.mark_checked(cluster, mine, now=holders.now)


def _labelled(cluster: Cluster, claim: Claim, checked: datetime | None) -> bool:
    """Whether the label was added. One that somebody made by hand may be what the policies refuse: it stays as it is.

    Raises KubeError when the cluster does not answer.
    """
    try:
        return claims.rewrite(cluster, replace(claim, checked=claim.checked or checked))
    except ApiError as problem:
        log.warning("claim-unreadable", claim=claim.name, problem=str(problem))
        return False


def _namespaces(cluster: Cluster) -> dict[str, datetime]:
    """When each was made. Raises KubeError."""

    def read() -> dict[str, datetime]:
        found = (namespace["metadata"] for namespace in cluster.items(NAMESPACES))
        return {metadata["name"]: datetime.fromisoformat(metadata["creationTimestamp"]) for metadata in found}

    return read_whole(read, "namespaces")


@dataclass
class _Before:
    """Who had hosts before certjob was uninstalled with its namespace and installed again: nothing but certjob's own
    certificates in the Secrets tells that.

    They must be from before the installation: what somebody has got from the CA since, past certjob, proves nothing.
    """

    holders: Holders
    own: Callable[[Record], IssuedCertificate | None]
    counts: Counter[str]
    until: float
    _wanting: dict[str, list[Record]] = field(default_factory=lambda: defaultdict(list))
    _looks: dict[tuple[str, str], IssuedCertificate | None] = field(default_factory=dict)
    _newest: dict[str, dict[str, datetime]] = field(default_factory=dict)

    def holders_of(self, wanting: Iterable[Record]) -> Iterator[tuple[str, str]]:
        """Namespace and host, of hosts that nobody claims and several namespaces want, or somebody was denied.

        Of several certificates the newest counts: who lost a host has an older one than who got it then. Of the same
        one in two namespaces none does.
        """
        made = self.holders.made.get(v.NAMESPACE)
        if made is None or self.holders.now - made > INSTALLED_ANEW:
            return
        below: dict[str, list[str]] = defaultdict(list)
        for record in wanting:
            for host in record.intent.hosts:
                if host not in self._wanting and (wildcard := wildcard_of(host)) is not None:
                    below[wildcard].append(host)
                self._wanting[host].append(record)
        for host in sorted(self._wanting):
            near = [n for n in (host, wildcard_of(host), *below.get(host, ())) if n in self._wanting]
            if not self._is_at_stake(host, near):
                continue
            if time.monotonic() >= self.until:
                self.counts["claims put off"] += 1
                continue
            with _guarded(self.counts, names.claim(host)):
                found = [(at, namespace, n) for n in near for namespace, at in self._had(n, made).items()]
                newest = max((at for at, _, _ in found), default=None)
                first = {namespace for at, namespace, _ in found if at == newest}
                if len(first) == 1 and (newest, *first, host) in found:
                    yield first.pop(), host

    def _is_at_stake(self, host: str, near: Iterable[str]) -> bool:
        if host in self.holders.claims or self.holders.rivals(Claim(host, "", self.holders.now)):
            return False
        denied = any(record.retry is not None for record in self._wanting[host])
        return denied or len({record.namespace for n in near for record in self._wanting[n]}) > 1

    def _had(self, host: str, made: datetime) -> dict[str, datetime]:
        """The namespaces with a certificate from before for exactly this host, and since when each is valid."""
        if host not in self._newest:
            newest: dict[str, datetime] = {}
            for record in self._wanting[host]:
                key = (record.namespace, record.secret_name)
                if key not in self._looks:
                    self._looks[key] = self.own(record)
                held = self._looks[key]
                if held is not None and host in held.names and held.not_before <= made - BACKDATED:
                    newest[record.namespace] = max(held.not_before, newest.get(record.namespace, held.not_before))
            self._newest[host] = newest
        return self._newest[host]


@dataclass
class _Pass:
    """What one pass does about each claim. Raises KubeError."""

    cluster: Cluster
    holders: Holders
    records: Records
    known: Certified
    interval: timedelta
    _warned: set[str] = field(default_factory=set)
    _live: dict[str, set[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._requested = _requested(self.records.known)

    def settle(self, claim: Claim) -> Counter[str]:
        """Mark it, or give it up: when it has lapsed, or a Job would be refused for it."""
        holders, key = self.holders, (claim.namespace, claim.host)
        asked = key in holders.namers or key in self._requested
        if asked and self._has_become_its_own(claim):
            return Counter({"claims made good": claims.mark_checked(self.cluster, claim, now=holders.now)})
        named = asked and holders.is_of(claim, claim.namespace)
        stays = looked_at(claim, holders.options, named=named, now=holders.now, interval=self.interval)
        if stays is not None and not (named and self._must_yield(claim)):
            self._tell_losses(claim, lapses=False)
            stored = stays != claim and claims.rewrite(self.cluster, stays)
            if stored and asked and not named and claim.unnamed_since is None:
                self._warn(stays)
            return Counter({"claims unnamed": stored and claim.unnamed_since is None})
        if asked and not named and self._is_served(claim):
            return Counter({"claims made good": claims.mark_checked(self.cluster, claim, now=holders.now)})
        if not named and holders.is_of(claim, claim.namespace) and self._is_named_now(claim):
            return Counter()  # the next pass takes the mark away
        if not self._tell_losses(claim, lapses=True) or not claims.give_up_claim(self.cluster, claim):
            return Counter()
        holders.drop(claim)
        return Counter({"claims released": 1})

    def _has_become_its_own(self, claim: Claim) -> bool:
        """Whether it is from before its namespace was made, which has got a certificate all the same: 0.1.0 did not
        look at that, and what it has issued is in use.
        """
        old = claim.checked is not None and not self.holders.is_of(claim, claim.namespace)
        used = self.known.get((claim.namespace, claim.host), ()) if old else ()
        return any(_is_in_use(record, claim.host, self.holders) for record in used)

    def _is_served(self, claim: Claim) -> bool:
        """Whether its namespace was made anew with all that was in it, as from a backup: nobody else claims the host,
        and the Secret still holds the certificate and its key, which whoever came by the name alone has not.
        """
        if claim.checked is None or self.holders.rivals(claim):
            return False
        return any(
            record.phase not in GONE and self.records.serves(record)
            for record in self.known.get((claim.namespace, claim.host), ())
            if record.issued is not None and claim.host in record.issued.hosts
        )

    def _warn(self, claim: Claim) -> None:
        for record in self.known.get((claim.namespace, claim.host), ()):
            if record.phase not in GONE and record.uid not in self._warned:
                self._warned.add(record.uid)
                self.records.warn(record, claim)

    def _tell_losses(self, claim: Claim, *, lapses: bool) -> bool:
        lost = lost_by(claim, self.known, lapses=lapses, now=self.holders.now)
        return all(self.records.forfeit(right) for right in lost)

    def _must_yield(self, claim: Claim) -> bool:
        """One that was checked stands. One that was not goes only if that is beyond doubt: otherwise whoever has an
        old Ingress could write a host into it, and take the claim away from a Job that is about to check.
        """
        if claim.checked is not None:
            return False
        if any(rival.checked is not None for rival in self.holders.rivals(claim)):
            return True
        namers = self.holders.namers
        return namers.somebody_was_there(claim.namespace, claim.host, claimed=claim.created, provably=True)

    def _is_named_now(self, claim: Claim) -> bool:
        """Asks the cluster: an Ingress may have been made while the pass was under way."""
        if claim.namespace not in self._live:
            live = list_askers(self.cluster, claim.namespace)
            named = (host for asker in live for host in asker.reader.named_hosts(asker.object))
            self._live[claim.namespace] = {host for host in named if host in self.holders.claims}
        return claim.host in self._live[claim.namespace]


def _requested(records: Iterable[Record]) -> Named:
    """Namespace and host of what only records know to be wanted."""
    return {
        (record.namespace, host)
        for record in records
        if record.phase not in GONE
        for source in record.sources
        if not source.kind.listed
        for host in source.hosts
    }
