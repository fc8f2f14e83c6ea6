"""What leaves the house in a bundle: no host, no address, no key, no token, whatever it stands in."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from issuer_job.cli.bundling.scrub import BundleScrubber

KEY = b"k" * 32
HOSTS = ("shop.example.com", "*.wild.example.com", "db-1.corp")
LABEL = st.from_regex(r"[a-z]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True)
HOST = st.builds(
    lambda labels, top: ".".join([*labels, top]), st.lists(LABEL, min_size=1, max_size=3), st.just("test")
)


@pytest.fixture
def scrubber() -> BundleScrubber:
    return BundleScrubber.of(KEY, HOSTS)


@pytest.mark.parametrize(
    "text",
    [
        "shop.example.com",
        "https://shop.example.com:443/.well-known/acme-challenge/x",
        '{"hosts": ["shop.example.com", "*.wild.example.com"]}',
        "SHOP.Example.com.",
        "shop/shop.example.com-39a6b4fb34-tls",
        "shop.shop.example.com-39a6b4fb34-tls",
        "Secret shop.example.com-mine",
        "unknown.host.example.net",
        "_acme-challenge.shop.example.com",
        "db-1.corp: no A record",
    ],
)
def test_hosts_are_hashed_wherever_they_stand(scrubber: BundleScrubber, text: str) -> None:
    told = scrubber.text(text).lower()
    assert not re.search("example|shop.example|db-1|unknown", told)


def test_what_is_below_one_domain_still_shows_and_nothing_can_be_guessed(scrubber: BundleScrubber) -> None:
    one, other = scrubber.text("www.shop.example.com shop.example.com").split()
    assert one.endswith(f".{other}")
    assert other.endswith(".com")
    assert BundleScrubber.of(b"other" * 8, HOSTS).text("shop.example.com") != other


@pytest.mark.parametrize(
    "text",
    [
        "networking.k8s.io/v1",
        "certjob.io/renew",
        "acme-v02.api.letsencrypt.org",
        "record.json",
        "issuer_job.cli.main",
        "v1.36.4",
        "shop.pay-tls",
        "sha256:" + "ab" * 32,
        "2026-11-28T10:11:12.123Z",
        "pod certjob-webhook-6d5f8zc7b4-x2x4z",
        "shop-b0d7-99047d54-f271-4c0a-9e14-3ac5547248e1-1795856250",
        "127.0.0.1 ::1 0.0.0.0",
        "ValidatingAdmissionPolicyBinding",
    ],
)
def test_what_tells_nothing_of_anybody_stays(scrubber: BundleScrubber, text: str) -> None:
    assert scrubber.text(text) == text


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("-----BEGIN EC PRIVATE KEY-----\nMHc=\n-----END EC PRIVATE KEY-----", "[PEM]"),
        ('"tls.crt": "-----BEGIN CERTIFICATE-----\\nMIIB\\n-----END CERTIFICATE-----\\n"', '"tls.crt": "[PEM]\\n"'),
        ("-----BEGIN CERTIFICATE-----\ncut off", "[PEM]"),
        ("/mutate/annotated/" + "0f" * 32, "/mutate/annotated/[hex]"),
        ("claim-" + "a1" * 16, "claim-[hex]"),
        ("mailto:ops@corp.example", "mailto:[mail]"),
        ("token evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA", "token [token]"),
        ("Bearer eyJhbGciOiJSUzI1NiIsImtpZCI6IjEyMyJ9", "Bearer [token]"),
    ],
)
def test_keys_tokens_certificates_and_mail_addresses_are_left_out(
    scrubber: BundleScrubber, text: str, left: str
) -> None:
    assert scrubber.text(text) == left


@pytest.mark.parametrize("address", ["203.0.113.9", "10.1.2.3", "2001:db8::9", "fe80::1", "::ffff:203.0.113.9"])
def test_addresses_are_hashed(scrubber: BundleScrubber, address: str) -> None:
    told = scrubber.text(f"{address}: Timeout during connect")
    assert address not in told
    assert told.startswith("ip-h")


@pytest.mark.exhaustive
@given(HOST, st.sampled_from(["{}", "a {} b", '"{}",', "https://{}/x", "*.{}", "({})", "{}:443", "x={};"]))
def test_no_known_host_is_left_whatever_stands_around_it(host: str, around: str) -> None:
    told = BundleScrubber.of(KEY, [host]).text(around.format(host))
    assert host not in told


@pytest.mark.exhaustive
@given(st.text(max_size=400))
def test_any_text_comes_to_an_end(text: str) -> None:
    BundleScrubber.of(KEY, HOSTS).text(text)
