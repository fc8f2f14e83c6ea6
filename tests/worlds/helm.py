"""Helm and kubectl where `make cluster-helm` has put them, and the chart by them."""

from __future__ import annotations

import os
from pathlib import Path

from tests.worlds.documents import MANIFESTS

CHART = MANIFESTS / "chart"
MAJORS = (3, 4)
_TOOLS = {"kubectl": "tools-*/bin/kubectl"} | {f"helm{major}": f"helm{major}-*/helm" for major in MAJORS}
_TOOLS |= {name: f"workflows-*/bin/{name}" for name in ("zizmor", "shellcheck")}


def program(name: str) -> Path:
    """`kubectl`, `helm3` or `helm4`, or what looks at workflows. FileNotFoundError where it is not made yet."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    found = sorted((cache / "certjob" / "tools").glob(_TOOLS[name]))
    if not found:
        raise FileNotFoundError(f"{name}: python3 -m tests.cluster which {name}")
    return found[-1]
