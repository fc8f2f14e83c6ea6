"""What `kubectl kustomize` makes of the manifests, and of an installation with one of its variants."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import yaml

Json = dict[str, Any]
MANIFESTS = Path(__file__).resolve().parents[2] / "manifests"
FURTHER = MANIFESTS / "optional/complete-tls.yaml"
"""Objects that a value of the chart adds to any installation."""


def rendered(kubectl: str, variant: str = "") -> list[Json]:
    """The objects, and the further ones. A variant is a directory of manifests/: an installation, or a component.

    The bootstrap Job without the hash in its name. Raises CalledProcessError.
    """
    with tempfile.TemporaryDirectory() as directory:
        shutil.copytree(MANIFESTS, Path(directory, "manifests"))
        field = "components" if variant.startswith("optional/") else "resources"
        kustomization = {"resources": ["../manifests"]} | {field: [f"../manifests/{variant}".rstrip("/")]}
        overlay = Path(directory, "overlay")
        overlay.mkdir()
        (overlay / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
        done = subprocess.run([kubectl, "kustomize", overlay], check=True, stdout=subprocess.PIPE, text=True)
    objects = [*yaml.load_all(done.stdout, Loader=yaml.CSafeLoader), *yaml.safe_load_all(FURTHER.read_text())]
    for each in objects:
        if each["kind"] == "Job":
            each["metadata"]["name"] = re.sub("-[0-9a-z]{10}$", "", each["metadata"]["name"])
    return objects
