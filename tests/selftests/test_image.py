"""The test of images notices what is missing and what is too much."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.worlds import image
from tests.worlds.documents import ROOT

pytestmark = pytest.mark.process

LOCK = (ROOT / "webhook/requirements.txt").read_text()
DOCKERFILE = ROOT / "Dockerfile.webhook"


def test_a_library_of_a_library_that_is_missing_ends_it(tmp_path: Path) -> None:
    lock = tmp_path / "requirements.txt"
    lock.write_text(LOCK.replace("blinker==", "# blinker=="))
    with pytest.raises(AssertionError, match="No module named 'blinker'"):
        image.run("webhook", lock, DOCKERFILE, tmp_path)


def test_a_package_that_is_not_shipped_is_named(tmp_path: Path) -> None:
    dockerfile = tmp_path / "Dockerfile"
    dockerfile.write_text(DOCKERFILE.read_text().replace("rm -rf __main__.py", "rm -rf backoff.py"))
    with pytest.raises(AssertionError, match=r"No module named 'issuer_job\.backoff'"):
        image.run("webhook", ROOT / "webhook/requirements.txt", dockerfile, tmp_path)


def test_what_nobody_imports_is_found(tmp_path: Path) -> None:
    lock = tmp_path / "requirements.txt"
    lock.write_text(f"{LOCK}\nsix==1.17.0 \\\n    --hash=sha256:00\nnone==1 ; python_version < '3' \\\n")
    found = image.run("webhook", lock, DOCKERFILE, tmp_path)
    assert image.locked(lock) - found.distributions == {"six"}
