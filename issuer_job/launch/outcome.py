"""How a launch ended, and what users are told of that at `kubectl apply`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TypedDict

from issuer_job import names
from issuer_job import vocabulary as v
from issuer_job.cluster.api import ApiError
from issuer_job.demand.common import Entry
from issuer_job.demand.plan import Plan, PlanReason
from issuer_job.hosts.limits import OverLimit
from issuer_job.hosts.precedence import Denial, Denied
from issuer_job.issuers.types import directory_of
from issuer_job.launch.configuration import SettingsCache
from issuer_job.record import transitions
from issuer_job.record.intents import MAX_HOSTS, MAX_SOURCES
from issuer_job.record.record import Phase, Problem, Record
from issuer_job.record.renewal import asked_at, too_short_briefly
from issuer_job.tenant_secrets.refused import REFUSALS


class OutcomeReason(StrEnum):
    """How a launch ended."""

    LAUNCHED = "Launched"
    UNCHANGED = "Unchanged"
    MERGED = "Merged"
    PUT_OFF = "PutOff"
    """There was no room just now."""
    OVER_LIMIT = "OverLimit"
    """An order now would exceed a limit of its issuer: written down, until there is room."""
    STILL_THERE = "StillThere"
    """The Secret that was to be deleted."""
    HELD_UP = "HeldUp"
    """Written down, with what an operator has to put right first."""
    HOST_CLAIMED = "HostClaimed"
    HOST_NOT_LISTED = "HostNotListed"
    TOO_MANY = "TooMany"
    """Its namespace has all the certificates or hosts that it may have, or certjob no room for anything new."""
    NOT_IN_FORCE = "PoliciesNotInForce"
    UNREADABLE = "RecordUnreadable"
    REFUSED = "Refused"
    """Its Job was refused by somebody else's admission rule, or a quota: it waits."""
    LATER = "Later"


NOT_PLACED = frozenset(
    {
        OutcomeReason.HOST_CLAIMED,
        OutcomeReason.HOST_NOT_LISTED,
        OutcomeReason.TOO_MANY,
        OutcomeReason.NOT_IN_FORCE,
    }
)
"""There is no placeholder either: an ingress controller may serve it to the visitors of the host's real owner, a full
namespace gets no more objects, and without policies nothing is written.
"""


class SecretLoss(StrEnum):
    """What happened to a Secret that is wanted."""

    DELETED = "Deleted"
    """Or is about to be: it is asked whether it is gone."""
    EMPTIED = "Emptied"


class Occasion(TypedDict, total=False):
    """What a launch is told besides; nothing of it has to be said.

    `expect_new` saves a request when there is no record yet. Not `at_once`: what is wanted is written down and served
    with a placeholder, and put off. `loss` is what the Secret suffers just now.
    """

    expect_new: bool
    at_once: bool
    loss: SecretLoss | None


NOTHING = Plan(PlanReason.UNCHANGED)


@dataclass
class Weighed:
    """What a launch is told besides, and what comes of it with the record as it was found last."""

    expect_new: bool = False
    at_once: bool = True
    loss: SecretLoss | None = None
    existing: Record | None = None
    plan: Plan = NOTHING
    lacking: bool = False
    """Whether the Secret was not there, or is known to hold nothing."""
    room: bool = False
    counted: bool = False
    """Room for one more attempt, and an order within the issuer's limits: taken, however often it is decided."""
    over: OverLimit | None = None

    @property
    def deleted(self) -> bool:
        """Whether it is about a Secret that was deleted."""
        return self.loss is SecretLoss.DELETED

    @property
    def still_there(self) -> bool:
        """Whether that Secret is not gone yet."""
        return self.deleted and not self.lacking


@dataclass(frozen=True)
class LaunchOutcome:
    """What became of one entry; `warning` is for the user, `why` what kept it from being written down, `refused` what
    was refused of what it takes.
    """

    reason: OutcomeReason
    secret_name: str
    epoch: int = 0
    warning: str | None = None
    why: str = ""
    refused: Problem | None = None


LEFT_OUT = f"too many share it (at most {MAX_SOURCES}, and {MAX_HOSTS} hosts): left out"
DENIALS: Mapping[str, tuple[OutcomeReason, str]] = {
    Denial.CLAIMED: (OutcomeReason.HOST_CLAIMED, "belongs to another namespace: no certificate"),
    Denial.CONTESTED: (
        OutcomeReason.HOST_CLAIMED,
        "is another namespace's too: no certificate until an operator decides",
    ),
    Denial.NOT_ALLOWED: (OutcomeReason.HOST_NOT_LISTED, "is not allowed in this namespace: no certificate"),
}
"""By the type of the problem that a record has."""


def denial_of(denied: Denied) -> tuple[OutcomeReason, str]:
    """What follows for the entry, and what its owner is told."""
    reason, why = DENIALS[denied.reason]
    if denied.until is not None:
        why = f"belongs to another namespace until {denied.until:%d %b %H:%M} UTC: no certificate"
    return reason, f"{denied.host[:70]} {why}"


PUT_OFF = "many orders in this namespace just now, it has its turn later"
"""Why nothing is ordered at admission."""


def unreadable_warning(namespace: str, entry: Entry) -> str:
    """That the record is damaged, or a later certjob's."""
    name = names.record(namespace, entry.secret_name)
    return f"its record cannot be read: an operator has to delete ConfigMap {name}"[:119]


def warning_of(entry: Entry, decided: Plan) -> str | None:
    """What the user shall know of the plan."""
    if decided.minor:
        return f"Secret {entry.secret_name[:40]}: an older Ingress decides issuer and key algorithm"
    held = decided.record.retry if decided.reason is PlanReason.HELD_BACK and decided.record else None
    if held is not None and held.problem.type == transitions.HELD_BACK:
        return f"Secret {entry.secret_name[:40]}: {held.problem.detail}"
    if decided.reason is PlanReason.LEFT_OUT:
        return f"Secret {entry.secret_name[:40]}: {LEFT_OUT}"
    if decided.reason is PlanReason.RETRY_NOTED:
        return f"Secret {entry.secret_name[:40]}: an attempt is under way; if it fails, the next sweep tries again"
    if decided.reason is PlanReason.JOINED and decided.record is not None and entry.source.renew:
        return _renewal_warning(decided.record)
    return None


def _renewal_warning(record: Record) -> str | None:
    """When what `certjob.io/renew` asks for will be done, if not now."""
    if record.phase is not Phase.ISSUED or (due := asked_at(record)) is None:
        return None
    return f"Secret {record.secret_name[:40]}: it is renewed at {due:%d %b %Y %H:%M} UTC, see {v.RENEW}"


def of_hosts(entry: Entry) -> str:
    """As in "certificate for 2 hosts"."""
    return "certificate for 1 host" if len(entry.hosts) == 1 else f"certificate for {len(entry.hosts)} hosts"


def held_warning(entry: Entry, over: OverLimit) -> str:
    """With the time first: it must not be cut off. The Event says which limit it is."""
    secret, issuer = entry.secret_name[:30], entry.source.settings.issuer[:20]
    return f"Secret {secret}: held back until {over.until:%Y-%m-%d %H:%M} UTC, a limit of issuer {issuer}"


def life_warning(entry: Entry, settings: SettingsCache) -> str | None:
    """That what is asked for lives too short for the sweeps, if that is known. Raises KubeError."""
    wanted = entry.source.settings
    issuer = settings.issuers().valid.get(wanted.issuer)
    if issuer is None:
        return None
    state = settings.state(wanted.issuer, directory_of(issuer))
    life = state.life_of(issuer, wanted.profile or issuer.profile)
    briefly = too_short_briefly(life, state.interval) if life is not None else ""
    return f"Secret {entry.secret_name[:40]}: {briefly}" if briefly else None


def waiting_warning(existing: Record | None) -> str | None:
    """What came of the last attempt, and until when it is waited, said at each apply that changes nothing of that."""
    if existing is None or existing.retry is None or existing.phase not in {Phase.FAILED, Phase.WAITING}:
        return None
    retry, problem = existing.retry, existing.retry.problem
    if problem.type in DENIALS:
        return f"{problem.host[:70]} {DENIALS[problem.type][1]}"
    if problem.type == transitions.HELD_BACK:
        return f"Secret {existing.secret_name[:40]}: {problem.detail}"
    when = "after a change" if retry.not_before is None else f"at {retry.not_before:%d %b %H:%M} UTC"
    sooner = "" if retry.asked else f"; now: a new {v.RETRY}"
    why = problem.detail[:120] if problem.type in REFUSALS else problem.type[:25]  # in the words of who refused
    return f"Secret {existing.secret_name[:30]}: failed ({why}), again {when}{sooner}"


def short(problem: Exception) -> str:
    """For a warning, which is one line."""
    if isinstance(problem, ApiError):
        return f"API server: {problem.status} {problem.reason}"[:60]
    return str(problem)[:60]
