"""What an interrupted move of one namespace has left without a master, and how each object is marked. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from issuer_job import vocabulary as v
from issuer_job.cluster.api import Json
from issuer_job.demand.common import written_annotations
from issuer_job.demand.ingress import served_secrets
from issuer_job.migrate.others.cert_manager import ForeignCertificate
from issuer_job.migrate.others.cm_controller import own_annotations
from issuer_job.migrate.plans.estate import Estate, Key
from issuer_job.migrate.plans.steps import MoveRow, WillBe
from issuer_job.record.phases import Phase

FROM = "from-cert-manager"
"""Value of the mark, before what `kubernetes.io/tls-acme` is to be at the end."""


@dataclass(frozen=True)
class Halfway:
    """Ingresses that ask nobody for the moment, and Secrets that will ask."""

    estate: Estate
    ingresses: tuple[Json, ...]
    secrets: tuple[Json, ...]

    @classmethod
    def of(cls, estate: Estate, namespace: str) -> Halfway:
        """In the namespace, or in all if that is empty."""

        def is_meant(found: Json) -> bool:
            here = namespace in {"", found["metadata"]["namespace"]}
            return here and written_annotations(found).get(v.MOVING, "").startswith(FROM)

        secrets = tuple(filter(is_meant, estate.secrets.values()))
        return cls(estate, tuple(filter(is_meant, estate.ingresses)), secrets)

    @property
    def keys(self) -> set[Key]:
        """Of the Secrets; what cert-manager has never written is nobody's to hand over."""
        served = {(each["metadata"]["namespace"], name) for each in self.ingresses for name in served_secrets(each)}
        known = {key for key in served if key in self.estate.secrets and _is_marked(self.estate.secrets[key])}
        return known | {(each["metadata"]["namespace"], each["metadata"]["name"]) for each in self.secrets}

    def is_leaving(self, certificate: ForeignCertificate) -> bool:
        """Whether a move has deleted it, and it is there until the garbage collector has let its Secret go.

        Until then cert-manager looks after it as ever. One that somebody else deletes is not meant.
        """
        deleted, record = certificate.metadata.deletion_timestamp, self.estate.records.get(certificate.key)
        moved = record is not None and record.phase is Phase.ISSUED
        return bool(deleted) and (moved or certificate.key in self.keys)

    def rows(self, known: set[Key], leaving: Iterable[ForeignCertificate]) -> Iterator[MoveRow]:
        """For those of which no Certificate is left, or one that is `leaving`."""
        for key in sorted((self.keys | {each.key for each in leaving}) - known):
            serving = [each for each in self.estate.serving(key) if each in self.ingresses]
            asker = f"Ingress {serving[0]['metadata']['name']}" if serving else f"Secret {key[1]}"
            yield MoveRow(*key, asker, "on its way", WillBe.ADOPTED, "was interrupted: goes on")


def asking_none(ingress: Json, after: Mapping[str, str | None]) -> dict[str, str | None]:
    """Opted out, and marked with what it is to say of that at the end; `after` are its annotations then."""
    notes = written_annotations(ingress)
    if v.MOVING in notes:
        return {v.TLS_ACME: "false", v.MOVING: notes[v.MOVING]}
    then = "" if v.TLS_ACME in after else notes.get(v.TLS_ACME, "")
    return {v.TLS_ACME: "false", v.MOVING: f"{FROM} {then}".strip()}


def asking_again(ingress: Json) -> dict[str, str | None]:
    """The end of that; nothing if it is not marked."""
    moving = written_annotations(ingress).get(v.MOVING)
    return {} if moving is None else {v.MOVING: None, v.TLS_ACME: moving.removeprefix(FROM).strip() or None}


def _is_marked(secret: Json) -> bool:
    """Whether cert-manager has written it, or it was handed over already."""
    labels = secret["metadata"].get("labels") or {}
    return bool(own_annotations(written_annotations(secret))) or labels.get(v.MANAGED) == "true"
