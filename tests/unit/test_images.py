"""The images: each has all that its processes import, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.worlds import image
from tests.worlds.documents import ROOT

pytestmark = pytest.mark.process


def test_the_job_image_has_what_is_imported_and_nothing_else(tmp_path: Path) -> None:
    lock = ROOT / "issuer_job/requirements.txt"
    found = image.run("job", lock, ROOT / "Dockerfile.job", tmp_path)
    assert found.missing == {}
    assert image.locked(lock) - found.distributions == set()


def test_the_webhook_image_has_what_is_imported_in_a_cluster_and_nothing_else(tmp_path: Path) -> None:
    lock, dockerfile = ROOT / "webhook/requirements.txt", ROOT / "Dockerfile.webhook"
    found = image.run("webhook", lock, dockerfile, tmp_path)
    assert {name.partition(".")[0] for name in found.missing} == {"kubernetes"}  # for kubeconfigs
    assert image.locked(lock) - found.distributions == set()
    rooms = {f"issuer_job/{path.parent.name}" for path in ROOT.glob("issuer_job/*/__init__.py")}
    entered = {"/".join(name.split(".")[:2]) for name in found.modules}
    assert image.removed(dockerfile) == (rooms - entered) | {"issuer_job/__main__.py"}
