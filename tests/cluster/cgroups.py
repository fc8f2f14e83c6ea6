"""The cluster's control groups: its own processes in NAME/control, pods in NAME/kubepods.

Membership is the kernel's own record of what the cluster started, containers and their shims included.
Version 1 (also hybrid) has one tree per controller, version 2 a single one.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable
from pathlib import Path

from tests.cluster.report import ClusterError
from tests.cluster.shell import wait_for

ROOT = Path("/sys/fs/cgroup")
CONTROLLERS = ("cpu", "cpuset", "memory", "pids", "io", "hugetlb")


def hierarchies(root: Path = ROOT) -> list[Path]:
    """The mount points of the trees to use: all of version 1's, or the one of version 2."""
    if (root / "cgroup.controllers").exists():
        return [root]
    # In a hybrid set-up runc makes groups in version 2's tree ("unified"), too.
    return [tree for tree in sorted(root.iterdir()) if (tree / "cgroup.procs").exists() and not tree.is_symlink()]


def create(name: str, root: Path = ROOT) -> None:
    """Make the cluster's groups in every tree."""
    try:
        for tree in hierarchies(root):
            if (tree / "cgroup.controllers").exists():
                _delegate(tree)
                (tree / name).mkdir(exist_ok=True)
                _delegate(tree / name)
            (tree / name / "control").mkdir(parents=True, exist_ok=True)
            _inherit_cpuset(tree / name)
    except OSError as error:
        raise ClusterError(f"cannot make control groups below {root}: {error.strerror}") from error


def _delegate(group: Path) -> None:
    """Version 2 hands controllers down one level at a time; only those that exist can be handed."""
    available = (group / "cgroup.controllers").read_text().split()
    wanted = [f"+{controller}" for controller in CONTROLLERS if controller in available]
    if wanted:
        (group / "cgroup.subtree_control").write_text(" ".join(wanted))


def _inherit_cpuset(top: Path) -> None:
    """Version 1's cpuset groups start empty and accept no process until they have processors and memory."""
    for group in (top, top / "control"):
        for key in ("cpuset.cpus", "cpuset.mems"):
            knob = group / key
            if (group / "cgroup.controllers").exists() or not knob.exists() or knob.read_text().strip():
                continue
            knob.write_text((group.parent / key).read_text())


def join(pid: int, name: str, root: Path = ROOT) -> None:
    """Put a process into the cluster's group of the tree that counts processes."""
    (_counting_tree(root) / name / "control" / "cgroup.procs").write_text(str(pid))


def _counting_tree(root: Path) -> Path:
    trees = hierarchies(root)
    return next((tree for tree in trees if tree.name == "pids"), trees[0])


def members(name: str, root: Path = ROOT) -> set[int]:
    """Ids of all processes in the cluster's groups."""
    pids: set[int] = set()
    for tree in hierarchies(root):
        for listing in (tree / name).rglob("cgroup.procs"):
            try:
                pids.update(int(line) for line in listing.read_text().split())
            except (FileNotFoundError, OSError):
                continue  # The group went away between listing and reading.
    return pids


def kill_members(name: str, root: Path = ROOT) -> None:
    """End every process of the groups, again and again until none is left (they may be forking)."""

    def all_gone() -> bool:
        left = members(name, root)
        _signal(left)
        return not left

    wait_for(all_gone, what="the end of the cluster's containers", seconds=20, interval=0.02)


def _signal(pids: Iterable[int]) -> None:
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def remove(name: str, root: Path = ROOT) -> None:
    """Remove the empty groups, the deepest first."""

    def all_removed() -> bool:
        groups = [group for tree in hierarchies(root) if (tree / name).exists() for group in _tree_of(tree / name)]
        for group in sorted(groups, key=lambda path: len(path.parts), reverse=True):
            try:
                group.rmdir()
            except OSError:
                continue  # Still being emptied by the kernel; the next round gets it.
        return not any((tree / name).exists() for tree in hierarchies(root))

    wait_for(all_removed, what="the removal of the cluster's control groups", seconds=10)


def _tree_of(group: Path) -> list[Path]:
    return [group, *(path for path in group.rglob("*") if path.is_dir())]
