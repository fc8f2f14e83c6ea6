"""The client against a small ACME server over TLS: requests as RFC 8555 demands, faults as precise errors."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from issuer_job.acme_client import (
    AcmeClient,
    AcmeError,
    AcmeUnavailable,
    new_account_key,
)
from issuer_job.acme_client.answers import Answer
from issuer_job.acme_client.keys import AccountKeyAlgorithm
from issuer_job.acme_client.transport import MAX_BODY, NONCE_TRIES
from issuer_job.background import at_once
from tests.fakes.acme import Reply, problem
from tests.fakes.acme_ca import FakeCA, csr_for
from tests.worlds.acme import HOSTS, KEY, NOW, World, acme_world, issued_order


@pytest.fixture
def world() -> Iterator[World]:
    with acme_world() as world:
        yield world


@pytest.mark.parametrize("algorithm", ["ES256", "ES384", "RS256"])
def test_a_whole_order(world: World, algorithm: AccountKeyAlgorithm) -> None:
    client = world.connect(account=False, account_key_pem=new_account_key(algorithm))
    account = client.ensure_account(contact=["admin@example.org"], terms_agreed=True)
    assert (account.url, account.status) == (f"{world.fake.base}/acct/1", "valid")

    order = client.new_order(HOSTS)
    assert (order.status, order.identifiers) == ("pending", tuple(HOSTS))
    assert order.expires == datetime(2026, 5, 6, 10, 0, 0, 123457, tzinfo=UTC)
    authorization = client.authorization(order.authorization_urls[0])
    assert (authorization.host, authorization.status, authorization.is_final) == (HOSTS[0], "pending", False)
    assert client.answer(authorization.challenges[0]).status == "valid"
    assert client.authorization(authorization.url).problem is None
    assert client.order(order.url).status == "ready"
    order = client.finalize(order, csr_for(HOSTS))
    chain = x509.load_pem_x509_certificates(client.chains(order)[0])

    names = chain[0].extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == HOSTS
    assert client.server_time == NOW
    assert {request.protected.get("alg") for request in world.fake.requests if request.protected} == {algorithm}
    payloads = {request.path: request.payload for request in world.fake.requests}
    assert payloads["/account"] == {"termsOfServiceAgreed": True, "contact": ["mailto:admin@example.org"]}
    assert payloads["/chall/1"] == {}
    assert payloads["/authz/1"] == payloads["/cert/1"] == ""


def test_one_connection_and_one_nonce_request(world: World) -> None:
    issued_order(world.connect())
    assert world.fake.paths() == [
        "GET /dir",
        "HEAD /nonce",
        "POST /account",
        "POST /order",
        "POST /authz/1",
        "POST /chall/1",
        "POST /finalize/1",
    ]
    assert len({request.client for request in world.fake.requests}) == 1


def test_the_environment_replaces_neither_the_bundle_nor_the_public_roots(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    other = tmp_path / "other.pem"
    other.write_bytes(FakeCA("Other").pem)
    right = tmp_path / "right.pem"
    right.write_bytes(world.ca_pem)
    for variable in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.setenv(variable, str(other))
    world.connect(account=False)
    for variable in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.setenv(variable, str(right))
    with pytest.raises(AcmeUnavailable, match=r"TLS connection to 127\.0\.0\.1:\d+ failed: .*verify failed"):
        world.connect(ca_bundle_pem=None)
    with pytest.raises(AcmeUnavailable, match="certificate verify failed"):
        world.connect(ca_bundle_pem=FakeCA("Other").pem)


def test_a_bundle_replaces_the_public_roots(world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    public = tmp_path / "public.pem"
    public.write_bytes(world.ca_pem)
    monkeypatch.setattr("requests.adapters.DEFAULT_CA_BUNDLE_PATH", str(public))
    world.connect(ca_bundle_pem=None)
    with pytest.raises(AcmeUnavailable, match="verify failed"):
        world.connect(ca_bundle_pem=FakeCA("Other").pem)


def test_a_proxy_comes_from_the_environment(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setenv("NO_PROXY", "")
    with pytest.raises(AcmeUnavailable, match="Connection refused"):
        world.connect()
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    world.connect()


@pytest.mark.parametrize("bundle", [b"", b"nonsense", b"-----BEGIN CERTIFICATE-----\nAAAA\n", b"\xff"])
def test_a_bundle_without_certificates_is_refused(world: World, bundle: bytes) -> None:
    with pytest.raises(ValueError, match="CA bundle"):
        world.connect(ca_bundle_pem=bundle)


def test_half_of_the_nonces_rejected(world: World) -> None:
    world.fake.reject_every_other_nonce = True
    assert issued_order(world.connect()).status == "valid"
    assert world.clock.slept == []


def test_a_long_row_of_rejected_nonces_pauses_and_survives(world: World) -> None:
    client = world.connect()
    world.fake.script("/order", *[problem("badNonce")] * (NONCE_TRIES - 1))
    assert client.new_order(HOSTS).status == "pending"
    assert len(world.clock.slept) == 14
    assert sum(world.clock.slept) < 1.1
    assert world.fake.paths().count("HEAD /nonce") == 1


def test_an_end_of_rejected_nonces_is_an_error(world: World) -> None:
    client = world.connect()
    world.fake.script("/order", *[problem("badNonce")] * NONCE_TRIES)
    with pytest.raises(AcmeError, match="newOrder: badNonce"):
        client.new_order(HOSTS)


@pytest.fixture
def restless() -> Iterator[None]:
    """Threads take turns as often as they can."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(usual)


@pytest.mark.exhaustive
@pytest.mark.usefixtures("restless")
@pytest.mark.parametrize("rejects", [False, True])
def test_threads_share_a_client_and_no_nonce(world: World, rejects: bool) -> None:
    client = world.connect()
    url = client.new_order(HOSTS).url
    world.fake.reject_every_other_nonce = rejects
    scarce = [Reply(200, world.fake.order(), nonce=False)] * (0 if rejects else 100)
    world.fake.script("/order/1", *scarce)
    assert {order.status for order in at_once(client.order, [url] * 100)} == {"pending"}
    used = [request.protected["nonce"] for request in world.fake.requests if request.method == "POST"]
    assert len(used) == len(set(used))


def test_a_nonce_that_another_thread_has_taken_is_fetched_anew(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    client = world.connect()
    transport, taken = client._transport, []
    url = client.new_order(HOSTS).url
    world.fake.script("/order/1", Reply(200, world.fake.order(), nonce=False))
    client.order(url)
    remember = transport._remember

    def remember_and_lose(answer: Answer) -> None:
        remember(answer)
        if not taken:
            taken.append(transport._nonce())

    monkeypatch.setattr(transport, "_remember", remember_and_lose)
    assert client.order(url).status == "pending"
    assert world.fake.paths().count("HEAD /nonce") == 3


def test_answers_without_nonce_cost_a_request_for_one(world: World) -> None:
    client = world.connect()
    world.fake.script("/order/1", Reply(200, world.fake.order(), nonce=False))
    client.order(f"{world.fake.base}/order/1")
    client.order(f"{world.fake.base}/order/1")
    assert world.fake.paths().count("HEAD /nonce") == 2


@pytest.mark.parametrize(
    ("header", "wait"),
    [
        ("7", 7),
        ("Tue, 05 May 2026 10:01:00 GMT", 60),
        ("0", 0),
        ("99999999", 7 * 86400),
        (None, None),
    ],
)
def test_a_rate_limit_keeps_its_wait(world: World, header: str | None, wait: int | None) -> None:
    client = world.connect()
    headers = {"Retry-After": header} if header else {}
    world.clock.now = NOW + timedelta(days=400)  # the answer's own Date counts
    world.fake.script("/order", problem("rateLimited", "too many", status=429, headers=headers))
    with pytest.raises(AcmeError, match="newOrder: rateLimited: too many") as caught:
        client.new_order(HOSTS)
    assert caught.value.is_rate_limited
    assert caught.value.problem.status == 429
    assert caught.value.retry_after == (None if wait is None else timedelta(seconds=wait))


def test_a_429_without_problem_is_a_rate_limit(world: World) -> None:
    client = world.connect()
    world.fake.script("/order", Reply(429, raw=b"slow down", headers={"Retry-After": "9"}))
    with pytest.raises(AcmeError) as caught:
        client.new_order(HOSTS)
    assert caught.value.is_rate_limited
    assert not isinstance(caught.value, AcmeUnavailable)
    assert (caught.value.problem.type, caught.value.retry_after) == ("rateLimited", timedelta(seconds=9))


def test_5xx_is_unavailable_and_keeps_problem_and_wait(world: World) -> None:
    client = world.connect()
    reply = problem("serverInternal", "down", status=503, headers={"Retry-After": "30"})
    world.fake.script("/order", reply, Reply(502, raw=b"<html>"))
    with pytest.raises(AcmeUnavailable) as caught:
        client.new_order(HOSTS)
    assert (caught.value.problem.type, caught.value.retry_after) == ("serverInternal", timedelta(seconds=30))
    with pytest.raises(AcmeUnavailable, match=r"newOrder: .* 127.0.0.1:\d+ \(HTTP 502\) gives no reason"):
        client.new_order(HOSTS)


@pytest.mark.parametrize(
    "reply",
    [
        Reply(201, raw=b"<html>", headers={"Location": "/order/1"}),
        Reply(201, raw=b"[" * 100_000, headers={"Location": "/order/1"}),
        Reply(201, raw=b"\xff\xfe\x00", headers={"Location": "/order/1"}),
        Reply(201, raw=b'{"status": ' + b"1" * 5000 + b"}", headers={"Location": "/order/1"}),
        Reply(201, [], headers={"Location": "/order/1"}),
        Reply(201, {"status": 7}, headers={"Location": "/order/1"}),
        Reply(404, raw=b"<html>"),
        Reply(403, {"message": "forbidden by the gateway"}),
        Reply(403, raw=b'{"status": ' + b"1" * 5000 + b"}"),
        Reply(302, {"detail": "moved"}, headers={"Location": "/elsewhere"}),
        Reply(hang=True),
    ],
)
def test_unusable_answers_are_unavailable_and_name_step_and_host(world: World, reply: Reply) -> None:
    client = world.connect()
    world.fake.script("/order", reply)
    with pytest.raises(AcmeUnavailable, match=r"^newOrder: .*127\.0\.0\.1:\d+") as caught:
        client.new_order(HOSTS)
    assert not caught.value.is_permanent
    assert len(str(caught.value)) < 500
    assert world.fake.paths().count("POST /order") == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"identifiers": "x"},
        {"authorizations": ["u"] * 1001},
        {"expires": "2026-05-06T10:00:00"},
        {"expires": "tomorrow"},
        {"finalize": None},
    ],
)
def test_malformed_orders_are_unavailable(world: World, changes: dict[str, Any]) -> None:
    client = world.connect()
    world.fake.script("/order/1", Reply(200, world.fake.order(**changes)))
    with pytest.raises(AcmeUnavailable, match="is malformed"):
        client.order(f"{world.fake.base}/order/1")


def test_a_body_beyond_the_bound_is_not_read(world: World) -> None:
    client = world.connect()
    content = json.dumps(world.fake.order()).encode()
    world.fake.script(
        "/order/1", Reply(200, raw=content.ljust(MAX_BODY)), Reply(200, raw=content.ljust(MAX_BODY + 1))
    )
    assert client.order(f"{world.fake.base}/order/1").status == "pending"
    with pytest.raises(AcmeUnavailable, match=r"^order: the answer of 127\.0\.0\.1:\d+ is too big$"):
        client.order(f"{world.fake.base}/order/1")


def test_a_body_that_comes_too_slowly_is_given_up(world: World) -> None:
    def a_second_later_each_time() -> datetime:
        world.clock.now += timedelta(seconds=1)
        return world.clock.now

    client = world.connect(now=a_second_later_each_time)
    content = json.dumps(world.fake.order()).encode()
    world.fake.script("/order/1", Reply(200, raw=content), Reply(200, raw=content.ljust(MAX_BODY)))
    assert client.order(f"{world.fake.base}/order/1").status == "pending"
    with pytest.raises(AcmeUnavailable, match="is too slow"):
        client.order(f"{world.fake.base}/order/1")


def test_an_order_without_location_is_unavailable(world: World) -> None:
    client = world.connect()
    world.fake.script("/order", Reply(201, world.fake.order()))
    with pytest.raises(AcmeUnavailable, match="lacks a Location"):
        client.new_order(HOSTS)


def test_reads_are_sent_again_when_the_connection_ends(world: World) -> None:
    client = world.connect()
    world.fake.script("/order/1", Reply(hang=True))
    assert client.order(f"{world.fake.base}/order/1").status == "pending"
    world.fake.script("/dir", Reply(hang=True))
    world.connect()


def test_nothing_is_asked_after_the_deadline(world: World) -> None:
    client = world.connect(deadline=NOW + timedelta(seconds=30))
    world.clock.now += timedelta(seconds=30)
    with pytest.raises(AcmeUnavailable, match="newOrder: no time left to ask"):
        client.new_order(HOSTS)


@pytest.mark.parametrize("url", ["http://127.0.0.1/dir", "https:///dir", "https://[x/dir", "ftp://x", ""])
def test_only_usable_https_urls_are_asked(world: World, url: str) -> None:
    with pytest.raises(AcmeUnavailable, match="directory: "):
        AcmeClient.connect(url, ca_bundle_pem=None, account_key_pem=KEY, account_url=None, user_agent="t")


def test_a_refused_connection_is_named_without_its_path(world: World) -> None:
    with pytest.raises(AcmeUnavailable) as caught:
        AcmeClient.connect(
            "https://127.0.0.1:9/secret-path",
            ca_bundle_pem=None,
            account_key_pem=KEY,
            account_url=None,
            user_agent="t",
        )
    expected = "directory: the connection to 127.0.0.1:9 failed: Connection refused"
    assert str(caught.value) == expected


def test_the_directory_follows_redirects_but_not_for_ever(world: World) -> None:
    world.fake.script("/dir", Reply(301, headers={"Location": "/dir"}))
    world.connect()
    world.fake.script("/dir", *[Reply(301, headers={"Location": "/dir"})] * 5)
    with pytest.raises(AcmeUnavailable, match="redirects without an end"):
        world.connect()
