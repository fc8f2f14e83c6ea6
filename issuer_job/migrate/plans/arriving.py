"""From cert-manager: the plan. Pure.

Where cert-manager is stopped meanwhile, a Certificate is what says where its Secret goes until certjob has it, so
Certificates go last. Where it runs on, in a move of one namespace, they go before certjob is asked, as no Secret is
to have two masters; what an interruption would forget by that stands on the Ingress, which asks nobody until the end.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from issuer_job import vocabulary as v
from issuer_job.cluster.api import CONFIGMAPS, INGRESSES, SECRETS, Json
from issuer_job.demand.common import written_annotations
from issuer_job.migrate.others.cert_manager import CERTIFICATES, ForeignCertificate
from issuer_job.migrate.others.cm_controller import Controller, own_annotations
from issuer_job.migrate.plans.cm_case import Move, annotations_after, owners_of
from issuer_job.migrate.plans.cm_moves import is_moving, made_asking, made_managed, moves, new_request, request_of
from issuer_job.migrate.plans.cm_targets import CertManager, Choices, targets
from issuer_job.migrate.plans.estate import Estate, Key
from issuer_job.migrate.plans.halfway import FROM, Halfway, asking_again, asking_none
from issuer_job.migrate.plans.steps import (
    DEPLOYMENTS,
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
from issuer_job.record.phases import Phase

_OWNED = (
    "cert-manager owns its Secrets (--enable-certificate-owner-ref): a Certificate that goes takes its Secret along. "
    "Move all namespaces at once, by which it is stopped meanwhile"
)


def from_cert_manager(estate: Estate, theirs: CertManager, choices: Choices) -> MovePlan:
    """All that is left to do."""
    halfway = Halfway.of(estate, choices.namespace)
    here = [each for each in theirs.certificates if choices.namespace in {"", each.metadata.namespace}]
    leaving = tuple(filter(halfway.is_leaving, here))
    theirs = replace(theirs, certificates=tuple(each for each in theirs.certificates if each not in leaving))
    made = targets(estate, theirs, choices)
    found = moves(estate, theirs, choices, made)
    rows = (*(move.row for move in found), *halfway.rows({move.key for move in found}, leaving))
    needed = {move.issuer for move in found if move.row.will_be is not WillBe.CANNOT}
    used = tuple({target.name: target for target in made.values() if target.name in needed}.values())
    notes = tuple(f"issuer {target.name}: {note}" for target in used for note in target.notes)
    controller = theirs.controller
    by_namespace = bool(choices.namespace) and controller is not None and controller.runs
    if by_namespace and controller is not None and controller.owner_refs:
        return MovePlan(rows, issuers=used, notes=notes, refused=_OWNED)
    going = [move for move in found if is_moving(move, choices)]
    steps = Steps(estate, theirs, going, halfway, used, leaving)
    if not by_namespace:
        return MovePlan(rows, filled(steps.while_it_is_stopped(staying=len(found) > len(going))), used, notes)
    first = filled(steps.before_it_runs_on())
    # What comes then is about objects as they are after that.
    later = estate.after(write for step in first for write in step.writes)
    going = [move for move in moves(later, theirs, choices, made) if is_moving(move, choices)]
    rest = Steps(later, theirs, going, Halfway.of(later, choices.namespace), used, leaving).while_it_runs()
    return MovePlan(rows, (*first, *filled(rest)), used, notes)


@dataclass(frozen=True)
class Steps:
    """Makes the steps for the Certificates that go, and for what was left halfway, or is `leaving` by now."""

    estate: Estate
    theirs: CertManager
    going: list[Move]
    halfway: Halfway
    issuers: tuple[TranslatedIssuer, ...]
    leaving: tuple[ForeignCertificate, ...] = ()

    def while_it_is_stopped(self, *, staying: bool) -> Iterator[MoveStep]:
        """Where cert-manager does nothing meanwhile; `staying`: it has something left to do after that."""
        controller = self.theirs.controller
        if self.going:
            yield from self._issuers()
        if self.going and controller is not None:
            about = (controller.namespace, controller.name)
            yield from stopping("cert-manager", about, controller.replicas, controller.annotations)
        yield self._disowning()
        yield from self._taken_over()
        yield self._deletion()
        if staying and controller is not None:
            yield from _start(controller, stops=bool(self.going))

    def before_it_runs_on(self) -> Iterator[MoveStep]:
        """For one namespace while cert-manager runs: no Secret is to have two masters at any time."""
        if self.going:
            yield from self._issuers()
        yield self._disowning()  # as from a time when cert-manager owned its Secrets
        yield MoveStep("have the Ingresses, and Secrets that will ask, ask nobody", tuple(self._asking_nobody()))

    def while_it_runs(self) -> Iterator[MoveStep]:
        """What comes then."""
        yield self._deletion()
        yield from self._taken_over()

    def _taken_over(self) -> Iterator[MoveStep]:
        """One of each issuer first: if certjob orders what it should have taken over, no other shall follow."""
        first = self._first()
        rest = [move for move in self.going if move not in first]
        left = self.halfway.keys - {move.key for move in first}
        for part, more, what in ((first, set[Key](), "one of each issuer: "), (rest, left, "")):
            keys = {move.key for move in part} | more
            yield MoveStep(f"{what}hand the Secrets over", tuple(self._handed_over(part, keys)))
            yield MoveStep(f"{what}have the Ingresses ask certjob", tuple(self._asked(part, whole=part is rest)))
            waiting = tuple(key for key in sorted(keys) if not self._is_adopted(key))
            yield MoveStep(f"{what}see that certjob has the certificates", until=Until.ADOPTED, about=waiting)

    def _first(self) -> list[Move]:
        """The first of each issuer that is to be adopted, with what its Ingresses serve besides."""
        chosen: dict[str, Move] = {}
        for move in self.going:
            if move.row.moves:
                chosen.setdefault(move.issuer, move)
        asking = [ingress for move in chosen.values() for ingress in move.ingresses]
        return [move for move in self.going if move in chosen.values() or any(i in asking for i in move.ingresses)]

    def _issuers(self) -> Iterator[MoveStep]:
        named = {move.issuer for move in self.going}
        used = [each for each in self.issuers if each.name in named]
        writes = (
            Write(Verb.CREATE, CONFIGMAPS, v.NAMESPACE, each.name, f"the issuer for {each.origin}", each.config_map)
            for each in used
            if not each.exists
        )
        untested = tuple((v.NAMESPACE, each.name) for each in used if each.name not in self.estate.ready)
        yield MoveStep("make the issuers, and test them", tuple(writes), Until.READY, untested)

    def _disowning(self) -> MoveStep:
        return MoveStep("take cert-manager's ownership off the Secrets", tuple(self._disowned()))

    def _deletion(self) -> MoveStep:
        """A Secret of one that is there still would be written by two."""
        about = tuple((each.metadata.namespace, each.name) for each in self.leaving)
        title = "delete the Certificates, and leave their Secrets"
        return MoveStep(title, tuple(self._deleted()), Until.GONE, about)

    def _disowned(self) -> Iterator[Write]:
        for key in self._keys:
            secret = self.estate.secrets.get(key)
            gone = owners_of(secret)
            if secret is not None and gone:
                metadata = secret["metadata"]
                kept = [each for each in metadata["ownerReferences"] if each not in gone]
                body = {"metadata": {"ownerReferences": kept, "resourceVersion": metadata["resourceVersion"]}}
                names = ", ".join(str(each.get("name")) for each in gone)
                yield Write(Verb.PATCH, SECRETS, *key, f"no ownerReference to Certificate {names}", body)

    def _handed_over(self, part: list[Move], keys: set[Key]) -> Iterator[Write]:
        for move in part:
            secret = self.estate.secrets.get(move.key)
            if move.ingresses:
                yield from made_managed(secret)
            elif secret is not None:
                yield from made_asking(secret, request_of(move))
            else:
                body = new_request(move.key, request_of(move))
                yield Write(Verb.CREATE, SECRETS, *move.key, "a Secret that asks", body)
        for key in sorted(keys - {move.key for move in self.going}):
            secret = self.estate.secrets[key]
            marked = v.MOVING in written_annotations(secret)
            yield from made_asking(secret, {}) if marked else made_managed(secret)

    def _asked(self, part: list[Move], *, whole: bool) -> Iterator[Write]:
        """`whole`: with what was left halfway."""
        moved = []
        for move, ingress in self._ingresses:
            moved.append(ingress)
            if move in part:
                yield from patch_metadata(INGRESSES, ingress, annotations=self._after(move, ingress))
        for ingress in self.halfway.ingresses if whole else ():
            if ingress not in moved:
                yield from patch_metadata(INGRESSES, ingress, annotations=asking_again(ingress))

    def _asking_nobody(self) -> Iterator[Write]:
        for move in self.going:
            secret = self.estate.secrets.get(move.key)
            if not move.ingresses and secret is not None:
                yield from patch_metadata(SECRETS, secret, annotations=request_of(move) | {v.MOVING: FROM})
        for move, ingress in self._ingresses:
            after = self._after(move, ingress)
            none = asking_none(ingress, after) if ingress in move.ingresses else {}
            yield from patch_metadata(INGRESSES, ingress, annotations={**after, **none})

    def _deleted(self) -> Iterator[Write]:
        keys = set(self._keys)
        for certificate in self.theirs.certificates:
            if certificate.key in keys:
                namespace = certificate.metadata.namespace
                yield Write(Verb.DELETE, CERTIFICATES, namespace, certificate.name, "deleted, its Secret stays")

    def _is_adopted(self, key: Key) -> bool:
        record = self.estate.records.get(key)
        return record is not None and record.phase is Phase.ISSUED

    @property
    def _keys(self) -> list[Key]:
        return sorted({move.key for move in self.going} | self.halfway.keys)

    @property
    def _ingresses(self) -> Iterator[tuple[Move, Json]]:
        """Each Ingress once, with a Certificate that goes: those that ask for theirs first."""
        done = set()
        asking = [(move, ingress) for move in self.going for ingress in move.ingresses]
        others = [(move, ingress) for move in self.going for ingress in move.stripped]
        for move, ingress in asking + others:
            where = move.row.namespace, ingress["metadata"]["name"]
            if where not in done:
                done.add(where)
                yield move, ingress

    def _after(self, move: Move, ingress: Json) -> dict[str, str | None]:
        """The annotations of the Ingress at the end."""
        if ingress in move.stripped:
            return dict.fromkeys(own_annotations(written_annotations(ingress)))
        return annotations_after(self.estate, self.theirs.controller, move, ingress) | asking_again(ingress)


def _start(controller: Controller, *, stops: bool) -> Iterator[MoveStep]:
    """It has something left to renew."""
    before = str(controller.replicas) if controller.runs and stops else controller.annotations.get(v.REPLICAS, "")
    if before.isdecimal():
        body = {"metadata": {"annotations": {v.REPLICAS: None}}, "spec": {"replicas": int(before)}}
        what = f"{before} replicas again, for what stays with it"
        start = Write(Verb.PATCH, DEPLOYMENTS, controller.namespace, controller.name, what, body)
        yield MoveStep("start cert-manager again", (start,))
