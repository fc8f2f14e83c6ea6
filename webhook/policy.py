"""What an admission decides, and what differs from kind to kind in how it does: a policy for each. Pure."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import ClassVar

import jsonpatch
import msgspec

from issuer_job import vocabulary as v
from issuer_job.cluster.api import Json
from issuer_job.demand.common import Entry
from issuer_job.issuers.load import Issuers
from issuer_job.launch.outcome import SecretLoss
from webhook.review import Review, ReviewedKind

MAX_ENTRIES = 5
MAX_HOSTS = 20
"""Launched within one admission, in all of its entries: those of one that wants more have their turn after it."""
MAX_PLACED = 25
"""Certificates that one admission writes down, with a placeholder for each; the sweep does the rest."""


class AdmissionReason(StrEnum):
    """Why the answer is what it is."""

    MALFORMED = "Malformed"
    OTHER_KIND = "OtherKind"
    """Something else was sent to the path of a kind."""
    OTHER_OPERATION = "OtherOperation"
    EXCLUDED_NAMESPACE = "ExcludedNamespace"
    NOT_OPTED_IN = "NotOptedIn"
    NOT_A_REQUEST = "NotARequest"
    BEING_DELETED = "BeingDeleted"
    TOO_LARGE = "TooLarge"
    OWN_WRITE = "OwnWrite"
    """certjob's own: what its owner wrote on the Secret stays, where no policy sees to that."""
    REFUSED = "Refused"
    NOTHING_TO_CERTIFY = "NothingToCertify"
    """Of a Secret: it was stored earlier, and what it asks for is not possible any more."""
    WANTED = "Wanted"
    LOST = "Lost"
    """A managed Secret is deleted or emptied."""
    NOT_WRITTEN_DOWN = "NotWrittenDown"
    ISSUERS_UNKNOWN = "IssuersUnknown"
    INTERNAL_ERROR = "InternalError"


@dataclass(frozen=True)
class Decision:
    """The answer's patch and warnings, and the certificates to launch: none in a dry run, of which is told what would
    become of those that are `foreseen`.

    Not `at_once`: they are written down and served with placeholders now, and launched after the answer. `later`
    counts those that are even beyond that. `refused` says why the request must not pass,
    and `first`, that it must not unless its order is written down: nobody would come back for it. `lost` is a Secret
    that goes, and how.
    """

    reason: AdmissionReason
    launch: tuple[Entry, ...] = ()
    foreseen: tuple[Entry, ...] = ()
    at_once: bool = True
    later: int = 0
    patch: tuple[Json, ...] = ()
    warnings: tuple[str, ...] = ()
    refused: str = ""
    first: bool = False
    lost: tuple[str, SecretLoss] | None = None


class AdmissionPolicy(ABC):
    """How objects of one kind are admitted. Pure; never raises for what a user wrote.

    What these are given is one of the `operations` on such an object, in a namespace that is not excluded.
    """

    kind: ClassVar[ReviewedKind]
    operations: ClassVar[frozenset[str]] = frozenset({"CREATE", "UPDATE"})
    shape: ClassVar[type[msgspec.Struct]]
    """Every place of the object that certjob reads."""
    refuses: ClassVar[bool]
    """When in doubt it is refused, to be tried again, as nobody would find it later; else admitted, for the sweep.
    What is refused holds keys, too: no traceback of it is logged.
    """

    def reduced(self, found: msgspec.Struct) -> Json:
        """What is kept of an object of the shape."""
        kept: Json = msgspec.to_builtins(found)
        return kept

    def aliased(self, review: Review) -> Review:
        """With what other tools' annotations on its objects say; itself if there are none."""
        return review

    @abstractmethod
    def left_alone(self, review: Review) -> Decision | None:
        """The decision for a reason that needs no issuers; None if there is more to see."""

    @abstractmethod
    def decide(self, review: Review, *, issuers: Issuers, now: datetime) -> Decision:
        """Everything about one that asks."""

    @abstractmethod
    def kept(self, review: Review) -> tuple[Json, ...]:
        """The patch of one that is admitted although the issuers are not known."""


def untouched(review: Review, policy: AdmissionPolicy) -> Decision | None:
    """The decision to leave it alone, for a reason that needs no issuers; None if there is more to see."""
    if review.problem:
        return _malformed(review.problem, policy)
    if review.kind != policy.kind or review.sub_resource:
        return Decision(AdmissionReason.OTHER_KIND)
    if review.operation not in policy.operations:
        return Decision(AdmissionReason.OTHER_OPERATION)
    if (review.object is None and review.operation != "DELETE") or not review.namespace:
        return _malformed("the review has no object or no namespace", policy)
    if v.is_excluded(review.namespace):
        return Decision(AdmissionReason.EXCLUDED_NAMESPACE)
    return policy.left_alone(review)


def launching(
    review: Review, entries: Sequence[Entry], *, patch: tuple[Json, ...], warnings: Sequence[str]
) -> Decision:
    """The decision on one that the sweep would find, too: what is wanted now, as far as one admission may launch."""
    number, launch, at_once = len(entries), tuple(entries[:MAX_PLACED]), fit_at_once(entries)
    later, many = number - len(launch), []
    if not at_once:
        hosts = sum(len(entry.hosts) for entry in launch)
        many.append(f"certificates for {hosts} hosts are ordered in a moment, one after the other")
    if later:
        many.append(f"{later} of {number} certificates are too many for now, the sweep orders them")
    return Decision(
        AdmissionReason.WANTED if entries else AdmissionReason.NOTHING_TO_CERTIFY,
        launch=() if review.dry_run else launch,
        foreseen=_few(launch) if review.dry_run else (),
        at_once=at_once,
        later=later,
        patch=patch,
        warnings=(*warnings, *many),
    )


def fit_at_once(entries: Sequence[Entry]) -> bool:
    """Whether one admission has the time to launch them all, not only to write them down."""
    return len(entries) <= MAX_ENTRIES and sum(len(entry.hosts) for entry in entries) <= MAX_HOSTS


def _few(entries: Sequence[Entry]) -> tuple[Entry, ...]:
    """As many as one admission has the time to look at, and one at least."""
    most = next((number for number in range(MAX_ENTRIES, 1, -1) if fit_at_once(entries[:number])), 1)
    return tuple(entries[:most])


def touchable(asker: Json, *fields: tuple[str, str]) -> Json:
    """A copy of the few fields that matter, and of what holds them: comparing thousands of rules would cost more than
    everything else.
    """
    part: Json = {}
    for outer, inner in fields:
        held = part.setdefault(outer, {})
        if inner in (asker.get(outer) or {}):
            held[inner] = deepcopy(asker[outer][inner])
    return part


def difference(before: Json, after: Json) -> tuple[Json, ...]:
    """The JSON patch (RFC 6902) from the one to the other."""
    return () if before == after else tuple(jsonpatch.make_patch(before, after).patch)


def _malformed(problem: str, policy: AdmissionPolicy) -> Decision:
    if policy.refuses:
        return Decision(AdmissionReason.MALFORMED, refused=problem)
    return Decision(AdmissionReason.MALFORMED, warnings=(problem,))
