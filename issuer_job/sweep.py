"""One pass over all Ingresses and records: reads everything, judges each certificate, and does what follows.

`sweep_rules` says what a certificate needs, `sweep_queue` who goes first, `sweep_effects` and `sweep_launch` do it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta

from issuer_job import bare, bootstrap, claims, inventory, leftovers, rotation, secrets, sweep_rules
from issuer_job import vocabulary as v
from issuer_job.attempt import utc_now
from issuer_job.inventory import Known, Live
from issuer_job.issuers import Issuers
from issuer_job.kube import Cluster, KubeError
from issuer_job.launch import Launcher
from issuer_job.record import RecordError
from issuer_job.renewal import SWEEP_INTERVAL, Suggestions, check_is_due
from issuer_job.settings import BrokenOptions, SettingsCache
from issuer_job.situation import Action, Situation
from issuer_job.sweep_effects import Effects
from issuer_job.sweep_launch import LAUNCHES, Launches
from issuer_job.sweep_queue import Candidate, in_turn

logger = logging.getLogger(__name__)


def sweep(
    cluster: Cluster,
    *,
    deadline: float,
    interval: timedelta = SWEEP_INTERVAL,
    clock: Callable[[], datetime] = utc_now,
) -> v.ExitCode:
    """One pass, until `deadline` (time.monotonic()); `interval` is the time from one pass to the next.

    One bad Ingress or record does not stop it. Raises KubeError when the cluster cannot be read as a whole.
    """
    started, now = time.monotonic(), clock()
    if not secrets.policies_in_force(cluster):
        logger.error("policies-not-in-force", extra={"fields": {"do": "kubectl apply the manifests again"}})
        return v.ExitCode.LATER
    rotation.rotate(cluster, now=now)
    settings = SettingsCache(cluster)
    issuers = settings.issuers()
    try:
        options = settings.options()
    except BrokenOptions as problem:
        logger.error("options", extra={"fields": {"problem": str(problem)}})
        return v.ExitCode.LATER
    new = {name: i for name, i in issuers.valid.items() if not settings.has_account(name, i.server)}
    bootstrap.make_account_keys(cluster, new)
    # The Ingress of every record in the first list is in the second one, unless it is gone; a record that is made
    # meanwhile is met when its Ingress is launched.
    known = inventory.read_known(cluster, now=now)
    live = inventory.read_live(cluster, issuers)
    jobs = inventory.read_jobs(cluster)
    effects = Effects(cluster, issuers, known, now, deadline)
    counts = effects.counts
    launches = Launches(effects, Launcher(cluster, settings, clock=clock), options)
    _ask_for_suggestions(issuers, known, effects)
    _judge_all(_situations(known, live, issuers, jobs, interval, now), effects, launches)
    counts["completed"] = bare.complete_or_tell(cluster, live.bare, issuers, options, now=now)
    counts.update(leftovers.clean(cluster, known.records.values(), now=now))
    counts["claims released"] = claims.release_unused(cluster, live.hosts, now=now)
    fields = {"records": len(known.records), "ingresses": live.count, "unreadable": known.unreadable}
    fields |= {name: count for name, count in counts.items() if count}
    logger.info("swept", extra={"fields": fields | {"seconds": round(time.monotonic() - started, 1)}})
    return v.ExitCode.DONE


def _situations(
    known: Known,
    live: Live,
    issuers: Issuers,
    jobs: Mapping[str, bool],
    interval: timedelta,
    now: datetime,
) -> Iterator[Situation]:
    for namespace, secret_name in known.records.keys() | live.entries.keys():
        key = (namespace, secret_name)
        yield Situation(
            namespace=namespace,
            secret_name=secret_name,
            record=known.records.get(key),
            entries=tuple(live.entries.get(key, ())),
            named_by=frozenset(live.named_by.get(key, ())),
            jobs=jobs,
            issuers=issuers.versions,
            interval=interval,
            now=now,
        )


def _judge_all(situations: Iterator[Situation], effects: Effects, launches: Launches) -> None:
    """Judge all, do at once what costs no order, and launch in turn as many as fit."""
    candidates: list[Candidate] = []

    def settle(situation: Situation) -> None:
        verdict = sweep_rules.judge(situation)
        if situation.record is not None:
            effects.warn_of_end(situation, situation.record)
            if verdict.action is Action.LOOK:
                verdict = effects.look(situation, situation.record, verdict)
            effects.settle(situation, situation.record, verdict)
        if verdict.action in LAUNCHES:
            candidates.append(Candidate(situation, verdict))

    for situation in situations:
        _guarded(effects, situation, lambda: settle(situation))  # noqa: B023 - called at once
    for candidate in in_turn(candidates):
        _guarded(effects, candidate.situation, lambda: launches.launch(candidate))  # noqa: B023 - called at once


def _guarded(effects: Effects, situation: Situation, do: Callable[[], None]) -> None:
    """One bad Ingress or record must not stop the pass."""
    about = {"namespace": situation.namespace, "secret": situation.secret_name}
    try:
        do()
        return
    except (KubeError, RecordError) as problem:
        logger.warning("put-off", extra={"fields": about | {"problem": str(problem)}})
    except Exception:
        logger.exception("internal-error", extra={"fields": about})
    effects.counts["trouble"] += 1


def _ask_for_suggestions(issuers: Issuers, known: Known, effects: Effects) -> None:
    """What the CAs suggest for renewals, of some certificates in each pass; what is due by that goes at once."""
    due = [record for record in known.records.values() if check_is_due(record, effects.now)]
    if not due:
        return
    for record, renewal in Suggestions(issuers, now=effects.now).ask(due):
        effects.remember_suggestion(record, renewal)
