"""Helm and kubectl where `make cluster-helm` has put them, and the chart by them."""

from __future__ import annotations

import os
from pathlib import Path

from tests.worlds.documents import MANIFESTS

CHART = MANIFESTS / "chart"
MAJORS = (3, 4)
_TOOLS = {"kubectl": "tools-*/bin/kubectl"} | {f"helm{major}": f"helm{major}-*/helm" for major in MAJORS}


def program(name: str) -> Path:
    """`kubectl`, `helm3` or `helm4`. Raises FileNotFoundError where it is not made yet."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    found = sorted((cache / "certjob" / "tools").glob(_TOOLS[name]))
    if not found:
        raise FileNotFoundError(f"{name}: make cluster-helm")
    return found[-1]
