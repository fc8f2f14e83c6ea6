"""What a release is made of, beside its images: `python -m supply.release TAG DIRECTORY --job IMAGE --webhook IMAGE`.

The images are named by digest. TAG is vX.Y.Z, and stands for what pyproject.toml, the chart and the changelog say; if
one of them says something else, nothing is made. `--dry-run` makes everything with digests of zeros, and says what is
not ready. The same commit gives the same bytes.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

import yaml

CHECKOUT = Path(__file__).resolve().parents[1]
INSTALLATIONS = {"install.yaml": "", "install-before-1.36.yaml": "before-1.36"}
MONITORING = "optional/monitoring"
IMAGES = ("certjob-job", "certjob-webhook")
_DIGEST = re.compile(r"[^\s@]+@sha256:[0-9a-f]{64}")


def problems(tag: str, checkout: Path = CHECKOUT) -> Iterator[str]:
    """What says another version than the tag, or that it is not released yet."""
    version = tag.removeprefix("v")
    if not re.fullmatch(r"v\d+\.\d+\.\d+", tag):
        yield f"{tag}: a release's tag is vX.Y.Z"
    said = tomllib.loads((checkout / "pyproject.toml").read_text())["project"]["version"]
    if said != version:
        yield f"pyproject.toml says {said}"
    chart = yaml.safe_load((checkout / "manifests/chart/Chart.yaml").read_text())
    for field in ("version", "appVersion"):
        if chart[field] != version:
            yield f"{field} of the chart is {chart[field]}"
    heading = rf"^## \[{re.escape(version)}\] - \d{{4}}-\d\d-\d\d$"
    if not re.search(heading, (checkout / "CHANGELOG.md").read_text(), re.MULTILINE):
        yield f"CHANGELOG.md has no `## [{version}] - DATE`"


def make(source: Path, directory: Path, images: Mapping[str, str], *, kubectl: str, epoch: int) -> None:
    """Everything of the release from its sources; `epoch` (unix seconds) is the time of all that has one.

    Raises CalledProcessError.
    """
    for name, variant in INSTALLATIONS.items():
        (directory / name).write_text(manifests(source, images, kubectl, resource=variant))
    (directory / "monitoring.yaml").write_text(manifests(source, {}, kubectl, component=MONITORING))
    version = yaml.safe_load((source / "manifests/chart/Chart.yaml").read_text())["version"]
    values = source / "manifests/chart/values.yaml"
    values.write_text(with_images(values.read_text(), images))
    (directory / f"certjob-{version}.tgz").write_bytes(chart(source / "manifests/chart", epoch))
    wheel(source, directory, epoch)
    (directory / "NOTES.md").write_text(notes((source / "CHANGELOG.md").read_text(), version))
    files = sorted(path for path in directory.iterdir() if path.name != "SHA256SUMS")
    sums = "".join(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files)
    (directory / "SHA256SUMS").write_text(sums)


def notes(changelog: str, version: str) -> str:
    """What the changelog says of the version."""
    return (
        re.split(r"^## \[.*$", changelog.partition(f"\n## [{version}]")[2], flags=re.MULTILINE)[0]
        .partition("\n")[2]
        .strip()
        + "\n"
    )


def manifests(
    source: Path, images: Mapping[str, str], kubectl: str, *, resource: str | None = None, component: str = ""
) -> str:
    """One file to apply: an installation with these images, or a component alone."""
    with tempfile.TemporaryDirectory(dir=source) as overlay:
        kustomization: dict[str, object] = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization"}
        if component:
            kustomization["components"] = [f"../manifests/{component}"]
        else:
            kustomization["resources"] = [f"../manifests/{resource}".rstrip("/")]
        named = ((name, *image.split("@")) for name, image in images.items())
        kustomization["images"] = [
            {"name": f"certjob/{name}", "newName": place, "digest": digest} for name, place, digest in named
        ]
        Path(overlay, "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
        done = subprocess.run([kubectl, "kustomize", overlay], check=True, stdout=subprocess.PIPE, text=True)
        return done.stdout


def with_images(values: str, images: Mapping[str, str]) -> str:
    """The chart's values with these images as the defaults, its comments kept."""
    for name, image in images.items():
        place, digest = image.split("@")
        values = values.replace(
            f'    {name.removeprefix("certjob-")}: ""\n', f"    {name.removeprefix('certjob-')}: {digest}\n", 1
        )
        values = re.sub(
            r"^  registry: \S+$", f"  registry: {place.removesuffix('/' + name)}", values, count=1, flags=re.MULTILINE
        )
    return values


def chart(directory: Path, epoch: int) -> bytes:
    """The chart as Helm packs it, with one time and no owner."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.PAX_FORMAT) as packed:
        for path in sorted(path for path in directory.rglob("*") if path.is_file()):
            entry = tarfile.TarInfo(f"certjob/{path.relative_to(directory)}")
            entry.size, entry.mtime, entry.mode = path.stat().st_size, epoch, 0o644
            with path.open("rb") as content:
                packed.addfile(entry, content)
    return gzip.compress(plain.getvalue(), mtime=epoch)


def wheel(source: Path, directory: Path, epoch: int) -> None:
    """With all times the same."""
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps"]
    environment = os.environ | {"SOURCE_DATE_EPOCH": str(max(epoch, 315532800))}  # zip knows no time before 1980
    subprocess.run([*command, "--wheel-dir", directory, source], check=True, env=environment)


def exported(commit: str, directory: Path) -> int:
    """What is committed, without what lies about; the commit's time."""
    archive = subprocess.run(["git", "archive", commit], cwd=CHECKOUT, check=True, stdout=subprocess.PIPE).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as packed:
        packed.extractall(directory, filter="data")
    told = subprocess.run(
        ["git", "log", "-1", "--format=%ct", commit], cwd=CHECKOUT, check=True, stdout=subprocess.PIPE
    )
    return int(told.stdout)


def main(arguments: list[str] | None = None) -> int:
    """Exit code 1 and a sentence for each thing that is not ready."""
    parser = argparse.ArgumentParser(prog="python -m supply.release", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("tag")
    parser.add_argument("directory", type=Path, nargs="?", help="a new one")
    parser.add_argument("--check", action="store_true", help="only whether the tag may be released")
    parser.add_argument("--job", default="", help="NAME@sha256:DIGEST of the Jobs' image")
    parser.add_argument("--webhook", default="", help="the same of the webhook's")
    parser.add_argument("--kubectl", default="kubectl")
    parser.add_argument("--dry-run", action="store_true")
    chosen = parser.parse_args(arguments)
    images = dict(zip(IMAGES, (chosen.job, chosen.webhook), strict=True))
    left = list(problems(chosen.tag))
    if chosen.check or chosen.directory is None:
        images = {}
    elif chosen.dry_run:
        images = {name: image or f"certjob/{name}@sha256:{'0' * 64}" for name, image in images.items()}
    left += [f"{name}: not NAME@sha256:DIGEST" for name, image in images.items() if not _DIGEST.fullmatch(image)]
    for problem in left:
        print(f"not ready: {problem}", file=sys.stderr)
    if chosen.check or chosen.directory is None or (left and not chosen.dry_run):
        return int(bool(left))
    chosen.directory.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as source:
        epoch = exported("HEAD" if chosen.dry_run else chosen.tag, Path(source))
        make(Path(source), chosen.directory, images, kubectl=chosen.kubectl, epoch=epoch)
    print((chosen.directory / "SHA256SUMS").read_text(), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
