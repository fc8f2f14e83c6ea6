"""The claims of a pass; and before the webhook is sent anything for the first time, those of an earlier installation.

Nothing may be launched in between: whoever launches first has a host that nobody claims.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime, timedelta

from issuer_job import log
from issuer_job.cluster.api import Cluster, KubeError
from issuer_job.hosts import at_sweep
from issuer_job.hosts.at_sweep import Holders
from issuer_job.hosts.precedence import Claim
from issuer_job.issuers.options import HostPolicy
from issuer_job.launch.configuration import BrokenOptions, SettingsCache
from issuer_job.polling import utc_now
from issuer_job.record.phases import SWEEP_INTERVAL
from issuer_job.record.record import RecordError
from issuer_job.sweep import inventory
from issuer_job.sweep.effects import Effects
from issuer_job.sweep.inventory import Live
from issuer_job.tenant_secrets import canary
from issuer_job.tenant_secrets.access import Looker, look_by_policy

CLAIMS_SHARE = 0.2
"""Of the pass's time, for giving up claims."""
IN_FORCE_WITHIN = 30.0
"""Seconds that policies may take to be in force once they are applied."""
PAUSE = 0.5


def keep_hosts(
    cluster: Cluster,
    *,
    deadline: float,
    interval: timedelta = SWEEP_INTERVAL,
    clock: Callable[[], datetime] = utc_now,
    sleep: Callable[[float], None] = time.sleep,
    looker: Looker = look_by_policy,
) -> None:
    """Hosts for which a namespace holds certjob's own certificate from an earlier installation become its claims.

    In a share of the time until `deadline` (time.monotonic()). What goes wrong is logged, and left to the next sweep.
    """
    try:
        if not policies_are_in_force(cluster, until=min(deadline, time.monotonic() + IN_FORCE_WITHIN), sleep=sleep):
            return
        settings, now, counts = SettingsCache(cluster), clock(), Counter[str]()
        options = settings.options()
        issuers = replace(settings.issuers(), aliases=options.cert_manager_annotations)
        if options.host_policy is not HostPolicy.FIRST_CLAIM:
            return
        known = inventory.read_known(cluster, now=now)
        claims = at_sweep.read_claims(cluster)
        live = inventory.read_live(cluster, issuers, known.records, claimed={claim.host for claim in claims})
        effects = Effects(cluster, issuers, known, now, deadline, looker, counts, settings.signers)
        tidy_claims(effects, Holders(options, live.namers, now), live, claims, interval)
        log.info("hosts-kept", **counts)
    except (KubeError, RecordError, BrokenOptions) as problem:
        log.warning("claims-put-off", problem=str(problem))
    except Exception:  # noqa: BLE001 - the webhook shall be there all the same
        log.exception("internal-error")


def policies_are_in_force(cluster: Cluster, *, until: float, sleep: Callable[[float], None]) -> bool:
    """Once they are, at the latest `until` (time.monotonic()): at an installation they have just been applied."""
    while found := list(canary.problems(cluster, canary.FOR_SWEEPS)):
        if time.monotonic() >= until:
            for problem in found:
                log.error("policies-not-in-force", problem=problem, do="kubectl apply the manifests again")
            return False
        sleep(PAUSE)
    return True


def tidy_claims(effects: Effects, holders: Holders, live: Live, claims: Iterable[Claim], interval: timedelta) -> None:
    """Fills `holders`. At most a fifth of the pass's time: what keeps somebody else out goes at the next one.

    Raises KubeError.
    """
    until = time.monotonic() + (effects.deadline - time.monotonic()) * CLAIMS_SHARE
    records = at_sweep.Records(
        effects.known.records.values(),
        forfeit=effects.forfeit,
        serves=effects.serves,
        warn=lambda record, claim: effects.warn_of_former(record, claim, live, holders.options),
        wanting=inventory.without_certificate(live, effects.known.records, now=effects.now),
        own=effects.own_certificate,
    )
    effects.counts.update(at_sweep.tidy(effects.cluster, holders, records, claims, until=until, interval=interval))
