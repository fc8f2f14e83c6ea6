"""What to do about one Secret that asks for a certificate: a pure decision with a machine-readable reason.

Unlike an Ingress, which the sweep finds again, a Secret that nobody has written down is lost to certjob: it cannot be
listed. So what cannot be certified as it stands is refused, with the words for its owner, when it is new or changed.
"""

from __future__ import annotations

from copy import deepcopy
from datetime import datetime
from enum import StrEnum

import jsonpatch

from issuer_job import vocabulary as v
from issuer_job.cluster.api import Json
from issuer_job.demand import secret as requests
from issuer_job.demand.common import annotations_of
from issuer_job.issuers.load import Issuers
from issuer_job.record.annotations import ANNOTATIONS
from webhook import secret_data
from webhook.decide_ingress import Decision
from webhook.review import SECRET, Review

WRITERS = frozenset({f"system:serviceaccount:{v.NAMESPACE}:job", f"system:serviceaccount:{v.NAMESPACE}:sweep"})
_ASKED_BY = (*(row.name for row in ANNOTATIONS), v.HOSTS)
_MAX_KEYS_NAMED = 3
_OLD_STAYS = "the certificate in data does not work (key, date or form): the one that is stored stays"
_PLACEHOLDER_INSTEAD = "the certificate in data does not work (key, date or form): a placeholder takes its place"
_OTHER_TYPE = f"the label {v.REQUEST} asks for a certificate, for which the Secret needs type: {v.TLS_SECRET_TYPE}"


class SecretReason(StrEnum):
    """Why the answer is what it is."""

    MALFORMED = "Malformed"
    NOT_A_SECRET = "NotASecret"  # noqa: S105 - a word, not a secret
    NOT_A_REQUEST = "NotARequest"
    OTHER_OPERATION = "OtherOperation"
    EXCLUDED_NAMESPACE = "ExcludedNamespace"
    OWN_WRITE = "OwnWrite"
    """certjob's own: what its owner wrote on the Secret stays, where no policy sees to that."""
    REFUSED = "Refused"
    NOTHING_TO_CERTIFY = "NothingToCertify"
    """It was stored earlier, and what it asks for is not possible any more."""
    WANTED = "Wanted"


def untouched(review: Review) -> Decision | None:
    """The decision for a reason that needs no issuers; None if there is more to see."""
    if review.problem:
        return Decision(SecretReason.MALFORMED, refused=review.problem)
    if review.kind != SECRET or review.sub_resource:
        return Decision(SecretReason.NOT_A_SECRET)
    if review.operation not in ("CREATE", "UPDATE"):
        return Decision(SecretReason.OTHER_OPERATION)
    if review.object is None or not review.namespace:
        return Decision(SecretReason.MALFORMED, refused="the review has no object or no namespace")
    if review.namespace in v.EXCLUDED_NAMESPACES:
        return Decision(SecretReason.EXCLUDED_NAMESPACE)
    if review.user_info.username in WRITERS:
        return Decision(SecretReason.OWN_WRITE, patch=_answered(review) if review.dry_run else _restored(review))
    if not requests.opts_in(review.object):
        return Decision(SecretReason.NOT_A_REQUEST)
    if review.object.get("type") == v.TLS_SECRET_TYPE:
        return None
    # One that carries the label already may have it for reasons of its owner's.
    return (
        Decision(SecretReason.REFUSED, refused=_OTHER_TYPE)
        if is_first(review)
        else Decision(SecretReason.NOT_A_REQUEST)
    )


def decide(review: Review, *, issuers: Issuers, now: datetime) -> Decision:
    """Everything about one review. Never raises for what a user wrote."""
    if (nothing := untouched(review)) is not None:
        return nothing
    if review.object is None:  # `untouched` has seen to it; this tells the type checker
        return Decision(SecretReason.MALFORMED)
    secret = review.object | {"metadata": review.object["metadata"] | {"namespace": review.namespace or ""}}
    first = is_first(review)
    asked = requests.wants(secret, issuers=issuers)
    entry = next(iter(asked.entries), None)
    warnings = [notice.message for notice in asked.notices]
    frozen = bool(secret.get("immutable")) and not (review.old_object or {}).get("immutable")
    if frozen:
        warnings.insert(0, "immutable: true: a certificate could not be put there")
    if entry is None or frozen:
        return _without_entry(review, warnings, first=first, changed=first or frozen or _asks_otherwise(review))
    settings = entry.source.settings
    held = secret_data.held(review.object, review.old_object, hosts=entry.hosts, wanted=settings.formats, now=now)
    if held.given_up:
        warnings.append(_OLD_STAYS if held.works else _PLACEHOLDER_INSTEAD)
    warnings += _foreign_keys(review, settings.formats)
    return Decision(
        SecretReason.WANTED,
        launch=() if review.dry_run else (entry,),
        patch=_patch(review.object, held),
        warnings=tuple(warnings),
        dry_run=bool(review.dry_run),
        first=first,
    )


def names_unknown_issuer(review: Review, issuers: Issuers) -> bool:
    """Whether its issuer, the default one too, may have been made or repaired after `issuers` was read."""
    return (annotations_of(review.object or {}).get(v.ISSUER) or issuers.default) not in issuers.valid


def is_first(review: Review) -> bool:
    """Whether it asks for the first time, as far as the review shows: nobody knows of it yet."""
    return review.operation == "CREATE" or review.old_object is None or not requests.opts_in(review.old_object)


def carried_over(review: Review) -> tuple[Json, ...]:
    """The patch that keeps an update from taking the certificate away, when no more can be said about it."""
    if review.object is None or review.old_object is None:
        return ()
    after = _touchable(review.object)
    after["data"] = secret_data.kept(review.object, review.old_object)
    old = review.old_object["metadata"].get("labels") or {}
    labels = {key: old[key] for key in (v.MANAGED, v.STATE) if key in old}
    after["metadata"]["labels"] = (after["metadata"].get("labels") or {}) | labels
    if (end := annotations_of(review.old_object).get(v.NOT_AFTER)) is not None:
        after["metadata"]["annotations"] = annotations_of(after) | {v.NOT_AFTER: end}
    return _difference(review.object, after)


def _without_entry(review: Review, warnings: list[str], *, first: bool, changed: bool) -> Decision:
    if changed:
        return Decision(SecretReason.REFUSED, refused="; ".join(warnings), dry_run=bool(review.dry_run), first=first)
    return Decision(
        SecretReason.NOTHING_TO_CERTIFY,
        patch=carried_over(review),
        warnings=tuple(warnings),
        dry_run=bool(review.dry_run),
    )


def _asks_otherwise(review: Review) -> bool:
    new, old = annotations_of(review.object or {}), annotations_of(review.old_object or {})
    return any(new.get(key) != old.get(key) for key in _ASKED_BY)


def _foreign_keys(review: Review, wanted: tuple[str, ...]) -> list[str]:
    names = sorted(set((review.object or {}).get("data") or {}) - {secret_data.CERTIFICATE, secret_data.KEY, *wanted})
    if not names:
        return []
    listed = ", ".join(name[:30] for name in names[:_MAX_KEYS_NAMED]) + (", ..." if names[_MAX_KEYS_NAMED:] else "")
    return [f"data has {listed}: only the certificate's keys stay when it is written"]


def _patch(secret: Json, held: secret_data.KeptData) -> tuple[Json, ...]:
    after = _touchable(secret)
    state = v.SecretState.ISSUED if held.works else v.SecretState.PLACEHOLDER
    metadata = after["metadata"]
    metadata["labels"] = (metadata.get("labels") or {}) | {v.MANAGED: "true", v.STATE: str(state)}
    metadata["annotations"] = annotations_of(after) | {v.NOT_AFTER: f"{held.not_after:%Y-%m-%dT%H:%M:%SZ}"}
    after["data"] = held.data
    return _difference(secret, after)


def _answered(review: Review) -> tuple[Json, ...]:
    """A dry run is a look, or tries whether a write would pass. A look is told what the old object says to certjob;
    never its data, nor what others wrote there, which may quote the data.
    """
    if review.object is None or review.old_object is None or annotations_of(review.object).get(v.LOOK) != "true":
        return ()
    after = _touchable(review.object)
    for kind in ("labels", "annotations"):
        told = review.old_object["metadata"].get(kind) or {}
        after["metadata"][kind] = {key: x for key, x in told.items() if key.startswith(v.PREFIX)}
    after["metadata"]["annotations"][v.LOOK] = "seen"
    return _difference(review.object, after)


def _restored(review: Review) -> tuple[Json, ...]:
    """Labels and annotations of the old object stay under those of the new one."""
    if review.object is None or review.old_object is None or not requests.opts_in(review.old_object):
        return ()
    after = _touchable(review.object)
    for kind in ("labels", "annotations"):
        kept = {key: x for key, x in (review.old_object["metadata"].get(kind) or {}).items() if key != v.LOOK}
        after["metadata"][kind] = kept | (after["metadata"].get(kind) or {})
    return _difference(review.object, after)


def _difference(secret: Json, after: Json) -> tuple[Json, ...]:
    before = _touchable(secret)
    operations: list[Json] = [] if before == after else jsonpatch.make_patch(before, after).patch
    return tuple(operations)


def _touchable(secret: Json) -> Json:
    """The few fields that matter."""
    part: Json = {"metadata": {}}
    for kind in ("labels", "annotations"):
        if kind in secret["metadata"]:
            part["metadata"][kind] = deepcopy(secret["metadata"][kind])
    if "data" in secret:
        part["data"] = deepcopy(secret["data"])
    return part
