"""The examples of docs/dns.md are right: each provider gets what it needs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from issuer_job import vocabulary as v
from issuer_job.dns01.changes import CALL_SECONDS
from issuer_job.dns01.lock import MARGIN
from issuer_job.dns01.providers import lexicon as dns_lexicon
from issuer_job.dns01.providers import registry
from issuer_job.dns01.providers.provider import Scope
from issuer_job.issuers.load import parse_issuer

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "dns.md").read_text()
EXAMPLES = re.findall(r"```yaml\n(solvers:.*?)```(.*?)^###? ", PAGE, re.MULTILINE | re.DOTALL)


def test_there_is_an_example_of_each_provider_that_the_page_is_about() -> None:
    found = set(re.findall(r"provider: ([-a-z0-9]+)", PAGE))
    assert found == {"cloudflare", "route53", "ddns", "powerdns", "acme-dns"}


@pytest.mark.parametrize(("example", "text"), EXAMPLES, ids=[example.split()[3] for example, _ in EXAMPLES])
def test_an_example_is_complete_with_the_keys_that_the_text_names(example: str, text: str) -> None:
    document = "server: https://ca.example/dir\n" + example
    issuer = parse_issuer({"metadata": {"name": "example"}, "data": {v.ISSUER_KEY: document}})
    dns01 = issuer.solvers[0].dns01
    assert dns01 is not None
    keys = re.findall(r"(?:`|=)(auth_[a-z_]+|accounts)\b", text)
    assert registry.check(dns01, keys) == []


def test_providers_that_need_another_image_are_named() -> None:
    lacking = {name for name, there in dns_lexicon.names().items() if not there}
    said = re.search(r"need, Route 53 included; for (.*?) build it with", PAGE, re.DOTALL)
    assert said is not None
    assert lacking == set(re.findall(r"`([a-z0-9]+)`", said[1]))


def test_the_page_says_how_long_a_lock_stays() -> None:
    assert f"after {CALL_SECONDS + MARGIN} seconds" in PAGE


def test_providers_that_are_locked_by_zone_are_named() -> None:
    by_zone = {name for name in registry.provider_names() if registry.find_provider(name).scope is Scope.ZONE}
    said = re.search(r"writes that as a whole \((.*?)\)", PAGE, re.DOTALL)
    assert said is not None
    assert by_zone == set(re.findall(r"`([a-z]+)`", said[1]))
