"""From cert-manager: which Certificates move, as of an Ingress all do or none, and how Secrets change hands. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from issuer_job import vocabulary as v
from issuer_job.cluster.api import SECRETS, Json
from issuer_job.demand.common import written_annotations
from issuer_job.migrate.others.cert_manager import IssuerKey
from issuer_job.migrate.others.cm_controller import own_annotations
from issuer_job.migrate.plans.cm_case import Case, Move
from issuer_job.migrate.plans.cm_targets import CertManager, Choices
from issuer_job.migrate.plans.estate import Estate, Key, with_issuers
from issuer_job.migrate.plans.steps import WillBe, Write, patch_metadata
from issuer_job.migrate.translate.issuers import TranslatedIssuer

FAO = "controller.cert-manager.io/fao"
"""Label by which cert-manager finds Secrets that it reads."""


def moves(
    estate: Estate, theirs: CertManager, choices: Choices, made: Mapping[IssuerKey, TranslatedIssuer]
) -> list[Move]:
    """Each Certificate, by namespace and Secret, and what becomes of it."""
    new = {each.name: each.issuer for each in made.values() if not each.cannot and not each.exists}
    issuers = with_issuers(estate.issuers, new)
    often = Counter(certificate.key for certificate in theirs.certificates)
    full: Counter[str] = Counter()
    found = []
    for certificate in sorted(theirs.certificates, key=lambda each: (each.key, each.name)):
        namespace = certificate.metadata.namespace
        if choices.namespace not in {"", namespace}:
            continue
        case = Case(estate, theirs, issuers, certificate, made.get(certificate.spec.issuer_ref.key(namespace)))
        move = case.judged(alone=often[certificate.key] == 1, beside=full[namespace])
        full[namespace] += move.row.will_be is not WillBe.CANNOT and move.key not in estate.records
        found.append(move)
    return together(found, choices)


def together(found: list[Move], choices: Choices) -> list[Move]:
    """Of an Ingress all certificates move, or none: it has one annotation for all."""
    while True:
        left: dict[tuple[str, str], Move] = {}
        said: dict[tuple[str, str], Mapping[str, str]] = {}
        for move in found:
            for ingress in move.ingresses:
                where = move.row.namespace, ingress["metadata"]["name"]
                words = {v.ISSUER: move.issuer, **move.words.annotations}
                if not is_moving(move, choices) or said.setdefault(where, words) != words:
                    left.setdefault(where, move)
        after = [_with_its_ingresses(move, left, choices) for move in found]
        if after == found:
            return found
        found = after


def _with_its_ingresses(move: Move, left: Mapping[tuple[str, str], Move], choices: Choices) -> Move:
    for ingress in move.ingresses if is_moving(move, choices) else ():
        name = ingress["metadata"]["name"]
        other = left.get((move.row.namespace, name))
        if other is not None:
            return move.stays(f"Ingress {name} serves {other.row.secret_name}, too, which does not go with it")
    return move


def is_moving(move: Move, choices: Choices) -> bool:
    """Whether it is to be moved."""
    return move.row.moves or (choices.orders and move.row.will_be is WillBe.ORDERS)


def request_of(move: Move) -> dict[str, str | None]:
    """The annotations of a Secret that asks."""
    return {v.HOSTS: ",".join(move.words.hosts), v.ISSUER: move.issuer, **move.words.annotations}


def new_request(key: Key, notes: Mapping[str, str | None]) -> Json:
    """A Secret that asks, and holds nothing yet."""
    metadata = {"namespace": key[0], "name": key[1], "labels": {v.REQUEST: "true"}, "annotations": dict(notes)}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": v.TLS_SECRET_TYPE}


def made_managed(secret: Json | None) -> Iterator[Write]:
    """certjob's own from now on, of an Ingress."""
    if secret is not None:
        yield from _handed(secret, {v.MANAGED: "true"}, {})


def made_asking(secret: Json, notes: Mapping[str, str | None]) -> Iterator[Write]:
    """One that asks certjob for itself, with these annotations."""
    yield from _handed(secret, {v.REQUEST: "true"}, {**notes, v.MOVING: None})


def _handed(secret: Json, labels: Mapping[str, str], notes: Mapping[str, str | None]) -> Iterator[Write]:
    """A Secret that another tool has written stays that one's for certjob, until its marks are gone."""
    gone = dict.fromkeys(own_annotations(written_annotations(secret)))
    yield from patch_metadata(SECRETS, secret, labels={**labels, FAO: None}, annotations={**gone, **notes})
