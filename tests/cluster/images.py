"""Build the images with buildah and load them into the node's containerd.

buildah keeps its layers in the cache directory, so a change of code rebuilds two small layers. It runs in a
mount namespace of its own: what it mounts goes when it ends, however it ends.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from subprocess import PIPE

from tests.cluster import archive
from tests.cluster import settings as s
from tests.cluster.base import BASE_IMAGE, base_root
from tests.cluster.config import PAUSE_IMAGE
from tests.cluster.namespace import inside
from tests.cluster.processes import Record
from tests.cluster.report import ClusterError, step
from tests.cluster.shell import run, telling_line
from tests.cluster.tools import content_hash, go_build

MOST_LAYERS = 150
PACKAGES = {"job": ("certs", "issuer_job", "supply"), "webhook": ("certs", "issuer_job", "webhook", "supply")}


@dataclass(frozen=True)
class Image:
    """An OCI layout that containerd can import; `key` is the hash of what it was made from."""

    name: str
    key: str
    layout: Path


def build_project(settings: s.Settings) -> list[Image]:
    """certjob-job and certjob-webhook from the checkout, tagged :dev."""
    base, base_key = _base(settings)

    def build(kind: str, packages: Sequence[str]) -> Image:
        dockerfile = s.CHECKOUT / f"Dockerfile.{kind}"
        key = content_hash(base_key, dockerfile, *(s.CHECKOUT / name for name in packages))
        arguments: list[str | Path] = [f"--build-arg=PYTHON_IMAGE={base}", f"--file={dockerfile}", s.CHECKOUT]
        return _built(settings, f"localhost/certjob-{kind}:dev", key, arguments)

    with ThreadPoolExecutor() as pool:
        images = list(pool.map(build, PACKAGES.keys(), PACKAGES.values()))
    _prune(settings)
    return images


def build_pause(settings: s.Settings) -> Image:
    """The pod sandbox's image."""
    directory = go_build(settings, "pause", says="building the pause program")
    dockerfile = s.CHECKOUT / "tests/cluster/pause/Dockerfile"
    key = content_hash(directory / "pause", dockerfile)
    return _built(settings, PAUSE_IMAGE, key, [f"--file={dockerfile}", directory])


def load(settings: s.Settings, images: Sequence[Image], holder: Record) -> None:
    """Import into containerd what it does not have yet."""
    for image in images:
        marker = settings.state / "images" / _file_name(image.name)
        if marker.exists() and marker.read_text() == image.key:
            continue
        step(f"loading {image.name}")
        _import(image, inside(holder, "ctr", f"--address={settings.state}/containerd.sock", "--namespace=k8s.io"))
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.write_text(image.key)


def _import(image: Image, ctr: list[str]) -> None:
    present = set(run([*ctr, "content", "ls", "--quiet"], doing="list containerd's content").split())
    with subprocess.Popen(
        [*ctr, "images", "import", "-"], stdin=PIPE, stdout=PIPE, stderr=subprocess.STDOUT
    ) as child:
        # A child that fails closes its end early; what it said is the better explanation.
        assert child.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            archive.write(image.layout, image.name, child.stdin, present=present)
        said, _ = child.communicate()
    if child.returncode != 0:
        raise ClusterError(f"could not load {image.name} into containerd: {telling_line(said.decode())}")


def _base(settings: s.Settings) -> tuple[str, str]:
    """Name and hash of the images' base: the one the user named, or the one made here."""
    if settings.python_image:
        return settings.python_image, content_hash(settings.python_image)
    root = base_root(settings)
    dockerfile = root / "Dockerfile"
    _built(settings, BASE_IMAGE, root.name, [f"--file={dockerfile}", root], exported=False)
    return BASE_IMAGE, root.name


def _file_name(image: str) -> str:
    return image.removeprefix("localhost/").replace("/", "-").replace(":", "-")


def _built(
    settings: s.Settings, name: str, key: str, arguments: Sequence[str | Path], *, exported: bool = True
) -> Image:
    """Build and export an image unless that was done for the same key."""
    directory = settings.cache / "images"
    directory.mkdir(parents=True, exist_ok=True)
    layout, marker = directory / _file_name(name), directory / f"{_file_name(name)}.key"
    image = Image(name=name, key=key, layout=layout)
    if marker.exists() and marker.read_text() == key and (not exported or archive.is_complete(layout)):
        return image
    step(f"building {name}")
    marker.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(prefix="certjob-build-") as temporary:
        scratch = Path(temporary)
        build = ["bud", "--isolation=chroot", "--layers", f"--tag={name}", *_secrets(scratch)]
        if not settings.python_image:
            build.append("--pull-never")
        _buildah(settings, scratch, [*build, *arguments], doing=f"build {name}")
        if exported:
            push = ["push", "--format=oci", name, f"oci:{layout}"]
            (layout / "index.json").unlink(missing_ok=True)
            _buildah(settings, scratch, push, doing=f"export {name}")
            archive.uncompress(layout)
            archive.sweep(layout)
    marker.write_text(key)
    return image


def _buildah(settings: s.Settings, scratch: Path, arguments: Sequence[str | Path], *, doing: str) -> None:
    policy = scratch / "policy.json"
    policy.write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
    storage = [f"--root={settings.cache}/buildah", f"--runroot={scratch}/run", "--storage-driver=overlay"]
    subcommand, *rest = arguments
    command = ["unshare", "--mount", "buildah", *storage, subcommand, f"--signature-policy={policy}", *rest]
    log = settings.cache / "logs" / f"image-{doing.split()[0]}-{_file_name(doing.split()[-1])}.log"
    run(command, doing=doing, log=log, env={**os.environ, "TMPDIR": str(scratch)})


def _secrets(scratch: Path) -> list[str]:
    """This machine's way to the package index, as build secrets that leave no trace in the image."""
    secrets = []
    bundle = os.environ.get("PIP_CERT") or os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("SSL_CERT_FILE")
    if bundle and Path(bundle).is_file():
        secrets.append(f"--secret=id=ca-bundle,src={bundle}")
    if index := pip_configuration(os.environ):
        path = scratch / "pip.conf"
        path.write_text(index)
        path.chmod(0o600)
        secrets.append(f"--secret=id=pip-conf,src={path}")
    elif Path("/etc/pip.conf").is_file():
        secrets.append("--secret=id=pip-conf,src=/etc/pip.conf")
    return secrets


def pip_configuration(environment: dict[str, str] | os._Environ[str]) -> str:
    """A pip.conf with the index settings of the environment; "" if there are none."""
    names = {
        "PIP_INDEX_URL": "index-url",
        "PIP_EXTRA_INDEX_URL": "extra-index-url",
        "PIP_TRUSTED_HOST": "trusted-host",
    }
    lines = [f"{key} = {environment[name]}" for name, key in names.items() if environment.get(name)]
    return "\n".join(["[global]", *lines, ""]) if lines else ""


def _prune(settings: s.Settings) -> None:
    """Layers of old code add up; past a limit the layer cache starts anew (the exported images stay)."""
    layers = settings.cache / "buildah" / "overlay"
    if layers.is_dir() and sum(1 for _ in layers.iterdir()) > MOST_LAYERS:
        step("emptying the cache of image layers")
        shutil.rmtree(settings.cache / "buildah")
        (settings.cache / "images" / f"{_file_name(BASE_IMAGE)}.key").unlink(missing_ok=True)
