"""What no attempt tells of: what the webhook never saw and names no Secret, which is completed if that is allowed,
and whatever keeps an object from having a certificate, which admission has only warned of.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from issuer_job import log, names
from issuer_job.attempt import events
from issuer_job.cluster import changes
from issuer_job.cluster.api import Cluster, Json, KubeError
from issuer_job.demand.askers import Asker
from issuer_job.demand.common import NoticeReason, Wants
from issuer_job.issuers.load import Issuers
from issuer_job.issuers.options import Options
from issuer_job.tenant_secrets.canary import COMPLETE_TLS

T = TypeVar("T")

MISSED = "it names no Secret, and the webhook, which adds one, missed it: touch it (kubectl annotate), or name one"
MOST_SAID = 800
"""Characters about one object: an Event has room for them."""
MOST = 100
"""Objects that one pass completes or tells; each costs a request or two in every pass."""


@dataclass(frozen=True)
class Untold:
    """An object, and what its owner should know of it. `fails`: it lacks a certificate for that."""

    asker: Asker
    said: str
    fails: bool = True

    @classmethod
    def of(cls, asker: Asker, wanted: Wants) -> Untold:
        """The same that admission warns of."""
        said, left = "", len(wanted.amiss)
        for notice in wanted.amiss:
            if len(said) + len(notice.message) > MOST_SAID:
                said += f"; and {left} more like these"
                break
            said, left = f"{said}; {notice.message}" if said else notice.message, left - 1
        fails = any(notice.reason is not NoticeReason.BAD_ANNOTATION for notice in wanted.amiss)
        return cls(asker.bare, said, fails or not wanted.entries)


def complete_or_tell(
    cluster: Cluster, bare: Collection[Asker], issuers: Issuers, options: Options, *, now: datetime
) -> int:
    """Add what they lack if the options let the sweep do it, else tell; how many were completed.

    The webhook sees the update, if it is there again, and launches; otherwise the next pass does.
    """
    completed, may_complete = 0, options.complete_tls
    if may_complete and (problem := COMPLETE_TLS.problem(cluster)):
        log.error("policies-not-in-force", problem=problem)
        may_complete = False
    for asker in _some(bare, lambda asker: asker.namespace):
        if may_complete and _complete(cluster, asker, issuers):
            completed += 1
            continue
        _tell(cluster, asker, "CertificateMissed", MISSED, now)
    return completed


def tell(cluster: Cluster, untold: Collection[Untold], *, now: datetime) -> None:
    """Those that wait for somebody to put something right, each once for each cause, as an Event and in the log."""
    for one in _some(untold, lambda one: one.asker.namespace):
        reason = "CertificateFailed" if one.fails else "CertificateSettingIgnored"
        if _tell(cluster, one.asker, reason, one.said, now, names.digest(one.said)):
            about = {"namespace": one.asker.namespace, "kind": one.asker.kind, "name": one.asker.name}
            log.info("not-as-asked", **about, problem=one.said)


def _tell(cluster: Cluster, asker: Asker, reason: str, said: str, now: datetime, *cause: str) -> bool:
    about = asker.reference
    return events.tell_one(cluster, about, events.News(reason, said, now, (about["uid"], *cause)))


def _some(found: Collection[T], namespace: Callable[[T], str]) -> list[T]:
    """At most `MOST`, others in each pass, and each namespace in turn: one may have thousands."""
    seen = Counter[str]()
    turns: list[tuple[int, T]] = []
    for item in random.sample(list(found), len(found)):
        turns.append((seen[namespace(item)], item))
        seen[namespace(item)] += 1
    return [item for _, item in sorted(turns, key=lambda turn: turn[0])[:MOST]]


def _complete(cluster: Cluster, asker: Asker, issuers: Issuers) -> bool:
    namespace, name, resource = asker.namespace, asker.name, asker.kind.resource

    def completed(stored: Json | None) -> Json | None:
        # What is gone, or not bare any more, stays as it is.
        # It is here because it opts in, itself or by its namespace.
        asking = asker.reader.aliased(stored) if stored and issuers.aliases else stored
        return asking and (asker.reader.wants(asking, issuers=issuers, namespace_enabled=True).completed or stored)

    try:
        changes.change(cluster, resource, namespace, name, completed)
    except KubeError as problem:
        log.warning("complete-tls-failed", namespace=namespace, ingress=asker.name, problem=str(problem))
        return False
    return True
