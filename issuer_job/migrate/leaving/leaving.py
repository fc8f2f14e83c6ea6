"""To cert-manager: the plan. Pure.

One after the other nobody asks for the certificate, its Secret is certjob's no more, certjob forgets it, and then
cert-manager is asked: at no time has it two masters. In between the mark on the Ingress, or on the Secret, says where
it goes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from issuer_job import names
from issuer_job import vocabulary as v
from issuer_job.cluster.api import CONFIGMAPS, INGRESSES, SECRETS, Json
from issuer_job.demand.common import written_annotations
from issuer_job.demand.ingress import served_secrets
from issuer_job.migrate.leaving import wishes
from issuer_job.migrate.leaving.cases import LeaveCase, cases_of
from issuer_job.migrate.leaving.marks import OnItsWay, mark_of, on_their_way
from issuer_job.migrate.others.cert_manager import CERTIFICATES, IssuerRef
from issuer_job.migrate.plans.cm_targets import CertManager, Choices
from issuer_job.migrate.plans.estate import Estate
from issuer_job.migrate.plans.steps import (
    DEPLOYMENTS,
    MovePlan,
    MoveRow,
    MoveStep,
    Until,
    Verb,
    WillBe,
    Write,
    filled,
    patch_metadata,
)
from issuer_job.migrate.translate.back import cluster_issuer


def to_cert_manager(estate: Estate, theirs: CertManager, choices: Choices) -> MovePlan:
    """All that is left to do."""
    cases = cases_of(estate, theirs, choices)
    going = [case for case in cases if case.row.moves or (choices.orders and case.row.will_be is WillBe.ORDERS)]
    going = [case for case in going if _is_whole(case, going)]
    halfway = list(on_their_way(estate, choices.namespace))
    rows = (*(_with_its_ingress(case, going) for case in cases), *(each.row for each in halfway))
    plan, controller = _drafts(estate, cases, rows), theirs.controller
    if not (going or halfway):
        return plan
    if controller is None or not (controller.runs or v.REPLICAS in controller.annotations):
        return replace(plan, refused="cert-manager does not run: install it, or start it, first")
    return replace(plan, steps=filled(_Leaving(estate, theirs).steps(going, halfway)))


def _drafts(estate: Estate, cases: list[LeaveCase], rows: tuple[MoveRow, ...]) -> MovePlan:
    """With ClusterIssuers for those of certjob's issuers that cert-manager has none for."""
    drafts, notes = list[tuple[str, Json]](), list[str]()
    for name in sorted({case.ours for case in cases if case.lacks_issuer} & estate.issuers.valid.keys()):
        body, left = cluster_issuer(name, estate.issuers.valid[name])
        drafts.append(("cluster-issuers", body))
        notes += [f"ClusterIssuer {name}, as --write has it, still needs {what}" for what in left]
    return MovePlan(rows, notes=tuple(notes), drafts=tuple(drafts))


def _is_whole(case: LeaveCase, going: list[LeaveCase]) -> bool:
    """Whether all that its Ingress serves goes with it, in the same way: it has one annotation for all."""
    asked = {(case.row.namespace, name) for ingress in case.ingresses for name in served_secrets(ingress)}
    others = [each for each in going if each.key in asked]
    return asked <= {each.key for each in going} and len({(each.target, each.key_words) for each in others}) <= 1


def _with_its_ingress(case: LeaveCase, going: list[LeaveCase]) -> MoveRow:
    if case in going or not case.row.moves:
        return case.row
    why = "its Ingress serves another Secret, too, which does not go with it"
    return replace(case.row, will_be=WillBe.CANNOT, why=why)


@dataclass(frozen=True)
class _Leaving:
    """Makes the steps."""

    estate: Estate
    theirs: CertManager

    def steps(self, going: list[LeaveCase], halfway: list[OnItsWay]) -> Iterator[MoveStep]:
        """One first: if cert-manager orders what it should leave, no other shall follow."""
        yield from self._started()
        first = [case for case in going if case in going[:1] or _share_an_ingress(case, going[0])]
        rest = [case for case in going if case not in first]
        yield from self._part(first, [], "one first: ")
        yield from self._part(rest, halfway, "")

    def _part(self, part: list[LeaveCase], more: list[OnItsWay], what: str) -> Iterator[MoveStep]:
        keys = tuple(sorted({case.key for case in part} | {each.key for each in more}))
        asking = [(case.secret, case.target, case.key_words) for case in part if not case.ingresses]
        asking += [(each.secret, each.target, each.key_words) for each in more if each.ingress is None]
        yield MoveStep(f"{what}have nobody ask for them", tuple(self._asking_nobody(part)))
        yield MoveStep(f"{what}make the Secrets certjob's no more", tuple(self._given_back(part, more)))
        forgotten = (self._forgotten(key) for key in keys if key in self.estate.records)
        yield MoveStep(f"{what}have certjob forget them", tuple(forgotten))
        asked = (*self._ingresses_asking(part, more), *self._certificates(asking))
        yield MoveStep(f"{what}have cert-manager asked", asked)
        yield MoveStep(f"{what}see that cert-manager has them", until=Until.KEPT, about=keys)
        yield MoveStep(f"{what}clear certjob's words away", tuple(_cleared(secret) for secret, _, _ in asking))

    def _started(self) -> Iterator[MoveStep]:
        controller = self.theirs.controller
        before = controller.annotations.get(v.REPLICAS, "") if controller is not None else ""
        if controller is not None and not controller.runs and before.isdecimal():
            body = {"metadata": {"annotations": {v.REPLICAS: None}}, "spec": {"replicas": int(before)}}
            where = (DEPLOYMENTS, controller.namespace, controller.name)
            yield MoveStep("start cert-manager", (Write(Verb.PATCH, *where, f"{before} replicas again", body),))

    def _asking_nobody(self, part: list[LeaveCase]) -> Iterator[Write]:
        done = set()
        for case in part:
            mark: dict[str, str | None] = {v.MOVING: mark_of(case)}
            if not case.ingresses:
                yield from patch_metadata(SECRETS, case.secret, labels={v.REQUEST: None}, annotations=mark)
            for ingress in case.ingresses:
                where = namespace, _ = ingress["metadata"]["namespace"], ingress["metadata"]["name"]
                if where not in done:
                    done.add(where)
                    quiet = wishes.silent(enabled=namespace in self.estate.enabled)
                    notes = quiet | wishes.settings_of(case) | mark
                    yield from patch_metadata(INGRESSES, ingress, annotations=notes)

    def _given_back(self, part: list[LeaveCase], more: list[OnItsWay]) -> Iterator[Write]:
        """What a Secret asked for stands on it until there is a Certificate."""
        both = [(case.secret, case.target, not case.ingresses) for case in part]
        both += [(each.secret, each.target, each.ingress is None) for each in more]
        for secret, target, asked in both:
            notes = wishes.noted(target, keeps_words=asked)
            labels = dict.fromkeys((v.MANAGED, v.STATE, v.MANAGED_BY))
            yield from patch_metadata(SECRETS, secret, labels=labels, annotations=notes)

    def _forgotten(self, key: tuple[str, str]) -> Write:
        """A record that is left would have the certificate revoked once nothing of certjob's names its hosts."""
        return Write(Verb.DELETE, CONFIGMAPS, v.NAMESPACE, names.record(*key), "the record: nothing follows from it")

    def _ingresses_asking(self, part: list[LeaveCase], more: list[OnItsWay]) -> Iterator[Write]:
        marked = [(ingress, case.target) for case in part for ingress in case.ingresses]
        marked += [(each.ingress, each.target) for each in more if each.ingress is not None]
        done = set()
        for ingress, target in marked:
            where = ingress["metadata"]["namespace"], ingress["metadata"]["name"]
            if where not in done:
                done.add(where)
                notes = wishes.asking(target) | {v.MOVING: None}
                what = ", ".join(f"{name}={text}" for name, text in notes.items() if text is not None)
                yield Write(Verb.PATCH, INGRESSES, *where, what, {"metadata": {"annotations": notes}})

    def _certificates(self, asking: list[tuple[Json, IssuerRef, tuple[str, int]]]) -> Iterator[Write]:
        there = {certificate.key for certificate in self.theirs.certificates}
        for secret, target, key_words in asking:
            key = secret["metadata"]["namespace"], secret["metadata"]["name"]
            if key not in there:
                body = wishes.certificate_for(secret, target, key_words)
                yield Write(Verb.CREATE, CERTIFICATES, *key, "in the place of the Secret's wish", body)


def _cleared(secret: Json) -> Write:
    metadata = secret["metadata"]
    ours = {name for name in written_annotations(secret) if name.startswith(v.PREFIX)} | {v.MOVING, v.NOT_AFTER}
    body = {"metadata": {"annotations": dict.fromkeys(sorted(ours))}}
    return Write(Verb.PATCH, SECRETS, metadata["namespace"], metadata["name"], "no word of certjob's", body)


def _share_an_ingress(one: LeaveCase, other: LeaveCase) -> bool:
    return any(ingress in other.ingresses for ingress in one.ingresses)
