"""The bill of materials of an image: CycloneDX 1.6 (ECMA-424) as JSON, from what pip says that it has installed.

    python sbom.py IMAGE VERSION BASE REPORT > sbom.cdx.json

REPORT is the file of `pip install --report`, BASE the image's base (with its digest, if it is named by one). Runs in
the build of the image, by itself: standard library only. The same input gives the same bytes. What the base brings
(Debian's packages, Python) is not listed: the base is named, and has a bill of its own.
"""

from __future__ import annotations

import json
import platform
import re
import sys
import uuid
from pathlib import Path
from typing import Any

Json = dict[str, Any]
_NAMESPACE = uuid.UUID("6f0b6b0c-3d0a-5b0e-9d55-5d9a3f0b7a11")
"""Of the serial numbers: RFC 9562, version 5, over the content."""


def bill(image: str, version: str, base: str, report: Json) -> Json:
    """The document. Raises KeyError or ValueError for a report that is none, or of something without a hash."""
    libraries = sorted((_component(entry) for entry in report["install"]), key=lambda entry: str(entry["bom-ref"]))
    subject = {"type": "container", "bom-ref": image, "name": image, "version": version}
    document: Json = {
        "metadata": {"component": subject},
        "components": [_base(base), _python(), *libraries],
        "dependencies": [{"ref": image, "dependsOn": [str(entry["bom-ref"]) for entry in libraries]}],
    }
    serial = uuid.uuid5(_NAMESPACE, json.dumps(document, sort_keys=True))
    head = {"bomFormat": "CycloneDX", "specVersion": "1.6", "serialNumber": f"urn:uuid:{serial}", "version": 1}
    return head | document


def _base(base: str) -> Json:
    name, _, digest = base.partition("@sha256:")
    found: Json = {"type": "container", "bom-ref": f"base:{base}", "name": name}
    return found | ({"hashes": [{"alg": "SHA-256", "content": digest}]} if digest else {})


def _python() -> Json:
    version = platform.python_version()
    return {"type": "platform", "bom-ref": f"python:{version}", "name": "CPython", "version": version}


def _component(entry: Json) -> Json:
    about, archive = entry["metadata"], entry["download_info"]["archive_info"]
    name = re.sub(r"[-_.]+", "-", about["name"]).lower()
    digest = archive.get("hashes", {}).get("sha256") or archive.get("hash", "").removeprefix("sha256=")
    if not re.fullmatch("[0-9a-f]{64}", digest):
        raise ValueError(f"no hash of {name}")
    reference = f"pkg:pypi/{name}@{about['version']}"
    found: Json = {"type": "library", "bom-ref": reference, "name": name, "version": about["version"]}
    found |= {"purl": reference, "hashes": [{"alg": "SHA-256", "content": digest}]}
    licence = about.get("license_expression") or about.get("license") or ""
    if licence and len(licence) < 100 and "\n" not in licence:
        found["licenses"] = [{"license": {"name": licence}}]
    return found


if __name__ == "__main__":
    _image, _version, _base_image, _report = sys.argv[1:]
    json.dump(bill(_image, _version, _base_image, json.loads(Path(_report).read_text())), sys.stdout, indent=1)
    sys.stdout.write("\n")
