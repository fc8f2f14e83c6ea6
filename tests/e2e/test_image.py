"""What the running images say of themselves."""

from __future__ import annotations

import json
import subprocess

import pytest

from issuer_job import vocabulary as v
from tests.worlds.documents import ROOT
from tests.worlds.image import archives


@pytest.mark.parametrize(
    ("deployment", "image", "lock"),
    [
        ("certjob-responder", "certjob-job", "issuer_job/requirements.txt"),
        ("certjob-webhook", "certjob-webhook", "webhook/requirements.txt"),
    ],
)
def test_each_image_lists_what_is_in_it(deployment: str, image: str, lock: str) -> None:
    command = ["kubectl", "exec", "-n", v.NAMESPACE, f"deployment/{deployment}", "--", "cat", "/app/sbom.cdx.json"]
    bill = json.loads(subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout)
    assert (bill["bomFormat"], bill["metadata"]["component"]["name"]) == ("CycloneDX", image)
    (python,) = [entry["version"] for entry in bill["components"] if entry["type"] == "platform"]
    libraries = [entry for entry in bill["components"] if entry["type"] == "library"]
    locked = archives(ROOT / lock, python)
    assert {(entry["name"], entry["version"]) for entry in libraries} == locked.keys()
    for entry in libraries:
        assert entry["hashes"][0]["content"] in locked[entry["name"], entry["version"]], entry
