"""To cert-manager: what stands on objects on the way there, and what an interrupted move has left. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from issuer_job import names
from issuer_job import vocabulary as v
from issuer_job.cluster.api import Json
from issuer_job.demand.common import written_annotations
from issuer_job.demand.ingress import served_secrets
from issuer_job.migrate.leaving.cases import LeaveCase
from issuer_job.migrate.others.cert_manager import ISSUER_NAME, IssuerRef
from issuer_job.migrate.plans.estate import Estate, Key
from issuer_job.migrate.plans.steps import MoveRow, WillBe

TO = "to-cert-manager"


@dataclass(frozen=True)
class OnItsWay:
    """A Secret without a master: `target` and the certificate's key stand on the mark, which is on its Ingress, or on
    the Secret itself.
    """

    row: MoveRow
    target: IssuerRef
    key_words: tuple[str, int]
    secret: Json
    ingress: Json | None

    @property
    def key(self) -> Key:
        """Namespace and name of the Secret."""
        return self.row.namespace, self.row.secret_name


def mark_of(case: LeaveCase) -> str:
    """What is remembered of where it goes."""
    algorithm, size = case.key_words
    return f"{TO} {case.target.kind}/{case.target.name} {algorithm} {size}"


def on_their_way(estate: Estate, namespace: str) -> Iterator[OnItsWay]:
    """In the namespace, or in all if that is empty."""
    for ingress in estate.ingresses:
        metadata, marked = ingress["metadata"], _read(ingress)
        if marked is None or namespace not in {"", metadata["namespace"]}:
            continue
        for name in sorted(served_secrets(ingress)):
            key = metadata["namespace"], name
            secret = estate.secrets.get(key)
            if secret is not None and _goes_there(secret, marked[0]):
                yield OnItsWay(_row(key, f"Ingress {metadata['name']}"), *marked, secret, ingress)
    for key, secret in sorted(estate.secrets.items()):
        marked = _read(secret)
        if marked is not None and namespace in {"", key[0]}:
            yield OnItsWay(_row(key, f"Secret {key[1]}"), *marked, secret, None)


def _read(found: Json) -> tuple[IssuerRef, tuple[str, int]] | None:
    parts = written_annotations(found).get(v.MOVING, "").split(" ")
    if len(parts) != 4 or parts[0] != TO:
        return None
    kind, _, name = parts[1].partition("/")
    return IssuerRef(name=name, kind=kind), (parts[2], names.number(parts[3]))


def _goes_there(secret: Json, target: IssuerRef) -> bool:
    """Whether it is certjob's still, or has been written for cert-manager's issuer already."""
    managed = (secret["metadata"].get("labels") or {}).get(v.MANAGED) == "true"
    return managed or written_annotations(secret).get(ISSUER_NAME) == target.name


def _row(key: Key, asker: str) -> MoveRow:
    return MoveRow(*key, asker, "on its way", WillBe.ADOPTED, "was interrupted: goes on")
