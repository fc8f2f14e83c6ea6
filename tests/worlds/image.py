"""What an image has, laid out as in it, and an interpreter that sees nothing else."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import dataclass
from fnmatch import fnmatch
from importlib.metadata import distribution
from pathlib import Path

from packaging.markers import Marker

ROOT = Path(__file__).resolve().parents[2]
PROCESS = Path(__file__).with_name("image_process.py")
_PIN = re.compile(r"^([a-z0-9.-]+)==[^\s;]+(?: *; *([^\\]+?))? *\\$", re.MULTILINE)


@dataclass(frozen=True)
class Imported:
    """What a process in the image found there."""

    missing: dict[str, str]
    """Modules of an import statement, and why each cannot be had."""
    distributions: set[str]
    """Those that a module was loaded from."""
    modules: set[str]
    """Of the product."""


def locked(requirements: Path) -> set[str]:
    """The distributions that a file of locked requirements names for this Python."""
    pins = _PIN.findall(requirements.read_text())
    return {name for name, marker in pins if not marker or Marker(marker).evaluate()}


def archives(requirements: Path, python: str) -> dict[tuple[str, str], set[str]]:
    """The SHA-256 of the archives that each distribution (name, version) may come from, for a version of Python."""
    found = {}
    for block in re.split(r"\n(?=[a-z0-9])", requirements.read_text()):
        pin = re.match(r"([a-z0-9.-]+)==([^\s;]+)(?: *; *([^\\]+?))? *\\", block)
        here = {"python_version": python.rpartition(".")[0], "python_full_version": python}
        if pin and (not pin[3] or Marker(pin[3]).evaluate(here)):
            found[pin[1], pin[2]] = set(re.findall(r"--hash=sha256:([0-9a-f]{64})", block))
    return found


def removed(dockerfile: Path) -> set[str]:
    """What an image does not keep, as patterns of paths below /app: of the product, and of its libraries in `lib`."""
    found = re.findall(r"cd /app/(\w+)(?:;| &&)[\s\\]+rm -rf ([^;\n]+)", dockerfile.read_text())
    return {f"{directory}/{path}" for directory, paths in found for path in paths.split()}


def run(kind: str, requirements: Path, dockerfile: Path, scratch: Path) -> Imported:
    """Import all that the image's processes can, and do what they do (see image_process), with what the image has."""
    app = _App(scratch / "app", removed(dockerfile))
    for package in re.findall(r"^COPY (\w+) /app/\1$", dockerfile.read_text(), re.MULTILINE):
        app.link(package, ROOT / package)
    owners = _link_distributions(locked(requirements), app)
    (scratch / "tests").mkdir()
    (scratch / "tests/tests").symlink_to(ROOT / "tests")
    command = [sys.executable, "-I", "-S", "-B", "-W", "ignore", str(PROCESS), kind, str(scratch)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((scratch / "report.json").read_text())
    return Imported(found["missing"], {owners[name] for name in found["libraries"]}, set(found["modules"]))


@dataclass(frozen=True)
class _App:
    """The image's /app, of links to what is installed and checked out here."""

    root: Path
    removed: set[str]

    def link(self, place: str, target: Path) -> None:
        """All of a file or directory but what is removed."""
        if any(fnmatch(place, pattern) for pattern in self.removed):
            return
        if any(pattern.startswith(f"{place}/") for pattern in self.removed):
            for entry in target.iterdir():
                self.link(f"{place}/{entry.name}", entry)
        else:
            (self.root / place).parent.mkdir(parents=True, exist_ok=True)
            (self.root / place).symlink_to(target)


def _link_distributions(names: set[str], app: _App) -> dict[str, str]:
    """As `pip install --target`; returns the distribution of each top-level module."""
    owners: dict[str, str] = {}
    for name in sorted(names):
        found = distribution(name)
        for top in {file.parts[0] for file in found.files or ()} - {"..", "__pycache__"}:
            app.link(f"lib/{top}", Path(str(found.locate_file(top))))
            owners[top.partition(".")[0]] = name
    return owners
