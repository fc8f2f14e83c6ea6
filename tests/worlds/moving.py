"""A cluster in which cert-manager has certificates, certjob is installed, and an operator moves them.

world.cm is cert-manager, `Operator` the operator's transport: after each of his writes the webhook hears of it and
cert-manager acts, and `watch` may look at what is so then.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import jsonpatch

from certs.keys import KeyAlgorithm, generate_key, key_to_pem
from issuer_job import vocabulary as v
from issuer_job.cluster.api import CONFIGMAPS, INGRESSES, NAMESPACES, SECRETS, Cluster, Json, Response
from issuer_job.demand.common import is_being_deleted
from issuer_job.migrate.carry.apply import Hands
from issuer_job.migrate.carry.read import read_cert_manager, read_estate, read_kube_lego
from issuer_job.migrate.leaving.leaving import to_cert_manager
from issuer_job.migrate.others.cert_manager import CERTIFICATES, CLUSTER_ISSUERS, ISSUERS
from issuer_job.migrate.plans.arriving import from_cert_manager
from issuer_job.migrate.plans.cm_targets import Choices
from issuer_job.migrate.plans.from_kube_lego import from_kube_lego
from issuer_job.migrate.plans.steps import MovePlan
from issuer_job.migrate.two_masters import two_masters
from issuer_job.record.record import Phase, Record
from issuer_job.record.store import from_config_map
from tests.fakes.certs_ca import FakeCA, pem
from tests.worlds.cert_manager import CM, FakeCertManager
from tests.worlds.cli import MetadataOnly
from tests.worlds.crash import Killed
from tests.worlds.job import COMPANY, JobWorld
from tests.worlds.request import admitted, requested
from tests.worlds.sweep import MINUTE, run

DAY = timedelta(days=1)
LE = {"name": "le-prod", "kind": "ClusterIssuer", "group": "cert-manager.io"}


@dataclass
class Operator:
    """What an operator's kubectl sends. `kill_at`: he is interrupted once so many of his writes have taken effect."""

    world: Moving
    kill_at: int = 0
    writes: list[str] = field(default_factory=list)

    def send(self, method: str, path: str, *, body: bytes | None, timeout: float) -> Response:
        """See Transport."""
        api = self.world.swept.api
        parts = path.partition("?")[0].split("/")
        before = api.stored(CERTIFICATES, *parts[-3::2]) if parts[-2] == CERTIFICATES.plural else None
        hook = api.hooks.pop("secrets")  # certjob's policies bind certjob alone
        try:
            answer = api.send(method, path, body=body, timeout=timeout)
        finally:
            api.hooks["secrets"] = hook
        if method == "GET" or "dryRun" in path or answer.status >= 400:
            return answer
        if method == "DELETE" and self.world.lingering:
            self.world.lingers(before)
        self.writes.append(f"{method} {path.partition('?')[0]}")
        self.world.heard(path.partition("?")[0])
        if self.kill_at and len(self.writes) >= self.kill_at:
            raise Killed
        return answer

    def stream(self, path: str, *, timeout: float) -> Iterator[bytes]:
        """See Transport."""
        raise NotImplementedError


@dataclass
class Moving:
    """See the module."""

    swept: JobWorld
    watch: Callable[[], None] = lambda: None
    lingering: bool = False
    """Certificates that are deleted stay until something `goes_on`, as the garbage collector needs its time."""
    cm: FakeCertManager = field(init=False)
    begun: datetime = field(init=False)
    """Ages are as of then."""

    def __post_init__(self) -> None:
        self.begun = self.now
        self.cm = FakeCertManager(self.swept.api)
        self.cm.install()
        for name in ("shop", "mail", "cert-manager", v.NAMESPACE):
            self.swept.api.add(NAMESPACES, None, {"metadata": {"name": name}})

    @property
    def now(self) -> datetime:
        return self.swept.clock.read()

    # What there is.

    def cluster_issuer(self, name: str = "le-prod", *, namespace: str = "", **acme: Any) -> None:
        """cert-manager's, at the CA that the world has."""
        known = self.swept.ca_pem + pem(COMPANY.certificate)
        spec = {
            "server": self.swept.server,
            "caBundle": b64encode(known).decode(),
            "privateKeySecretRef": {"name": f"{name}-account"},
            "solvers": [{"http01": {"ingress": {"ingressClassName": "traefik"}}}],
        } | acme
        self.issuer({"acme": spec}, name, namespace=namespace)

    def issuer(self, spec: Json, name: str = "le-prod", *, namespace: str = "") -> None:
        """A ClusterIssuer, or an Issuer."""
        metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
        resource = ISSUERS if namespace else CLUSTER_ISSUERS
        status = {"conditions": [{"type": "Ready", "status": "True"}]}
        self.swept.api.add(resource, namespace or None, {"metadata": metadata, "spec": spec, "status": status})

    def certificate(
        self,
        name: str = "shop",
        *,
        namespace: str = "shop",
        hosts: tuple[str, ...] = ("shop.certjob.dev",),
        by_ingress: bool = True,
        age: timedelta = 5 * DAY,
        signer: FakeCA = COMPANY,
        owned: bool = False,
        notes: Json | None = None,
        ready: bool = True,
        **spec: Any,
    ) -> None:
        """One with its Secret, and an Ingress of that name that asks for it if `by_ingress`."""
        secret_name, api = f"{name}-tls", self.swept.api
        start, end = self.begun - age, self.begun - age + 90 * DAY
        spec = {"privateKey": {"algorithm": "ECDSA"}, **spec}
        is_rsa = spec["privateKey"]["algorithm"] == "RSA"
        key = generate_key(KeyAlgorithm.RSA_2048 if is_rsa else KeyAlgorithm.ECDSA_P256)
        chain = pem(signer.issue(hosts, key, not_before=start, not_after=end, subject=hosts[0]))
        ref = spec.pop("issuerRef", LE)
        marks = {
            f"{CM}certificate-name": secret_name if by_ingress else name,
            f"{CM}issuer-name": ref["name"],
            f"{CM}issuer-kind": ref.get("kind", "Issuer"),
            f"{CM}issuer-group": ref.get("group", ""),
            "team": "shop",
        }
        metadata: Json = {"name": secret_name, "namespace": namespace, "annotations": marks}
        metadata["labels"] = {"controller.cert-manager.io/fao": "true", "app": name}
        if owned:
            metadata["ownerReferences"] = [{"kind": "Certificate", "name": secret_name, "uid": "c"}]
        data = {"tls.crt": b64encode(chain).decode(), "tls.key": b64encode(key_to_pem(key)).decode()}
        api.add(SECRETS, namespace, {"metadata": metadata, "type": v.TLS_SECRET_TYPE, "data": data})
        conditions = [{"type": "Ready", "status": "True" if ready else "False"}]
        status = {"notBefore": _time(start), "notAfter": _time(end), "conditions": conditions}
        found: Json = {
            "metadata": {"name": secret_name if by_ingress else name, "namespace": namespace},
            "spec": {"secretName": secret_name, "dnsNames": list(hosts), "issuerRef": ref, **spec},
            "status": status,
        }
        if by_ingress:
            self.ingress(name, namespace=namespace, hosts=hosts, notes=notes, ref=ref)
            found["metadata"]["ownerReferences"] = [{"kind": "Ingress", "name": name, "uid": "u"}]
        api.add(CERTIFICATES, namespace, found)

    def ingress(
        self,
        name: str = "shop",
        *,
        namespace: str = "shop",
        hosts: tuple[str, ...] = ("shop.certjob.dev",),
        secrets: tuple[str, ...] = (),
        notes: Json | None = None,
        ref: Json = LE,
        **metadata: str,
    ) -> None:
        """One that names the issuer by cert-manager's annotation, unless `notes` are others."""
        kind = "cluster-issuer" if ref.get("kind") == "ClusterIssuer" else "issuer"
        algorithm = {f"{CM}private-key-algorithm": "ECDSA"}
        notes = {f"{CM}{kind}": ref["name"], **algorithm} if notes is None else notes
        tls = [{"secretName": each, "hosts": list(hosts)} for each in secrets or (f"{name}-tls",)]
        spec = {"ingressClassName": "traefik", "rules": [{"host": host} for host in hosts], "tls": tls}
        about = {"name": name, "namespace": namespace, "annotations": {"team": "shop", **notes}, **metadata}
        self.swept.api.add(INGRESSES, namespace, {"metadata": about, "spec": spec})

    # What others do.

    def heard(self, path: str) -> None:
        """The webhook hears of a write, and cert-manager acts."""
        parts, api = path.split("/"), self.swept.api
        if len(parts) > 5 and parts[-2] == "ingresses":
            stored = api.stored(INGRESSES, parts[-3], parts[-1])
            if stored is not None:
                self.swept.apply(stored, stored=False)
        if len(parts) > 5 and "secrets" in parts[-2:]:
            self._asked(parts)
        self.cm.sync(now=self.now)
        self.watch()

    def _asked(self, parts: list[str]) -> None:
        for stored in self.swept.api.all(SECRETS, parts[parts.index("namespaces") + 1]):
            if requested(stored) and v.STATE not in stored["metadata"]["labels"]:
                decision, _ = admitted(self.swept, stored, stored | {"metadata": stored["metadata"] | {"labels": {}}})
                patched = jsonpatch.apply_patch(stored, list(decision.patch))
                self.swept.api.add(SECRETS, stored["metadata"]["namespace"], patched)

    def lingers(self, before: Json | None) -> None:
        """What was deleted is there, on its way out."""
        if before is not None:
            out = {"deletionTimestamp": _time(self.now), "finalizers": ["orphan"]}
            before["metadata"] |= out
            self.swept.api.add(CERTIFICATES, before["metadata"]["namespace"], before)

    def goes_on(self, seconds: float = 0) -> None:
        """The garbage collector comes by, Jobs run, and if none has to a sweep comes by."""
        for each in self.swept.api.all(CERTIFICATES):
            if is_being_deleted(each):
                self.swept.api.remove(CERTIFICATES, each["metadata"]["namespace"], each["metadata"]["name"])
        waiting = [one for one in self.records() if one.phase is Phase.LAUNCHED]
        for record in waiting:
            self.swept.run(secret=record.secret_name, namespace=record.namespace)
        if not waiting:
            self.swept.clock.ahead += 5 * MINUTE
            run(self.swept)

    def records(self) -> list[Record]:
        """All of certjob's."""
        found = self.swept.api.all(CONFIGMAPS, v.NAMESPACE)
        return [from_config_map(each) for each in found if v.RECORD in each["metadata"].get("labels", {})]

    def masters(self) -> list[str]:
        """Secrets that have two."""
        controller = read_cert_manager(self.swept.cluster).controller if self.cm.runs else None
        certificates = self.swept.api.all(CERTIFICATES) if self.cm.runs else []
        found = two_masters(self.records(), certificates=certificates, ingresses=self._specs(), controller=controller)
        return [str(each) for each in found]

    def _specs(self) -> list[Json]:
        return self.swept.api.all(INGRESSES)

    # The move.

    def served(self) -> dict[tuple[str, str], bytes]:
        """What a handshake shows of each Secret."""
        found = [each for each in self.swept.api.all(SECRETS) if each.get("type") == v.TLS_SECRET_TYPE]
        keys = [(each["metadata"]["namespace"], each["metadata"]["name"]) for each in found]
        return {key: self.swept.secret(key[1], key[0])["data"].get("tls.crt", b"") for key in keys}

    def plan(self, *, handshakes: bool = True, **choices: Any) -> MovePlan:
        """As it is made now."""
        cluster = Cluster(MetadataOnly(Operator(self)))
        theirs = read_cert_manager(cluster)
        estate = read_estate(cluster, now=self.now, named=[each.key for each in theirs.certificates])
        estate = replace(estate, served=self.served() if handshakes else {})
        return from_cert_manager(estate, theirs, Choices(**choices))

    def legos_plan(self, **choices: Any) -> MovePlan:
        """The same for kube-lego, which is there."""
        cluster = Cluster(MetadataOnly(Operator(self)))
        lego = read_kube_lego(cluster)
        assert lego is not None
        estate = replace(read_estate(cluster, now=self.now), served=self.served())
        return from_kube_lego(estate, lego, Choices(**choices))

    def plan_back(self, *, handshakes: bool = True, **choices: Any) -> MovePlan:
        """To cert-manager."""
        cluster = Cluster(MetadataOnly(Operator(self)))
        served = self.served() if handshakes else {}
        estate = replace(read_estate(cluster, now=self.now), served=served)
        return to_cert_manager(estate, read_cert_manager(cluster), Choices(**choices))

    def carry_out(self, plan: MovePlan, *, kill_at: int = 0, writes: bool = True) -> Operator:
        """As the command does it."""
        operator = Operator(self, kill_at)
        expected = frozenset((row.namespace, row.secret_name) for row in plan.rows if row.moves)
        hands = Hands(
            Cluster(MetadataOnly(operator)),
            test=lambda name: (),
            say=lambda line: None,
            patience=1800,
            expected=expected,
            writes=writes,
            waits=writes,
            sleep=self.goes_on,
            clock=lambda: self.swept.clock.ahead.total_seconds(),
        )
        hands.carry_out(plan)
        return operator


def _time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
