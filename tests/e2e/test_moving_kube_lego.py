"""Certificates moved from kube-lego to certjob on the cluster, by the real kubectl: no order, no gap.

kube-lego itself is not there, but all that it leaves in a cluster.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from certs.keys import KeyAlgorithm, generate_key, key_to_pem
from issuer_job import names
from issuer_job import vocabulary as v
from issuer_job.acme_client import AcmeClient
from issuer_job.checks.launch import find_issuer
from issuer_job.cluster.api import CONFIGMAPS, INGRESSES, SECRETS, Json
from issuer_job.migrate.others.kube_lego import CHALLENGES
from issuer_job.migrate.plans.steps import DEPLOYMENTS
from issuer_job.record.record import Phase
from tests.e2e import moving, plugin, world
from tests.e2e.api import NewNamespace, wait_for
from tests.e2e.moving import Command, Handshakes, Repeatedly, create, made, pair, shows_theirs
from tests.e2e.observe import cluster
from tests.e2e.own_issuer import DIRECTORY, ca_pem, create_secret, orders_by, orders_of, own_issuer
from tests.e2e.sweeps import run_sweep

COUNT = 4
ASKS = {v.TLS_ACME: "true"}
KEY = generate_key(KeyAlgorithm.RSA_2048)
ACCOUNT = key_to_pem(generate_key(KeyAlgorithm.RSA_2048))


@dataclass
class KubeLego:
    """It is in a namespace of its own, `home`, and its Ingresses in another one."""

    home: str
    namespace: str
    hosts: list[str] = field(default_factory=list)

    def make(self) -> str:
        """All of it; the URL of its account."""
        self.hosts = [f"lego{number}.{self.namespace}.test" for number in range(COUNT)]
        settings = {"lego.email": "ops@certjob.test", "lego.url": DIRECTORY}
        env: list[Json] = [
            {"name": f"LEGO_{word}", "valueFrom": {"configMapKeyRef": {"name": "kube-lego", "key": key}}}
            for word, key in (("EMAIL", "lego.email"), ("URL", "lego.url"))
        ]
        env += [
            {"name": f"LEGO_{word}", "valueFrom": {"fieldRef": {"fieldPath": path}}}
            for word, path in (("NAMESPACE", "metadata.namespace"), ("POD_IP", "status.podIP"))
        ]
        url = registered()
        create_secret(self.home, "kube-lego-account", {"tls.key": ACCOUNT, "acme-registration-url": url.encode()})
        create(
            made(CONFIGMAPS, "ConfigMap", {"name": "kube-lego", "namespace": self.home}, data=settings),
            moving.deployment("kube-lego", self.home, "jetstack/kube-lego:0.1.7", env),
            self._challenges(),
            *(pair(self.namespace, self.secret(number), host, KEY, ASKS) for number, host in enumerate(self.hosts)),
            *(self._ingress(number, host) for number, host in enumerate(self.hosts)),
        )
        return url

    def _ingress(self, number: int, host: str) -> Json:
        ingress = world.manifest(f"lego{number}", [host], tls=[{"hosts": [host], "secretName": self.secret(number)}])
        ingress["metadata"] |= {"annotations": ASKS, "namespace": self.namespace}
        return ingress

    def _challenges(self) -> Json:
        backend = {"service": {"name": "kube-lego-nginx", "port": {"number": 8080}}}
        path = {"path": "/.well-known/acme-challenge", "pathType": "Prefix", "backend": backend}
        rules = [{"host": host, "http": {"paths": [path]}} for host in self.hosts]
        metadata = {"name": "kube-lego-nginx", "namespace": self.home, "annotations": {CHALLENGES: "true"}}
        return made(INGRESSES, "Ingress", metadata, spec={"rules": rules})

    def secret(self, number: int) -> str:
        return f"lego{number}-tls"

    @property
    def state(self) -> Json:
        """All that a move changes."""
        live = cluster().get(DEPLOYMENTS, self.home, "kube-lego")
        secrets = [cluster().get(SECRETS, self.namespace, self.secret(number)) for number in range(COUNT)]
        return {
            "replicas": live["spec"]["replicas"],
            "challenges": cluster().find(INGRESSES, self.home, "kube-lego-nginx") is not None,
            "managed": {(each["metadata"].get("labels") or {}).get(v.MANAGED) for each in secrets},
            "phases": {world.phase(self.namespace, self.secret(number)) for number in range(COUNT)},
        }

    @property
    def annotations(self) -> list[Json]:
        """Of the Ingresses."""
        return [each["metadata"]["annotations"] for each in cluster().items(INGRESSES, self.namespace)]

    @property
    def versions(self) -> list[str]:
        """Of all that it had in the namespace."""
        items = [*cluster().items(INGRESSES, self.namespace), *cluster().items(SECRETS, self.namespace)]
        return [each["metadata"]["resourceVersion"] for each in items]


def registered() -> str:
    """Its account at Pebble."""
    with AcmeClient.connect(
        DIRECTORY, ca_bundle_pem=ca_pem(), account_key_pem=ACCOUNT, account_url=None, user_agent="kube-lego"
    ) as client:
        return client.ensure_account(terms_agreed=True).url


@contextmanager
def issuer_with_its_account(home: str) -> Iterator[str]:
    """As docs/issuers.md says it: the key is copied to where certjob's Jobs have it."""
    bundle = moving.roots().decode()
    with own_issuer("moving-lego", caBundle=bundle, existingAccountKey="tls.key", keyAlgorithm="rsa-2048") as issuer:
        key = b64decode(cluster().get(SECRETS, home, "kube-lego-account")["data"]["tls.key"])
        create_secret(v.NAMESPACE, names.credentials(issuer), {"tls.key": key})
        try:
            yield issuer
        finally:
            cluster().delete(SECRETS, v.NAMESPACE, names.credentials(issuer))


@dataclass
class Sweeps(Repeatedly):
    """The CronJob's, only sooner."""

    def once(self) -> None:
        run_sweep()


@pytest.mark.usefixtures("no_sweeps")
def test_from_kube_lego(new_namespace: NewNamespace, tmp_path: Path) -> None:
    """Interrupted once, as it is stopped and nothing is handed over yet."""
    lego = KubeLego(new_namespace("kube-lego"), new_namespace("e2e-lego"))
    url = lego.make()
    wait_for(lambda: all(map(shows_theirs, lego.hosts)), what="all of them are served")
    before = lego.annotations
    with issuer_with_its_account(lego.home) as issuer:
        command = Command(plugin.install(tmp_path), lego.namespace, ("--issuer", f"kube-lego={issuer}"))
        with Handshakes(lego.hosts, pause=0.5) as handshakes:
            assert command.report("from-kube-lego") == {"adopted": COUNT}
            command.interrupted("from-kube-lego", "deleted, with its challenge paths")
            assert command.report("from-kube-lego") == {"adopted": COUNT}
            with Sweeps(pause=0.5):
                command.apply("from-kube-lego")
            assert lego.state == {"replicas": 0, "challenges": False, "managed": {"true"}, "phases": {Phase.ISSUED}}
            assert lego.annotations == [notes | {v.ISSUER: issuer} for notes in before]
            versions = lego.versions
            assert command.report("from-kube-lego") == {}
            command.apply("from-kube-lego")
            assert lego.versions == versions
            wait_for(lambda: handshakes.made > COUNT, what="a handshake with each")
        found = find_issuer(cluster(), issuer)
        assert found is not None
        assert found.state.account_url == url
        assert (handshakes.wrong, orders_of(issuer), orders_by(issuer, [ACCOUNT])) == ([], [], [])
        records = [world.record(lego.namespace, lego.secret(number)) for number in range(COUNT)]
        assert all(one is not None and one.issued is not None and one.issued.vouched for one in records)
