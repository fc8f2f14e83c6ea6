"""Hand an image to containerd as a tar stream in OCI layout that holds only what containerd lacks.

buildah writes OCI layouts into the cache. It compresses what it writes, but takes over an uncompressed layer
that it finds there: so the layouts are kept uncompressed. containerd has the unchanged layers, too. After a
change of code a few hundred kilobytes move instead of the whole image.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import shutil
import tarfile
from collections.abc import Container
from pathlib import Path
from typing import IO, Any


def manifest(layout: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The descriptor of a layout's only manifest, and the manifest."""
    descriptor = json.loads((layout / "index.json").read_text())["manifests"][0]
    return descriptor, json.loads(blob(layout, descriptor["digest"]).read_text())


def blob(layout: Path, digest: str) -> Path:
    return layout / "blobs" / digest.replace(":", "/")


def digests(layout: Path) -> list[str]:
    """Everything the image consists of, the manifest first."""
    descriptor, content = manifest(layout)
    return [descriptor["digest"], content["config"]["digest"], *(layer["digest"] for layer in content["layers"])]


def is_complete(layout: Path) -> bool:
    """Whether the layout can be loaded."""
    try:
        return all(blob(layout, digest).is_file() for digest in digests(layout))
    except (OSError, ValueError, KeyError, IndexError):
        return False


def uncompress(layout: Path) -> None:
    """Replace compressed layers and name them by the digest of their content, as the configuration does."""
    descriptor, content = manifest(layout)
    diff_ids = json.loads(blob(layout, content["config"]["digest"]).read_text())["rootfs"]["diff_ids"]
    for layer, diff_id in zip(content["layers"], diff_ids, strict=True):
        target = blob(layout, diff_id)
        if layer["digest"] != diff_id and not target.is_file():
            _gunzip(blob(layout, layer["digest"]), target)
        media_type = "application/vnd.oci.image.layer.v1.tar"
        layer.update(mediaType=media_type, digest=diff_id, size=target.stat().st_size)
    data = json.dumps(content).encode()
    descriptor.update(digest=f"sha256:{hashlib.sha256(data).hexdigest()}", size=len(data))
    blob(layout, descriptor["digest"]).write_bytes(data)
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [descriptor]}))


def _gunzip(source: Path, target: Path) -> None:
    partial = target.with_suffix(".partial")
    with gzip.open(source) as compressed, partial.open("wb") as out:
        shutil.copyfileobj(compressed, out, 1 << 20)
    partial.replace(target)


def sweep(layout: Path) -> None:
    """Delete blobs of earlier builds."""
    wanted = {blob(layout, digest) for digest in digests(layout)}
    for path in (layout / "blobs").glob("*/*"):
        if path not in wanted:
            path.unlink()


def index(descriptor: dict[str, Any], name: str) -> bytes:
    """An index.json under which containerd files the image by its full name."""
    named = {**descriptor, "annotations": {"io.containerd.image.name": name}}
    return json.dumps({"schemaVersion": 2, "manifests": [named]}).encode()


def write(layout: Path, name: str, out: IO[bytes], *, present: Container[str]) -> None:
    """Write the tar stream; blobs whose digest is `present` are left out, the manifest never."""
    descriptor, _ = manifest(layout)
    with tarfile.open(fileobj=out, mode="w|") as tar:
        _add_bytes(tar, "oci-layout", b'{"imageLayoutVersion": "1.0.0"}')
        _add_bytes(tar, "index.json", index(descriptor, name))
        for digest in digests(layout):
            if digest == descriptor["digest"] or digest not in present:
                tar.add(blob(layout, digest), arcname=f"blobs/{digest.replace(':', '/')}")


def _add_bytes(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    tar.addfile(entry, io.BytesIO(data))
