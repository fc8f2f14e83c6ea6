"""The structure: what docs/architecture.md and the import contracts promise is so."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest
import yaml

from tests.architecture import phases
from tests.architecture.house import CHECKOUT, ROOTS, contract, house, modules
from tests.architecture.picture import PICTURE, draw

PAGE = (CHECKOUT / "docs/architecture.md").read_text()
PACKAGES = sorted(room for room in house().rooms if (CHECKOUT / room.replace(".", "/")).is_dir())
TELLS = {f"issuer_job.{room}" for room in ("cli", "last_word", "metrics", "migrate", "status")} | {"webhook.view"}
SOURCES = [path for root in ROOTS for path in sorted((CHECKOUT / root).rglob("*.py"))]


def test_the_picture_is_what_the_code_draws() -> None:
    assert PICTURE.read_text() == draw(), "make picture"


def test_the_picture_of_the_phases_is_of_the_arrows_that_the_code_has() -> None:
    assert phases.stamp() in phases.PICTURE.read_text(), "make picture"


def test_few_rooms_few_floors_few_arrows_and_no_circle() -> None:
    assert len([room for room in modules("issuer_job") if f"issuer_job.{room}" not in PACKAGES]) <= 9
    folders = {path.parent for path in (CHECKOUT / "issuer_job").rglob("__init__.py")}
    rooms = {folder.name: len(list(folder.glob("*.py"))) - 1 for folder in folders}
    assert {name: count for name, count in rooms.items() if count > 9} == {}
    assert max(house().floors.values()) <= 11  # ValueError for a circle
    assert len([arrow for arrow in house().arrows if not TELLS & set(arrow)]) <= 172, "but for what only tells"


@pytest.mark.parametrize("package", PACKAGES)
def test_each_package_says_its_contract_in_a_sentence_that_is_on_the_page(package: str) -> None:
    sentence = contract(package)
    assert sentence.endswith(".")
    assert f"| `{package.removeprefix('issuer_job.').replace('.', '/')}/` | {sentence} |" in PAGE


def test_no_two_public_classes_have_one_name() -> None:
    places = defaultdict(list)
    for path in SOURCES:
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(str(path.relative_to(CHECKOUT)))
    assert {name: where for name, where in places.items() if len(where) > 1} == {}


def test_the_main_path_is_read_in_an_evening() -> None:
    """The reading order names files that exist, from admission to installation, under 3,500 lines together."""
    order = PAGE.partition("## A reading order")[2].partition("\n## ")[0]
    files = re.findall(r"^\d+\. `([\w/]+\.py)`", order, re.MULTILINE)
    assert len(files) == len(set(files)) > 10
    assert sum(len((CHECKOUT / file).read_text().splitlines()) for file in files) < 3500


FORBIDDEN = {
    "certs/names_of_hosts.py": ("import issuer_job.names", "Imports go webhook -> issuer_job -> certs"),
    "issuer_job/upkeep/shortcut.py": ("import issuer_job.launch.start", "The floors of issuer_job"),
    "issuer_job/record/detour.py": ("import issuer_job.issuers.load", "The floors of issuer_job"),
    "issuer_job/launch/short_way.py": ("import issuer_job.acme_client", "The webhook reaches no CA"),
    "issuer_job/sweep/own_client.py": ("import kubernetes", "Only issuer_job.cluster.transport imports kubernetes"),
}


def test_a_forbidden_import_breaks_its_contract(tmp_path: Path) -> None:
    for root in ROOTS:
        shutil.copytree(CHECKOUT / root, tmp_path / root, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(CHECKOUT / "pyproject.toml", tmp_path)
    for name, (line, _) in FORBIDDEN.items():
        (tmp_path / name).write_text(f"{line}\n")
    with (tmp_path / "webhook/app.py").open("a") as app:
        app.write("import issuer_job.launch.short_way\n")
    linter = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    done = subprocess.run(linter, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 1
    text = " ".join(done.stdout.split())
    for name, (_, broken) in FORBIDDEN.items():
        assert f"{broken} BROKEN" in text
        assert name.removesuffix(".py").replace("/", ".") in text


def test_what_runs_before_a_commit_is_what_make_lint_runs() -> None:
    hooks = yaml.safe_load((CHECKOUT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    recipe = (CHECKOUT / "Makefile").read_text().partition("\nlint:")[2].partition("\n\n")[0]
    assert [hook["entry"] for hook in hooks] == [
        line.strip().replace("$(VENV)", ".venv") for line in recipe.splitlines()[1:]
    ]
