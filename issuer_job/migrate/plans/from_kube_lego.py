"""From kube-lego: the plan. Pure.

Ingresses stay as they are: both read `kubernetes.io/tls-acme`. Only where kube-lego was told to renew earlier or
later than by itself, or to heed another annotation, they are to say so in certjob's words; and which issuer they mean
where the operator has chosen one that is not the default one, which stays.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from issuer_job import vocabulary as v
from issuer_job.cluster.api import CONFIGMAPS, INGRESSES, SECRETS
from issuer_job.demand.common import written_annotations
from issuer_job.issuers.load import IssuerError
from issuer_job.migrate.others.kube_lego import CHALLENGES, KubeLego
from issuer_job.migrate.plans.cm_targets import Choices
from issuer_job.migrate.plans.estate import Estate, with_issuers
from issuer_job.migrate.plans.lego_cases import NAME, LegoCase, cases_of, issuer_for
from issuer_job.migrate.plans.steps import (
    MovePlan,
    MoveStep,
    Until,
    Verb,
    WillBe,
    Write,
    filled,
    patch_metadata,
    stopping,
)
from issuer_job.migrate.translate.issuers import TranslatedIssuer


def from_kube_lego(estate: Estate, lego: KubeLego, choices: Choices) -> MovePlan:
    """All that is left to do."""
    made = issuer_for(estate, lego, choices)
    try:
        new = {} if made.exists or made.cannot else {made.name: made.issuer}
    except IssuerError as problem:
        made, new = replace(made, cannot=str(problem)), {}
    issuers = with_issuers(estate.issuers, new)
    issuers = replace(issuers, default=made.name) if made.default else issuers
    every = list(cases_of(estate, lego, choices, issuers, made))
    found = [each for each in every if not each.is_done]
    rows = tuple(case.row for case in found)
    unread = (f"{name} is in a Secret, which nobody reads here: say it in the issuer" for name in lego.unread)
    notes = (*unread, *made.notes)
    going = [each for each in found if each.row.moves or (choices.orders and each.row.will_be is WillBe.ORDERS)]
    if going and (refused := _default_in_use(estate, made)):
        return MovePlan(rows, issuers=(made,), notes=notes, refused=refused)
    moved = len(every) > len(found)
    return MovePlan(rows, filled(_steps(estate, lego, made, going, moved)), () if made.cannot else (made,), notes)


def _default_in_use(estate: Estate, made: TranslatedIssuer) -> str:
    """Another default issuer would have what the former one has given ordered anew."""
    former = estate.issuers.default
    if former in {"", made.name} or not made.default:
        return ""
    users = [
        one for one in estate.records.values() if one.issued is not None and one.intent.settings.issuer == former
    ]
    if not users:
        return ""
    return (
        f"certjob's default issuer {former} has given {len(users)} certificates, which another default issuer would "
        f"have ordered anew: say --issuer {NAME}={former}, or name an issuer on those Ingresses"
    )


def _steps(
    estate: Estate, lego: KubeLego, made: TranslatedIssuer, going: list[LegoCase], moved: bool
) -> Iterator[MoveStep]:
    """`moved`: certjob has some already."""
    if going:
        untested = () if made.name in estate.ready else ((v.NAMESPACE, made.name),)
        yield MoveStep("make the issuer, and test it", tuple(_issuer_writes(estate, made)), Until.READY, untested)
    if going or (moved and lego.replicas):
        yield from stopping("kube-lego", (lego.namespace, lego.deployment), lego.replicas, lego.annotations)
    if going or moved:
        yield MoveStep("delete kube-lego's challenge Ingress", tuple(_challenges(estate, lego)))
    # If certjob orders what it should have taken over, no other shall follow.
    for part, what in ((going[:1], "one first: "), (going[1:], "")):
        yield MoveStep(f"{what}hand the Secrets over", tuple(write for case in part for write in _handed_over(case)))
        waiting = tuple(case.key for case in part)
        yield MoveStep(f"{what}see that certjob has the certificates", until=Until.ADOPTED, about=waiting)


def _issuer_writes(estate: Estate, made: TranslatedIssuer) -> Iterator[Write]:
    if not made.exists:
        yield Write(Verb.CREATE, CONFIGMAPS, v.NAMESPACE, made.name, f"the issuer for {made.origin}", made.config_map)
    former = estate.issuers.default
    if former == made.name or not made.default:
        return
    if made.exists:
        body = {"metadata": {"annotations": {v.DEFAULT_ISSUER: "true"}}}
        yield Write(Verb.PATCH, CONFIGMAPS, v.NAMESPACE, made.name, "the default issuer", body)
    if former:
        gone = {"metadata": {"annotations": {v.DEFAULT_ISSUER: None}}}
        yield Write(Verb.PATCH, CONFIGMAPS, v.NAMESPACE, former, "not the default issuer any more", gone)


def _challenges(estate: Estate, lego: KubeLego) -> Iterator[Write]:
    """Two answers for one challenge path are one too many."""
    for ingress in estate.ingresses:
        metadata = ingress["metadata"]
        if metadata["namespace"] == lego.home and CHALLENGES in written_annotations(ingress):
            yield Write(Verb.DELETE, INGRESSES, lego.home, metadata["name"], "deleted, with its challenge paths")


def _handed_over(case: LegoCase) -> Iterator[Write]:
    yield from patch_metadata(INGRESSES, case.ingress, annotations=case.notes)
    secret = case.estate.secrets.get(case.key)
    if secret is not None:
        yield from patch_metadata(SECRETS, secret, labels={v.MANAGED: "true"})
