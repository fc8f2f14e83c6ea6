"""The local cluster's cache keys, image hand-over and error sentences."""

import gzip
import hashlib
import io
import json
import tarfile

import pytest

from tests.cluster import archive, preflight, shell, tools
from tests.cluster.report import ClusterError


def test_content_hash_follows_contents_and_names(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    (source / "a.go").write_text("one")
    first = tools.content_hash(source, "flags")
    assert tools.content_hash(source, "flags") == first
    (source / "__pycache__").mkdir()
    (source / "__pycache__" / "a.pyc").write_text("x")
    assert tools.content_hash(source, "flags") == first
    (source / "a.go").write_text("two")
    second = tools.content_hash(source, "flags")
    (source / "a.go").rename(source / "b.go")
    assert len({first, second, tools.content_hash(source, "flags"), tools.content_hash(source, "other")}) == 4


@pytest.mark.parametrize(("text", "version"), [("go1.26.8\n", (1, 26)), ("go1.9", (1, 9)), ("devel", ())])
def test_go_version(text, version):
    assert tools.go_version(text) == version


@pytest.mark.parametrize(
    ("check", "sentence"),
    [
        (lambda: preflight.check_user(1000), "needs root"),
        (lambda: preflight.check_machine("Darwin", "x86_64", (3, 12)), "runs on Linux only, this is Darwin"),
        (lambda: preflight.check_machine("Linux", "riscv64", (3, 12)), "only, this is riscv64"),
        (lambda: preflight.check_machine("Linux", "x86_64", (3, 9)), "Python 3.11 or newer, this is 3.9"),
    ],
)
def test_a_machine_that_will_not_do_is_told_so(check, sentence):
    with pytest.raises(ClusterError, match=sentence):
        check()


def test_a_full_disk_is_told_in_numbers(tmp_path):
    with pytest.raises(ClusterError, match=r"0\.5 GiB free, 8 GiB needed"):
        preflight.check_space(tmp_path, free=preflight.GIB // 2, needed=8 * preflight.GIB)


def test_a_missing_program_is_named():
    with pytest.raises(ClusterError, match="could not try: the program no-such-program is missing"):
        shell.run(["no-such-program"], doing="try")


def test_a_failure_says_the_line_that_tells_most(tmp_path):
    log = tmp_path / "log"
    with pytest.raises(ClusterError, match=r"could not try: E: error: no space \(all of it: .*log\)"):
        shell.run(["sh", "-c", "echo begin; echo 'E: error: no space'; echo bye; exit 3"], doing="try", log=log)


def _layout(directory, layer):
    """An OCI layout with one compressed layer, as buildah writes it."""
    blobs = directory / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def put(data):
        digest = hashlib.sha256(data).hexdigest()
        (blobs / digest).write_bytes(data)
        return {"digest": f"sha256:{digest}", "size": len(data)}

    diff_id = f"sha256:{hashlib.sha256(layer).hexdigest()}"
    config = put(json.dumps({"rootfs": {"diff_ids": [diff_id]}}).encode())
    manifest = put(json.dumps({"config": config, "layers": [put(gzip.compress(layer))]}).encode())
    (directory / "index.json").write_text(json.dumps({"manifests": [manifest]}))
    return diff_id


def test_layers_are_kept_uncompressed_and_leftovers_go(tmp_path):
    diff_id = _layout(tmp_path, b"layer" * 1000)
    archive.uncompress(tmp_path)
    archive.sweep(tmp_path)
    assert archive.blob(tmp_path, diff_id).read_bytes() == b"layer" * 1000
    assert archive.digests(tmp_path)[2] == diff_id
    assert len(list((tmp_path / "blobs").glob("*/*"))) == 3
    assert archive.is_complete(tmp_path)
    archive.blob(tmp_path, diff_id).unlink()
    assert not archive.is_complete(tmp_path)


def test_only_what_containerd_lacks_is_sent(tmp_path):
    diff_id = _layout(tmp_path, b"layer")
    archive.uncompress(tmp_path)
    out = io.BytesIO()
    archive.write(tmp_path, "localhost/x:dev", out, present={diff_id})
    with tarfile.open(fileobj=io.BytesIO(out.getvalue())) as tar:
        names = tar.getnames()
        index = json.load(tar.extractfile("index.json"))
    assert f"blobs/{diff_id.replace(':', '/')}" not in names
    assert len(names) == 4
    assert index["manifests"][0]["annotations"] == {"io.containerd.image.name": "localhost/x:dev"}
