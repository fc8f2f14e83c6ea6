"""Houses of other tools on the cluster, between which certificates move, and what watches meanwhile.

The tools themselves are not there, but their objects; of cert-manager its kinds, too, and a model that makes
Certificates for Ingresses, and says whether it would order, by the same rules as in the unit tests.
"""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import threading
from base64 import b64encode
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Self

from certs.keys import PrivateKey, key_to_pem
from issuer_job import vocabulary as v
from issuer_job.cluster.api import INGRESSES, SECRETS, AlreadyExists, Conflict, Json, NotFound, Resource
from issuer_job.migrate.others.cert_manager import CERTIFICATES, CLUSTER_ISSUERS, ISSUERS
from tests.e2e import observe, plugin
from tests.e2e.api import kubectl
from tests.e2e.observe import cluster
from tests.e2e.own_issuer import DIRECTORY, ca_pem
from tests.fakes.certs_ca import FakeCA, pem
from tests.worlds.cert_manager import decoded, made_for, reason_to_issue

CRDS = Resource("/apis/apiextensions.k8s.io/v1", "customresourcedefinitions")
KINDS = {CERTIFICATES: "Certificate", ISSUERS: "Issuer", CLUSTER_ISSUERS: "ClusterIssuer"}
ROOT = FakeCA.root("What the other tool's certificates are from")
READY = {"conditions": [{"type": "Ready", "status": "True"}]}
AGE, LIFE = timedelta(days=5), timedelta(days=90)
MOVE = 300.0
"""Seconds for a whole move: each certificate is taken over by a Job."""


def roots() -> bytes:
    """The CA bundle of an issuer at Pebble that knows what the other tool has, too."""
    return ca_pem() + pem(ROOT.certificate)


@contextmanager
def kinds_of_cert_manager() -> Iterator[None]:
    """Its custom resources, of which the API server knows no more than names."""
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
            create(made(CRDS, "CustomResourceDefinition", {"name": name}, spec=spec))
            cleaning.callback(cluster().delete, CRDS, None, name)
            kubectl("wait", "--for=condition=established", f"crd/{name}")
        yield


def made(resource: Resource, kind: str, metadata: Json, **fields: object) -> Json:
    """An object."""
    return {"apiVersion": resource.api_version, "kind": kind, "metadata": metadata} | fields


def create(*objects: Json) -> None:
    """All at once."""
    kubectl("create", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))


def cluster_issuer(name: str) -> Json:
    """cert-manager's, at Pebble."""
    acme: Json = {"server": DIRECTORY, "caBundle": b64encode(roots()).decode()}
    acme |= {"privateKeySecretRef": {"name": "account"}, "solvers": [{"http01": {"ingress": {}}}]}
    return made(CLUSTER_ISSUERS, "ClusterIssuer", {"name": name}, spec={"acme": acme}, status=READY)


def deployment(name: str, namespace: str, image: str, env: Sequence[Json] = ()) -> Json:
    """A controller that no node runs."""
    pod = {"containers": [{"name": name, "image": image, "env": list(env)}], "nodeSelector": {"there-is": "none"}}
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": pod}
    spec: Json = {"replicas": 1, "selector": {"matchLabels": labels}, "template": template}
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}


@cache
def dates() -> tuple[datetime, datetime]:
    """Of all that moves: a Certificate's are its Secret's."""
    start = datetime.now(UTC).replace(microsecond=0) - AGE
    return start, start + LIFE


def pair(namespace: str, name: str, host: str, key: PrivateKey, notes: Mapping[str, str]) -> Json:
    """A Secret with a certificate of ROOT's."""
    start, end = dates()
    chain = pem(ROOT.issue((host,), key, not_before=start, not_after=end, subject=host))
    data = {"tls.crt": b64encode(chain).decode(), "tls.key": b64encode(key_to_pem(key)).decode()}
    metadata = {"name": name, "namespace": namespace, "annotations": dict(notes)}
    return made(SECRETS, "Secret", metadata, type=v.TLS_SECRET_TYPE, data=data)


def certificate(namespace: str, name: str, secret: str, host: str, ref: Json, owner: Json | None = None) -> Json:
    """cert-manager's, of an Ingress or nobody's."""
    start, end = dates()
    status = READY | {"notBefore": f"{start:%Y-%m-%dT%H:%M:%SZ}", "notAfter": f"{end:%Y-%m-%dT%H:%M:%SZ}"}
    spec = {"secretName": secret, "dnsNames": [host], "issuerRef": ref, "privateKey": {"algorithm": "ECDSA"}}
    metadata: Json = {"name": name, "namespace": namespace}
    if owner is not None:
        about = {"apiVersion": INGRESSES.api_version, "kind": "Ingress", "name": owner["metadata"]["name"]}
        metadata["ownerReferences"] = [about | {"uid": owner["metadata"]["uid"]}]
    return made(CERTIFICATES, "Certificate", metadata, spec=spec, status=status)


def cert_managers_notes(name: str, ref: Json) -> Json:
    """On a Secret, of the Certificate of that name."""
    return {"cert-manager.io/certificate-name": name} | {
        f"cert-manager.io/issuer-{part}": text for part, text in ref.items()
    }


@dataclass(frozen=True)
class Command:
    """`kubectl certjob migrate DIRECTION` for one namespace."""

    plugin: plugin.Plugin
    namespace: str
    options: tuple[str, ...]

    def arguments(self, direction: str, *further: str) -> list[str]:
        where = ["-n", self.namespace, "--connect", os.environ["CERTJOB_TRAEFIK_ADDRESS"]]
        return ["migrate", direction, *where, *self.options, *further]

    def report(self, direction: str) -> Counter[str]:
        """How many rows there are of each kind."""
        done = self.plugin.certjob(*self.arguments(direction, "-o", "json"))
        assert done.returncode in {0, 1}, done.stderr
        return Counter(item["willBe"] for item in json.loads(done.stdout)["items"])

    def apply(self, direction: str) -> None:
        done = self.plugin.certjob(*self.arguments(direction, "--apply"), longest=MOVE)
        assert done.returncode == 0, done.stdout + done.stderr

    def interrupted(self, direction: str, words: str) -> None:
        """Killed once it has said that."""
        path = f"{self.plugin.directory}:{os.environ['PATH']}"
        line = ["kubectl-certjob", *self.arguments(direction, "--apply")]
        with subprocess.Popen(line, env=os.environ | {"PATH": path}, stdout=subprocess.PIPE, text=True) as running:
            assert running.stdout is not None
            assert any(words in said for said in running.stdout)
            running.kill()


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
            for one in made_for(ingress):
                one["metadata"]["ownerReferences"][0]["uid"] = ingress["metadata"]["uid"]
                if one["metadata"]["name"] not in there:
                    with suppress(AlreadyExists):
                        create_one = made(CERTIFICATES, "Certificate", one["metadata"], spec=one["spec"])
                        cluster().create(CERTIFICATES, self.namespace, create_one)
        listed = list(cluster().items(CERTIFICATES, self.namespace))
        secrets = {each["metadata"]["name"]: each for each in cluster().items(SECRETS, self.namespace)}
        for found in listed:
            secret = secrets.get(found["spec"]["secretName"])
            name, reason = found["metadata"]["name"], reason_to_issue(found, decoded(secret), now=datetime.now(UTC))
            if reason and cluster().find(CERTIFICATES, self.namespace, name) is not None:
                self.orders.append(f"{name}: {reason}")
            elif not reason and "status" not in found:  # else it was deleted meanwhile, or has its word
                with suppress(NotFound, Conflict):
                    cluster().update(CERTIFICATES, self.namespace, found | {"status": READY})


@dataclass
class Handshakes(Repeatedly):
    """One every half second, with each host in its turn. `wrong` are those that were not trusted."""

    hosts: Sequence[str]
    wrong: list[str] = field(default_factory=list)
    made: int = 0

    def once(self) -> None:
        host = self.hosts[self.made % len(self.hosts)]
        self.made += 1
        if not shows_theirs(host):
            self.wrong.append(host)


def shows_theirs(host: str) -> bool:
    """Whether the host is trusted by who trusts the CA that the other tool is said to have asked."""
    try:
        observe.handshake(host, _trusting_root(), 2.0)
    except OSError:
        return False
    return True


@cache
def _trusting_root() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=pem(ROOT.certificate).decode())
    return context
