"""`kubectl certjob doctor --bundle`: what is in it, what is not, and where it is written."""

from __future__ import annotations

import json
import re
import tarfile
from pathlib import Path

import pytest

from issuer_job import vocabulary as v
from issuer_job.cluster.api import PODS, SECRETS
from tests.worlds import seen
from tests.worlds.cli import CommandLine
from tests.worlds.installed import installed, pod

HOST = "shop.certjob.dev"


@pytest.fixture
def line() -> CommandLine:
    made = installed()
    made.api.add(SECRETS, "shop", {"metadata": {"name": "shop-tls"}, "data": {"tls.key": "c2VjcmV0LWtleQ=="}})
    made.api.logs["certjob-webhook-1"] = [f'{{"event": "admission", "host": "{HOST}", "token": "{"aB3" * 14}"}}']
    made.api.add(PODS, v.NAMESPACE, pod("shop-1", "issue"))
    return made


def files(path: Path) -> dict[str, str]:
    with tarfile.open(path) as archive:
        found = {member.name: archive.extractfile(member) for member in archive}
        return {name.removeprefix("certjob-bundle/"): file.read().decode() for name, file in found.items() if file}


def test_it_has_what_support_needs(line: CommandLine, tmp_path: Path) -> None:
    ran = line.run("doctor", "--bundle", str(tmp_path / "b.tgz"))
    assert ran.code == 0
    assert "hosts are hashed, keys and tokens left out" in ran.err
    found = files(tmp_path / "b.tgz")
    assert {
        "README.txt",
        "doctor.json",
        "versions.json",
        "certificates.json",
        "issuers.json",
        "deployments.json",
        "pods.json",
        "jobs.json",
        "events.json",
        "webhook-configuration.json",
        "validatingadmissionpolicies.json",
        "logs/certjob-webhook-1.log",
    } <= found.keys()
    assert json.loads(found["certificates.json"])["items"][0]["name"] == "shop-tls"
    assert json.loads(found["doctor.json"])["kind"] == "DoctorReport"
    assert '"event": "admission"' in found["logs/certjob-webhook-1.log"]
    assert (tmp_path / "b.tgz").stat().st_mode & 0o777 == 0o600


def test_no_host_key_token_or_secret_is_in_it(line: CommandLine, tmp_path: Path) -> None:
    line.run("doctor", "--bundle", str(tmp_path / "b.tgz"))
    every = "\n".join(files(tmp_path / "b.tgz").values())
    for left_out in (HOST, "certjob.dev", "c2VjcmV0", "ab" * 32, "aB3" * 14, "BEGIN CERTIFICATE"):
        assert left_out not in every
    assert not re.search(r"\b0a1b\b", every), "a serial number"
    assert not [request for request in line.api.requests if "/secrets" in request.path]


def test_a_file_that_is_there_is_not_written_over(line: CommandLine, tmp_path: Path) -> None:
    file = tmp_path / "b.tgz"
    file.write_text("mine")
    ran = line.run("doctor", "--bundle", str(file))
    assert (ran.code, file.read_text()) == (2, "mine")
    assert ran.err == f"error: {file}: File exists\n"


def test_what_may_not_be_read_is_said_in_it(line: CommandLine, tmp_path: Path) -> None:
    line.api.fail("GET", "/events", seen.no_right("events", "list"))
    line.run("doctor", "--bundle", str(tmp_path / "b.tgz"))
    assert "cannot list resource" in files(tmp_path / "b.tgz")["events.json"]
