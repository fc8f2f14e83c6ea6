"""One pass over all Ingresses and records: reads everything, judges each certificate, and does what follows.

`sweep_rules` says what a certificate needs, `sweep_queue` who goes first, `sweep_effects` and `sweep_launch` do it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from issuer_job import log
from issuer_job import vocabulary as v
from issuer_job.checks.launch import launch_due
from issuer_job.cluster.api import Cluster, KubeError
from issuer_job.demand.fallback import due_fallback
from issuer_job.dns01 import trace
from issuer_job.hosts import at_sweep
from issuer_job.hosts.at_sweep import Holders
from issuer_job.issuers.load import Issuers
from issuer_job.issuers.options import Options
from issuer_job.issuers.types import directory_of
from issuer_job.launch.configuration import BrokenOptions, SettingsCache
from issuer_job.launch.launcher import Launcher
from issuer_job.polling import utc_now
from issuer_job.record.phases import SWEEP_INTERVAL
from issuer_job.record.record import RecordError
from issuer_job.sweep import inventory, rules, secret_requests
from issuer_job.sweep.effects import Effects
from issuer_job.sweep.inventory import Known, Live
from issuer_job.sweep.launches import LAUNCHES, SweepLaunches
from issuer_job.sweep.queue import Candidate, in_turn
from issuer_job.sweep.situation import Action, Situation
from issuer_job.tenant_secrets import access as secrets
from issuer_job.tenant_secrets.access import Looker, look_by_policy
from issuer_job.upkeep import bootstrap, leftovers, untouched, webhook_certificate
from issuer_job.upkeep.suggestions import Suggestions, check_is_due

CLAIMS_SHARE = 0.2
"""Of the pass's time, for giving up claims."""


def sweep(
    cluster: Cluster,
    *,
    deadline: float,
    interval: timedelta = SWEEP_INTERVAL,
    clock: Callable[[], datetime] = utc_now,
    looker: Looker = look_by_policy,
) -> v.ExitCode:
    """One pass, until `deadline` (time.monotonic()); `interval` is the time from one pass to the next.

    One bad Ingress or record does not stop it. Raises KubeError when the cluster cannot be read as a whole.
    """
    started, now = time.monotonic(), clock()
    if not secrets.policies_in_force(cluster):
        log.error("policies-not-in-force", do="kubectl apply the manifests again")
        return v.ExitCode.LATER
    webhook_certificate.rotate(cluster, now=now)
    settings = SettingsCache(cluster)
    issuers = settings.issuers()
    try:
        options = settings.options()
    except BrokenOptions as problem:
        log.error("options", problem=str(problem))
        return v.ExitCode.LATER
    new = {name: i for name, i in issuers.valid.items() if not settings.has_account(name, directory_of(i))}
    bootstrap.make_account_keys(cluster, new)
    # The Ingress of every record in the first list is in the second one, unless it is gone; a record that is made
    # meanwhile is met when its Ingress is launched.
    known = inventory.read_known(cluster, now=now)
    live = inventory.read_live(cluster, issuers)
    secret_requests.keep_alive(live, known)
    jobs = inventory.read_jobs(cluster)
    effects = Effects(cluster, issuers, known, now, deadline, looker)
    counts = effects.counts
    launches = SweepLaunches(effects, Launcher(cluster, settings, clock=clock), options)
    _ask_for_suggestions(issuers, known, effects)
    # Before the launches: a host that is given up now is somebody else's in the same pass.
    holders = _tidy_claims(effects, options, live)
    _judge_all(_situations(known, live, issuers, jobs, interval, now, holders), effects, launches)
    counts["completed"] = untouched.complete_or_tell(cluster, live.bare, issuers, options, now=now)
    counts.update(leftovers.release_leftovers(cluster, known.records.values(), now=now))
    _launch_checks(effects)
    fields = {"records": len(known.records), "ingresses": live.count, "unreadable": known.unreadable}
    fields |= {name: count for name, count in counts.items() if count}
    log.info("swept", **fields, seconds=round(time.monotonic() - started, 1))
    return v.ExitCode.DONE


def _launch_checks(effects: Effects) -> None:
    """Jobs that test new and edited issuers, and remove TXT records left in DNS; what no Job can remove is told."""
    cluster, now, with_leftovers = effects.cluster, effects.now, set[str]()
    try:
        for record_hash, left in trace.left_over(cluster, effects.known.records.values(), now=now):
            with_leftovers |= {txt.issuer for txt in left}
            lost = [txt for txt in left if txt.issuer not in effects.issuers.valid]  # no Job has their credentials
            effects.counts["TXT records given up"] += trace.give_up(cluster, record_hash, lost, now=now)
        effects.counts["checks launched"] += launch_due(cluster, leftovers=with_leftovers, now=now)
    except KubeError as problem:
        log.warning("checks-put-off", problem=str(problem))
        effects.counts["trouble"] += 1


def _tidy_claims(effects: Effects, options: Options, live: Live) -> Holders:
    """At most a fifth of the pass's time: what keeps somebody else out goes at the next one."""
    until = time.monotonic() + (effects.deadline - time.monotonic()) * CLAIMS_SHARE
    try:
        holders, counts = at_sweep.tidy(
            effects.cluster, options, live.namers, effects.known.records.values(), now=effects.now, until=until
        )
    except KubeError as problem:
        log.warning("claims-put-off", problem=str(problem))
        effects.counts["trouble"] += 1
        return Holders(options, live.namers, effects.now)
    effects.counts.update(counts)
    return holders


def _situations(
    known: Known,
    live: Live,
    issuers: Issuers,
    jobs: Mapping[str, bool],
    interval: timedelta,
    now: datetime,
    holders: Holders,
) -> Iterator[Situation]:
    for namespace, secret_name in known.records.keys() | live.entries.keys():
        key = (namespace, secret_name)
        record = known.records.get(key)
        yield Situation(
            namespace=namespace,
            secret_name=secret_name,
            record=record,
            entries=tuple(live.entries.get(key, ())),
            named_by=frozenset(live.named_by.get(key, ())),
            jobs=jobs,
            issuers=issuers.versions,
            interval=interval,
            now=now,
            hosts_free=record is not None and holders.free_again(record),
            fallback="" if record is None else due_fallback(record, issuers.valid, now=now),
        )


def _judge_all(situations: Iterator[Situation], effects: Effects, launches: SweepLaunches) -> None:
    """Judge all, do at once what costs no order, and launch in turn as many as fit."""
    candidates: list[Candidate] = []

    def settle(situation: Situation) -> None:
        verdict, record = rules.judge_situation(situation), situation.record
        if record is not None:
            effects.warn_of_end(situation, record)
            if verdict.action in {Action.LOOK, Action.KNOCK}:
                verdict = effects.look(situation, record, verdict)
                situation = replace(situation, entries=verdict.entries or situation.entries)
            effects.settle(situation, record, verdict)
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
        log.warning("put-off", **about, problem=str(problem))
    except Exception:  # noqa: BLE001 - the others shall have their turn
        log.exception("internal-error", **about)
    effects.counts["trouble"] += 1


def _ask_for_suggestions(issuers: Issuers, known: Known, effects: Effects) -> None:
    """What the CAs suggest for renewals, of some certificates in each pass; what is due by that goes at once."""
    due = [record for record in known.records.values() if check_is_due(record, effects.now)]
    if not due:
        return
    for record, renewal in Suggestions(issuers, now=effects.now).ask(due):
        effects.remember_suggestion(record, renewal)
