"""The manifests that an installation is compared with: in a wheel and in a checkout, as kustomize makes them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from issuer_job.cli.base.endings import CommandError
from issuer_job.cli.doctoring import manifests
from tests.worlds.documents import MANIFESTS, ROOT

pytestmark = pytest.mark.process


def files(place: Path) -> dict[str, bytes]:
    return {str(path.relative_to(place)): path.read_bytes() for path in place.rglob("*") if path.is_file()}


def test_they_are_packed_into_the_wheel(tmp_path: Path) -> None:
    steps = ["egg_info", "--egg-base", str(tmp_path), "build_py", "--build-lib", str(tmp_path / "lib")]
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
    subprocess.run(
        [sys.executable, "-c", "from setuptools import setup; setup()", "-q", *steps],
        cwd=ROOT,
        check=True,
        env=environment,
        capture_output=True,
    )
    packed = files(tmp_path / "lib" / manifests.PACKED.relative_to(ROOT))
    own = {name: text for name, text in files(MANIFESTS).items() if not name.startswith("chart/")}
    assert packed == own
    assert len(own) > 30


def test_a_checkout_has_them_where_they_are() -> None:
    assert manifests.directory() == MANIFESTS


def stub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """kubectl, which does that."""
    program = tmp_path / "kubectl"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)


def test_kustomize_is_kubectls_and_components_are_asked_for_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = 'test "$1" = kustomize && cd "$2" && tail -n +1 kustomization.yaml >>"$0.asked" && realpath "$2"'
    stub(tmp_path, monkeypatch, f"({asked}) >/dev/null; printf 'kind: Namespace\\nmetadata: {{name: certjob}}\\n'")
    [base] = manifests.installation("tls-system", manifests.kustomized, before_1_36=True)
    assert base == {"kind": "Namespace", "metadata": {"name": "tls-system"}}
    assert "CERTJOB_LOOK" in (tmp_path / "kubectl.asked").read_text()
    every = manifests.with_components("certjob", manifests.kustomized, before_1_36=False)
    assert len(every) >= 3
    overlays = (tmp_path / "kubectl.asked").read_text()
    assert "components:\n- ../" in overlays
    assert "/optional/user-namespaces\n" in overlays


def test_what_kustomize_says_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stub(tmp_path, monkeypatch, "echo 'error: no such\n  field' >&2; exit 1")
    with pytest.raises(CommandError, match=r"^kubectl kustomize: error: no such field$"):
        manifests.installation("certjob", manifests.kustomized, before_1_36=False)
