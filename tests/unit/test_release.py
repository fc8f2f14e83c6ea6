"""A release is made by a program that can be run here: what it makes, and when it makes nothing; the workflows."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from supply import release
from tests.worlds.documents import ROOT
from tests.worlds.helm import program

GITHUB = ROOT / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
DIGEST = "sha256:" + "a" * 64
IMAGES = {name: f"registry.example/team/{name}@{DIGEST}" for name in release.IMAGES}


def released(tmp_path: Path, **changes: str) -> Path:
    """The files that say a version, as of a release of 1.2.3 but for the changes (by file: what it says instead)."""
    for name, text in {
        "pyproject.toml": '[project]\nversion = "1.2.3"\n',
        "manifests/chart/Chart.yaml": "version: 1.2.3\nappVersion: 1.2.3\n",
        "CHANGELOG.md": "## [Unreleased]\n\n## [1.2.3] - 2027-01-02\n\n- Something.\n\n## [1.2.2] - 2026-01-02\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(changes.get(name, text))
    return tmp_path


def test_a_tag_that_everything_agrees_with_is_ready(tmp_path: Path) -> None:
    assert list(release.problems("v1.2.3", released(tmp_path))) == []


@pytest.mark.parametrize(
    ("tag", "changes", "words"),
    [
        ("v1.2.4", {}, "pyproject.toml says 1.2.3"),
        ("1.2.3", {}, "1.2.3: a release's tag is vX.Y.Z"),
        ("v1.2.3-rc1", {}, "a release's tag is vX.Y.Z"),
        ("v1.2.3", {"pyproject.toml": '[project]\nversion = "1.2.2"\n'}, "pyproject.toml says 1.2.2"),
        ("v1.2.3", {"manifests/chart/Chart.yaml": "version: 1.2.3\nappVersion: 1.2.2\n"}, "appVersion of the chart"),
        ("v1.2.3", {"CHANGELOG.md": "## [1.2.3] - unreleased\n"}, "CHANGELOG.md has no `## [1.2.3] - DATE`"),
    ],
)
def test_what_says_another_version_is_named(tmp_path: Path, tag: str, changes: dict[str, str], words: str) -> None:
    assert any(words in problem for problem in release.problems(tag, released(tmp_path, **changes)))


def test_the_notes_are_the_changelogs_words_on_the_version(tmp_path: Path) -> None:
    changelog = (released(tmp_path) / "CHANGELOG.md").read_text()
    assert release.notes(changelog, "1.2.3") == "- Something.\n"


def test_the_charts_values_name_the_images_that_were_pushed() -> None:
    values = release.with_images((ROOT / "manifests/chart/values.yaml").read_text(), IMAGES)
    image = yaml.safe_load(values)["image"]
    assert image["registry"] == "registry.example/team"
    assert image["digest"] == {"job": DIGEST, "webhook": DIGEST}


@pytest.mark.process
def test_it_is_the_same_bytes_each_time_and_every_image_is_named_by_digest(tmp_path: Path) -> None:
    """Of the files as they are in this checkout."""
    kept = shutil.ignore_patterns(".venv", ".git", "__pycache__", "tests")
    made = []
    for turn in ("one", "two"):
        source, directory = tmp_path / f"{turn}-source", tmp_path / turn
        shutil.copytree(ROOT, source, ignore=kept)
        directory.mkdir()
        release.make(source, directory, IMAGES, kubectl=str(program("kubectl")), epoch=1_800_000_000)
        made.append({path.name: path.read_bytes() for path in directory.iterdir()})
    assert made[0] == made[1]
    version = release.tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert made[0].keys() == {
        *release.INSTALLATIONS, "monitoring.yaml", "NOTES.md", "SHA256SUMS",
        f"certjob-{version}.tgz", f"certjob-{version}-py3-none-any.whl",
    }  # fmt: skip
    for name in release.INSTALLATIONS:
        images = [
            line.split()[-1] for line in made[0][name].decode().splitlines() if line.strip().startswith("image:")
        ]
        assert set(images) == set(IMAGES.values())
    (tmp_path / "chart.tgz").write_bytes(made[0][f"certjob-{version}.tgz"])
    command = [program("helm4"), "template", "--namespace", "certjob", tmp_path / "chart.tgz"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert IMAGES["certjob-webhook"] in done.stdout


@pytest.mark.process
def test_what_is_not_ready_makes_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "supply.release", "v9.9.9", tmp_path / "out", "--job", "x", "--webhook", "y"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "not ready: certjob-job: not NAME@sha256:DIGEST" in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.process
def test_the_workflows_are_what_their_schema_allows() -> None:
    [packages] = program("zizmor").parents[1].glob("lib/python*/site-packages")
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows", *WORKFLOWS]
    environment = os.environ | {"PYTHONPATH": str(packages)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.process
def test_the_workflows_have_nothing_that_makes_them_unsafe() -> None:
    command = [program("zizmor"), "--offline", "--quiet", "--no-progress", *WORKFLOWS]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.process
def test_shell_scripts_are_sound() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    scripts = [name for name in listed if (ROOT / name).is_file() and is_shell(ROOT / name)]
    assert ".ci/run" in scripts
    done = subprocess.run(
        [program("shellcheck"), "--severity=warning", *scripts], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def is_shell(path: Path) -> bool:
    with path.open("rb") as file:
        first = file.readline(80)
    return first.startswith(b"#!") and (b"sh" in first.split(b"/")[-1])


def test_actions_are_named_by_commit_and_every_job_says_its_rights() -> None:
    for path in WORKFLOWS:
        document = yaml.safe_load(path.read_text())
        assert document["permissions"] == {}
        for name, job in document["jobs"].items():
            assert "permissions" in job, f"{path.name}: {name}"
            for step in job["steps"]:
                assert len(step.get("uses", "@" + 40 * "0").partition("@")[2]) == 40, step


def test_forms_are_forms() -> None:
    for path in (GITHUB / "ISSUE_TEMPLATE").glob("*.yml"):
        form = yaml.safe_load(path.read_text())
        if path.name != "config.yml":
            ids = [part["id"] for part in form["body"] if part["type"] != "markdown"]
            assert len(ids) == len(set(ids)) > 1
