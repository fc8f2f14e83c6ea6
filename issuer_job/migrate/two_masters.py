"""Secrets that certjob and another tool both renew: each writes over what the other has ordered. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from issuer_job import vocabulary as v
from issuer_job.cluster.api import Json
from issuer_job.demand.common import annotations_of, is_being_deleted
from issuer_job.demand.ingress import served_secrets
from issuer_job.migrate.others.cert_manager import read_certificate
from issuer_job.migrate.others.cm_controller import Controller, asks_cert_manager
from issuer_job.record.phases import GONE
from issuer_job.record.record import Record
from issuer_job.tenant_secrets.access import Refusal

ANCHOR = "docs/moving.md#two-masters"
_LEFT_ALONE = frozenset({str(Refusal.FOREIGN), str(Refusal.OTHER_TOOL)})
"""Problems of records whose Secrets certjob does not write."""

Key = tuple[str, str]
"""Namespace and name of a Secret."""


@dataclass(frozen=True)
class TwoMasters:
    """One Secret, and by what the other tool has it."""

    namespace: str
    secret_name: str
    other: str

    def __str__(self) -> str:
        return f"Secret {self.namespace}/{self.secret_name} is certjob's and {self.other}: see {ANCHOR}"


def two_masters(
    records: Iterable[Record],
    *,
    certificates: Iterable[Json] = (),
    ingresses: Iterable[Json] = (),
    controller: Controller | None = None,
    kube_lego: bool = False,
) -> tuple[TwoMasters, ...]:
    """Each Secret that has a record of certjob's and another master, by namespace and name.

    `certificates` are cert-manager's, `controller` is cert-manager itself if it is there, `kube_lego` says whether
    that runs. A tool that is there and does not run is a master that comes back.
    """
    # The last one counts.
    others: dict[Key, str] = dict(
        [
            *_by_kube_lego(ingresses if kube_lego else ()),
            *_by_annotation(ingresses, controller),
            *_by_certificate(certificates),
        ]
    )
    ours = {(record.namespace, record.secret_name) for record in records if is_ours(record)}
    return tuple(TwoMasters(*key, others[key]) for key in sorted(ours & others.keys()))


def is_ours(record: Record) -> bool:
    """Whether certjob renews it."""
    left_alone = record.retry is not None and record.retry.problem.type in _LEFT_ALONE
    return record.phase not in GONE and not left_alone


def _by_certificate(certificates: Iterable[Json]) -> Iterator[tuple[Key, str]]:
    for found in certificates:
        certificate = read_certificate(found)
        if certificate is not None and not certificate.metadata.deletion_timestamp:
            yield certificate.key, f"cert-manager's (Certificate {certificate.name})"


def _by_annotation(ingresses: Iterable[Json], controller: Controller | None) -> Iterator[tuple[Key, str]]:
    """Of Ingresses for which cert-manager makes Certificates, or will once it is there."""
    for ingress in ingresses if controller is not None else ():
        if not is_being_deleted(ingress) and asks_cert_manager(annotations_of(ingress), controller):
            yield from _served(ingress, "cert-manager's")


def _by_kube_lego(ingresses: Iterable[Json]) -> Iterator[tuple[Key, str]]:
    for ingress in ingresses:
        if not is_being_deleted(ingress) and annotations_of(ingress).get(v.TLS_ACME) == "true":
            yield from _served(ingress, "kube-lego's")


def _served(ingress: Json, whose: str) -> Iterator[tuple[Key, str]]:
    metadata = ingress["metadata"]
    for name in served_secrets(ingress):
        yield (metadata["namespace"], name), f"{whose} (Ingress {metadata['name']})"
