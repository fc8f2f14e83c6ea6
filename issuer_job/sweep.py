"""One pass over all Ingresses and records: launches what was missed or put off, and what has to be renewed."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime

from certs import validity
from issuer_job import bootstrap, claims, objects, rotation, secrets, transitions
from issuer_job import vocabulary as v
from issuer_job.attempt import utc_now
from issuer_job.issuers import Issuers
from issuer_job.kube import (
    CONFIGMAPS,
    EVENTS,
    INGRESSES,
    JOBS,
    NAMESPACES,
    AlreadyExists,
    Cluster,
    Conflict,
    Gone,
    Json,
    KubeError,
    Resource,
)
from issuer_job.launch import Launcher, OutcomeReason
from issuer_job.plan import plan
from issuer_job.record import Record, RecordError, from_config_map, to_config_map
from issuer_job.settings import SettingsCache
from issuer_job.sweep_rules import Action, Reason, Verdict, judge, look_is_due
from issuer_job.wants import Entry, own_entry, wants

logger = logging.getLogger(__name__)

LIST_ROUNDS = 3
MOST_LAUNCHES = 50
"""Launches in one pass; the rest waits for the next."""


def sweep(cluster: Cluster, *, deadline: float, clock: Callable[[], datetime] = utc_now) -> v.ExitCode:
    """One pass, until `deadline` (time.monotonic()). One bad Ingress or record does not stop it. Raises KubeError."""
    now = clock()
    if not secrets.policies_in_force(cluster):
        logger.error("policies-not-in-force", extra={"fields": {"do": "kubectl apply the manifests again"}})
        return v.ExitCode.LATER
    rotation.rotate(cluster, now=now)
    settings = SettingsCache(cluster)
    issuers = settings.issuers()
    bootstrap.make_account_keys(cluster, issuers)
    records = dict(_records(cluster))
    work = _Pass(cluster, Launcher(cluster, settings, clock=clock), now, deadline)
    ingresses = _all(cluster, INGRESSES)
    for ingress, entry in _missed(cluster, ingresses, issuers, records, now=now):
        work.launch(ingress["metadata"]["namespace"], entry)
    jobs = {job["metadata"]["name"] for job in _all(cluster, JOBS, v.NAMESPACE)}
    for record in records.values():
        work.judge(record, jobs)
    held = _all(cluster, CONFIGMAPS, v.NAMESPACE, labels=f"{v.CLAIM}=true")
    work.counts["claims released"] = claims.release_unused(cluster, held, ingresses, now=now)
    logger.info("swept", extra={"fields": {"records": len(records)} | work.counts})
    return v.ExitCode.DONE


class _Pass:
    """The launches of one pass, counted and bounded."""

    def __init__(self, cluster: Cluster, launcher: Launcher, now: datetime, deadline: float) -> None:
        self._cluster = cluster
        self._launcher = launcher
        self._now = now
        self._deadline = deadline
        self._done: set[str] = set()
        self._launched = 0
        self.counts: Counter[str] = Counter()

    def launch(self, namespace: str, entry: Entry) -> None:
        """An Ingress that wants something its record does not know."""
        if self._full():
            return
        outcome = self._launcher.launch(entry, namespace=namespace, deadline=self._deadline)
        self.counts[str(outcome.reason)] += 1
        self._launched += outcome.reason is OutcomeReason.LAUNCHED  # what cannot be launched keeps nobody out
        self._done.add(f"{namespace}/{entry.secret_name}")
        if outcome.reason is not OutcomeReason.UNCHANGED:
            fields = {"namespace": namespace, "secret": entry.secret_name, "reason": outcome.reason}
            logger.info("launch", extra={"fields": fields | {"warning": outcome.warning}})

    def judge(self, record: Record, jobs: set[str]) -> None:
        """A record whose attempt has to be started again."""
        if f"{record.namespace}/{record.secret_name}" in self._done:
            return
        verdict = judge(record, jobs=jobs, now=self._now)
        if verdict.action is Action.NOTHING and look_is_due(record, self._now) and not self._good(record):
            verdict = Verdict(Action.NEW_EPOCH, Reason.SECRET_NOT_GOOD)
        if verdict.action is Action.NOTHING or self._full():
            return
        arrow = transitions.relaunched if verdict.action is Action.SAME_EPOCH else transitions.launched
        details = {} if verdict.action is Action.SAME_EPOCH else {"reason": str(verdict.reason)}
        try:
            stored = self._cluster.update(
                CONFIGMAPS, v.NAMESPACE, to_config_map(arrow(record, now=self._now, **details))
            )
            self._launcher.start(from_config_map(stored), self._deadline)
        except Conflict:
            return  # somebody else is at it
        except KubeError as problem:
            logger.warning("relaunch-failed", extra={"fields": {"record": record.name, "problem": str(problem)}})
            return
        self._launched += 1
        self.counts[str(verdict.reason)] += 1
        logger.info("launch", extra={"fields": {"record": record.name, "reason": verdict.reason}})

    def _good(self, record: Record) -> bool:
        """Whether the Secret still holds a certificate that may stay. One that is not ours to write is left alone."""
        try:
            seen = secrets.look(self._cluster, record.namespace, record.secret_name)
        except (secrets.SecretRefused, KubeError) as problem:
            logger.warning("look-failed", extra={"fields": {"record": record.name, "problem": str(problem)}})
            return True
        stored = seen.stored if seen.found else None
        verdict = validity.judge(stored, hosts=record.intent.hosts, now=self._now, spread_key=record.name)
        if not verdict.ok:
            fields = {"record": record.name, "reason": verdict.reason, "message": verdict.message}
            logger.info("not-good", extra={"fields": fields})
        return verdict.ok

    def _full(self) -> bool:
        """Whether this pass has launched its share, or has no time left."""
        if self._launched < MOST_LAUNCHES and time.monotonic() < self._deadline:
            return False
        self.counts["put off"] += 1
        return True


def _all(cluster: Cluster, resource: Resource, namespace: str | None = None, *, labels: str = "") -> list[Json]:
    """A whole collection; when a page's token expires the list starts again. Raises KubeError."""
    for _ in range(LIST_ROUNDS):
        try:
            return list(cluster.items(resource, namespace, labels=labels))
        except Gone:
            continue
    raise KubeError(f"the list of {resource.plural} keeps expiring")


def _records(cluster: Cluster) -> Iterator[tuple[str, Record]]:
    for config_map in _all(cluster, CONFIGMAPS, v.NAMESPACE, labels=f"{v.RECORD}=true"):
        try:
            record = from_config_map(config_map)
        except RecordError as problem:
            logger.error("record", extra={"fields": {"problem": str(problem)}})
            continue
        yield f"{record.namespace}/{record.secret_name}", record


def _missed(
    cluster: Cluster, ingresses: list[Json], issuers: Issuers, records: dict[str, Record], *, now: datetime
) -> Iterator[tuple[Json, Entry]]:
    """Entries of live Ingresses for which a launch would change something."""
    enabled = {n["metadata"]["name"] for n in _all(cluster, NAMESPACES, labels=f"{v.NAMESPACE_ENABLED}=true")}
    for ingress in ingresses:
        namespace = ingress["metadata"]["namespace"]
        if namespace in v.EXCLUDED_NAMESPACES:
            continue
        wanted = wants(ingress, issuers=issuers, namespace_enabled=namespace in enabled)
        if wanted.added is not None and own_entry(ingress) is None:
            _say_that_it_was_missed(cluster, ingress, now)
            continue
        for entry in wanted.entries:
            known = records.get(f"{namespace}/{entry.secret_name}")
            decided = plan(known, entry.source, namespace=namespace, secret_name=entry.secret_name, now=now)
            if decided.record is not None:
                yield ingress, entry


def _say_that_it_was_missed(cluster: Cluster, ingress: Json, now: datetime) -> None:
    """The webhook was away when this Ingress was applied, and only the webhook can add an entry to spec.tls."""
    note = "spec.tls is empty and was not completed: touch the Ingress (kubectl annotate), or write a spec.tls entry"
    event = objects.ingress_event(
        ingress, reason="CertificateMissed", note=note, warning=True, now=now, unique=(ingress["metadata"]["uid"],)
    )
    try:
        cluster.create(EVENTS, ingress["metadata"]["namespace"], event)
    except AlreadyExists:
        return
    except KubeError as problem:
        logger.warning("event-failed", extra={"fields": {"problem": str(problem)}})
