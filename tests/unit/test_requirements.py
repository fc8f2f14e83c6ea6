"""The locked requirements: what the images install is what the tests run, by hash, and from any index."""

import re
import tomllib
from pathlib import Path

import pytest

from issuer_job import vocabulary as v

CHECKOUT = Path(__file__).resolve().parents[2]
JOB, EXTRAS, WEBHOOK, TESTS = (
    CHECKOUT / name
    for name in (
        "issuer_job/requirements.txt",
        "issuer_job/requirements-dns-extras.txt",
        "webhook/requirements.txt",
        "tests/requirements.txt",
    )
)
_PIN = re.compile(r"^([a-z0-9.-]+)==(\S+)", re.MULTILINE)


def pins(path: Path) -> dict[str, set[str]]:
    """Versions by package: one that needs different ones on different Pythons has several."""
    found: dict[str, set[str]] = {}
    for name, version in _PIN.findall(path.read_text()):
        found.setdefault(name, set()).add(version)
    return found


@pytest.mark.parametrize("path", [JOB, WEBHOOK])
def test_images_have_the_versions_that_the_tests_run(path):
    tested = pins(TESTS)
    assert {name: versions for name, versions in pins(path).items() if tested.get(name) != versions} == {}


def test_extras_add_to_the_jobs_packages_and_change_none():
    extended = pins(EXTRAS)
    assert {name: versions for name, versions in pins(JOB).items() if extended.get(name) != versions} == {}
    assert {"oci", "zeep", "softlayer", "localzone"} <= extended.keys() - pins(JOB).keys()


def test_the_webhook_has_nothing_for_dns():
    assert not {"dns-lexicon", "dnspython", "boto3", "botocore"} & pins(WEBHOOK).keys()
    assert {"dns-lexicon", "dnspython", "boto3"} <= pins(JOB).keys()


@pytest.mark.parametrize("path", [JOB, EXTRAS, WEBHOOK, TESTS])
def test_everything_has_a_hash_and_no_address(path):
    text = path.read_text()
    requirements = [block for block in re.split(r"\n(?=[a-z0-9])", text) if "==" in block]
    assert [block.split()[0] for block in requirements if "--hash=sha256:" not in block] == []
    assert "://" not in text
    assert "--index" not in text


def test_the_code_knows_its_version():
    assert tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["version"] == v.VERSION
