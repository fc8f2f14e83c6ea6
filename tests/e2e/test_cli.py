"""`kubectl certjob` on the cluster: as an operator, as a tenant, without a terminal, without an API server."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jsonschema
import pytest

from issuer_job import vocabulary as v
from issuer_job.cli.base.flags import Flags
from issuer_job.cli.base.session import Session, Surroundings
from issuer_job.cluster.api import SECRETS, Cluster, Json, Resource
from tests.e2e import plugin, world
from tests.e2e.api import NewNamespace, wait_for
from tests.e2e.observe import cluster
from tests.e2e.plugin import Plugin

RBAC = "/apis/rbac.authorization.k8s.io/v1"
SCHEMA = json.loads((plugin.ROOT / "docs/status.schema.json").read_text())


@pytest.fixture(scope="module")
def kubectl(tmp_path_factory: pytest.TempPathFactory) -> Plugin:
    return plugin.install(tmp_path_factory.mktemp("plugin"))


@pytest.fixture(scope="module")
def shop(new_namespace: NewNamespace, kubectl: Plugin) -> str:
    """A namespace whose Ingress has been waited for, and one that does not ask."""
    namespace = new_namespace()
    world.apply(namespace, world.manifest("plain", [f"plain.{namespace}.test"], bare=True))
    return namespace


def test_from_apply_to_issued_in_a_pipeline(kubectl: Plugin, shop: str, tmp_path: Path) -> None:
    host = f"shop.{shop}.test"
    file = tmp_path / "app.yaml"
    file.write_text(json.dumps(world.manifest("shop", [host], tls_acme="true")))
    world.apply(shop, json.loads(file.read_text()))
    waited = kubectl.certjob("wait", "-n", shop, "-f", str(file), "--timeout", "90s")
    assert waited.returncode == 0, waited.stderr
    # The second, if it was issued before the command had begun.
    assert re.fullmatch(rf"{shop}/shop-tls  Issued( in \d+(\.\d+)?s|, until \d{{4}}-\d\d-\d\d)\n", waited.stdout)
    assert "\x1b" not in waited.stderr

    shown = kubectl.certjob("status", "-n", shop)
    row = shown.stdout.splitlines()[1].split()
    assert row[:6] == [shop, "shop-tls", "yes", "Issued", host, "pebble"]
    assert shown.stderr == "1 certificate, all ready.\n"
    assert kubectl.certjob("status", "-n", shop, "--exit-code", "-o", "name").stdout == "secret/shop-tls\n"
    document = json.loads(kubectl.certjob("status", "-n", shop, host, "-o=json").stdout)
    jsonschema.validate(document, SCHEMA)
    assert document["items"][0]["certificate"]["serial"]

    log = kubectl.certjob("logs", "-n", shop, "shop-tls")
    assert log.returncode == 0, log.stderr
    assert [line.split()[1] for line in log.stdout.splitlines() if "issued" in line] == ["issued"]
    told = kubectl.certjob("describe", "-n", shop, "ingress/shop").stdout
    assert re.search(r"^Secret +shop-tls: issued until \d{4}-\d\d-\d\d; seen from here: ", told, re.MULTILINE)
    assert re.search(rf"^Host +{host}   HTTP-01 by route .* claim: {shop}, checked$", told, re.MULTILINE)
    assert "issued" in told.partition("Timeline")[2]
    ended = re.compile(r"^Job +\S+ ended with 0 \(done\), kept until", re.MULTILINE)
    describe = ("describe", "-n", shop, "ingress/shop")
    wait_for(lambda: ended.search(kubectl.certjob(*describe).stdout) is not None, what="its Job has ended")


def test_served_is_what_the_ingress_controller_shows(kubectl: Plugin, shop: str) -> None:
    waited = kubectl.certjob("wait", "-n", shop, "shop-tls", "--for=served", "--timeout", "60s")
    assert waited.returncode == 0, waited.stderr
    assert waited.stdout.endswith("; served\n")


def test_why_an_ingress_has_none(kubectl: Plugin, shop: str) -> None:
    told = kubectl.certjob("why", "-n", shop, "ingress/plain")
    assert told.returncode == 0
    assert "it does not ask for one" in told.stdout
    missing = kubectl.certjob("why", "-n", shop, "nothing-tls")
    expected = (1, "", f"error: there is no certificate for nothing-tls in namespace {shop}\n")
    assert (missing.returncode, missing.stdout, missing.stderr) == expected


def test_issuers_and_versions(kubectl: Plugin) -> None:
    rows = kubectl.certjob("issuers").stdout.splitlines()
    assert rows[0].split()[:4] == ["NAME", "DEFAULT", "READY", "CA"]
    assert any(row.split()[:2] == ["pebble", "yes"] for row in rows)
    assert re.fullmatch(
        r"client \S+   webhook \S+   job \S+   records 2   Kubernetes \S+\n", kubectl.certjob("version").stdout
    )


def test_kubectl_completes_names_of_the_cluster(kubectl: Plugin, shop: str) -> None:
    done = kubectl.run("__complete", "certjob", "status", "-n", shop, "sh")
    assert done.stdout.splitlines() == ["shop-tls", ":4"]


@pytest.fixture(scope="module")
def ann(shop: str) -> str:
    """A user who may read Ingresses, Secrets and Events in her namespace, and nothing else."""
    rules: list[Json] = [
        {"apiGroups": ["networking.k8s.io"], "resources": ["ingresses"], "verbs": ["get", "list"]},
        {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "list"]},
        {"apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["list", "watch"]},
    ]
    name = f"ann-{shop}"
    cluster().create(Resource(RBAC, "roles"), shop, {"metadata": {"name": name}, "rules": rules})
    role: Json = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name}
    subject: Json = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": name}
    binding: Json = {"metadata": {"name": name}, "roleRef": role, "subjects": [subject]}
    cluster().create(Resource(RBAC, "rolebindings"), shop, binding)
    return name


def test_a_tenant_sees_the_same_from_what_she_may_read(kubectl: Plugin, shop: str, ann: str) -> None:
    shown = kubectl.certjob("status", "-n", shop, f"--as={ann}")
    assert shown.returncode == 0, shown.stderr
    row = shown.stdout.splitlines()[1].split()
    assert row[:6] == [shop, "shop-tls", "yes", "Issued", f"shop.{shop}.test", "pebble"]
    assert shown.stderr.count("(told from your own Ingresses, Secrets' metadata and Events") == 1
    told = kubectl.certjob("describe", "-n", shop, f"--as={ann}", "shop-tls", "--no-lookup").stdout
    assert "CertificateIssued" in told
    waited = kubectl.certjob("wait", "-n", shop, f"--as={ann}", "shop-tls", "--timeout=5s")
    assert waited.returncode == 0, waited.stderr
    issuers = kubectl.certjob("issuers", "-n", shop, f"--as={ann}")
    assert (issuers.returncode, issuers.stdout.splitlines()[1].split()[:3]) == (0, ["pebble", "?", "?"])
    refused = kubectl.certjob("logs", "-n", shop, f"--as={ann}", "shop-tls")
    assert (refused.returncode, "get pods/log" in refused.stderr) == (3, True)
    nobody = kubectl.certjob("status", "-n", shop, "--as=nobody-at-all")
    assert (nobody.returncode, nobody.stdout) == (3, "")
    assert "error: not allowed: " in nobody.stderr


def test_no_key_travels(shop: str) -> None:
    session = Session(Flags(), Surroundings())
    try:
        session.begin(scoped=False)
        through: Cluster = session.cluster
        for found in (
            through.get(SECRETS, shop, "shop-tls"),
            *through.items(SECRETS, shop),
            through.patch(SECRETS, shop, "shop-tls", {"metadata": {"labels": {"team": "shop"}}}, dry_run=True),
        ):
            assert found["metadata"]["labels"][v.STATE] == "issued"
            assert "data" not in found
    finally:
        session.close()


DEAD = """
apiVersion: v1
kind: Config
current-context: dead
contexts: [{name: dead, context: {cluster: dead, user: nobody}}]
clusters: [{name: dead, cluster: {server: "https://127.0.0.1:9"}}]
users: [{name: nobody, user: {token: none}}]
"""


def test_an_api_server_that_is_dead_and_a_context_that_is_not_there(kubectl: Plugin, tmp_path: Path) -> None:
    (tmp_path / "config").write_text(DEAD)
    for command in ("status", "version"):
        dead = kubectl.certjob(command, KUBECONFIG=str(tmp_path / "config"))
        assert (dead.returncode, dead.stdout) == (3, "")
        assert "cannot be reached: dial tcp 127.0.0.1:9: connect: connection refused" in dead.stderr
        assert "Traceback" not in dead.stderr
    nowhere = kubectl.certjob("status", "--context=nowhere")
    assert (nowhere.returncode, "nowhere" in nowhere.stderr) == (3, True)
