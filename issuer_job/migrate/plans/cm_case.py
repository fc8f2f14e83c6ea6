"""From cert-manager: what becomes of one Certificate, and what its Ingresses are to say. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from certs.duration import parse_duration
from issuer_job import vocabulary as v
from issuer_job.cluster.api import Json
from issuer_job.demand import secret as secret_demand
from issuer_job.demand.common import Wants, annotations_of, written_annotations
from issuer_job.demand.ingress import aliased, ingress_class, opts_in, wants
from issuer_job.issuers.load import Issuers
from issuer_job.migrate.others.cert_manager import ForeignCertificate
from issuer_job.migrate.others.cm_controller import Controller, asks_cert_manager, own_annotations
from issuer_job.migrate.others.cm_issuers import ForeignIssuer
from issuer_job.migrate.plans.cm_targets import CertManager
from issuer_job.migrate.plans.estate import Estate, Fate, Found, Key, fate_of
from issuer_job.migrate.plans.steps import MoveRow, WillBe
from issuer_job.migrate.translate.certificates import CertificateWords, certificate_words
from issuer_job.migrate.translate.issuers import TranslatedIssuer
from issuer_job.migrate.two_masters import ANCHOR, is_ours


@dataclass(frozen=True)
class Move:
    """One Certificate, and how its Secret would be asked for: by Ingresses, or by itself if there are none.

    `issuer` is the name of certjob's, `annotations` are certjob's besides that. `stripped` are Ingresses that name an
    issuer of cert-manager's for it, but ask for nothing of their own.
    """

    row: MoveRow
    certificate: ForeignCertificate
    issuer: str = ""
    words: CertificateWords = CertificateWords()  # noqa: RUF009 - frozen
    ingresses: tuple[Json, ...] = ()
    stripped: tuple[Json, ...] = ()

    @property
    def key(self) -> Key:
        """Namespace and name of the Secret."""
        return self.row.namespace, self.row.secret_name

    def stays(self, why: str) -> Move:
        """It cannot move, for this reason."""
        return replace(self, row=replace(self.row, will_be=WillBe.CANNOT, why=why))


@dataclass(frozen=True)
class Case:
    """All that one Certificate's fate depends on."""

    estate: Estate
    theirs: CertManager
    issuers: Issuers
    certificate: ForeignCertificate
    made: TranslatedIssuer | None

    def judged(self, *, alone: bool, beside: int) -> Move:
        """`alone`: no other Certificate has its Secret; `beside`: so many more of its namespace come before it."""
        certificate, (namespace, secret_name) = self.certificate, self.certificate.key
        words, askers = CertificateWords(), list[Json]()
        if self.made is not None and not self.made.cannot:
            durations = self._durations
            words = certificate_words(certificate, self.issuers.valid[self.made.name], durations=durations)
        serving = self.estate.serving(certificate.key)
        theirs = [ingress for ingress in serving if self._asks(ingress)]
        if certificate.owner[0] == "Ingress":
            askers = [ingress for ingress in serving if self._asks(ingress) or self._is_ours(ingress)]
        asker = f"Ingress {askers[0]['metadata']['name']}" if askers else f"Certificate {certificate.name}"
        why = next(self._refusals(words, askers, alone=alone, beside=beside), "")
        fate = Fate(WillBe.CANNOT, why) if why else self._fate(words, askers)
        if fate.will_be is WillBe.ADOPTED:
            fate = Fate(fate.will_be, _with(fate.why, self._remarks(words, bool(askers))))
        row = MoveRow(namespace, secret_name, asker, str(self._issuer or certificate.spec.issuer_ref), *_parts(fate))
        issuer = self.made.name if self.made is not None else ""
        stripped = [ingress for ingress in theirs if ingress not in askers]
        return Move(row, certificate, issuer, words, tuple(askers), tuple(stripped))

    @property
    def _issuer(self) -> ForeignIssuer | None:
        return self.theirs.issuers.get(self.certificate.spec.issuer_ref.key(self.certificate.metadata.namespace))

    @property
    def _durations(self) -> bool:
        issuer = self._issuer
        return issuer is not None and issuer.spec.acme is not None and issuer.spec.acme.enable_duration_feature

    def _asks(self, ingress: Json) -> bool:
        return asks_cert_manager(written_annotations(ingress), self.theirs.controller)

    def _is_ours(self, ingress: Json) -> bool:
        enabled = ingress["metadata"]["namespace"] in self.estate.enabled
        return opts_in(ingress, namespace_enabled=enabled) or v.MOVING in written_annotations(ingress)

    def _refusals(self, words: CertificateWords, askers: list[Json], *, alone: bool, beside: int) -> Iterator[str]:
        certificate, ref, key = self.certificate, self.certificate.spec.issuer_ref, self.certificate.key
        if v.is_excluded(key[0]):
            yield "certjob has nothing to do with this namespace"
        if certificate.metadata.deletion_timestamp:
            yield "its Certificate is being deleted"
        if not alone:
            yield "two Certificates have this Secret"
        if ref.is_foreign:
            yield f"external issuer ({ref.group or ref.kind}): stays with cert-manager"
        if self._issuer is None:
            yield f"there is no {ref}"
        if self.made is None or self.made.cannot:
            yield f"{self.made.cannot if self.made else ref}: stays with cert-manager"
            return
        kind, name = certificate.owner
        if kind not in {"", "Ingress"}:
            yield f"asked for by {kind} {name}, which certjob does not read"
        if words.refused:
            yield words.refused
            return
        if key in self.estate.of_other_types:
            yield f"its Secret is not of type {v.TLS_SECRET_TYPE}"
        record, controller = self.estate.records.get(key), self.theirs.controller
        if record is not None and is_ours(record) and controller is not None and controller.runs:
            yield f"certjob has it, too, and cert-manager runs: see {ANCHOR}"
        yield from self._undemandable(words, askers)
        if host := self.estate.denied_host(key[0], words.hosts):
            yield f"{host}: another namespace has it, or names it; kubectl certjob transfer-host decides"
        use, options = self.estate.use(key[0]), self.estate.options
        if record is None and use.certificates + beside >= options.certificates_per_namespace:
            yield "its namespace has as many certificates as it may (option certificatesPerNamespace)"

    def _undemandable(self, words: CertificateWords, askers: list[Json]) -> Iterator[str]:
        """What certjob would say of it when it is asked for as it will be."""
        key, made = self.certificate.key, self.made
        for host in words.hosts if made is not None else ():
            for class_ in [ingress_class(ingress).name for ingress in askers] or [None]:
                if made is not None and (why := made.refusal(host, class_)):
                    yield why
        for asked in [self.wanted(ingress, words) for ingress in askers] or [self._wanted_by_itself(words)]:
            entry = asked.of(key[1])
            if entry is None or entry.problem is not None:
                yield "; ".join(notice.message for notice in asked.notices)[:200] or "certjob would not order it"

    def wanted(self, ingress: Json, words: CertificateWords) -> Wants:
        """What the Ingress asks of certjob once it is patched."""
        enabled = ingress["metadata"]["namespace"] in self.estate.enabled
        after = _after(ingress, annotations_after(self.estate, self.theirs.controller, self._move(words), ingress))
        after = aliased(after) if self.estate.options.cert_manager_annotations else after
        return wants(after, issuers=self.issuers, namespace_enabled=enabled)

    def _move(self, words: CertificateWords) -> Move:
        issuer = self.made.name if self.made is not None else ""
        return Move(MoveRow(*self.certificate.key, "", "", WillBe.ADOPTED, ""), self.certificate, issuer, words)

    def _wanted_by_itself(self, words: CertificateWords) -> Wants:
        namespace, name = self.certificate.key
        notes = {v.HOSTS: ",".join(words.hosts), v.ISSUER: self.made.name if self.made else "", **words.annotations}
        metadata = {"namespace": namespace, "name": name, "labels": {v.REQUEST: "true"}, "annotations": notes}
        return secret_demand.wants({"metadata": metadata}, issuers=self.issuers)

    def _fate(self, words: CertificateWords, askers: list[Json]) -> Fate:
        certificate, key = self.certificate, self.certificate.key
        if key not in self.estate.secrets:
            return Fate(WillBe.ORDERS, "its Secret is not there")
        if certificate.is_issuing:
            return Fate(WillBe.ORDERS, "cert-manager renews it just now: wait until it is through")
        if not certificate.is_ready:
            return Fate(WillBe.ORDERS, "its Certificate is not ready")
        status, before = certificate.status, words.annotations.get(v.RENEW_BEFORE)
        hosts = {host for ingress in askers for host in _hosts_of(self.wanted(ingress, words), key[1])}
        return fate_of(
            self.estate,
            key,
            Found(words.hosts, status.not_before, status.not_after),
            hosts=hosts or set(words.hosts),
            issuer=self.made.name if self.made is not None else "",
            issuers=self.issuers,
            renew_before=parse_duration(before) if before else None,
        )

    def _remarks(self, words: CertificateWords, by_ingress: bool) -> Iterator[str]:
        if not by_ingress:
            yield f"becomes a Secret that asks ({v.REQUEST})"
        if owners_of(self.estate.secrets.get(self.certificate.key)):
            yield f"ownerReference to Certificate {self.certificate.name} is removed first, else it goes with that"
        yield from words.notes


def _parts(fate: Fate) -> tuple[WillBe, str]:
    return fate.will_be, fate.why


def _with(why: str, remarks: Iterable[str]) -> str:
    return "; ".join([why, *remarks])


def _hosts_of(asked: Wants, secret_name: str) -> tuple[str, ...]:
    entry = asked.of(secret_name)
    return entry.hosts if entry is not None else ()


def _after(ingress: Json, notes: Mapping[str, str | None]) -> Json:
    kept = {**written_annotations(ingress), **notes}
    stored = {name: value for name, value in kept.items() if value is not None}
    return ingress | {"metadata": ingress["metadata"] | {"annotations": stored}}


def annotations_after(
    estate: Estate, controller: Controller | None, move: Move, ingress: Json
) -> dict[str, str | None]:
    """What its annotations are to be for certjob, None for those that go; nothing if it asks by cert-manager's."""
    enabled = ingress["metadata"]["namespace"] in estate.enabled
    if estate.options.cert_manager_annotations:
        asking = aliased(ingress)
        if opts_in(asking, namespace_enabled=enabled) and annotations_of(asking).get(v.ISSUER) == move.issuer:
            return {}
    return arriving_annotations(ingress, move.issuer, move.words.annotations, controller)


def arriving_annotations(
    ingress: Json, issuer: str, settings: Mapping[str, str], controller: Controller | None
) -> dict[str, str | None]:
    """What an Ingress says once it is certjob's: nothing to cert-manager any more, and to certjob which issuer."""
    notes = written_annotations(ingress)
    gone: dict[str, str | None] = dict.fromkeys(own_annotations(notes))
    # It would opt out; or cert-manager would make a Certificate for it from its default issuer.
    out = notes.get(v.TLS_ACME, "").lower() == "false"
    if out or (v.TLS_ACME in notes and asks_cert_manager({v.TLS_ACME: "true"}, controller)):
        gone[v.TLS_ACME] = None
    return gone | {v.ISSUER: issuer} | dict(settings)


def owners_of(secret: Json | None) -> list[Json]:
    """The Certificates that own the Secret, so that it goes with them."""
    references = (secret or {"metadata": {}})["metadata"].get("ownerReferences") or ()
    return [each for each in references if each.get("kind") == "Certificate"]
