"""The version before, for the row `upgrade`: its images on the node, and a checkout to install it from.

`python -m tests.load.faults.former REVISION`, outside of the cluster's network: a build may need the package index.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.cluster.settings import CHECKOUT
from tests.e2e import parts

TAG = "former"
IMAGES = ("localhost/certjob-job", "localhost/certjob-webhook")
OVERLAY = "tests/cluster/overlay/kustomization.yaml"


def checkout() -> Path:
    """Where the version before is checked out."""
    return parts.settings().state / "former"


def main(revision: str) -> int:
    """Check it out, build its images, and give them a tag of their own; the present ones are loaded again."""
    where = checkout()
    if where.exists():
        _run("git", "worktree", "remove", "--force", str(where))
    _run("git", "worktree", "prune")
    _run("git", "worktree", "add", "--detach", str(where), revision)
    _run("python3", "-m", "tests.cluster", "images", at=where)
    for image in IMAGES:
        _run("tests/cluster/run", "ctr", "images", "tag", "--force", f"{image}:dev", f"{image}:{TAG}")
    overlay = where / OVERLAY
    overlay.write_text(overlay.read_text().replace("newTag: dev", f"newTag: {TAG}"))
    _run("python3", "-m", "tests.cluster", "images")
    return 0


def _run(*command: str, at: Path = CHECKOUT) -> None:
    subprocess.run(command, check=True, cwd=at)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
