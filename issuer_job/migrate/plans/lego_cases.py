"""From kube-lego: what becomes of each Secret of an Ingress that asks it. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from certs.duration import format_duration, parse_duration
from certs.errors import CertError
from certs.keys import KeyAlgorithm
from issuer_job import vocabulary as v
from issuer_job.cluster.api import Json
from issuer_job.demand.common import written_annotations
from issuer_job.demand.ingress import ingress_class, served_secrets, wants
from issuer_job.issuers.load import Issuers
from issuer_job.issuers.types import directory_of, uses_route
from issuer_job.migrate.others.kube_lego import CHALLENGES, USUAL_VALIDITY, KubeLego
from issuer_job.migrate.plans.cm_targets import Choices
from issuer_job.migrate.plans.estate import Estate, Fate, Found, Key, fate_of, merged
from issuer_job.migrate.plans.steps import MoveRow, WillBe
from issuer_job.migrate.translate.issuers import ACCOUNT_KEY, Credential, TranslatedIssuer
from issuer_job.record.phases import Phase

NAME = "kube-lego"
"""Of the issuer, unless certjob's default one is of the same CA."""


def issuer_for(estate: Estate, lego: KubeLego, choices: Choices) -> TranslatedIssuer:
    origin, given = f"kube-lego in {lego.namespace}", choices.issuers.get(NAME, "")
    default = estate.issuers.valid.get(estate.issuers.default)
    if not given and default is not None and directory_of(default) == lego.server:
        given = estate.issuers.default
    size, notes = lego.says("LEGO_RSA_KEYSIZE"), []
    algorithm = f"rsa-{size}"
    if algorithm not in set(KeyAlgorithm):
        notes.append(f"issuer {NAME}: keys of RSA {size[:20]} are made by nobody here: rsa-2048 instead")
        algorithm = KeyAlgorithm.RSA_2048
    document: Json = {"server": lego.server, "keyAlgorithm": str(algorithm)}
    document |= {"email": email} if (email := lego.says("LEGO_EMAIL")) else {}
    keys = (Credential(ACCOUNT_KEY, lego.home, lego.says("LEGO_SECRET_NAME"), ACCOUNT_KEY),)
    document |= {} if choices.new_accounts else {"existingAccountKey": ACCOUNT_KEY}
    made = TranslatedIssuer(
        origin,
        NAME,
        document,
        credentials=() if choices.new_accounts else keys,
        notes=tuple(notes),
        default=True,
    )
    if given and given not in estate.issuers.valid:
        return replace(made, cannot=f"there is no issuer {given}")
    known = estate.issuers.valid.get(given or NAME)
    if given:
        return TranslatedIssuer(origin, given, exists=True, default=given == estate.issuers.default)
    if known is not None and directory_of(known) != lego.server:
        return replace(made, cannot=f"issuer {NAME} is there, and is of another CA")
    return replace(made, exists=known is not None)


@dataclass(frozen=True)
class LegoCase:
    """A Secret of an Ingress that asks kube-lego."""

    estate: Estate
    ingress: Json
    row: MoveRow
    notes: dict[str, str | None]

    @property
    def key(self) -> Key:
        """Namespace and name of the Secret."""
        return self.row.namespace, self.row.secret_name

    @property
    def is_done(self) -> bool:
        """Whether certjob has it."""
        record = self.estate.records.get(self.key)
        return record is not None and record.phase is Phase.ISSUED


def cases_of(
    estate: Estate, lego: KubeLego, choices: Choices, issuers: Issuers, made: TranslatedIssuer
) -> Iterator[LegoCase]:
    watched = lego.says("LEGO_WATCH_NAMESPACE")
    for ingress in sorted(
        estate.ingresses, key=lambda each: (each["metadata"]["namespace"], each["metadata"]["name"])
    ):
        namespace, notes = ingress["metadata"]["namespace"], written_annotations(ingress)
        if watched not in {"", namespace} or choices.namespace not in {"", namespace}:
            continue
        if not lego.is_asked(notes) or CHALLENGES in notes or v.is_excluded(namespace):
            continue
        after = _after(lego, ingress, made)
        patched = ingress | {"metadata": ingress["metadata"] | {"annotations": merged(notes, after)}}
        asked = wants(patched, issuers=issuers) if not made.cannot else None
        for secret_name in sorted(
            name for name in served_secrets(ingress) if estate.serving((namespace, name))[0] is ingress
        ):
            key = namespace, secret_name
            entry = asked.of(secret_name) if asked is not None else None
            hosts = entry.hosts if entry is not None else ()
            why = next(_refusals(estate, lego, key, ingress, hosts, issuers, made), "")
            if not why and asked is not None and entry is None:
                why = "; ".join(notice.message for notice in asked.notices)[:200]
            fate = Fate(WillBe.CANNOT, why) if why else _fate(estate, lego, key, hosts, issuers, made.name)
            asker = f"Ingress {ingress['metadata']['name']}"
            row = MoveRow(namespace, secret_name, asker, NAME, fate.will_be, fate.why)
            yield LegoCase(estate, ingress, row, after)


def _after(lego: KubeLego, ingress: Json, made: TranslatedIssuer) -> dict[str, str | None]:
    """What the Ingress has to say besides what it says."""
    notes: dict[str, str | None] = {}
    if lego.says("LEGO_KUBE_ANNOTATION") != v.TLS_ACME or not made.default:
        notes[v.ISSUER] = made.name
    try:
        before = parse_duration(lego.says("LEGO_MINIMUM_VALIDITY"))
    except CertError:
        return notes
    if before != parse_duration(USUAL_VALIDITY):
        notes[v.RENEW_BEFORE] = format_duration(before)
    return notes


def _refusals(
    estate: Estate,
    lego: KubeLego,
    key: Key,
    ingress: Json,
    hosts: tuple[str, ...],
    issuers: Issuers,
    made: TranslatedIssuer,
) -> Iterator[str]:
    if made.cannot:
        yield made.cannot
        return
    secret, class_ = estate.secrets.get(key), ingress_class(ingress).name
    if key in estate.of_other_types:
        yield f"its Secret is not of type {v.TLS_SECRET_TYPE}"
    if secret is not None and not _is_legos(secret, lego):
        yield "kube-lego has not written this Secret: kubectl certjob adopt hands it over"
    if class_ == "gce" and any(uses_route(issuers.valid[made.name], host, class_) for host in hosts):
        yield "class gce: its load balancer does not merge certjob's challenge routes with the Ingress"
    if host := estate.denied_host(key[0], hosts):
        yield f"{host}: another namespace has it, or names it; kubectl certjob transfer-host decides"


def _is_legos(secret: Json, lego: KubeLego) -> bool:
    labels = secret["metadata"].get("labels") or {}
    return lego.is_asked(written_annotations(secret)) or labels.get(v.MANAGED) == "true"


def _fate(estate: Estate, lego: KubeLego, key: Key, hosts: tuple[str, ...], issuers: Issuers, issuer: str) -> Fate:
    if key not in estate.secrets:
        return Fate(WillBe.ORDERS, "its Secret is not there")
    try:
        before = parse_duration(lego.says("LEGO_MINIMUM_VALIDITY"))
    except CertError:
        before = parse_duration(USUAL_VALIDITY)
    return fate_of(estate, key, Found(), hosts=hosts, issuer=issuer, issuers=issuers, renew_before=before)
