"""The manifests go into the wheel, beside the code that compares an installation with them."""

from __future__ import annotations

import shutil
from pathlib import Path

from setuptools.command.build_py import build_py

MANIFESTS = Path(__file__).resolve().parents[1] / "manifests"


class WithManifests(build_py):  # type: ignore[misc]  # setuptools brings no types here
    """Copies them; in an editable installation the code finds them where they are."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            packed = Path(self.build_lib, "issuer_job/cli/manifests")
            shutil.copytree(MANIFESTS, packed, dirs_exist_ok=True, ignore=shutil.ignore_patterns("chart"))
