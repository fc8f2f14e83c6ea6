"""What goes into the images: the base by digest, a bill of materials, and what is known against it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from supply import audit, sbom
from tests.worlds.documents import ROOT

Json = dict[str, Any]
NOW = datetime(2026, 1, 1, tzinfo=UTC)
DOCKERFILES = ["Dockerfile.job", "Dockerfile.webhook"]
BASE = "python:3.13-slim@sha256:" + "b" * 64
HASH = "a" * 64


def argument(dockerfile: str, name: str) -> str:
    """The default of a build argument."""
    (value,) = re.findall(rf"^ARG {name}=(.*)$", (ROOT / dockerfile).read_text(), re.MULTILINE)
    return str(value)


@pytest.mark.parametrize("dockerfile", DOCKERFILES)
def test_the_base_is_named_by_digest(dockerfile: str) -> None:
    assert re.fullmatch(r"python:3\.13-slim@sha256:[0-9a-f]{64}", argument(dockerfile, "PYTHON_IMAGE"))
    used = re.findall(r"^FROM (\S+)", (ROOT / dockerfile).read_text(), re.MULTILINE)
    assert used == ["${PYTHON_IMAGE}"] * 2


def test_both_images_have_one_base_and_the_projects_version() -> None:
    assert len({argument(dockerfile, "PYTHON_IMAGE") for dockerfile in DOCKERFILES}) == 1
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert {argument(dockerfile, "VERSION") for dockerfile in DOCKERFILES} == {version}


@pytest.mark.parametrize("kind", ["job", "webhook"])
def test_each_image_lists_what_pip_has_installed(kind: str) -> None:
    text = (ROOT / f"Dockerfile.{kind}").read_text()
    (install,) = [step for step in text.split("\nRUN ") if "pip install" in step]
    assert "--require-hashes" in install
    listed = f'python -B /run/sbom.py certjob-{kind} "${{VERSION}}" "${{PYTHON_IMAGE}}" /tmp/installed.json'
    assert install.index("--report /tmp/installed.json") < install.index(f"{listed} > /app/sbom.cdx.json")
    assert "!supply/sbom.py" in (ROOT / ".dockerignore").read_text().splitlines()


def installed(name: str, version: str, **metadata: str) -> Json:
    archive = {"archive_info": {"hashes": {"sha256": HASH}}}
    return {"download_info": archive, "metadata": {"name": name, "version": version} | metadata}


def test_a_bill_names_each_distribution_with_its_version_and_hash() -> None:
    report = {"install": [installed("PyYAML", "6.0.3", license="MIT"), installed("aiohttp", "3.14.5")]}
    found = sbom.bill("certjob-job", "0.1.0", BASE, report)
    assert (found["bomFormat"], found["specVersion"], found["version"]) == ("CycloneDX", "1.6", 1)
    base, python, *libraries = found["components"]
    assert (base["name"], base["hashes"]) == ("python:3.13-slim", [{"alg": "SHA-256", "content": "b" * 64}])
    assert python["name"] == "CPython"
    assert [entry["purl"] for entry in libraries] == ["pkg:pypi/aiohttp@3.14.5", "pkg:pypi/pyyaml@6.0.3"]
    assert all(entry["hashes"] == [{"alg": "SHA-256", "content": HASH}] for entry in libraries)
    assert libraries[1]["licenses"] == [{"license": {"name": "MIT"}}]
    references = [entry["bom-ref"] for entry in found["components"]]
    assert len(references) == len(set(references))
    assert found["dependencies"] == [{"ref": "certjob-job", "dependsOn": references[2:]}]


def test_the_same_installation_gives_the_same_bill() -> None:
    entries = [installed("one", "1"), installed("two", "2")]
    first, second = (sbom.bill("x", "1", BASE, {"install": listed}) for listed in (entries, list(reversed(entries))))
    assert first == second
    assert sbom.bill("x", "1", BASE, {"install": entries[:1]})["serialNumber"] != first["serialNumber"]


def test_what_has_no_hash_is_not_listed_as_if_it_had() -> None:
    report = {"install": [installed("one", "1") | {"download_info": {"archive_info": {}}}]}
    with pytest.raises(ValueError, match="no hash of one"):
        sbom.bill("x", "1", BASE, report)


@pytest.mark.process
def test_it_runs_with_an_interpreter_alone(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    report.write_text(json.dumps({"install": [installed("one", "1")]}))
    command = [sys.executable, "-I", "-S", str(ROOT / "supply/sbom.py"), "certjob-job", "1", BASE, str(report)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == sbom.bill("certjob-job", "1", BASE, json.loads(report.read_text()))


def advisory(*events: tuple[str, str], name: str = "urllib3", **changes: Any) -> Json:
    affected = {
        "package": {"ecosystem": "PyPI", "name": name},
        "ranges": [{"type": "ECOSYSTEM", "events": [{kind: version} for kind, version in events]}],
    }
    modified = (NOW - timedelta(days=1)).isoformat()
    return {"id": "PYSEC-1", "aliases": ["CVE-1"], "modified": modified, "affected": [affected]} | changes


FIXED = (("introduced", "2.0.0"), ("fixed", "2.0.7"), ("introduced", "0"), ("fixed", "1.26.18"))


@pytest.mark.parametrize(
    ("version", "concerned"),
    [("1.26.17", True), ("1.26.18", False), ("2.0.0", True), ("2.0.6", True), ("2.0.7", False), ("2.10", False)],
)
def test_a_version_is_affected_between_its_events(version: str, concerned: bool) -> None:
    assert audit.concerns(advisory(*FIXED), "urllib3", version) is concerned


def test_the_last_affected_version_is_affected() -> None:
    known = advisory(("introduced", "1.0"), ("last_affected", "1.5"))
    assert [audit.concerns(known, "urllib3", version) for version in ("0.9", "1.0", "1.5", "1.5.1")] == [
        False,
        True,
        True,
        False,
    ]


def test_versions_may_be_listed_one_by_one() -> None:
    listed = {"package": {"ecosystem": "PyPI", "name": "PyYAML"}, "versions": ["6.0.3"]}
    assert audit.concerns(advisory() | {"affected": [listed]}, "pyyaml", "6.0.3")
    assert not audit.concerns(advisory() | {"affected": [listed]}, "pyyaml", "6.0.4")


@pytest.mark.parametrize(
    "other",
    [
        advisory(("introduced", "0"), name="urllib4"),
        advisory(("introduced", "0"), withdrawn="2025-01-01T00:00:00Z"),
        advisory() | {"affected": [{"package": {"ecosystem": "npm", "name": "urllib3"}, "versions": ["2.0.0"]}]},
    ],
)
def test_others_advisories_are_not_counted(other: Json) -> None:
    assert not audit.concerns(other, "urllib3", "2.0.0")


def locked(name: str) -> str:
    """The version of a distribution that the Job's image has."""
    return dict(audit.pinned((ROOT / "issuer_job/requirements.txt").read_text()))[name]


@pytest.mark.parametrize("form", ["json", "yaml", "zip"])
def test_what_is_known_is_said(tmp_path: Path, form: str) -> None:
    known, version = advisory(("introduced", "0")), locked("urllib3")
    if form == "zip":
        with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
            archive.writestr("PYSEC-1.json", json.dumps(known))
    else:
        text = json.dumps(known) if form == "json" else yaml.safe_dump(known)
        (tmp_path / f"PYSEC-1.{form}").write_text(text)
    code, lines = audit.audit(tmp_path, ROOT, now=NOW)
    assert code == 1
    assert lines[0].startswith(f"urllib3 {version}: PYSEC-1 CVE-1, in ")
    assert lines[-1].endswith("1 advisories, the newest of 2025-12-31: 1 known")


def test_nothing_known_is_said_only_of_a_database_of_today(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(advisory(("introduced", "0"), name="other")))
    assert audit.audit(tmp_path, ROOT, now=NOW)[0] == 0
    code, [line] = audit.audit(tmp_path, ROOT, now=NOW + timedelta(days=60))
    assert (code, "too long ago" in line) == (2, True)


def test_without_a_database_nothing_is_claimed(tmp_path: Path) -> None:
    for place in (None, tmp_path / "none", tmp_path):
        code, [line] = audit.audit(place, ROOT, now=NOW)
        assert (code, "nothing was checked" in line) == (2, True)


def test_all_that_the_images_install_is_looked_up() -> None:
    for lock in audit.LOCKS:
        text = (ROOT / lock).read_text()
        assert {name for name, _ in audit.pinned(text)} == set(re.findall(r"^([a-z0-9.-]+)==", text, re.MULTILINE))
