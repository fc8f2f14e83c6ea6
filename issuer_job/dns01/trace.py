"""Which TXT records attempts have put into DNS: written down before one is added, crossed out once it is removed.

One ConfigMap per certificate record, without an owner: it must outlive the record, or nobody would know what is left
in DNS. Who removes what: an attempt its own and what earlier attempts of its record left; everything else a Job of
the issuer, launched by the sweep, since the sweep has no credentials.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import msgspec

from issuer_job import log, names
from issuer_job import vocabulary as v
from issuer_job.cluster import bodies, changes
from issuer_job.cluster.api import CONFIGMAPS, Cluster, Gone, Json
from issuer_job.record.phases import ATTEMPT_GRACE
from issuer_job.record.record import ACTIVE, Record, RecordError
from issuer_job.record.store import live_record

LONGEST = timedelta(days=7)
"""For how long the removal of a TXT record is tried."""


class TxtRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """One TXT record: `name` and `zone` without the final dot, and the `host` (with its `*.`) that it proves.

    `epoch` and `holder` (a pod's uid) are of the attempt that needs it, the last one if several do.
    """

    name: str
    zone: str
    value: str
    host: str
    provider: str
    issuer: str
    ingress_class: str = ""
    epoch: int
    holder: str = ""

    @property
    def place(self) -> tuple[str, str, str]:
        """What it is in DNS, whoever put it there."""
        return self.provider, self.name, self.value


@dataclass(frozen=True)
class Trace:
    """The TXT records that one certificate record's attempts have not crossed out; its own name, that one's name and
    uid. Until 0.1.0 the uid was not written down: then the name has to do.
    """

    name: str
    record: str
    record_uid: str
    txt_records: tuple[TxtRecord, ...]

    def is_of(self, record: Record | None) -> bool:
        """Whether that is the certificate record: one that was made anew under its name is not."""
        return record is not None and record.name == self.record and self.record_uid in {"", record.uid}


def find(cluster: Cluster, record: Record) -> Trace | None:
    """What is written down for a certificate record. Raises KubeError."""
    found = cluster.find(CONFIGMAPS, v.NAMESPACE, names.dns_trace(record.uid))
    return None if found is None else read(found)


def read(config_map: Json) -> Trace:
    """A trace as it is stored. What cannot be read counts as nothing: it names no TXT record to remove."""
    metadata, data = config_map["metadata"], config_map.get("data") or {}
    try:
        txt_records = msgspec.json.decode(data.get(v.TXT_RECORDS_KEY, "[]"), type=tuple[TxtRecord, ...])
    except (msgspec.DecodeError, RecursionError):
        txt_records = ()
    record_name = (metadata.get("annotations") or {}).get(v.RECORD, "")
    uid = (metadata.get("labels") or {}).get(v.RECORD_UID, "")
    return Trace(metadata["name"], record_name, uid, txt_records)


def write_down(cluster: Cluster, record: Record, txt_records: Iterable[TxtRecord]) -> None:
    """Before they are added to DNS. Those that an earlier attempt wrote down are taken over. Raises KubeError."""
    new = {txt.place: txt for txt in txt_records}

    def with_new(held: Json | None) -> Json:
        former = read(held).txt_records if held is not None else ()
        merged = {txt.place: txt for txt in former} | new
        return _config_map(Trace(names.dns_trace(record.uid), record.name, record.uid, tuple(merged.values())))

    changes.change(cluster, CONFIGMAPS, v.NAMESPACE, names.dns_trace(record.uid), with_new, held=None)


def cross_out(cluster: Cluster, name: str, removed: Collection[TxtRecord]) -> None:
    """After they were removed from DNS, in the trace of that name. One that was taken over meanwhile stays written
    down. Raises KubeError.
    """

    def without(held: Json | None) -> Json | None:
        if held is None:
            return None
        former = read(held)
        kept = tuple(txt for txt in former.txt_records if txt not in removed)
        return _config_map(replace(former, txt_records=kept)) if kept else None

    changes.change(cluster, CONFIGMAPS, v.NAMESPACE, name, without)


def traces(cluster: Cluster) -> Iterator[Trace]:
    """Every trace. A list that expires on the way ends: the next pass goes on."""
    try:
        yield from map(read, cluster.items(CONFIGMAPS, v.NAMESPACE, labels=f"{v.DNS_CHALLENGE}=true"))
    except Gone:
        log.info("leftovers-put-off", kind="TXT records")


def needed_by_others(cluster: Cluster, name: str, txt_records: Collection[TxtRecord]) -> list[TxtRecord]:
    """Those that an attempt with another trace is using: some CAs give one order to all who ask for the same hosts.

    Raises KubeError.
    """
    places = {txt.place for txt in txt_records}
    needed: set[tuple[str, str, str]] = set()
    for trace in traces(cluster):
        shared = places & {txt.place for txt in trace.txt_records}
        if trace.name != name and shared and _is_at_work(cluster, trace):
            needed |= shared
    return [txt for txt in txt_records if txt.place in needed]


def is_left_over(txt: TxtRecord, record: Record | None, *, now: datetime) -> bool:
    """Whether nobody needs it: its certificate record, if there still is one, is at no attempt. Pure."""
    if now.timestamp() - txt.epoch < ATTEMPT_GRACE.total_seconds():
        return False
    return record is None or record.phase not in ACTIVE  # an active attempt removes what earlier ones left, too


def left_over(cluster: Cluster, records: Iterable[Record], *, now: datetime) -> Iterator[tuple[str, list[TxtRecord]]]:
    """What nobody needs of each trace, by its name. `records` may be minutes old. Raises KubeError."""
    known = {record.name: record for record in records}
    for trace in traces(cluster):
        record = known.get(trace.record)
        owner = record if trace.is_of(record) else None
        yield trace.name, [txt for txt in trace.txt_records if is_left_over(txt, owner, now=now)]


def give_up(cluster: Cluster, name: str, left: Iterable[TxtRecord], *, now: datetime) -> int:
    """Cross out those whose removal has been tried for long enough; how many. Raises KubeError."""
    hopeless = [txt for txt in left if now.timestamp() - txt.epoch > LONGEST.total_seconds()]
    for txt in hopeless:
        log.warning("txt-record-given-up", name=txt.name, value=txt.value, issuer=txt.issuer)
    if hopeless:
        cross_out(cluster, name, hopeless)
    return len(hopeless)


def _is_at_work(cluster: Cluster, trace: Trace) -> bool:
    try:
        record = live_record(cluster, trace.record)
    except RecordError:
        return True  # written by a later certjob: leave it alone
    return record is not None and trace.is_of(record) and record.phase in ACTIVE


def _config_map(trace: Trace) -> Json:
    labels = {v.DNS_CHALLENGE: "true"} | ({v.RECORD_UID: trace.record_uid} if trace.record_uid else {})
    data = {v.TXT_RECORDS_KEY: msgspec.json.format(msgspec.json.encode(trace.txt_records), indent=1).decode()}
    metadata = bodies.own_metadata(trace.name, labels, annotations={v.RECORD: trace.record})
    return bodies.config_map(metadata, data)
