"""What to do about one Ingress that passes by: a pure decision with a machine-readable reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import cast

import msgspec
from msgspec import UNSET

from issuer_job import vocabulary as v
from issuer_job.cluster.api import Json
from issuer_job.demand.common import Entry, is_being_deleted, written_annotations
from issuer_job.demand.ingress import aliased, named_secrets, opts_in, served_secrets, wants
from issuer_job.demand.ingress_spec import (
    MAX_NAMES,
    TOO_LARGE,
    Spec,
    TlsEntry,
    hosts_by_secret,
    is_copied,
    own_entry,
    rule_hosts,
    spec_of,
    with_entry,
)
from issuer_job.issuers.load import Issuers
from webhook.policy import AdmissionPolicy, AdmissionReason, Decision, difference, launching, touchable
from webhook.review import Review, ReviewedKind, ReviewedMetadata


class _Ingress(msgspec.Struct):
    metadata: ReviewedMetadata
    spec: Spec | None = None


@dataclass(frozen=True)
class IngressPolicy(AdmissionPolicy):
    """Ingresses are admitted whatever happens: at worst with a warning, and the sweep finds them again.

    `namespace_enabled`: what is sent to this path is opted in by its namespace.
    """

    namespace_enabled: bool
    kind = ReviewedKind("networking.k8s.io", "v1", "Ingress")
    shape = _Ingress
    refuses = False

    def reduced(self, found: msgspec.Struct) -> Json:
        """See `AdmissionPolicy`."""
        metadata, spec = cast(_Ingress, found).metadata, cast(_Ingress, found).spec or Spec()
        return {"metadata": msgspec.to_builtins(metadata), "spec": TOO_LARGE if spec.is_too_large else spec}

    def aliased(self, review: Review) -> Review:
        """See `AdmissionPolicy`."""
        new, old = review.object, review.old_object
        seen = new and aliased(new), old and aliased(old)
        same = seen[0] is new and seen[1] is old
        return review if same else msgspec.structs.replace(review, object=seen[0], old_object=seen[1])

    def left_alone(self, review: Review) -> Decision | None:
        """See `AdmissionPolicy`."""
        ingress = review.asker
        if is_being_deleted(ingress):
            return Decision(AdmissionReason.BEING_DELETED)
        if not opts_in(ingress, namespace_enabled=self.namespace_enabled):
            return Decision(AdmissionReason.NOT_OPTED_IN, warnings=self._left_behind(review))
        if spec_of(ingress).is_too_large:
            message = f"more than {MAX_NAMES} rules and tls hosts: left alone, split the Ingress"
            return Decision(AdmissionReason.TOO_LARGE, warnings=(message,))
        return None

    def _left_behind(self, review: Review) -> tuple[str, ...]:
        """Which Secrets of one that opts out stay in spec.tls; whether they have certificates nobody asks."""
        asked = named_secrets(review.former, namespace_enabled=self.namespace_enabled)
        kept = sorted(asked & served_secrets(review.asker))
        return tuple(f"Secret {name[:60]}: not certjob's any more: not renewed, a placeholder goes" for name in kept)

    def decide(self, review: Review, *, issuers: Issuers, now: datetime) -> Decision:
        """See `AdmissionPolicy`."""
        ingress, former = review.asker, own_entry(review.former)
        if is_copied(ingress):
            ingress = ingress | {"spec": msgspec.structs.replace(spec_of(ingress), tls=UNSET)}
        wanted = wants(ingress, issuers=issuers, namespace_enabled=self.namespace_enabled, former=former)
        warnings = [notice.message for notice in wanted.notices]
        if review.dry_run and wanted.added is not None and former is None:
            # Without dry run the launch tells.
            warnings.append(f"spec.tls would get the Secret {wanted.added.secret_name[:60]}")
        patch = make_patch(review.asker, wanted.added) if wanted.added else self.kept(review)
        return launching(review, _renamed(wanted.entries, review), patch=patch, warnings=warnings)

    def kept(self, review: Review) -> tuple[Json, ...]:
        """certjob's former entry as it was, if there is no tls now: an issuer's trouble must not take it away."""
        former, ingress = own_entry(review.former), review.asker
        if own_entry(ingress) is not None and not rule_hosts(ingress):
            return make_patch(ingress, None)  # its hosts are gone, so nothing is served by it
        if former is None or spec_of(ingress).entries:
            return ()
        return make_patch(ingress, former) if set(former.hosts) <= set(rule_hosts(ingress)) else ()


def _renamed(entries: Sequence[Entry], review: Review) -> list[Entry]:
    """The entries, each with the Secret that the Ingress named for its hosts before, and names no more."""
    before = hosts_by_secret(review.former)
    gone = before.keys() - {entry.secret_name for entry in entries} - served_secrets(review.asker)
    by_host = {host: name for name in gone for host in before[name]}

    def former(entry: Entry) -> str:
        name = by_host.get(entry.hosts[0], "")
        fits = name and entry.secret_name not in before and set(entry.hosts) <= set(before[name])
        return name if fits else ""

    return [replace(entry, renamed_from=former(entry)) for entry in entries]


def make_patch(ingress: Json, added: TlsEntry | None) -> tuple[Json, ...]:
    """What puts certjob's own entry and its mark there, nothing if they are there already; or takes them away."""
    if added is not None and added == own_entry(ingress):
        return ()
    tls = spec_of(ingress).tls
    before = touchable(ingress, ("metadata", "annotations"))
    before["spec"] = {} if tls is UNSET else {"tls": msgspec.to_builtins(tls)}
    if added is None:
        notes = {key: x for key, x in written_annotations(ingress).items() if key != v.TLS_ENTRY}
        return difference(before, {"metadata": {"annotations": notes}, "spec": {}})
    after = with_entry(ingress | {"spec": before["spec"]}, added)
    return difference(before, {"metadata": {"annotations": written_annotations(after)}, "spec": after["spec"]})
