"""What `pip install 'certjob[cli]'` brings is enough, and is quick to start."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).resolve().parents[3]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def distribution(requirement: str) -> str:
    return re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0].lower().replace("_", "-")


def brought() -> set[str]:
    """Names of the distributions that the extra brings."""
    found: set[str] = set()
    pending = [distribution(one) for one in PROJECT["dependencies"] + PROJECT["optional-dependencies"]["cli"]]
    while pending:
        name = pending.pop()
        if name not in found:
            found.add(name)
            needed = (one for one in requires(name) or () if "extra ==" not in one)
            pending += [distribution(one) for one in needed]
    return found


def reached() -> list[str]:
    """The product's modules that commands import, also within functions."""
    graph = grimp.build_graph("certs", "issuer_job", "webhook", cache_dir=None)
    own = {module for module in graph.modules if module.startswith("issuer_job.cli.")}
    return sorted(own.union(*(graph.find_upstream_modules(module) for module in own)))


IMPORTER = """
import importlib, importlib.metadata, json, sys

def nothing(name):
    raise importlib.metadata.PackageNotFoundError(name)

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in blocked:
            raise ModuleNotFoundError(f"{name} is not there", name=name)

blocked, modules = map(set, json.load(sys.stdin))
sys.meta_path.insert(0, Blocker())
importlib.metadata.version = nothing
for module in sorted(modules):
    importlib.import_module(module)
"""


def python(code: str, given: str = "") -> str:
    """What an interpreter of its own says."""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, input=given, capture_output=True, text=True, cwd=ROOT, timeout=60, check=False)
    assert done.returncode == 0, done.stderr[-1000:]
    return done.stdout


@pytest.mark.process
def test_commands_import_nothing_but_what_the_extra_brings() -> None:
    there = brought()
    blocked = [top for top, of in packages_distributions().items() if not there & {name.lower() for name in of}]
    modules = reached()
    assert {"issuer_job.cli.main", "issuer_job.record.record"} <= set(modules)
    assert "acme" in blocked
    assert "click" not in blocked
    # What `migrate` judges certificates of public CAs by.
    roots = "assert sys.modules['issuer_job.attempt.vouching'].public_roots()"
    python(f"{IMPORTER}{roots}", json.dumps([blocked, modules]))


@pytest.mark.parametrize("script", ["kubectl-certjob", "kubectl_complete-certjob"])
def test_the_console_scripts_are_there(script: str) -> None:
    module, _, function = PROJECT["scripts"][script].partition(":")
    assert callable(getattr(importlib.import_module(module), function))


HELP = "import sys; from issuer_job.cli.main import run; run(['--help']); print(*sys.modules)"
SLOW = ("rich", "yaml", "cryptography", "kubernetes", "urllib3", "asyncio", "issuer_job.record")


@pytest.mark.process
def test_help_imports_nothing_slow() -> None:
    loaded = python(HELP).splitlines()[-1].split()
    assert "issuer_job.cli.main" in loaded
    assert [name for name in loaded if name.startswith(SLOW)] == []
