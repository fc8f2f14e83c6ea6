"""From cert-manager: which Certificates move, as of an Ingress all do or none. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from issuer_job import vocabulary as v
from issuer_job.migrate.others.cert_manager import IssuerKey
from issuer_job.migrate.plans.cm_case import Case, Move
from issuer_job.migrate.plans.cm_targets import CertManager, Choices
from issuer_job.migrate.plans.estate import Estate, with_issuers
from issuer_job.migrate.plans.steps import WillBe
from issuer_job.migrate.translate.issuers import TranslatedIssuer


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
