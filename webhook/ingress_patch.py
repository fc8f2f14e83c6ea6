"""The JSON patch (RFC 6902) that gives an Ingress certjob's own spec.tls entry and its marker. Pure."""

from __future__ import annotations

from copy import deepcopy

import jsonpatch

from issuer_job.cluster.api import Json
from issuer_job.demand.ingress import TlsEntry, with_entry


def make_patch(ingress: Json, added: TlsEntry | None) -> tuple[Json, ...]:
    """The operations that put the entry there; none if it is there already."""
    if added is None:
        return ()
    before = _touchable(ingress)
    after = with_entry(before, added)
    if before == after:
        return ()
    operations: list[Json] = jsonpatch.make_patch(before, after).patch
    return tuple(operations)


def _touchable(ingress: Json) -> Json:
    """The few fields that matter: comparing thousands of rules would cost more than everything else."""
    part: Json = {"metadata": {}, "spec": {}}
    for outer, inner in (("metadata", "annotations"), ("spec", "tls")):
        if inner in (ingress.get(outer) or {}):
            part[outer][inner] = deepcopy(ingress[outer][inner])
    return part
