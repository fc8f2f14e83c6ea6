"""What to do about one Ingress that passes by: a pure decision with a machine-readable reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from issuer_job import vocabulary as v
from issuer_job.cluster.api import Json
from issuer_job.demand import ingress as w
from issuer_job.demand.common import Entry, annotations_of
from issuer_job.issuers.load import Issuers
from webhook.ingress_patch import make_patch
from webhook.review import INGRESS, Review

MAX_ENTRIES = 5
MAX_HOSTS = 20
"""Launched by one admission, in all of its entries; the sweep does the rest."""
MAX_NAMES = 2000
"""Rules, tls entries and their hosts that are worth looking at here: more would keep other requests waiting."""


class IngressReason(StrEnum):
    """Why the answer is what it is."""

    MALFORMED = "Malformed"
    NOT_AN_INGRESS = "NotAnIngress"
    OTHER_OPERATION = "OtherOperation"
    EXCLUDED_NAMESPACE = "ExcludedNamespace"
    NOT_OPTED_IN = "NotOptedIn"
    BEING_DELETED = "BeingDeleted"
    TOO_LARGE = "TooLarge"
    NOTHING_TO_CERTIFY = "NothingToCertify"
    WANTED = "Wanted"


@dataclass(frozen=True)
class Decision:
    """The answer's patch and warnings, and the certificates to launch: none in a dry run.

    `later` counts the certificates beyond the limits of one admission. `refused` says why the request must not pass,
    and `first`, that nobody would come back for it: both only of Secrets that ask for their own certificate.
    """

    reason: StrEnum
    launch: tuple[Entry, ...] = ()
    later: int = 0
    patch: tuple[Json, ...] = ()
    warnings: tuple[str, ...] = ()
    dry_run: bool = False
    refused: str = ""
    first: bool = False


def untouched(review: Review, *, namespace_enabled: bool) -> Decision | None:
    """The decision to leave the Ingress alone, for a reason that needs no issuers; None if there is more to see."""
    if review.problem:
        return Decision(IngressReason.MALFORMED, warnings=(review.problem,))
    if review.kind != INGRESS or review.sub_resource:
        return Decision(IngressReason.NOT_AN_INGRESS)
    if review.operation not in ("CREATE", "UPDATE"):
        return Decision(IngressReason.OTHER_OPERATION)
    if review.object is None or not namespace_of(review):
        return Decision(IngressReason.MALFORMED, warnings=("the review has no object or no namespace",))
    if namespace_of(review) in v.EXCLUDED_NAMESPACES:
        return Decision(IngressReason.EXCLUDED_NAMESPACE)
    if review.object["metadata"].get("deletionTimestamp"):
        return Decision(IngressReason.BEING_DELETED)
    if not w.opts_in(review.object, namespace_enabled=namespace_enabled):
        return Decision(IngressReason.NOT_OPTED_IN)
    if _count_names(review.object) > MAX_NAMES:
        message = f"more than {MAX_NAMES} rules and tls hosts: left alone, split the Ingress"
        return Decision(IngressReason.TOO_LARGE, warnings=(message,))
    return None


def decide(review: Review, *, issuers: Issuers, namespace_enabled: bool) -> Decision:
    """Everything about one review. Never raises for what a user wrote."""
    if (nothing := untouched(review, namespace_enabled=namespace_enabled)) is not None:
        return nothing
    if review.object is None:  # `untouched` has seen to it; this tells the type checker
        return Decision(IngressReason.MALFORMED)
    ingress = _with_namespace(review.object, namespace_of(review))
    former = former_entry(review)
    wanted = w.wants(ingress, issuers=issuers, namespace_enabled=namespace_enabled, former=former)
    warnings = [notice.message for notice in wanted.notices]
    launch = _within_limits(wanted.entries)
    later = len(wanted.entries) - len(launch)
    if review.dry_run and wanted.added is not None and former is None:
        # Without dry run the launch tells.
        warnings.append(f"spec.tls would get the Secret {wanted.added.secret_name[:60]}")
    if later:
        warnings.append(f"{later} of {len(wanted.entries)} certificates are too many for now, the sweep orders them")
    return Decision(
        IngressReason.WANTED if wanted.entries else IngressReason.NOTHING_TO_CERTIFY,
        launch=() if review.dry_run else launch,
        later=later,
        patch=make_patch(review.object, wanted.added or kept_entry(review)),
        warnings=tuple(warnings),
        dry_run=bool(review.dry_run),
    )


def names_unknown_issuer(review: Review, issuers: Issuers) -> bool:
    """Whether the Ingress's issuer, the default one too, may have been made or repaired after `issuers` was read."""
    return (annotations_of(review.object or {}).get(v.ISSUER) or issuers.default) not in issuers.valid


def namespace_of(review: Review) -> str:
    """The request's namespace: the object of a CREATE need not have one."""
    return review.namespace or ""


def former_entry(review: Review) -> w.TlsEntry | None:
    """certjob's own entry in the old object of an UPDATE."""
    return w.own_entry(review.old_object) if review.old_object is not None else None


def kept_entry(review: Review) -> w.TlsEntry | None:
    """certjob's former entry as it was, if the new object has no tls: an issuer's trouble must not take TLS away."""
    former = former_entry(review)
    if former is None or review.object is None or (review.object.get("spec") or {}).get("tls"):
        return None
    return former if set(former.hosts) <= set(w.rule_hosts(review.object)) else None


def _within_limits(entries: Sequence[Entry]) -> tuple[Entry, ...]:
    """The first entries, as far as they fit together; one that does not fit keeps no smaller one out."""
    chosen: list[Entry] = []
    hosts = 0
    for entry in entries:
        if len(chosen) < MAX_ENTRIES and hosts + len(entry.hosts) <= MAX_HOSTS:
            chosen.append(entry)
            hosts += len(entry.hosts)
    return tuple(chosen)


def _with_namespace(ingress: Json, namespace: str) -> Json:
    return ingress | {"metadata": ingress["metadata"] | {"namespace": namespace}}


def _count_names(ingress: Json) -> int:
    spec = ingress.get("spec") or {}
    tls = spec.get("tls") or []
    return len(spec.get("rules") or []) + len(tls) + sum(len(entry.get("hosts") or []) for entry in tls)
