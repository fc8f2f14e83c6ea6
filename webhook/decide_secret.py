"""What to do about one Secret that asks for a certificate: a pure decision with a machine-readable reason.

Unlike an Ingress, which the sweep finds again, a Secret that nobody has written down is lost to certjob: it cannot be
listed. So what cannot be certified as it stands is refused, with the words for its owner, when it is new or changed.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from datetime import datetime

import msgspec
from msgspec import UNSET

from issuer_job import vocabulary as v
from issuer_job.cluster.api import Json
from issuer_job.demand.common import annotations_of
from issuer_job.demand.secret import opts_in, wants
from issuer_job.issuers.load import Issuers
from issuer_job.record.annotations import ANNOTATIONS
from webhook import secret_data
from webhook.policy import AdmissionPolicy, AdmissionReason, Decision, difference, fit_at_once, touchable
from webhook.review import Map, Review, ReviewedKind, ReviewedMetadata

WRITERS = frozenset({f"system:serviceaccount:{v.NAMESPACE}:job", f"system:serviceaccount:{v.NAMESPACE}:sweep"})
_ASKED_BY = (*(row.name for row in ANNOTATIONS), v.HOSTS)
_MAX_KEYS_NAMED = 3
_OLD_STAYS = "the certificate in data does not work (key, date or form): the one that is stored stays"
_PLACEHOLDER_INSTEAD = "the certificate in data does not work (key, date or form): a placeholder takes its place"
_OTHER_TYPE = f"the label {v.REQUEST} asks for a certificate, for which the Secret needs type: {v.TLS_SECRET_TYPE}"


class _Secret(msgspec.Struct, omit_defaults=True):
    metadata: ReviewedMetadata
    type: str | None = None
    data: Map[str | None] = UNSET
    immutable: bool | None = None


@dataclass(frozen=True)
class SecretPolicy(AdmissionPolicy):
    """Secrets are refused when in doubt: an update might wipe a certificate, too."""

    kind = ReviewedKind("", "v1", "Secret")
    shape = _Secret
    refuses = True

    def left_alone(self, review: Review) -> Decision | None:
        """See `AdmissionPolicy`."""
        if review.user_info.username in WRITERS:
            patch = _answered(review) if review.dry_run else _restored(review)
            return Decision(AdmissionReason.OWN_WRITE, patch=patch)
        if not opts_in(review.asker):
            return Decision(AdmissionReason.NOT_A_REQUEST)
        if review.asker.get("type") == v.TLS_SECRET_TYPE:
            return None
        # One that carries the label already may have it for reasons of its owner's.
        if is_first(review):
            return Decision(AdmissionReason.REFUSED, refused=_OTHER_TYPE)
        return Decision(AdmissionReason.NOT_A_REQUEST)

    def decide(self, review: Review, *, issuers: Issuers, now: datetime) -> Decision:
        """See `AdmissionPolicy`."""
        secret, first = review.asker, is_first(review)
        asked = wants(secret, issuers=issuers)
        entry = next(iter(asked.entries), None)
        warnings = [notice.message for notice in asked.notices]
        frozen = bool(secret.get("immutable")) and not review.former.get("immutable")
        if frozen:
            warnings.insert(0, "immutable: true: a certificate could not be put there")
        if entry is None or frozen:
            if first or frozen or _asks_otherwise(review):
                return Decision(AdmissionReason.REFUSED, refused="; ".join(warnings), first=first)
            return Decision(AdmissionReason.NOTHING_TO_CERTIFY, patch=self.kept(review), warnings=tuple(warnings))
        formats = entry.source.settings.formats
        held = secret_data.held(secret, review.former, hosts=entry.hosts, wanted=formats, now=now)
        if held.given_up:
            warnings.append(_OLD_STAYS if held.works else _PLACEHOLDER_INSTEAD)
        warnings += _foreign_keys(review, formats)
        labels = {v.MANAGED: "true", v.STATE: str(v.SecretState.ISSUED if held.works else v.SecretState.PLACEHOLDER)}
        return Decision(
            AdmissionReason.WANTED,
            launch=() if review.dry_run else (entry,),
            foreseen=(entry,) if review.dry_run else (),
            at_once=fit_at_once((entry,)),
            patch=_patch(secret, labels, {v.NOT_AFTER: f"{held.not_after:%Y-%m-%dT%H:%M:%SZ}"}, held.data),
            warnings=tuple(warnings),
            first=first,
        )

    def kept(self, review: Review) -> tuple[Json, ...]:
        """What keeps an update from taking the certificate away, when no more can be said about it."""
        if review.old_object is None:
            return ()
        old = review.former["metadata"].get("labels") or {}
        labels = {key: old[key] for key in (v.MANAGED, v.STATE) if key in old}
        end = annotations_of(review.former).get(v.NOT_AFTER)
        data = secret_data.kept(review.asker, review.former)
        return _patch(review.asker, labels, {} if end is None else {v.NOT_AFTER: end}, data)


def is_first(review: Review) -> bool:
    """Whether it asks for the first time, as far as the review shows: nobody knows of it yet."""
    return review.operation == "CREATE" or not opts_in(review.former)


def _asks_otherwise(review: Review) -> bool:
    new, old = annotations_of(review.asker), annotations_of(review.former)
    return any(new.get(key) != old.get(key) for key in _ASKED_BY)


def _foreign_keys(review: Review, wanted: tuple[str, ...]) -> list[str]:
    names = sorted(set(review.asker.get("data") or {}) - {secret_data.CERTIFICATE, secret_data.KEY, *wanted})
    if not names:
        return []
    listed = ", ".join(name[:30] for name in names[:_MAX_KEYS_NAMED]) + (", ..." if names[_MAX_KEYS_NAMED:] else "")
    return [f"data has {listed}: kept beside the certificate, but not before Kubernetes 1.36"]


def _patch(secret: Json, labels: Json, annotations: Json, data: Json | None = None) -> tuple[Json, ...]:
    """What adds these to what it has, and puts the data in the place of its own."""
    before = _touchable(secret)
    has = before["metadata"]
    metadata = {
        "labels": (has.get("labels") or {}) | labels,
        "annotations": (has.get("annotations") or {}) | annotations,
    }
    return difference(before, before | {"metadata": metadata} | ({} if data is None else {"data": data}))


def _answered(review: Review) -> tuple[Json, ...]:
    """A dry run is a look, or tries whether a write would pass. A look is told what the old object says to certjob;
    never its data, nor what others wrote there, which may quote the data.
    """
    if review.old_object is None or annotations_of(review.asker).get(v.LOOK) != "true":
        return ()
    after = _touchable(review.asker)
    for kind in ("labels", "annotations"):
        told = review.former["metadata"].get(kind) or {}
        after["metadata"][kind] = {key: x for key, x in told.items() if key.startswith(v.PREFIX)}
    after["metadata"]["annotations"][v.LOOK] = "seen"
    return difference(_touchable(review.asker), after)


def _restored(review: Review) -> tuple[Json, ...]:
    """Labels and annotations of the old object stay under those of the new one."""
    if not opts_in(review.former):
        return ()
    new, old = review.asker["metadata"], review.former["metadata"]
    labels = (old.get("labels") or {}) | (new.get("labels") or {})
    kept = {key: x for key, x in annotations_of(review.former).items() if key != v.LOOK}
    return _patch(review.asker, labels, kept | annotations_of(review.asker))


def _touchable(secret: Json) -> Json:
    part = touchable(secret, ("metadata", "labels"), ("metadata", "annotations"))
    return part | {"data": deepcopy(secret["data"])} if "data" in secret else part
