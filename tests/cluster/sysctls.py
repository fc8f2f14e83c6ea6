"""Kernel settings of the whole machine that kubelet changes: remembered before, put back afterwards."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cluster.pki import write_private

CHANGED = (
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
)
# Every kubelet and, with control groups version 2, every pod takes one; the usual 128 are soon gone.
INOTIFY = "fs/inotify/max_user_instances"
INOTIFY_NEEDED = 1024
_FILE = "sysctls.json"


def remember(state: Path, root: Path = Path("/proc/sys")) -> None:
    """Write down the present values, unless those of an unfinished run are there; raise what is too low."""
    path = state / _FILE
    if not path.exists():
        values = {name: (root / name).read_text().strip() for name in (*CHANGED, INOTIFY) if (root / name).exists()}
        write_private(path, json.dumps(values))
    knob = root / INOTIFY
    if int(knob.read_text()) < INOTIFY_NEEDED:
        knob.write_text(str(INOTIFY_NEEDED))


def restore(state: Path, root: Path = Path("/proc/sys")) -> None:
    """Put the remembered values back."""
    path = state / _FILE
    if not path.exists():
        return
    try:
        values = json.loads(path.read_text())
    except ValueError:
        values = {}
    for name, value in values.items():
        knob = root / name
        if name in (*CHANGED, INOTIFY) and knob.read_text().strip() != value:
            knob.write_text(value)
    path.unlink()
