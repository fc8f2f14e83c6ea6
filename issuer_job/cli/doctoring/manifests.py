"""The manifests that are packed beside this code: what an installation of this version is."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from issuer_job.background import at_once
from issuer_job.cli.base.endings import CommandError
from issuer_job.cli.doctoring.elsewhere import HERE, elsewhere
from issuer_job.cli.way.kubectl import kubectl
from issuer_job.cluster.api import Json

PACKED = Path(__file__).parents[1] / "manifests"
"""Where a wheel has them (supply/wheel.py)."""
CHECKOUT = Path(__file__).parents[3] / "manifests"
SECONDS = 20.0
"""For kustomize."""

Render = Callable[[Path], bytes]
"""Makes YAML of a directory that kustomize understands."""


def directory() -> Path:
    """Where they are."""
    return PACKED if PACKED.is_dir() else CHECKOUT


def installation(namespace: str, render: Render, *, before_1_36: bool) -> list[Json]:
    """The objects of the installation in `namespace`. Raises CommandError if they cannot be made."""
    return list(_objects(render(_base(before_1_36)), namespace))


def with_components(namespace: str, render: Render, *, before_1_36: bool) -> list[list[Json]]:
    """The same with each component that changes some. Raises CommandError."""
    base = _base(before_1_36)
    components = sorted(path.parent for path in directory().glob("optional/*/kustomization.yaml"))
    changing = [path for path in components if "patches:" in (path / "kustomization.yaml").read_text()]
    return at_once(lambda component: list(_objects(_with(base, component, render), namespace)), changing)


def kustomized(place: Path) -> bytes:
    """What kustomize makes of a directory, as YAML. Raises CommandError."""
    try:
        command = [kubectl(), "kustomize", str(place)]
        done = subprocess.run(command, capture_output=True, timeout=SECONDS, stdin=subprocess.DEVNULL, check=False)
    except (OSError, subprocess.TimeoutExpired) as problem:
        raise CommandError(f"kubectl kustomize: {type(problem).__name__}") from None
    if done.returncode:
        words = " ".join(done.stderr.decode(errors="replace").split())[:300]
        raise CommandError(f"kubectl kustomize: {words}")
    return done.stdout


def _base(before_1_36: bool) -> Path:
    return directory() / ("before-1.36" if before_1_36 else "")


def _with(base: Path, component: Path, render: Render) -> bytes:
    with tempfile.TemporaryDirectory(prefix="certjob-") as made:
        overlay = Path(made).resolve()  # kustomize takes relative paths alone
        lines = {"resources": os.path.relpath(base, overlay), "components": os.path.relpath(component, overlay)}
        text = "".join(f"{key}:\n- {path}\n" for key, path in lines.items())
        (overlay / "kustomization.yaml").write_text(text)
        return render(overlay)


def _objects(text: bytes, namespace: str) -> Iterator[Json]:
    import yaml

    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    for each in yaml.load_all(text, Loader=loader):
        yield each if namespace == HERE else elsewhere(each, namespace)
