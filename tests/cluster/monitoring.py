"""Prometheus and promtool for tests: Debian's, unpacked beside the other tools; installed, it would be a server."""

from __future__ import annotations

import os
from pathlib import Path

from tests.cluster import settings as s
from tests.cluster.report import ClusterError
from tests.cluster.shell import run
from tests.cluster.tools import content_hash, once

PACKAGE = "prometheus"


def prometheus(settings: s.Settings) -> Path:
    """The directory with `prometheus` and `promtool`. Raises ClusterError where there is no apt-get."""

    def make(directory: Path) -> None:
        log = settings.cache / "logs" / "prometheus.log"
        env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        run(["apt-get", "update", "-qq"], doing="refresh the package lists", log=log, env=env)
        command = ["apt-get", "download", "-qq", "-o", "APT::Sandbox::User=root", PACKAGE]
        run(command, doing="download Prometheus", log=log, env=env, cwd=directory)
        [package] = directory.glob("*.deb")
        run(["dpkg-deb", "-x", package, directory], doing="unpack Prometheus", log=log)
        package.unlink()
        if not (directory / "usr/bin/promtool").is_file():
            raise ClusterError(f"the package {PACKAGE} has no promtool")

    release = Path("/etc/os-release")
    key = content_hash(PACKAGE, release.read_text() if release.is_file() else "")
    return once(settings, PACKAGE, key, make, says="downloading Prometheus") / "usr/bin"
