"""Debian's promtool, which `make cluster-monitoring` unpacks, and the alerts as Prometheus reads them."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import yaml

from tests.worlds.documents import ROOT

COMPONENT = ROOT / "manifests" / "optional" / "monitoring"
ALERTS = COMPONENT / "alerts.yaml"


def program(name: str) -> Path:
    """`prometheus` or `promtool`. Raises FileNotFoundError where they are not unpacked."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    found = sorted((cache / "certjob" / "tools").glob(f"prometheus-*/usr/bin/{name}"))
    if not found:
        raise FileNotFoundError(f"{name}: make cluster-monitoring")
    return found[-1]


def groups() -> list[dict[str, Any]]:
    """Of rules, as the PrometheusRule has them."""
    found: list[dict[str, Any]] = yaml.safe_load(ALERTS.read_text())["spec"]["groups"]
    return found


def alerts() -> dict[str, dict[str, Any]]:
    """The alerting rules by name."""
    return {rule["alert"]: rule for group in groups() for rule in group["rules"] if "alert" in rule}


def write_rules(path: Path) -> None:
    """The rules in a file of their own, as a Prometheus without its operator reads them."""
    path.write_text(yaml.safe_dump({"groups": groups()}))


def promtool(*arguments: str | Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run to its end; its exit code says what it found."""
    command = [program("promtool"), *arguments]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=60, check=False)


def dashboard() -> dict[str, Any]:
    """Grafana's JSON."""
    found: dict[str, Any] = json.loads((COMPONENT / "dashboard.json").read_text())
    return found
