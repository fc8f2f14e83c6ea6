"""What attempts left behind that ended without a word: challenge routes, challenges and pending keys."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeVar

from issuer_job import log, names
from issuer_job import vocabulary as v
from issuer_job.cluster import changes
from issuer_job.cluster.api import CONFIGMAPS, SECRETS, Cluster, Gone, Json, KubeError, Resource
from issuer_job.http01.routes import list_routes, place_of
from issuer_job.record.phases import ATTEMPT_GRACE
from issuer_job.record.record import ACTIVE, Record, RecordError
from issuer_job.record.sources import RoutePlace
from issuer_job.record.store import live_record

T = TypeVar("T")

KEY_AGE = timedelta(hours=1)
"""How long after its last use a pending key stays."""
KEY_PERIOD = timedelta(minutes=90)
"""For how long it is then deleted, by name: longer than an hour, in which each record has its turn."""
KEY_LIFE = timedelta(days=8)
"""No attempt inherits an older key: CAs let orders live for a week."""


def release_leftovers(cluster: Cluster, records: Iterable[Record], *, now: datetime) -> Counter[str]:
    """Release every route and challenge that no active attempt holds; how many of each.

    An attempt that is not known as active from `records`, which may be minutes old, is looked up before anything
    of it goes. Each write is conditional on what was listed: who changed it meanwhile is at work. Raises KubeError.
    """
    released: Counter[str] = Counter()
    holders = _Holders(cluster, _by_key(record for record in records if record.phase in ACTIVE), now)
    for resource, route in _as_far_as_listed(list_routes(cluster), "routes"):
        with _guarded(route):
            place = place_of(route)
            kept = None if place is None else holders.keepers(route, _holds(route), place)
            released["routes released"] += kept is not None and _release_route(cluster, resource, route, kept)
    challenges = cluster.items(CONFIGMAPS, v.NAMESPACE, labels=f"{v.CHALLENGE}=true")
    for challenge in _as_far_as_listed(challenges, "challenges"):
        with _guarded(challenge):
            released["challenges deleted"] += _clean_challenge(cluster, challenge, holders)
    return released


@contextmanager
def _guarded(left: Json) -> Iterator[None]:
    """One that cannot be taken away now, or is none that certjob made, is in nobody's way."""
    try:
        yield
    except (KubeError, LookupError, TypeError, ValueError, AttributeError) as problem:
        log.warning(
            "leftover-stays", name=left["metadata"]["name"], problem=f"{type(problem).__name__}: {problem}"[:300]
        )


def leftover_keys(record: Record, *, now: datetime) -> list[str]:
    """Names of pending keys that may be left over: of epochs in the record's history that it does not refer to.

    They are named from an hour after the epoch, or after a later event that may have ended the key's use, on for
    one and a half hours. certjob cannot list Secrets, so that is when they have to be deleted. Pure.
    """
    used = set() if record.attempt is None else {record.attempt.pending_key}
    if record.phase in ACTIVE:
        used |= {record.pending_name, *pending_names(record, record.epoch)}
    found = []
    for epoch in sorted({entry.epoch for entry in record.history if entry.epoch}):
        moments = [epoch, *(entry.at.timestamp() for entry in record.history if entry.epoch >= epoch)]
        ages = [timedelta(seconds=now.timestamp() - moment) for moment in moments]
        if ages[0] <= KEY_LIFE and any(KEY_AGE <= age <= KEY_AGE + KEY_PERIOD for age in ages):
            found += [name for name in pending_names(record, epoch) if name not in used]
    return found


def pending_names(record: Record, epoch: int) -> tuple[str, str]:
    """Under which names a key of that attempt may be stored: by the record's uid, or of 0.1.0 by its hash."""
    return names.pending_key(record.uid, epoch), names.pending_key(record.old_hash, epoch)


def delete_keys(cluster: Cluster, record: Record, now: datetime) -> None:
    """Delete the record's leftover pending keys, as it is stored now. One that is gone is fine. Raises KubeError."""
    try:
        live = live_record(cluster, record.name)
    except RecordError:
        return
    if live is None or live.uid != record.uid:
        return  # Kubernetes deletes them with the record, their owner
    for name in leftover_keys(live, now=now):
        cluster.delete(SECRETS, v.NAMESPACE, name)


@dataclass
class _Holders:
    """Which attempts hold something. `active` are records as holds name them."""

    cluster: Cluster
    active: dict[str, Record]
    now: datetime
    looked_up: dict[str, Record | None] = field(default_factory=dict)

    def keepers(self, held: Json, holds: dict[str, int], place: RoutePlace | None = None) -> dict[str, Record] | None:
        """The records whose holds stay, as they are stored now, as holds name them; None: all do, leave it alone.

        A hold is an attempt's epoch, in unix seconds, by its record's uid; that on a route is one at its place.
        """
        metadata, grace = held["metadata"], ATTEMPT_GRACE.total_seconds()
        young = {uid for uid, epoch in holds.items() if self.now.timestamp() - epoch < grace}
        known = {uid for uid, epoch in holds.items() if uid in young or _is_at(self.active.get(uid), epoch, place)}
        is_new = self.now - datetime.fromisoformat(metadata["creationTimestamp"]) < ATTEMPT_GRACE
        if is_new or (holds and known == holds.keys()):
            return None
        try:
            live = self._live(metadata.get("ownerReferences") or [])
        except RecordError:
            return None  # written by a later certjob
        stay = {uid for uid, epoch in holds.items() if uid in young or _is_at(live.get(uid), epoch, place)}
        kept = {uid: live[uid] for uid in stay & live.keys()}
        return None if kept and kept.keys() == holds.keys() else kept

    def _live(self, owners: Iterable[Json]) -> dict[str, Record]:
        """The owners' records as holds name them. Raises RecordError, KubeError."""
        for name in (owner["name"] for owner in owners):
            if name not in self.looked_up:
                self.looked_up[name] = live_record(self.cluster, name)
        found = (self.looked_up[owner["name"]] for owner in owners)
        return _by_key(record for record in found if record is not None)


def _by_key(records: Iterable[Record]) -> dict[str, Record]:
    """By uid; and by what a pod of 0.1.0, which may still be at work, holds a route with."""
    return {key: record for record in records for key in (record.old_hash, record.uid)}


def _is_at(record: Record | None, epoch: int, place: RoutePlace | None) -> bool:
    """Whether the record is at that attempt, and if a place is given, has a route there."""
    if record is None or record.phase not in ACTIVE or record.epoch != epoch:
        return False
    return place is None or place in record.routes


def _release_route(cluster: Cluster, resource: Resource, route: Json, kept: dict[str, Record]) -> bool:
    """Take the holds off that no attempt has any more; without a hold the route goes."""
    metadata, keepers = route["metadata"], {record.uid for record in kept.values()}
    annotations = {
        key: value
        for key, value in (metadata.get("annotations") or {}).items()
        if not key.startswith(v.EPOCH_PREFIX) or key.removeprefix(v.EPOCH_PREFIX) in kept
    }
    owners = [owner for owner in metadata.get("ownerReferences") or [] if owner["uid"] in keepers]
    left = route | {"metadata": metadata | {"ownerReferences": owners, "annotations": annotations}}
    if changes.swap(cluster, resource, v.NAMESPACE, route, left if kept else None) is None:
        return False
    log.info("route-released", route=metadata["name"], holders=len(kept))
    return True


def _clean_challenge(cluster: Cluster, challenge: Json, holders: _Holders) -> bool:
    metadata = challenge["metadata"]
    hold = {owner["uid"]: names.epoch_of(metadata["name"]) for owner in metadata.get("ownerReferences") or []}
    kept = holders.keepers(challenge, hold)
    if kept is None or changes.swap(cluster, CONFIGMAPS, v.NAMESPACE, challenge, None) is None:
        return False
    log.info("challenge-deleted", challenge=metadata["name"])
    return True


def _as_far_as_listed(found: Iterator[T], what: str) -> Iterator[T]:
    """A list that expires on the way ends: the next pass goes on."""
    try:
        yield from found
    except Gone:
        log.info("leftovers-put-off", kind=what)


def _holds(route: Json) -> dict[str, int]:
    """Epochs by the uid of the record; what is no number is as old as can be."""
    annotations: dict[str, str] = route["metadata"].get("annotations") or {}
    return {
        key.removeprefix(v.EPOCH_PREFIX): names.number(value)
        for key, value in annotations.items()
        if key.startswith(v.EPOCH_PREFIX)
    }
