"""To cert-manager: whether it would leave a certificate of certjob's as it is. Pure.

Its chain of reasons to issue anew, as of 1.21, where it has no request of its own for what is in the Secret: no
Secret, or no pair in it; an issuer noted on it that is not the one that is asked for, where no note stands for an
Issuer of its own kind; another Certificate's name on it; another key than is asked for; other names; and the time to
renew.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from cryptography import x509
from cryptography.x509.oid import NameOID

from certs.chain import IssuedCertificate, describe_chain
from certs.errors import CertError
from issuer_job import vocabulary as v
from issuer_job.cluster.api import Json
from issuer_job.demand import secret as secret_demand
from issuer_job.demand.common import annotations_of, written_annotations
from issuer_job.demand.ingress import aliased, opts_in
from issuer_job.demand.ingress_spec import hosts_by_secret, spec_of
from issuer_job.migrate.others.cert_manager import IssuerKey, IssuerRef
from issuer_job.migrate.others.cm_issuers import ForeignIssuer
from issuer_job.migrate.plans.cm_targets import CertManager, Choices
from issuer_job.migrate.plans.estate import Estate, Fate, Key
from issuer_job.migrate.plans.steps import MoveRow, WillBe
from issuer_job.migrate.translate.back import key_words
from issuer_job.migrate.two_masters import ANCHOR
from issuer_job.record.phases import ACTIVE
from issuer_job.record.record import Record

COMBINED = "tls-combined.pem"
_SAID_BY_ISSUERS = {v.PROFILE: "profile", v.PREFERRED_CHAIN: "preferredChain"}


@dataclass(frozen=True)
class LeaveCase:
    """A Secret of certjob's, and what asks for it: Ingresses, or itself if there are none.

    `target` is cert-manager's issuer for `ours`, and `lacks_issuer` says that there is none; `key_words` are the
    certificate's key in cert-manager's words, `settings` the annotations of what asks.
    """

    row: MoveRow
    secret: Json
    ingresses: tuple[Json, ...] = ()
    target: IssuerRef = IssuerRef()  # noqa: RUF009 - frozen
    key_words: tuple[str, int] = ("", 0)
    hosts: tuple[str, ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict)
    ours: str = ""
    lacks_issuer: bool = False

    @property
    def key(self) -> Key:
        """Namespace and name of the Secret."""
        return self.row.namespace, self.row.secret_name


def cases_of(estate: Estate, theirs: CertManager, choices: Choices) -> list[LeaveCase]:
    """All that somebody asks certjob for, by namespace and Secret."""
    held = {certificate.key: certificate.name for certificate in theirs.certificates}
    found = []
    for key, secret in sorted(estate.secrets.items()):
        labels = secret["metadata"].get("labels") or {}
        if choices.namespace not in {"", key[0]} or v.is_excluded(key[0]):
            continue
        if v.MOVING in written_annotations(secret) or labels.get(v.MANAGED) != "true":
            continue
        one = _One(estate, theirs, choices, key, secret, held.get(key, ""))
        if one.askers or one.asks_itself:
            found.append(one.judged())
    return found


@dataclass(frozen=True)
class _One:
    estate: Estate
    theirs: CertManager
    choices: Choices
    key: Key
    secret: Json
    certificate: str
    """Name of a Certificate that has the Secret already."""

    @property
    def asks_itself(self) -> bool:
        """Whether it is a Secret that asks."""
        return secret_demand.opts_in(self.secret)

    @property
    def askers(self) -> list[Json]:
        """The Ingresses that ask certjob for it."""
        enabled, reads = self.key[0] in self.estate.enabled, self.estate.options.cert_manager_annotations
        serving = self.estate.serving(self.key)
        seen = (aliased(ingress) if reads else ingress for ingress in serving)
        return [ingress for ingress in seen if opts_in(ingress, namespace_enabled=enabled)]

    def judged(self) -> LeaveCase:
        """What becomes of it."""
        askers, record = self.askers, self.estate.records.get(self.key)
        by_itself = self.asks_itself
        asker = f"Secret {self.key[1]}" if by_itself else f"Ingress {askers[0]['metadata']['name']}"
        hosts = self._hosts(askers)
        ours, target = self._ours(record), self._target(record)
        leaf = self._leaf(record)
        words = key_words(leaf.leaf) if leaf is not None else None
        why = next(self._refusals(askers, record, target), "")
        fate = Fate(WillBe.CANNOT, why) if why else self._fate(record, leaf, words, hosts)
        row = MoveRow(*self.key, asker, f"certjob's issuer {ours}", fate.will_be, fate.why)
        asking = () if by_itself else tuple(self._stored(ingress) for ingress in askers)
        settings = annotations_of(self.secret if by_itself else askers[0])
        lacks = self._issuer(target) is None
        return LeaveCase(row, self.secret, asking, target, words or ("", 0), hosts, settings, ours, lacks)

    def _stored(self, ingress: Json) -> Json:
        return {part: found for part, found in ingress.items() if part in {"metadata", "spec"}}

    def _hosts(self, askers: list[Json]) -> tuple[str, ...]:
        if self.asks_itself:
            return tuple(sorted(secret_demand.named_hosts(self.secret)))
        return tuple(hosts_by_secret(askers[0]).get(self.key[1], ()))

    def _ours(self, record: Record | None) -> str:
        return record.intent.settings.issuer if record is not None else self.estate.issuers.default

    def _target(self, record: Record | None) -> IssuerRef:
        ours = self._ours(record)
        theirs = next((said for said, mine in self.choices.issuers.items() if mine == ours), "")
        namespace, _, name = theirs.rpartition("/")
        if theirs:
            return IssuerRef(name=name, kind="Issuer" if namespace else "ClusterIssuer")
        own: IssuerKey = self.key[0], ours
        kind = "Issuer" if own in self.theirs.issuers and ("", ours) not in self.theirs.issuers else "ClusterIssuer"
        return IssuerRef(name=ours, kind=kind)

    def _issuer(self, target: IssuerRef) -> ForeignIssuer | None:
        return self.theirs.issuers.get(target.key(self.key[0]))

    def _leaf(self, record: Record | None) -> IssuedCertificate | None:
        """The certificate, as a host shows it, or as the record has it."""
        shown, issued = self.estate.shown(self.key), record.issued if record is not None else None
        if shown is not None and (issued is None or issued.serial == shown.serial):
            return shown
        try:
            return describe_chain(issued.leaf.encode()) if issued is not None and issued.leaf else None
        except CertError:
            return None

    def _refusals(self, askers: list[Json], record: Record | None, target: IssuerRef) -> Iterator[str]:
        if self.certificate:
            yield f"Certificate {self.certificate} has it, too: see {ANCHOR}"
        if record is not None and record.phase in ACTIVE:
            yield "certjob has an attempt for it under way: wait until it is through"
        issuer = self._issuer(target)
        if issuer is None:
            yield f"there is no {target}: --write makes one to look at, or name another by --issuer"
        elif not issuer.is_ready:
            yield f"{target} is not ready"
        if self.asks_itself and askers:
            yield "it asks itself, and is asked for by an Ingress: a Certificate is for one of them"
        if len(askers) > 1:
            yield f"{len(askers)} Ingresses share it: cert-manager takes the hosts of one"
        asker = self.secret if self.asks_itself else askers[0]
        if v.ISSUER not in written_annotations(asker) and _reads(asker):
            yield "it asks by cert-manager's annotations: set the option certManagerAnnotations off first"
        entries = [] if self.asks_itself else spec_of(askers[0]).entries
        if any(entry.secret_name == self.key[1] and not entry.hosts for entry in entries):
            yield "its entry in spec.tls has no hosts, and cert-manager passes it by"
        notes = annotations_of(asker)
        for name, word in _SAID_BY_ISSUERS.items():
            if notes.get(name):
                yield f"{name}: cert-manager's issuers say that ({word})"
        formats = {word.strip() for word in notes.get(v.FORMATS, "").split(",")} - {"", "ca.crt"}
        if formats - ({COMBINED} if self.asks_itself else set()):
            yield f"{v.FORMATS}: cert-manager writes {sorted(formats)[0]} for no Ingress"

    def _fate(
        self,
        record: Record | None,
        leaf: IssuedCertificate | None,
        words: tuple[str, int] | None,
        hosts: tuple[str, ...],
    ) -> Fate:
        state = (self.secret["metadata"].get("labels") or {}).get(v.STATE)
        adopted = not state and record is not None and record.issued is not None
        if state != v.SecretState.ISSUED and not adopted:
            return Fate(WillBe.ORDERS, "it has no certificate yet")
        if leaf is None:
            return Fate(WillBe.ORDERS, "its key is not known: neither the record nor a host has shown it")
        if words is None:
            return Fate(WillBe.ORDERS, "its key is one that cert-manager does not make")
        names = {*leaf.names, *_common_names(leaf.leaf)}
        if names != set(hosts):
            odd = sorted(names ^ set(hosts))[0]
            return Fate(WillBe.ORDERS, f"it is for other names than are asked for: {odd[:70]}")
        life = leaf.not_after - leaf.not_before
        asked = timedelta(seconds=record.intent.settings.renew_before) if record is not None else timedelta(0)
        due = leaf.not_after - (asked if timedelta(0) < asked < life else life / 3)
        if self.estate.now >= due:
            return Fate(WillBe.ORDERS, f"its renewal is due since {due:%Y-%m-%d}: let it be renewed first")
        return Fate(WillBe.ADOPTED, f"good until {leaf.not_after:%Y-%m-%d}, names equal, key {words[0]} {words[1]}")


def _common_names(leaf: x509.Certificate) -> set[str]:
    return {str(one.value) for one in leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)}


def _reads(asker: Json) -> bool:
    """Whether what it says to certjob is said in cert-manager's words."""
    return v.ISSUER in annotations_of(asker)
