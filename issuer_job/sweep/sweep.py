"""One pass over all Ingresses and records: reads everything, judges each certificate, and does what follows.

`rules` says what a certificate needs, `queue` who goes first, `effects` and `launches` do it.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial

from issuer_job import log
from issuer_job import vocabulary as v
from issuer_job.checks.check import ready_since
from issuer_job.checks.launch import launch_due
from issuer_job.cluster.api import ApiError, Cluster, KubeError
from issuer_job.demand.eligibility import due_fallback
from issuer_job.dns01 import trace
from issuer_job.hosts import at_sweep
from issuer_job.hosts.at_sweep import Holders
from issuer_job.hosts.precedence import Denial
from issuer_job.issuers.options import HostPolicy, Options, remember_options
from issuer_job.issuers.state import INTERVAL, RESET_AT, IssuerState, note_in_state
from issuer_job.issuers.types import directory_of
from issuer_job.last_word import Step, Tally
from issuer_job.launch.configuration import BrokenOptions, SettingsCache
from issuer_job.launch.launcher import Launcher
from issuer_job.launch.pace import Pace
from issuer_job.polling import utc_now
from issuer_job.record.phases import SWEEP_INTERVAL
from issuer_job.record.record import Record, RecordError
from issuer_job.sweep import inventory, rules, secret_requests
from issuer_job.sweep.effects import Effects
from issuer_job.sweep.inventory import Live
from issuer_job.sweep.launches import LAUNCHES, SweepLaunches
from issuer_job.sweep.opening import keep_hosts, policies_are_in_force, tidy_claims
from issuer_job.sweep.queue import Candidate, in_turn
from issuer_job.sweep.situation import Action, AttemptKey, Situation
from issuer_job.tenant_secrets.access import Looker, Refusal, look_by_policy
from issuer_job.tenant_secrets.judgement import is_of_another_server
from issuer_job.tenant_secrets.refused import refused_problem
from issuer_job.upkeep import bootstrap, leftovers, untouched
from issuer_job.upkeep.revoking import Attending
from issuer_job.upkeep.suggestions import Suggestions
from issuer_job.upkeep.webhook import rotation

PAUSE = 0.5
"""Seconds between two looks for what waits until the nodes have less to do."""
STANDSTILL = 60
"""Pauses in which nothing was launched: it is no use to wait any longer in this pass."""


def sweep(
    cluster: Cluster,
    *,
    deadline: float,
    interval: timedelta = SWEEP_INTERVAL,
    clock: Callable[[], datetime] = utc_now,
    sleep: Callable[[float], None] = time.sleep,
    looker: Looker = look_by_policy,
    tally: Tally | None = None,
) -> v.ExitCode:
    """One pass, until `deadline` (time.monotonic()); `interval` is the time from one pass to the next.

    One bad Ingress or record does not stop it. Raises KubeError when the cluster cannot be read as a whole.
    """
    started, now, tally = time.monotonic(), clock(), tally or Tally()
    tally.begin(Step.OPENING)
    if not policies_are_in_force(cluster, until=started, sleep=sleep):
        tally.problem = str(Refusal.NOT_IN_FORCE)
        return v.ExitCode.LATER
    counts = tally.counts
    with _guarded(counts, "rotation-put-off"):
        opening = partial(keep_hosts, cluster, deadline=deadline, interval=interval, clock=clock, looker=looker)
        rotation.rotate(cluster, now=now, opening=opening)
    settings = SettingsCache(cluster)
    issuers = settings.issuers()
    try:
        options = settings.options()
        issuers = replace(issuers, aliases=options.cert_manager_annotations)
        remember_options(cluster)
    except BrokenOptions as problem:
        log.error("options", problem=str(problem))
        tally.problem = "brokenOptions"
        return v.ExitCode.LATER
    states = {name: settings.state(name, directory_of(issuer)) for name, issuer in issuers.valid.items()}
    with _guarded(counts, "issuers-put-off"):
        _tell_interval(cluster, states.values(), interval)
    new = {name: i for name, i in issuers.valid.items() if not settings.has_account(name, directory_of(i))}
    with _guarded(counts, "account-keys-put-off"):
        bootstrap.make_account_keys(cluster, new)
    tally.begin(Step.READING)
    # The Ingress of every record in the first list is in the second one, unless it is gone; a record that is made
    # meanwhile is met when its Ingress is launched.
    known = inventory.read_known(cluster, now=now)
    older = inventory.note_wishes(known, issuers)
    claims = at_sweep.read_claims(cluster) if options.host_policy is HostPolicy.FIRST_CLAIM else None
    claimed = None if claims is None else {claim.host for claim in claims}
    live = inventory.read_live(cluster, issuers, known.records, claimed=claimed)
    secret_requests.keep_alive(live, known)
    jobs = inventory.read_jobs(cluster)
    effects = Effects(cluster, issuers, known, now, deadline, looker, counts, settings.signers)
    counts["trouble"] += live.trouble
    launcher, pace = Launcher(cluster, settings, clock=clock), Pace(now=clock)
    launches = SweepLaunches(effects, launcher, options, settings.quota(), pace)
    with _guarded(effects.counts, "orders-not-counted"):
        known.recount.write(cluster, issuers.valid, now=now)
    tally.begin(Step.SUGGESTIONS)
    _ask_for_suggestions(effects)
    tally.begin(Step.CLAIMS)
    # Before the launches: a host that is given up now is somebody else's in the same pass.
    holders = Holders(options, live.namers, now)
    with _guarded(counts, "claims-put-off"):
        tidy_claims(effects, holders, live, claims or [], interval)
    tally.begin(Step.LAUNCHES)
    _judge_all(_situations(effects, live, jobs, interval, holders, states), effects, launches, sleep)
    tally.begin(Step.TIDYING)
    with _guarded(counts, "issuers-put-off"):
        effects.tell_of_other_servers()
        effects.tell_of_wishes(older)
    counts["hosts contested"] = sum(map(_is_contested, known.records.values()))
    with _guarded(counts, "untouched-put-off"):
        counts["completed"] = untouched.complete_or_tell(cluster, live.bare, issuers, options, now=now)
        untouched.tell(cluster, live.untold, now=now)
    counts["not as asked"] = len(live.untold)
    with _guarded(counts, "leftovers-put-off"):
        counts.update(leftovers.release_leftovers(cluster, known.records.values(), now=now))
    _launch_checks(effects, _revocations(effects, holders, options))
    fields = {"records": len(known.records), "ingresses": live.count, "unreadable": known.unreadable}
    counts.update(fields)
    fields |= {name: count for name, count in counts.items() if count}
    log.info("swept", **fields, seconds=round(time.monotonic() - started, 1))
    return v.ExitCode.DONE


def _tell_interval(cluster: Cluster, states: Iterable[IssuerState], interval: timedelta) -> None:
    """How often sweeps come by is for admission and issuers' tests to know, too: they say what lives too short."""
    change = {INTERVAL: str(int(interval.total_seconds()))}
    for state in states:
        if state.interval != interval:
            note_in_state(cluster, state.issuer, state.directory, change)


def _is_contested(record: Record) -> bool:
    """Whether it waits for an operator to say whose a host is."""
    return record.retry is not None and record.retry.problem.type == Denial.CONTESTED


@contextmanager
def _guarded(counts: Counter[str], event: str, **about: str) -> Iterator[None]:
    """What cannot be done now is left to the next pass: one bad Ingress or record must not stop this one."""
    try:
        yield
        return
    except (KubeError, RecordError) as problem:
        log.warning(event, **about, problem=str(problem))
    except Exception:  # noqa: BLE001 - the others shall have their turn
        log.exception("internal-error", **about)
    counts["trouble"] += 1


@contextmanager
def _caring_for(effects: Effects, situation: Situation) -> Iterator[None]:
    """The same for one certificate, whose users are told what was refused of it."""
    with _guarded(effects.counts, "put-off", namespace=situation.namespace, secret=situation.secret_name):
        try:
            yield
        except ApiError as problem:
            if (refused := refused_problem(problem, step="sweep")) is not None:
                effects.tell_refused(situation, refused)
            raise


def _revocations(effects: Effects, holders: Holders, options: Options) -> set[str]:
    """See that certificates come to be revoked; the issuers whose Jobs have something to do."""
    attending = Attending(
        effects.cluster, effects.known.records, effects.issuers, holders, options.revoke_lost_hosts, effects.now
    )
    with _guarded(effects.counts, "revocations-put-off"):
        due, counts = attending.attend()
        effects.counts.update(counts)
        return due
    return set()


def _launch_checks(effects: Effects, with_leftovers: set[str]) -> None:
    """Jobs that test new and edited issuers, and do what waits for them; what none of them can do is told."""
    cluster, now = effects.cluster, effects.now
    with _guarded(effects.counts, "checks-put-off"):
        for name, left in trace.left_over(cluster, effects.known.records.values(), now=now):
            with_leftovers |= {txt.issuer for txt in left}
            lost = [txt for txt in left if txt.issuer not in effects.issuers.valid]  # no Job has their credentials
            effects.counts["TXT records given up"] += trace.give_up(cluster, name, lost, now=now)
        effects.counts["checks launched"] += launch_due(cluster, leftovers=with_leftovers, now=now)


def _situations(
    effects: Effects,
    live: Live,
    jobs: Mapping[AttemptKey, bool],
    interval: timedelta,
    holders: Holders,
    states: Mapping[str, IssuerState],
) -> Iterator[Situation]:
    known, issuers, now = effects.known, effects.issuers, effects.now
    records = known.records
    for key in records.keys() | live.entries.keys():
        record = records.get(key)
        key_id = record.issued.key_id if record is not None and record.issued is not None else ""
        state = states.get(record.issuer) if record is not None else None
        yield Situation(
            *key,
            record=record,
            entries=live.entries.get(key, ()),
            named_by=frozenset(live.named_by.get(key, ())),
            jobs=jobs,
            issuers=issuers.versions,
            interval=interval,
            now=now,
            issuer_ready=None if state is None else ready_since(state),
            wish=known.wishes.get(key),
            account_reset=None if state is None else state.moment(RESET_AT),
            hosts_free=record is not None and holders.free_again(record),
            fallback="" if record is None else due_fallback(record, issuers.valid, now=now),
            certificates=len(records),
            shares_key=known.key_holders[key_id] > 1,
            key_revoked=key_id in known.revoked_keys,
            other_server=record is not None and is_of_another_server(record, effects.trust(record)),
        )


def _judge_all(
    situations: Iterator[Situation], effects: Effects, launches: SweepLaunches, sleep: Callable[[float], None]
) -> None:
    """Judge all. Then in turn: what is urgent, what costs no order, and as many launches as fit."""
    judged: list[Candidate] = []
    for situation in situations:
        with _caring_for(effects, situation):
            judged.append(Candidate(situation, rules.judge_situation(situation)))
    turns = in_turn(judged, share=launches.share)
    urgent = [settled for candidate in turns.urgent for settled in _settled(candidate, effects)]
    urgent = _launched(urgent, effects, launches)
    waiting = [settled for candidate in (*turns.others, *turns.late) for settled in _settled(candidate, effects)]
    waiting = [*urgent, *in_turn(waiting, share=launches.share, had=launches.launched)]
    standstill = 0
    while waiting and standstill < STANDSTILL:
        before = len(waiting)
        waiting = _launched(waiting, effects, launches)
        standstill = standstill + 1 if len(waiting) == before else 0
        if waiting:
            sleep(PAUSE)
    _launched(waiting, effects, launches, may_wait=False)


def _launched(
    candidates: Iterable[Candidate], effects: Effects, launches: SweepLaunches, *, may_wait: bool = True
) -> list[Candidate]:
    """Launch what can be; what has to wait."""
    waiting: list[Candidate] = []
    for candidate in candidates:
        with _caring_for(effects, candidate.situation):
            if not launches.launch(candidate, may_wait=may_wait):
                waiting.append(candidate)
    return waiting


def _settled(candidate: Candidate, effects: Effects) -> list[Candidate]:
    """Do what costs no order, as long as there is time for it; what is to be launched then."""
    situation, verdict, record = candidate.situation, candidate.verdict, candidate.situation.record
    with _caring_for(effects, situation):
        if record is not None and effects.has_time():
            effects.warn_of_end(situation, record)
            effects.warn_of_refusal(situation, record)
            effects.warn_of_standstill(situation, record)
            effects.warn_of_shared_key(situation, record)
            effects.warn_of_limits(situation, record)
            effects.tell_again(situation, record)
            if verdict.action in {Action.LOOK, Action.KNOCK}:
                verdict = effects.look(situation, record, verdict)
                situation = replace(situation, entries=verdict.entries or situation.entries)
            effects.settle(situation, record, verdict)
        elif verdict.action is not Action.NOTHING and verdict.action not in LAUNCHES:
            effects.counts["put off for want of time"] += 1
        return [Candidate(situation, verdict)] if verdict.action in LAUNCHES else []
    return []


def _ask_for_suggestions(effects: Effects) -> None:
    """What the CAs suggest for renewals, of some certificates in each pass; what is due by that goes at once."""
    for record, renewal in Suggestions(effects.issuers, now=effects.now).ask(effects.known.records.values()):
        with _guarded(effects.counts, "put-off", record=record.name):
            effects.remember_suggestion(record, renewal)
