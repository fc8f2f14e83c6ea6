"""The processes of pods, as the node sees them."""

from __future__ import annotations

from pathlib import Path


def processes_of(pod_uid: str) -> list[int]:
    """Every process in the pod's control group."""
    marks = (pod_uid, pod_uid.replace("-", "_"))
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if any(mark in (process / "cgroup").read_text() for mark in marks):
                found.append(int(process.name))
        except OSError:
            continue
    return found
