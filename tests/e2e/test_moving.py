"""Certificates moved from cert-manager to certjob and back on the cluster, by the real kubectl: no order, no gap.

cert-manager itself is not there, but its kinds, and a model of it: that makes Certificates for Ingresses, and says
whether it would order, by the same rules as in the unit tests.
"""

from __future__ import annotations

import json
import os
import subprocess
import threading
from base64 import b64decode, b64encode
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self

import pytest
import yaml

from certs.keys import KeyAlgorithm, generate_key, key_to_pem
from issuer_job import vocabulary as v
from issuer_job.cluster.api import INGRESSES, SECRETS, AlreadyExists, Conflict, Json, NotFound, Resource
from issuer_job.demand.common import is_being_deleted
from issuer_job.migrate.others.cert_manager import CERTIFICATES, CLUSTER_ISSUERS, ISSUERS
from issuer_job.migrate.plans.steps import DEPLOYMENTS
from issuer_job.record.record import Phase
from tests.e2e import observe, plugin, world
from tests.e2e.api import NewNamespace, kubectl, wait_for
from tests.e2e.observe import cluster
from tests.e2e.own_issuer import DIRECTORY, ca_pem, orders_of, own_issuer
from tests.fakes.certs_ca import FakeCA, pem
from tests.worlds.cert_manager import made_for, reason_to_issue

COUNT = 12
"""It is the same of 50, in 130 s."""
THEIRS = "e2e-moving"
CRDS = Resource("/apis/apiextensions.k8s.io/v1", "customresourcedefinitions")
KINDS = {CERTIFICATES: "Certificate", ISSUERS: "Issuer", CLUSTER_ISSUERS: "ClusterIssuer"}
ROOT = FakeCA.root("What cert-manager's certificates are from")
READY = {"conditions": [{"type": "Ready", "status": "True"}]}


@pytest.fixture(scope="module")
def kinds() -> Iterator[None]:
    """cert-manager's, of which the API server knows no more than names."""
    anything = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    with ExitStack() as cleaning:
        for resource, kind in KINDS.items():
            name = f"{resource.plural}.cert-manager.io"
            spec = {
                "group": "cert-manager.io",
                "names": {"kind": kind, "plural": resource.plural},
                "scope": "Cluster" if resource is CLUSTER_ISSUERS else "Namespaced",
                "versions": [{"name": "v1", "served": True, "storage": True, "schema": anything}],
            }
            create(CRDS, None, "CustomResourceDefinition", {"name": name}, spec=spec)
            cleaning.callback(cluster().delete, CRDS, None, name)
            kubectl("wait", "--for=condition=established", f"crd/{name}")
        yield


def create(resource: Resource, namespace: str | None, kind: str, metadata: Json, **fields: object) -> None:
    body = {"apiVersion": resource.api_version, "kind": kind, "metadata": metadata}
    cluster().create(resource, namespace, body | fields)


@dataclass
class Moved:
    """What is moved in one namespace."""

    namespace: str
    issuer: str
    command: plugin.Plugin
    hosts: list[str] = field(default_factory=list)

    def make(self) -> None:
        """An issuer, a controller that no node runs, and for each host Ingress, Certificate and Secret."""
        acme: Json = {"server": DIRECTORY, "caBundle": b64encode(ca_pem() + pem(ROOT.certificate)).decode()}
        acme["privateKeySecretRef"] = {"name": "account"}
        create(CLUSTER_ISSUERS, None, "ClusterIssuer", {"name": THEIRS}, spec={"acme": acme}, status=READY)
        container = {"name": "controller", "image": "quay.io/jetstack/cert-manager-controller:v1.21.1"}
        pod = {"containers": [container], "nodeSelector": {"there-is": "none"}}
        labels = {"app": "cert-manager"}
        template = {"metadata": {"labels": labels}, "spec": pod}
        spec: Json = {"replicas": 1, "selector": {"matchLabels": labels}, "template": template}
        metadata = {"name": "cert-manager", "namespace": self.namespace}
        create(DEPLOYMENTS, self.namespace, "Deployment", metadata, spec=spec)
        for number in range(COUNT):
            self._one(number)

    def _one(self, number: int) -> None:
        name, start = self.secret(number), datetime.now(UTC) - timedelta(days=5)
        host, end = f"moved{number}.{self.namespace}.test", start + timedelta(days=90)
        self.hosts.append(host)
        key = generate_key(KeyAlgorithm.ECDSA_P256)
        chain = pem(ROOT.issue((host,), key, not_before=start, not_after=end, subject=host))
        data = {"tls.crt": b64encode(chain).decode(), "tls.key": b64encode(key_to_pem(key)).decode()}
        metadata: Json = {"name": name, "namespace": self.namespace}
        ref = {"name": THEIRS, "kind": "ClusterIssuer", "group": "cert-manager.io"}
        notes = {f"cert-manager.io/issuer-{part}": text for part, text in ref.items()}
        notes["cert-manager.io/certificate-name"] = name
        about = metadata | {"annotations": notes}
        create(SECRETS, self.namespace, "Secret", about, type=v.TLS_SECRET_TYPE, data=data)
        ingress = world.manifest(f"moved{number}", [host], tls=[{"hosts": [host], "secretName": name}])
        asks = {"cert-manager.io/cluster-issuer": THEIRS, "cert-manager.io/private-key-algorithm": "ECDSA"}
        ingress["metadata"]["annotations"] = asks
        made = world.create(self.namespace, ingress)["metadata"]
        owner = {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "name": made["name"], "uid": made["uid"]}
        status = READY | {"notBefore": f"{start:%Y-%m-%dT%H:%M:%SZ}", "notAfter": f"{end:%Y-%m-%dT%H:%M:%SZ}"}
        spec = {"secretName": name, "dnsNames": [host], "issuerRef": ref, "privateKey": {"algorithm": "ECDSA"}}
        about = metadata | {"ownerReferences": [owner]}
        create(CERTIFICATES, self.namespace, "Certificate", about, spec=spec, status=status)

    def secret(self, number: int) -> str:
        return f"moved{number}-tls"

    def arguments(self, direction: str, *further: str) -> list[str]:
        options = ["-n", self.namespace, "--issuer", f"{THEIRS}={self.issuer}", "--new-accounts"]
        return ["migrate", direction, *options, "--connect", os.environ["CERTJOB_TRAEFIK_ADDRESS"], *further]

    def report(self, direction: str) -> Counter[str]:
        """How many rows there are of each kind."""
        done = self.command.certjob(*self.arguments(direction, "-o", "json"))
        assert done.returncode in {0, 1}, done.stderr
        return Counter(item["willBe"] for item in json.loads(done.stdout)["items"])

    def apply(self, direction: str) -> None:
        done = self.command.certjob(*self.arguments(direction, "--apply"))
        assert done.returncode == 0, done.stdout + done.stderr

    def in_git(self, directory: Path) -> list[Json]:
        """The annotations of the Ingresses, with the files that the command writes."""
        done = self.command.certjob(*self.arguments("from-cert-manager", "--write", str(directory)))
        assert done.returncode == 0, done.stderr
        items: list[Json] = list(cluster().items(INGRESSES, self.namespace))
        for item in items:
            item |= {"apiVersion": INGRESSES.api_version, "kind": "Ingress"}
        listed = {"apiVersion": "v1", "kind": "List", "items": items}
        (directory / "live.yaml").write_text(json.dumps(listed))
        overlay = {"resources": ["live.yaml"], "components": ["ingresses"]}
        (directory / "kustomization.yaml").write_text(json.dumps(overlay))
        rendered = yaml.safe_load_all(kubectl("kustomize", str(directory)))
        return [document["metadata"]["annotations"] for document in rendered]

    def interrupted(self, direction: str, words: str) -> None:
        """Killed once it has said that."""
        path = f"{self.command.directory}:{os.environ['PATH']}"
        line = ["kubectl-certjob", *self.arguments(direction, "--apply")]
        with subprocess.Popen(line, env=os.environ | {"PATH": path}, stdout=subprocess.PIPE, text=True) as running:
            assert running.stdout is not None
            assert any(words in said for said in running.stdout)
            running.kill()
        wait_for(lambda: not any(map(is_being_deleted, cluster().items(CERTIFICATES, self.namespace))), what="gone")


@dataclass
class Repeatedly:
    """Done again and again by a thread while it is open."""

    pause: float = field(kw_only=True)
    _over: threading.Event = field(default_factory=threading.Event, kw_only=True)
    _thread: threading.Thread = field(init=False)

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(self.pause):
            self.once()

    def once(self) -> None:
        raise NotImplementedError


@dataclass
class Model(Repeatedly):
    """cert-manager in one namespace. `orders` are what it would order, and why."""

    namespace: str
    orders: list[str] = field(default_factory=list)

    def once(self) -> None:
        """Certificates for Ingresses, and its word for each."""
        there = {each["metadata"]["name"]: each for each in cluster().items(CERTIFICATES, self.namespace)}
        for ingress in cluster().items(INGRESSES, self.namespace):
            for made in made_for(ingress):
                made["metadata"]["ownerReferences"][0]["uid"] = ingress["metadata"]["uid"]
                if made["metadata"]["name"] not in there:
                    with suppress(AlreadyExists):
                        create(CERTIFICATES, self.namespace, "Certificate", made["metadata"], spec=made["spec"])
        for certificate in cluster().items(CERTIFICATES, self.namespace):
            secret = cluster().find(SECRETS, self.namespace, certificate["spec"]["secretName"])
            if secret is not None:
                secret["data"] = {key: b64decode(value) for key, value in secret["data"].items()}
            name, reason = (
                certificate["metadata"]["name"],
                reason_to_issue(certificate, secret, now=datetime.now(UTC)),
            )
            if reason and cluster().find(CERTIFICATES, self.namespace, name) is not None:
                self.orders.append(f"{name}: {reason}")
            elif reason:
                continue  # deleted meanwhile
            elif "status" not in certificate:
                with suppress(NotFound, Conflict):
                    cluster().update(CERTIFICATES, self.namespace, certificate | {"status": READY})


@dataclass
class Handshakes(Repeatedly):
    """One every half second, with each host in its turn. `wrong` are those that showed something else."""

    hosts: list[str]
    wrong: list[str] = field(default_factory=list)
    made: int = 0

    def once(self) -> None:
        host = self.hosts[self.made % len(self.hosts)]
        self.made += 1
        if not shows_theirs(host):
            self.wrong.append(host)


def shows_theirs(host: str) -> bool:
    """Whether what is served is the certificate that cert-manager is said to have made."""
    seen = observe.served(host)
    return seen is not None and seen.leaf.issuer == ROOT.certificate.subject


@pytest.mark.usefixtures("kinds", "no_sweeps")
def test_there_and_back(new_namespace: NewNamespace, tmp_path: Path) -> None:
    roots = (ca_pem() + pem(ROOT.certificate)).decode()
    with own_issuer("moving", caBundle=roots) as issuer, ExitStack() as cleaning:
        moved = Moved(new_namespace("e2e-moving"), issuer, plugin.install(tmp_path))
        cleaning.callback(cluster().delete, CLUSTER_ISSUERS, None, THEIRS)
        moved.make()
        wait_for(lambda: all(map(shows_theirs, moved.hosts)), what="all of them are served")
        with Handshakes(moved.hosts, pause=0.5) as handshakes, Model(moved.namespace, pause=1) as model:
            assert moved.report("from-cert-manager") == {"adopted": COUNT}
            written = moved.in_git(tmp_path / "written")
            moved.interrupted("from-cert-manager", "deleted, its Secret stays")
            moved.apply("from-cert-manager")
            records = [world.record(moved.namespace, moved.secret(number)) for number in range(COUNT)]
            assert {one.phase if one is not None else None for one in records} == {Phase.ISSUED}
            assert list(cluster().items(CERTIFICATES, moved.namespace)) == []
            assert written == [
                each["metadata"]["annotations"] for each in cluster().items(INGRESSES, moved.namespace)
            ]
            assert moved.report("from-cert-manager") == {}

            assert moved.report("to-cert-manager") == {"adopted": COUNT}
            moved.apply("to-cert-manager")
            records = [world.record(moved.namespace, moved.secret(number)) for number in range(COUNT)]
            assert set(records) == {None}
            assert moved.report("to-cert-manager") == {}
        assert (handshakes.wrong, model.orders, orders_of(issuer)) == ([], [], [])
        assert handshakes.made > 10
