"""Certificates moved from cert-manager to certjob and back on the cluster, by the real kubectl: no order, no gap."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

from certs.keys import KeyAlgorithm, generate_key
from issuer_job.cluster.api import INGRESSES, Json
from issuer_job.migrate.others.cert_manager import CERTIFICATES, CLUSTER_ISSUERS
from issuer_job.record.record import Phase
from tests.e2e import moving, plugin, world
from tests.e2e.api import NewNamespace, kubectl, wait_for
from tests.e2e.moving import Command, Handshakes, Model, create, pair, shows_theirs
from tests.e2e.observe import cluster
from tests.e2e.own_issuer import orders_of, own_issuer

COUNT = int(os.environ.get("CERTJOB_MOVED", "12"))
"""Certificates. `make moving` takes 50: each has a Job of its own, and the pace is that of the node."""
THEIRS = "e2e-moving"
IMAGE = "quay.io/jetstack/cert-manager-controller:v1.21.1"
KEY = generate_key(KeyAlgorithm.ECDSA_P256)


@pytest.fixture(scope="module", autouse=True)
def kinds() -> Iterator[None]:
    with moving.kinds_of_cert_manager():
        yield


def reference(name: str, kind: str = "ClusterIssuer") -> Json:
    return {"name": name, "kind": kind, "group": "cert-manager.io"}


@dataclass
class Moved:
    """What is moved in one namespace."""

    namespace: str
    hosts: list[str] = field(default_factory=list)

    def make(self) -> None:
        """An issuer, a controller that no node runs, and for each host Ingress, Certificate and Secret."""
        self.hosts = [f"moved{number}.{self.namespace}.test" for number in range(COUNT)]
        ref = reference(THEIRS)
        asks = {"cert-manager.io/cluster-issuer": THEIRS, "cert-manager.io/private-key-algorithm": "ECDSA"}
        objects = [moving.cluster_issuer(THEIRS)]
        objects += [moving.deployment("cert-manager", self.namespace, IMAGE)]
        for number, host in enumerate(self.hosts):
            name = self.secret(number)
            ingress = world.manifest(f"moved{number}", [host], tls=[{"hosts": [host], "secretName": name}])
            ingress["metadata"] |= {"annotations": asks, "namespace": self.namespace}
            objects += [pair(self.namespace, name, host, KEY, moving.cert_managers_notes(name, ref)), ingress]
        create(*objects)
        owners = {each["metadata"]["name"]: each for each in cluster().items(INGRESSES, self.namespace)}
        create(
            *(
                moving.certificate(self.namespace, name, name, host, ref, owners[f"moved{number}"])
                for number, host in enumerate(self.hosts)
                for name in [self.secret(number)]
            )
        )

    def secret(self, number: int) -> str:
        return f"moved{number}-tls"

    @property
    def phases(self) -> set[str]:
        """Of the records; empty is none."""
        return {world.phase(self.namespace, self.secret(number)) for number in range(COUNT)}

    @property
    def annotations(self) -> list[Json]:
        """Of the Ingresses."""
        return [each["metadata"]["annotations"] for each in cluster().items(INGRESSES, self.namespace)]


def in_git(command: Command, directory: Path) -> list[Json]:
    """The annotations of the Ingresses, with the files that the command writes."""
    done = command.plugin.certjob(*command.arguments("from-cert-manager", "--write", str(directory)))
    assert done.returncode == 0, done.stderr
    items: list[Json] = list(cluster().items(INGRESSES, command.namespace))
    for item in items:
        item |= {"apiVersion": INGRESSES.api_version, "kind": "Ingress"}
    (directory / "live.yaml").write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
    overlay = {"resources": ["live.yaml"], "components": ["ingresses"]}
    (directory / "kustomization.yaml").write_text(json.dumps(overlay))
    rendered = yaml.safe_load_all(kubectl("kustomize", str(directory)))
    return [document["metadata"]["annotations"] for document in rendered]


@pytest.mark.usefixtures("no_sweeps")
def test_there_and_back(new_namespace: NewNamespace, tmp_path: Path) -> None:
    """Interrupted once, as its first Certificate is on its way out."""
    with own_issuer("moving", caBundle=moving.roots().decode()) as issuer, ExitStack() as cleaning:
        moved = Moved(new_namespace("e2e-moving"))
        options = ("--issuer", f"{THEIRS}={issuer}", "--new-accounts")
        command = Command(plugin.install(tmp_path), moved.namespace, options)
        cleaning.callback(cluster().delete, CLUSTER_ISSUERS, None, THEIRS)
        moved.make()
        wait_for(lambda: all(map(shows_theirs, moved.hosts)), what="all of them are served")
        with Handshakes(moved.hosts, pause=0.5) as handshakes, Model(moved.namespace, pause=1) as model:
            assert command.report("from-cert-manager") == {"adopted": COUNT}
            written = in_git(command, tmp_path / "written")
            command.interrupted("from-cert-manager", "deleted, its Secret stays")
            command.apply("from-cert-manager")
            assert moved.phases == {Phase.ISSUED}
            assert list(cluster().items(CERTIFICATES, moved.namespace)) == []
            assert moved.annotations == written
            assert command.report("from-cert-manager") == {}

            assert command.report("to-cert-manager") == {"adopted": COUNT}
            command.apply("to-cert-manager")
            assert moved.phases == {""}
            assert command.report("to-cert-manager") == {}
            # The last of the hosts is asked once more.
            wait_for(lambda: handshakes.made > COUNT, what="a handshake with each")
        assert (handshakes.wrong, model.orders, orders_of(issuer)) == ([], [], [])
