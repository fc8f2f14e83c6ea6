"""What a sweep has to know of the whole cluster, read in pages and kept small: what asks, records, Jobs."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime

from issuer_job import log, names
from issuer_job import vocabulary as v
from issuer_job.attempt.vouching import givers
from issuer_job.cluster.api import CONFIGMAPS, JOBS, NAMESPACES, Cluster, read_whole
from issuer_job.demand.askers import Asker, list_askers
from issuer_job.demand.common import Entry
from issuer_job.demand.share import Use, use_of
from issuer_job.hosts.limits import Ledger
from issuer_job.hosts.order_book import Recount
from issuer_job.hosts.precedence import Denial, Namers
from issuer_job.issuers.load import Issuers
from issuer_job.launch.jobs import is_finished
from issuer_job.launch.outcome import LEFT_OUT
from issuer_job.record import transitions
from issuer_job.record.annotations import read_moment
from issuer_job.record.intents import bounded
from issuer_job.record.phases import GONE
from issuer_job.record.record import Phase, Record, RecordError
from issuer_job.record.renewal import is_older
from issuer_job.record.store import from_config_map
from issuer_job.sweep.situation import AttemptKey
from issuer_job.upkeep.domains import registered_domain
from issuer_job.upkeep.leftovers import leftover_keys
from issuer_job.upkeep.untouched import Untold

Key = tuple[str, str]
"""Namespace and name of a Secret."""
NEW_IN_NAMESPACE = 1000
"""Wishes of one namespace for certificates that have no record yet: one pass looks at so many, and launches fewer."""


_NOT_RENEWED = "the one that it holds is not renewed"
_PLACEHOLDER_GOES = "it holds a placeholder, which goes in ten minutes: take its entry out of spec.tls, or ask again"


@dataclass
class Live:
    """What the live objects say. `bare` are those that the webhook never saw: they lack what it adds.

    `named_by` has the keys of what names a Secret, see `Source.key`; only of Secrets that have a record or an entry.
    Of the objects themselves nothing is kept but which they are.
    """

    entries: dict[Key, tuple[Entry, ...]] = field(default_factory=dict)
    named_by: dict[Key, set[str]] = field(default_factory=lambda: defaultdict(set))
    namers: Namers = field(default_factory=Namers)
    """Who names the hosts that are claimed or denied, opted in or not."""
    bare: list[Asker] = field(default_factory=list)
    untold: list[Untold] = field(default_factory=list)
    """What is wrong with them: no attempt is there to tell it."""
    abandoned: list[tuple[Key, Asker]] = field(default_factory=list)
    """What has a Secret served that has a record, and does not ask for the certificate itself."""
    count: int = 0
    trouble: int = 0
    """Objects that could not be read: a bug."""
    left_out: Counter[str] = field(default_factory=Counter)
    """By namespace: certificates that this pass does not look at, as there are too many."""
    _new: Counter[str] = field(default_factory=Counter)

    def add(self, asker: Asker, issuers: Issuers, *, enabled: bool, records: Mapping[Key, Record]) -> None:
        """One object; `enabled` says that its namespace opts in for everything in it."""
        namespace, key = asker.namespace, asker.kind.key(asker.name)
        self.count += 1
        self.namers.add(asker)
        if v.is_excluded(namespace):
            return
        if not asker.reader.named_secrets(asker.object, namespace_enabled=enabled):
            served = ((namespace, name) for name in asker.reader.served_secrets(asker.object))
            self.abandoned += [(where, asker.bare) for where in served if where in records]
        # First, so that no record is given up for something that goes wrong in what follows.
        for secret_name in asker.reader.named_secrets(asker.object, namespace_enabled=enabled):
            if (namespace, secret_name) in records:
                self.named_by[namespace, secret_name].add(key)
        wanted = asker.reader.wants(asker.object, issuers=issuers, namespace_enabled=enabled)
        if wanted.opted_in and wanted.amiss:
            self.untold.append(Untold.of(asker, wanted))
        if wanted.completed is not None:
            self.bare.append(asker.bare)
        for entry in wanted.entries:
            where = (namespace, entry.secret_name)
            if where in records:
                self.named_by[where].add(key)
            if wanted.completed is not None:
                continue
            if where not in records:
                if self._new[namespace] >= NEW_IN_NAMESPACE:
                    self.left_out[namespace] += 1
                    continue
                self._new[namespace] += 1
            self.named_by[where].add(key)
            self.join(where, entry, records.get(where))

    def tell_abandoned(self, records: Mapping[Key, Record]) -> None:
        """Those that nobody else asks for either, once all are known: their Secrets stay in `spec.tls`."""
        for where, asker in self.abandoned:
            record = records[where]
            if not self.named_by.get(where) and record.phase is not Phase.RETIRED:
                after = _PLACEHOLDER_GOES if record.issued is None else _NOT_RENEWED
                self.untold.append(
                    Untold(asker, f"Secret {where[1]}: nothing asks for its certificate any more; {after}")
                )

    def join(self, where: Key, entry: Entry, record: Record | None) -> None:
        """One more that wants the Secret, if there is room for it in the record; who goes over is to be told."""
        together = (*self.entries.get(where, ()), entry)
        settled = record.sources if record is not None else ()
        kept = {s.key: s for s in bounded(tuple(e.source for e in together), settled)}
        self.entries[where] = tuple(replace(e, source=kept[e.source.key]) for e in together if e.source.key in kept)
        over = (e.source for e in together if e.source != kept.get(e.source.key))
        said = f"Secret {entry.secret_name}: {LEFT_OUT}"
        self.untold += [Untold(Asker.of(source, where[0]), said) for source in over if source.uid]


@dataclass
class Known:
    """The records, without their histories; `leftover_keys` are those that may have left pending keys over.

    `key_holders` says of how many records' certificates each private key is, by its id; `revoked_keys` are those of
    certificates that are or will be revoked, whoever has a copy.
    """

    records: dict[Key, Record] = field(default_factory=dict)
    recount: Recount = field(default_factory=lambda: Recount(Ledger(registered_domain)))
    leftover_keys: set[Key] = field(default_factory=set)
    uses: dict[str, Use] = field(default_factory=lambda: defaultdict(Use))
    """Of each namespace."""
    key_holders: Counter[str] = field(default_factory=Counter)
    revoked_keys: set[str] = field(default_factory=set)
    wishes: dict[Key, datetime] = field(default_factory=dict)
    """Before when certificates were made that an operator has replaced, as he says it on their issuers."""
    unreadable: int = 0

    @property
    def ledger(self) -> Ledger:
        """What counts against the issuers' limits."""
        return self.recount.ledger


def read_live(
    cluster: Cluster, issuers: Issuers, records: Mapping[Key, Record], *, claimed: Collection[str] | None
) -> Live:
    """All objects that can be listed; one that is trouble is logged and left out. Raises KubeError, so that half a
    list is never taken for the whole.

    `records` are all there are. `claimed` are the hosts that belong to who claims them, so that it counts who names
    those; None: no host does.
    """
    enabled = read_enabled(cluster)
    only = frozenset[str]() if claimed is None else _at_stake(records.values()).union(claimed)

    def read() -> Live:
        live = Live(namers=Namers(only=only))
        for asker in list_askers(cluster, aliases=issuers.aliases):
            with _guarded(live, asker):
                live.add(asker, issuers, enabled=asker.namespace in enabled, records=records)
        return live

    live = read_whole(read, "what may ask for certificates")
    live.tell_abandoned(records)
    for namespace, count in live.left_out.items():
        log.warning("left-out", namespace=namespace, certificates=count, most=NEW_IN_NAMESPACE)
    return live


def without_certificate(live: Live, records: Mapping[Key, Record], *, now: datetime) -> Iterator[Record]:
    """Of what can be listed all that wants a certificate and has none as far as records tell: those that were denied
    a host, and what has no record yet, as it would be written.
    """
    denials = set(Denial)
    for (namespace, secret_name), entries in live.entries.items():
        record = records.get((namespace, secret_name))
        sources = tuple(entry.source for entry in entries if entry.problem is None)
        if not sources:
            continue
        if record is None:
            yield transitions.wanted(namespace=namespace, secret_name=secret_name, sources=sources, now=now)
        elif record.issued is None and record.retry is not None and record.retry.problem.type in denials:
            yield record


@contextmanager
def _guarded(live: Live, asker: Asker) -> Iterator[None]:
    """A bug that one object brings out must not cost all others their pass."""
    try:
        yield
    except Exception:  # noqa: BLE001 - whatever it is
        log.exception("internal-error", namespace=asker.namespace, ingress=asker.name)
        live.trouble += 1


def _at_stake(records: Iterable[Record]) -> frozenset[str]:
    """Hosts of certificates, whether or not they are claimed, and of records that might not have one."""
    denials = set(Denial)
    asked = (r.intent.hosts for r in records if r.retry is not None and r.retry.problem.type in denials)
    certified = (r.issued.hosts for r in records if r.issued is not None and r.issued.directory)
    return frozenset(host for hosts in (*asked, *certified) for host in hosts)


def read_known(cluster: Cluster, *, now: datetime) -> Known:
    """All records; one that cannot be read is logged and left alone. Raises KubeError."""

    def read() -> Known:
        known = Known()
        for config_map in cluster.items(CONFIGMAPS, v.NAMESPACE, labels=f"{v.RECORD}=true"):
            try:
                record = from_config_map(config_map)
            except RecordError as problem:
                log.error("record", problem=str(problem))
                known.unreadable += 1
                continue
            asked = (config_map["metadata"].get("annotations") or {}).get(v.RENEW)
            if asked and read_moment(asked) is None:
                log.warning("renew-unreadable", record=record.name, asked=asked[:40])
            key = (record.namespace, record.secret_name)
            known.recount.add(record)
            known.uses[record.namespace] += use_of(record)
            known.key_holders.update([record.issued.key_id] if record.issued else ())
            known.revoked_keys.update(one.key_id for one in record.revoked)
            if leftover_keys(record, now=now):
                known.leftover_keys.add(key)
            known.records[key] = record.listed
        for (namespace, _), record in known.records.items():
            renamed = known.records.get((namespace, record.renamed_from))
            if record.issued and renamed and renamed.issued and renamed.issued.key_id == record.issued.key_id:
                known.key_holders[record.issued.key_id] -= 1  # it was handed on, to the same owner
        return known

    return read_whole(read, "records")


def note_wishes(known: Known, issuers: Issuers) -> Counter[str]:
    """What operators ask of all that an issuer has given is asked of each record; by issuer, how many certificates
    are older than that.
    """
    asked = {name: moment for name, text in issuers.renew.items() if (moment := read_moment(text)) is not None}
    older = Counter[str]()
    for key, record in known.records.items() if asked else ():
        wishes = {name: asked[name] for name in givers(record, issuers.valid) if name in asked}
        if record.issued is None or not wishes:
            continue
        latest = max(wishes.values())
        if is_older(record.issued, latest):
            known.wishes[key] = latest
            if record.phase not in GONE:
                older.update(name for name, moment in wishes.items() if is_older(record.issued, moment))
    return older


def read_jobs(cluster: Cluster) -> Mapping[AttemptKey, bool]:
    """Of each attempt that has a Job whether that has finished. Raises KubeError."""

    def read() -> Mapping[AttemptKey, bool]:
        found: dict[AttemptKey, bool] = {}
        for job in cluster.items(JOBS, v.NAMESPACE):
            labels = job["metadata"].get("labels") or {}
            key = labels.get(v.RECORD_UID, ""), names.number(labels.get(v.EPOCH, ""))
            found[key] = is_finished(job) and found.get(key, True)
        return found

    return read_whole(read, "Jobs")


def read_enabled(cluster: Cluster) -> frozenset[str]:
    """The namespaces whose Ingresses are all opted in. Raises KubeError."""
    labelled = cluster.items(NAMESPACES, labels=f"{v.NAMESPACE_ENABLED}=true")
    return frozenset(namespace["metadata"]["name"] for namespace in labelled)
