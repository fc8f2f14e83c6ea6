"""End everything the cluster started and remove what it left, in whatever state it is."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from tests.cluster import cgroups, sysctls
from tests.cluster.namespace import HOLDER
from tests.cluster.processes import is_running, kill, read_records
from tests.cluster.settings import Settings
from tests.cluster.shell import run

KEPT = ("logs",)


def stop(settings: Settings) -> None:
    """Safe to call at any time, any number of times; keeps only the logs."""
    records = read_records(settings.state)
    # kubelet and containerd first, or they would start again what is ended next.
    order = sorted(records, key=lambda name: (name == HOLDER, name not in ("kubelet", "containerd")))
    for name in order:
        if name != HOLDER:
            kill(records[name])
    cgroups.kill_members(settings.cgroup)
    if HOLDER in records:
        kill(records[HOLDER])
    unmount_below(settings.state)
    cgroups.remove(settings.cgroup)
    sysctls.restore(settings.state)
    clear(settings.state)


def mount_points(mountinfo: str, below: Path) -> list[Path]:
    """Mount points below a directory, the deepest first, from the text of /proc/self/mountinfo."""
    points = [Path(line.split()[4].encode().decode("unicode_escape")) for line in mountinfo.splitlines()]
    return sorted((p for p in points if p.is_relative_to(below)), key=lambda p: len(p.parts), reverse=True)


def unmount_below(directory: Path) -> None:
    """There should be none, as all is mounted in a namespace of its own; better to look before deleting."""
    for point in mount_points(Path("/proc/self/mountinfo").read_text(), directory):
        run(["umount", "--lazy", point], doing=f"unmount {point}")


def clear(state: Path) -> None:
    """Empty the state directory but for the logs; the process records go last."""
    if not state.is_dir():
        return
    for path in sorted(state.iterdir(), key=lambda path: path.name == "processes"):
        if path.name in KEPT:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def status(settings: Settings) -> str:
    """What runs, as JSON."""
    records = read_records(settings.state)
    running = {name: record.pid for name, record in records.items() if is_running(record)}
    return json.dumps({"state": str(settings.state), "running": running, "ended": sorted(records.keys() - running)})
