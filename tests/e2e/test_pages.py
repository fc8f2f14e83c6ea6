"""Every command that the documents show is one that works, on this cluster; every output is what is printed."""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from certs.authority import make_authority
from issuer_job import names
from issuer_job import vocabulary as v
from issuer_job.cluster.api import CONFIGMAPS, JOBS, SECRETS
from issuer_job.polling import utc_now
from tests.e2e import world
from tests.e2e.api import NewNamespace, kubectl
from tests.e2e.observe import cluster
from tests.e2e.overlay import write_overlay
from tests.e2e.own_issuer import OwnIssuer, create_secret
from tests.worlds.documents import ROOT
from tests.worlds.pages import PAGES, Block, blocks, filled, masked

pytestmark = pytest.mark.usefixtures("no_sweeps")
ALL = [block for page in PAGES for block in blocks(page)]
RUN = [block for block in ALL if block.kind == "sh" and not block.why]
NO = re.compile(r"^kubectl (certjob (doctor|check|status)|auth can-i get)")
"""What answers a question with its exit code."""
REVOKE = "issuer_job revoke"
"""Of a certificate whose issuer has its account still, after the blocks before."""
MOST_NOT_RUN = 20
"""Blocks that are not run: more need a reason to be raised here, too."""


@dataclass
class Session:
    """What the blocks of one page run in: a directory, and what stands for their placeholders."""

    directory: Path
    values: dict[str, str]
    issuer: OwnIssuer

    def run(self, block: Block) -> subprocess.CompletedProcess[str]:
        """A shell that ends with the first command that fails, but for those whose answer may be no."""
        self.make_ready(block)
        values = self.values | ({"SECRET": "app-tls"} if REVOKE in block.text else {})
        lines = filled(block.text, values).splitlines()
        script = "\n".join(
            ["set -e -o pipefail", *(f"{line} || (( $? == 1 ))" if NO.search(line) else line for line in lines)]
        )
        path = f"{self.directory / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        environment = os.environ | {"PATH": path, "PYTHONPATH": str(ROOT)}
        return subprocess.run(
            ["bash", "-c", script],
            cwd=self.directory,
            env=environment,
            capture_output=True,
            text=True,
            timeout=150,
            check=False,
        )

    def make_ready(self, block: Block) -> None:
        """What is made in a block is not there yet."""
        namespace = self.values["NAMESPACE"]
        if "credentials-letsencrypt" in block.text:
            cluster().delete(SECRETS, v.NAMESPACE, self.values["credentials-letsencrypt"])
        if world.record(namespace, "web") is None:
            touched = f"touched={secrets.token_hex(3)}"
            kubectl("annotate", "ingress", "-n", namespace, "web", touched, "--overwrite")
        world.wait_phase(namespace, "web", "Issued")
        if REVOKE in block.text:
            world.apply(namespace, json.loads((self.directory / "app.yaml").read_text()))
            world.wait_phase(namespace, "app-tls", "Issued")


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory, new_namespace: NewNamespace) -> Iterator[Session]:
    directory, tag = tmp_path_factory.mktemp("pages"), secrets.token_hex(3)
    issuer = OwnIssuer(f"le-{tag}")
    issuer.apply()
    namespace, other = new_namespace("pages"), new_namespace("pages")
    host = f"web.{namespace}.test"
    world.create(
        namespace, world.manifest("web", [host], tls=[{"hosts": [host], "secretName": "web"}], issuer=issuer.name)
    )
    world.wait_issued(namespace, "web", [host])
    applied = world.manifest("app", [f"app.{namespace}.test"], tls_acme="true")
    applied["metadata"]["namespace"] = namespace
    authority = make_authority(now=utc_now())
    files = {"ca.pem": authority.cert_chain_pems, "ca-key.pem": authority.key_pem}
    files |= {"root.pem": authority.cert_chain_pems, "root-key.pem": authority.key_pem}
    files |= {"root_ca.crt": authority.cert_chain_pems, "token.txt": b"token", "issuer.yaml": b"type: selfsigned\n"}
    files["app.yaml"] = json.dumps(applied).encode()
    for name, content in files.items():
        (directory / name).write_bytes(content)
    (directory / "bin").mkdir()
    plugin = directory / "bin" / "kubectl-certjob"
    plugin.write_text(f'#!/bin/sh\nexec {sys.executable} -m issuer_job.cli "$@"\n')
    plugin.chmod(0o755)
    (directory / "overlay").symlink_to(write_overlay(directory / "installation"))
    (directory / "manifests").symlink_to(ROOT / "manifests")
    values = {
        "NAMESPACE": namespace,
        "NAME": "web",
        "INGRESS": "web",
        "SECRET": "web",
        "web-tls": "web",
        "HOST": host,
        "ISSUER": issuer.name,
        "letsencrypt": issuer.name,
        "credentials-letsencrypt": names.credentials(issuer.name),
        "credentials-NAME": names.credentials(f"dns-{tag}"),
        "credentials-zerossl": names.credentials(f"zerossl-{tag}"),
        "credentials-internal-ca": names.credentials(f"ca-{tag}"),
        "internal": f"internal-{tag}",
        "www.example.com": f"moved-{tag}.example.com",
        "team-b": other,
        "shop": namespace,
        "HMAC_KEY": "aGVsbG8",
        "TOKEN": "token",
    }
    former = new_namespace("pages")
    for tool, account in (("kube-lego", "kube-lego-account"), ("cert-manager", "letsencrypt-account-key")):
        values[tool], values[account] = former, account
        create_secret(former, account, {"tls.key": authority.key_pem})
    try:
        yield Session(directory, values, issuer)
    finally:
        for name in revocations(namespace):
            cluster().delete(CONFIGMAPS, v.NAMESPACE, name)
        cluster().delete(JOBS, v.NAMESPACE, "sweep-now")
        for name in ("credentials-NAME", "credentials-zerossl", "credentials-internal-ca"):
            cluster().delete(SECRETS, v.NAMESPACE, values[name])
        cluster().delete(CONFIGMAPS, v.NAMESPACE, values["internal"])
        issuer.clean_up()


def revocations(namespace: str) -> list[str]:
    """What was asked for and is left to sweeps."""
    stored = cluster().items(CONFIGMAPS, v.NAMESPACE, labels=f"{v.REVOCATION}=true")
    return [one["metadata"]["name"] for one in stored if namespace in one["data"].get(v.REVOCATION_KEY, "")]


@pytest.mark.parametrize("block", RUN, ids=str)
def test_a_block_of_commands_works(session: Session, block: Block) -> None:
    done = session.run(block)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


def test_few_are_not_run() -> None:
    left = [block for block in ALL if block.why]
    assert len(left) <= MOST_NOT_RUN, [f"{block}: {block.why}" for block in left]


def test_the_demo_prints_what_the_readme_shows() -> None:
    [sample] = [block.text for block in ALL if block.page.name == "README.md" and "ms since apply" in block.text]
    done = subprocess.run(
        [sys.executable, "-m", "tests.demo"], capture_output=True, text=True, timeout=120, check=True
    )
    printed = set(masked(done.stdout + done.stderr))
    missing = [line for line in masked(sample) if line not in printed]
    assert missing == []
