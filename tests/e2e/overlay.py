"""What the local cluster's installer applies, as a directory that tests may change."""

from __future__ import annotations

import subprocess
from pathlib import Path

INSTALL = Path(__file__).resolve().parents[1] / "cluster/install"


def write_overlay(directory: Path) -> Path:
    """The overlay and the manifests that it names, in an empty directory; the overlay's path."""
    done = subprocess.run([INSTALL, "--write", directory], check=True, stdout=subprocess.PIPE, text=True, timeout=60)
    return Path(done.stdout.strip())
