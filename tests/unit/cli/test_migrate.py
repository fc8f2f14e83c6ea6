"""`kubectl certjob migrate`: the report, files, and that it does it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from issuer_job import vocabulary as v
from issuer_job.cluster.api import INGRESSES, SECRETS
from issuer_job.migrate.carry.written import credential_lines, files_of
from issuer_job.migrate.plans.steps import MovePlan
from issuer_job.migrate.translate.issuers import Credential, TranslatedIssuer
from tests.worlds.cli import CommandLine
from tests.worlds.documents import ROOT
from tests.worlds.job import JobWorld
from tests.worlds.moving import Moving
from tests.worlds.pages import blocks

DATE = re.compile(r"\d{4}-\d\d-\d\d")


@pytest.fixture
def moving(swept: JobWorld) -> Moving:
    world = Moving(swept)
    world.cluster_issuer()
    world.certificate()
    return world


@pytest.fixture
def line(moving: Moving) -> CommandLine:
    return CommandLine(api=moving.swept.api, clock=lambda: moving.now)


def test_a_line_that_says_orders_is_an_exit_code(line: CommandLine) -> None:
    ran = line.run("migrate", "from-cert-manager", "--no-handshakes")
    assert ran.code == 1
    heads, row = ran.out.splitlines()
    assert heads.split() == ["NAMESPACE", "SECRET", "FOR", "NOW", "FROM", "WILL", "BE", "WHY"]
    assert row.startswith("shop       shop-tls  Ingress shop  ClusterIssuer le-prod  orders   whether its caBundle")
    assert "1 certificate: 1 orders" in ran.err


def test_the_report_is_what_the_page_shows(line: CommandLine, moving: Moving) -> None:
    (sample,) = (block.text for block in blocks(ROOT / "docs/moving.md") if block.kind == "text")
    moving.cluster_issuer(server="https://acme-v02.api.letsencrypt.org/directory", caBundle="")
    moving.issuer({"vault": {"path": "pki"}}, "vault", namespace="pay")
    moving.certificate("mail", namespace="mail", hosts=("mail.certjob.dev",), by_ingress=False)
    moving.certificate("pay", namespace="pay", hosts=("pay.certjob.dev",), issuerRef=VAULT)
    moving.certificate("www", namespace="team-b", hosts=("www.certjob.dev",), owned=True)
    ran = line.run("migrate", "from-cert-manager", "--no-handshakes")
    said = f"$ kubectl certjob migrate from-cert-manager\n{ran.out}{ran.err}"
    assert DATE.sub("DATE", said) == DATE.sub("DATE", sample)


VAULT = {"name": "vault", "kind": "Issuer", "group": "cert-manager.io"}


def test_a_report_in_json(line: CommandLine) -> None:
    ran = line.run("migrate", "from-cert-manager", "--no-handshakes", "-o", "json")
    (item,) = json.loads(ran.out)["items"]
    assert (item["name"], item["willBe"], item["nowFrom"]) == ("shop-tls", "orders", "ClusterIssuer le-prod")


@pytest.mark.parametrize("direction", ["from-kube-lego", "to-cert-manager"])
def test_nothing_to_move(line: CommandLine, direction: str) -> None:
    ran = line.run("migrate", direction, "--no-handshakes")
    assert (ran.code, ran.out) == (0, "")
    assert ran.err


def test_a_dry_run_says_each_write_and_does_none(line: CommandLine, moving: Moving) -> None:
    before = moving.swept.api.all(INGRESSES), moving.swept.api.all(SECRETS)
    ran = line.run("migrate", "from-cert-manager", "--no-handshakes", "--orders", "--apply", "--dry-run=client")
    assert ran.code == 0
    assert "  Secret shop/shop-tls: certjob.io/managed=true" in ran.out
    assert "  Certificate shop/shop-tls: deleted, its Secret stays (dry run)" in ran.out
    assert (moving.swept.api.all(INGRESSES), moving.swept.api.all(SECRETS)) == before


def test_files_for_kustomize_and_a_shell(line: CommandLine, moving: Moving, tmp_path: Path) -> None:
    moving.certificate("mail", namespace="mail", hosts=("mail.certjob.dev",), by_ingress=False)
    ran = line.run("migrate", "from-cert-manager", "--no-handshakes", "--orders", "--write", str(tmp_path))
    assert ran.code == 0
    patch = yaml.safe_load((tmp_path / "ingresses/shop.shop.yaml").read_text())
    assert patch["metadata"]["annotations"] == {
        "cert-manager.io/cluster-issuer": None,
        "cert-manager.io/private-key-algorithm": None,
        v.ISSUER: "le-prod",
    }
    component = yaml.safe_load((tmp_path / "ingresses/kustomization.yaml").read_text())
    assert component["kind"] == "Component"
    assert component["patches"] == [{"path": "shop.shop.yaml"}]
    request = yaml.safe_load((tmp_path / "requests/mail.mail-tls.yaml").read_text())
    assert request["metadata"]["annotations"] == {v.HOSTS: "mail.certjob.dev", v.ISSUER: "le-prod"}
    assert "data" not in request
    issuer = yaml.safe_load((tmp_path / f"issuers/{v.NAMESPACE}.le-prod.yaml").read_text())
    assert issuer["metadata"]["labels"] == {v.ISSUER: "true"}
    steps = (tmp_path / "steps.sh").read_text()
    order = ["rollout status", "certjob.io/managed", "patch ingresses", "certjob wait", "delete certificates"]
    places = [steps.index(words) for words in order]
    assert places == sorted(places)
    assert "credentials-le-prod" in (tmp_path / "credentials.sh").read_text()
    assert (tmp_path / "credentials.sh").stat().st_mode & 0o111


def test_an_issuer_is_named_by_two_words(line: CommandLine) -> None:
    assert line.run("migrate", "from-cert-manager", "--issuer", "le-prod").code == 2


def test_secrets_are_asked_for_by_metadata_alone(line: CommandLine, moving: Moving) -> None:
    """The transport asks for no more, as the fake of the command line has it; nothing of a key is anywhere."""
    ran = line.run("migrate", "from-cert-manager", "--no-handshakes", "-o", "yaml")
    assert "PRIVATE KEY" not in ran.out + ran.err


def test_credentials_go_from_one_kubectl_to_the_other() -> None:
    issuer = TranslatedIssuer(
        "x",
        "le",
        credentials=(
            Credential("tls.key", "cm", "account", "tls.key"),
            Credential("googleclouddns.auth_service_account_info", "cm", "sa", "key.json", form="base64::{}"),
            Credential("ddns.auth_token", "cm", "tsig", "secret", form="hmac-sha256:a%key:{}", decoded=True),
        ),
    )
    first, *rest = credential_lines(issuer)
    assert first.startswith(f"kubectl get secret -n {v.NAMESPACE} credentials-le >/dev/null")
    assert [text.partition("go-template=")[2].partition(" |\n")[0] for text in rest] == [
        """'{"data":{"tls.key":"{{index .data "tls.key"}}"}}'""",
        """'{"stringData":{"googleclouddns.auth_service_account_info":"base64::{{index .data "key.json"}}"}}'""",
        """'{"stringData":{"ddns.auth_token":{{printf "hmac-sha256:a%%key:%s" (index .data "secret" | base64decode)"""
        """ | printf "%q"}}}}'""",
    ]


def test_nothing_to_write_is_no_file() -> None:
    assert files_of(MovePlan(())) == {}
