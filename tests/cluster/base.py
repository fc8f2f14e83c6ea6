"""The base image where no registry can be reached: a small Debian with Python, laid out like python:*-slim."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.cluster import settings as s
from tests.cluster.shell import run
from tests.cluster.tools import content_hash, once

BASE_IMAGE = f"localhost/certjob-python:{s.DEBIAN_RELEASE}"
_PACKAGES = "python3,python3-venv,ca-certificates"
# What no Job ever reads; together more than half of the size.
_NEEDLESS = (
    "var/cache/apt",
    "var/lib/apt/lists",
    "var/log",
    "usr/share/doc",
    "usr/share/man",
    "usr/share/locale",
    "usr/share/info",
    "usr/share/zoneinfo",
    "etc/resolv.conf",
    "etc/hostname",
)
_DOCKERFILE = """FROM scratch
ADD root.tar /
ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8
CMD ["python"]
"""


def base_root(settings: s.Settings) -> Path:
    """A directory with root.tar and the Dockerfile that makes the base image of it."""

    def make(directory: Path) -> None:
        root = directory / "root"
        command = ["debootstrap", "--variant=minbase", f"--include={_PACKAGES}", s.DEBIAN_RELEASE, str(root)]
        if settings.mirror:
            command.append(settings.mirror)
        run(command, doing="make the base file system", log=settings.cache / "logs" / "debootstrap.log")
        trim(root)
        run(
            ["tar", "--numeric-owner", "-C", root, "-cf", directory / "root.tar", "."],
            doing="pack the base file system",
        )
        shutil.rmtree(root)
        (directory / "Dockerfile").write_text(_DOCKERFILE)

    key = content_hash(_PACKAGES, s.DEBIAN_RELEASE, _DOCKERFILE, *_NEEDLESS)
    return once(settings, "base", key, make, says="making the base file system (about 90 s)")


def trim(root: Path) -> None:
    """Remove what is needless and add the name `python`."""
    for name in _NEEDLESS:
        path = root / name
        if path.is_dir():
            shutil.rmtree(path)
            path.mkdir()
        else:
            path.unlink(missing_ok=True)
    link = root / "usr/bin/python"
    if not link.exists():
        link.symlink_to("python3")
