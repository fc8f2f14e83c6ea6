"""`kubectl certjob` on the cluster: what checks, steers and examines."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import tarfile
import time
import urllib.request
from pathlib import Path

import pytest

from issuer_job import vocabulary as v
from issuer_job.cluster.api import INGRESSES, SECRETS
from tests.e2e import plugin, world
from tests.e2e.api import NewNamespace
from tests.e2e.observe import cluster
from tests.e2e.plugin import Plugin


@pytest.fixture(scope="module")
def kubectl(tmp_path_factory: pytest.TempPathFactory) -> Plugin:
    return plugin.install(tmp_path_factory.mktemp("plugin"))


@pytest.fixture(scope="module")
def shop(new_namespace: NewNamespace) -> str:
    """A namespace with a certificate."""
    namespace = new_namespace()
    world.apply(namespace, world.manifest("shop", [f"shop.{namespace}.test"], tls_acme="true"))
    world.wait_phase(namespace, "shop-tls", "Issued")
    return namespace


def test_check_says_what_would_be_ordered_and_writes_nothing(kubectl: Plugin, shop: str, tmp_path: Path) -> None:
    hosts, file = [f"new{number}.{shop}.test" for number in range(20)], tmp_path / "new.yaml"
    file.write_text(json.dumps(world.manifest("new", hosts, tls_acme="true")))
    begun = time.monotonic()
    ran = kubectl.certjob("check", "-n", shop, "-f", str(file))
    assert time.monotonic() - begun < 20  # on a busy machine
    lines = ran.stdout.splitlines()
    assert re.match(
        r" ok +admission +certjob would order 1 certificate for 20 hosts from pebble into new-tls ", lines[0]
    )
    assert re.match(rf" ok +host policy +first-claim: all 20 hosts are free or {shop}'s", lines[1])
    assert any(re.match(r" ok +port 80 +all 20 hosts answer from this machine with ", line) for line in lines)
    assert ran.returncode in (0, 1), ran.stderr
    assert world.record(shop, "new-tls") is None
    assert cluster().find(INGRESSES, shop, "new") is None
    again = kubectl.certjob("check", "-n", shop, "ingress/shop").stdout
    assert "shop-tls has a certificate for that until" in again


def test_what_is_asked_for_is_on_what_asks(kubectl: Plugin, shop: str) -> None:
    tried = kubectl.certjob("renew", "-n", shop, "shop-tls", "--dry-run=server")
    assert tried.returncode == 0, tried.stderr
    assert "renewal asked for (Ingress shop) (server dry run); done at" in tried.stdout
    assert v.RENEW not in world.live(shop, "shop")["metadata"]["annotations"]
    ran = kubectl.certjob("renew", "-n", shop, "shop-tls")
    assert ran.returncode == 0, ran.stderr
    assert v.RENEW in world.live(shop, "shop")["metadata"]["annotations"]
    assert "Warning: certjob: Secret shop-tls: it is renewed at" in ran.stderr
    waits = kubectl.certjob("retry", "-n", shop, "shop-tls")
    assert (waits.returncode, waits.stdout) == (0, "")
    assert "it is Issued" in waits.stderr


def test_a_secret_is_handed_over_by_its_label_alone(kubectl: Plugin, shop: str) -> None:
    data = {"tls.crt": "eA==", "tls.key": "eQ=="}
    body = {"metadata": {"name": "legacy"}, "type": v.TLS_SECRET_TYPE, "data": data}
    cluster().create(SECRETS, shop, body)
    ran = kubectl.certjob("adopt", "-n", shop, "legacy")
    assert ran.returncode == 0, ran.stderr
    assert re.match(rf"{shop}/legacy: handed over; the (next )?sweep .*looks", ran.stdout)
    stored = cluster().get(SECRETS, shop, "legacy")
    assert (stored["metadata"]["labels"], stored["data"]) == ({v.MANAGED: "true"}, data)


def test_a_host_is_given_to_another_namespace(kubectl: Plugin, shop: str, new_namespace: NewNamespace) -> None:
    other, host = new_namespace(), f"shop.{shop}.test"
    tried = kubectl.certjob("transfer-host", host, other, "--dry-run=server")
    assert tried.returncode == 0, tried.stderr
    assert f"{host}: {shop} -> {other} (server dry run)" in tried.stdout
    ran = kubectl.certjob("transfer-host", host, other)
    assert f"{shop}/shop-tls is not renewed any more" in ran.stdout
    world.apply(other, world.manifest("shop", [host], tls_acme="true"))
    world.wait_phase(other, "shop-tls", "Issued")


def test_doctor_finds_the_policies_in_force_and_leaves_hosts_out_of_its_bundle(
    kubectl: Plugin, shop: str, tmp_path: Path
) -> None:
    ran = kubectl.certjob("doctor", "--bundle", str(tmp_path / "b.tgz"))
    assert ran.returncode in (0, 1), ran.stderr
    assert re.search(r"^ ok +policies +in force: \d+ canaries refused, look answered$", ran.stdout, re.MULTILINE)
    assert re.search(
        r"^ ok +parts +the caBundle trusts what each webhook pod serves, until ", ran.stdout, re.MULTILINE
    )
    assert "policies     not installed" not in ran.stdout
    with tarfile.open(tmp_path / "b.tgz") as archive:
        texts = [file.read() for member in archive if (file := archive.extractfile(member))]
    assert not [text for text in texts if f"{shop}.test".encode() in text]


def test_the_page_is_there_until_ctrl_c(kubectl: Plugin) -> None:
    path = f"{kubectl.directory}:{os.environ['PATH']}"
    command = ["kubectl", "certjob", "page"]
    ran = subprocess.Popen(
        command, env=os.environ | {"PATH": path}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert ran.stdout is not None
        url = ran.stdout.readline().strip()
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", url), ran.stderr and ran.stderr.read()
        with urllib.request.urlopen(url, timeout=10) as answer:
            assert answer.status == 200
    finally:
        ran.send_signal(signal.SIGINT)
        ran.communicate(timeout=20)
    assert ran.returncode == 130


def test_a_tenant_is_told_what_may_not_be_known(kubectl: Plugin, shop: str) -> None:
    ran = kubectl.certjob("check", "-n", shop, "ingress/shop", "--as=nobody")
    assert (ran.returncode, ran.stdout) == (3, "")
    assert "not allowed: " in ran.stderr
