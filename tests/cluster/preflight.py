"""Whether this machine can run the cluster at all: what is wrong is said in one sentence before anything starts."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

from tests.cluster import cgroups
from tests.cluster.report import ClusterError
from tests.cluster.settings import Settings

ARCHITECTURES = ("x86_64", "aarch64")
GIB = 1 << 30
BUILD_SPACE, RUN_SPACE = 8 * GIB, 2 * GIB


def check(settings: Settings) -> None:
    """Raise ClusterError for the first thing that stands in the way."""
    check_user(os.geteuid())
    check_machine(platform.system(), platform.machine(), sys.version_info[:2])
    settings.cache.mkdir(parents=True, exist_ok=True)
    settings.state.mkdir(parents=True, exist_ok=True, mode=0o755)
    built = any(settings.tools.glob("kubernetes-*"))
    for directory in (settings.cache, settings.state):
        needed = BUILD_SPACE if directory == settings.cache and not built else RUN_SPACE
        check_space(directory, free=shutil.disk_usage(directory).free, needed=needed)
    _check_kernel()


def check_user(uid: int) -> None:
    if uid != 0:
        raise ClusterError("the local cluster needs root (namespaces, mounts and control groups): run it with sudo")


def check_machine(system: str, machine: str, python: tuple[int, ...]) -> None:
    if system != "Linux":
        raise ClusterError(f"the local cluster runs on Linux only, this is {system}")
    if machine not in ARCHITECTURES:
        raise ClusterError(f"the local cluster runs on {' and '.join(ARCHITECTURES)} only, this is {machine}")
    if python < (3, 11):
        raise ClusterError(f"the local cluster needs Python 3.11 or newer, this is {'.'.join(map(str, python))}")


def check_space(directory: Path, *, free: int, needed: int) -> None:
    """Both in bytes."""
    if free < needed:
        raise ClusterError(
            f"not enough disk space in {directory}: {free / GIB:.1f} GiB free, {needed / GIB:.0f} GiB needed"
        )


def _check_kernel() -> None:
    if not cgroups.hierarchies():
        raise ClusterError(f"no control groups are mounted at {cgroups.ROOT}")
    bridge = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
    if not bridge.exists() and shutil.which("modprobe"):
        subprocess.run(["modprobe", "--all", "br_netfilter", "overlay"], capture_output=True)
    if not bridge.exists():
        raise ClusterError("the kernel has no br_netfilter module, which services between pods need")
