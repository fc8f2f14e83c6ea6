"""Accounts, orders, authorizations, certificates and renewal information over TLS."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from acme import jws
from josepy.jwk import JWK, JWKOct

from issuer_job.acme_client import (
    AcmeError,
    AcmeUnavailable,
    EabKey,
    ExternalAccountRefused,
)
from issuer_job.acme_client.keys import AccountKey, decode_hmac_key
from tests.fakes.acme import TOKEN, Reply, problem
from tests.fakes.acme_ca import FakeCA
from tests.worlds.acme import HOSTS, KEY, World, acme_world, issued_order

EAB = EabKey("kid-1", "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W")


@pytest.fixture
def world() -> Iterator[World]:
    with acme_world() as world:
        yield world


# Accounts


def test_a_given_account_url_saves_the_request(world: World) -> None:
    world.connect()
    client = world.connect(account_url=f"{world.fake.base}/acct/1")
    before = len(world.fake.requests)
    assert client.ensure_account(terms_agreed=True).url == f"{world.fake.base}/acct/1"
    assert len(world.fake.requests) == before


def test_an_account_is_only_looked_up(world: World) -> None:
    client = world.connect(account=False)
    assert client.find_account() is None
    account = client.ensure_account(terms_agreed=True)
    found = world.connect(account=False).find_account()
    assert found == account


def test_new_account_survives_internal_errors_of_the_ca(world: World) -> None:
    world.fake.script("/account", *[problem("serverInternal", status=500)] * 2)
    world.connect()
    assert len(world.clock.slept) == 2
    world.fake.script("/account", *[problem("serverInternal", status=500)] * 3)
    with pytest.raises(AcmeUnavailable, match="newAccount: serverInternal"):
        world.connect()


def test_a_needed_binding_is_known_before_contact(world: World) -> None:
    world.fake.directory["meta"] = {"externalAccountRequired": True}
    with pytest.raises(ExternalAccountRefused, match="needs an external account binding") as caught:
        world.connect()
    assert caught.value.is_permanent
    assert world.fake.paths() == ["GET /dir"]


def test_the_binding_is_signed_for_new_account_and_this_key(world: World) -> None:
    client = world.connect(account=False)
    client.ensure_account(terms_agreed=True, eab=EAB)
    request = world.fake.requests[-1]
    bound = jws.JWS.from_json(request.payload["externalAccountBinding"])
    assert bound.verify(JWKOct(key=decode_hmac_key(EAB.hmac_key)))
    assert bound.signature.combined.kid == "kid-1"
    assert bound.signature.combined.url == f"{world.fake.base}/account"
    assert bound.signature.combined.nonce is None
    assert JWK.json_loads(bound.payload) == JWK.from_json(request.protected["jwk"])


def test_a_refused_binding_is_told_from_a_dead_account(world: World) -> None:
    client = world.connect(account=False)
    world.fake.script("/account", problem("unauthorized", "no such kid", status=401))
    with pytest.raises(ExternalAccountRefused, match="no such kid"):
        client.ensure_account(terms_agreed=True, eab=EAB)
    world.fake.script("/account", *[problem("unauthorized", "account is deactivated", status=403)] * 2)
    with pytest.raises(AcmeError, match="account is deactivated") as caught:
        client.ensure_account(terms_agreed=True, eab=EAB)
    assert not caught.value.is_permanent


def test_a_needed_action_shows_its_link(world: World) -> None:
    client = world.connect()
    terms = '<https://ca.example/terms>;rel="terms-of-service"'
    world.fake.script(
        "/order",
        problem("userActionRequired", "agree", status=403, headers={"Link": terms}),
        problem("userActionRequired", "agree", status=403, instance="https://ca.example/agree"),
    )
    for link in ("https://ca.example/terms", "https://ca.example/agree"):
        with pytest.raises(AcmeError) as caught:
            client.new_order(HOSTS)
        assert caught.value.link == link
        assert link in caught.value.problem.detail


# Orders


def test_profile_and_replaces_are_sent_if_the_ca_knows_them(world: World) -> None:
    client = world.connect()
    client.new_order(HOSTS, profile="tlsserver", replaces="aki.serial")
    assert world.fake.requests[-1].payload == {
        "identifiers": [{"type": "dns", "value": host} for host in HOSTS],
        "profile": "tlsserver",
        "replaces": "aki.serial",
    }
    del world.fake.directory["renewalInfo"]
    world.connect().new_order(HOSTS, replaces="aki.serial")
    assert "replaces" not in world.fake.requests[-1].payload


def test_an_unknown_profile_costs_no_order(world: World) -> None:
    client = world.connect()
    with pytest.raises(AcmeError, match="no profile classic; it offers: tlsserver") as caught:
        client.new_order(HOSTS, profile="classic")
    assert caught.value.is_permanent
    assert "POST /order" not in world.fake.paths()


def test_already_replaced_is_told_apart(world: World) -> None:
    client = world.connect()
    world.fake.script("/order", problem("alreadyReplaced", status=409))
    with pytest.raises(AcmeError) as caught:
        client.new_order(HOSTS, replaces="a.b")
    assert caught.value.is_already_replaced


def test_the_open_order_is_found_in_the_accounts_list(world: World) -> None:
    client = world.connect()
    assert client.find_pending_order(HOSTS) is None
    order = client.new_order(HOSTS)
    base = world.fake.base
    pages = [Reply(200, {"orders": []}, {"Link": f'<{base}/orders>;rel="next"'})] * 3
    world.fake.script("/orders", *pages)
    assert client.find_pending_order(list(reversed(HOSTS))) == order
    assert client.find_pending_order(HOSTS[:1]) is None
    for status in ("invalid", "valid"):
        world.fake.script("/order/1", Reply(200, world.fake.order(status=status)))
        assert client.find_pending_order(HOSTS) is None
    world.fake.script("/order/1", problem("malformed", status=404))
    assert client.find_pending_order(HOSTS) is None


def test_the_search_ends_after_twenty_pages(world: World) -> None:
    client = world.connect()
    endless = Reply(200, {"orders": []}, {"Link": f'<{world.fake.base}/orders>;rel="next"'})
    world.fake.script("/orders", *[endless] * 30)
    assert client.find_pending_order(HOSTS) is None
    assert world.fake.paths().count("POST /orders") == 20


def test_a_ca_without_list_has_no_open_orders_to_find(world: World) -> None:
    client = world.connect()
    world.fake.script("/acct/1", Reply(200, {"status": "valid"}))
    assert client.find_pending_order(HOSTS) is None


def test_an_order_shows_error_and_wait(world: World) -> None:
    client = world.connect()
    error = {"type": "urn:ietf:params:acme:error:caa", "detail": "CAA forbids"}
    reply = Reply(200, world.fake.order(status="invalid", error=error), {"Retry-After": "3"})
    world.fake.script("/order/1", reply)
    order = client.order(f"{world.fake.base}/order/1")
    assert order.error is not None
    assert (order.error.type, order.retry_after) == ("caa", timedelta(seconds=3))


# Authorizations


def test_a_failed_challenge_names_the_host_and_hides_the_token(world: World) -> None:
    client = world.connect()
    url = f"{world.fake.base}/authz/1"
    error = {"type": "urn:ietf:params:acme:error:unauthorized", "detail": f"no {TOKEN} here", "status": 403}
    pending = {"type": "dns-01", "url": "https://x/2", "token": TOKEN, "status": "pending"}
    failed = {**pending, "type": "http-01", "status": "invalid", "error": error}
    document = world.fake.authorization(status="invalid", challenges=[pending, failed])
    world.fake.script("/authz/1", Reply(200, document))
    authorization = client.authorization(url)
    problem = authorization.problem
    assert problem is not None
    assert (problem.type, problem.identifier) == ("unauthorized", "a.example.org")
    assert problem.detail == "no [token] here"
    assert TOKEN not in repr(authorization)


@pytest.mark.parametrize("status", ["invalid", "expired", "deactivated", "revoked"])
def test_an_authorization_without_reason_still_has_a_problem(world: World, status: str) -> None:
    client = world.connect()
    world.fake.script("/authz/1", Reply(200, world.fake.authorization(status=status)))
    problem = client.authorization(f"{world.fake.base}/authz/1").problem
    assert problem is not None
    assert (status in problem.detail, problem.identifier) == (True, "a.example.org")


def test_key_authorization_is_token_and_thumbprint(world: World) -> None:
    client = world.connect()
    assert client.key_authorization(TOKEN) == f"{TOKEN}.{AccountKey(KEY).thumbprint}"
    for token in ("short", TOKEN + "/..", TOKEN + "\n", "x" * 129):
        with pytest.raises(AcmeUnavailable) as caught:
            client.key_authorization(token)
        assert token not in str(caught.value)


# Certificates


def test_other_chains_are_fetched_if_the_default_does_not_lead_where_it_shall(world: World) -> None:
    client = world.connect()
    order = issued_order(client)
    [default], other = client.chains(order), FakeCA("Other Root").pem
    link = {"Link": f'<{world.fake.base}/cert/1/1>;rel="alternate", <{world.fake.base}/dir>;rel="index"'}
    reply = Reply(200, raw=default, headers=link)
    world.fake.script("/cert/1", *[reply] * 3)
    world.fake.script("/cert/1/1", *[Reply(200, raw=other)] * 2)
    assert client.chains(order, preferred="Other Root") == [default, other]
    assert client.chains(order, preferred="No Such Root") == [default, other]
    fetched = len(world.fake.requests)
    assert client.chains(order, preferred="Fake Root") == [default]
    assert len(world.fake.requests) == fetched + 1
    assert world.fake.requests[-1].headers["Accept"] == "application/pem-certificate-chain"


@pytest.mark.parametrize("content", [b"", b"<html>", b"-----BEGIN CERTIFICATE-----" + b"x" * 200_000])
def test_what_is_no_chain_is_refused(world: World, content: bytes) -> None:
    client = world.connect()
    order = issued_order(client)
    world.fake.script("/cert/1", Reply(200, raw=content))
    with pytest.raises(AcmeUnavailable, match="chain"):
        client.chains(order)


# Renewal information


@pytest.mark.parametrize(
    ("header", "wait"),
    [
        ("21600", timedelta(hours=6)),
        ("1", timedelta(minutes=1)),
        ("0", timedelta(minutes=1)),
        ("9999999", timedelta(days=1)),
        (None, timedelta(hours=6)),
    ],
)
def test_renewal_info(world: World, header: str | None, wait: timedelta) -> None:
    client = world.connect(account=False)
    window = {"start": "2026-06-01T00:00:00Z", "end": "2026-06-02T00:00:00+02:00"}
    body = {"suggestedWindow": window, "explanationURL": "https://ca.example/why"}
    world.fake.script("/ari/aki.serial", Reply(200, body, {"Retry-After": header} if header else {}))
    info = client.renewal_info("aki.serial")
    assert info is not None
    assert info.start == datetime(2026, 6, 1, tzinfo=UTC)
    assert info.end == datetime(2026, 6, 1, 22, tzinfo=UTC)
    assert (info.explanation_url, info.retry_after) == ("https://ca.example/why", wait)
    assert world.fake.paths()[-1] == "GET /ari/aki.serial"


def test_a_window_that_ends_before_it_starts_is_refused(world: World) -> None:
    client = world.connect(account=False)
    window = {"start": "2026-06-02T00:00:00Z", "end": "2026-06-01T00:00:00Z"}
    world.fake.script("/ari/x", Reply(200, {"suggestedWindow": window}))
    with pytest.raises(AcmeUnavailable, match=r"renewalInfo: .* ends before it starts"):
        client.renewal_info("x")


def test_a_ca_without_ari_has_no_renewal_info(world: World) -> None:
    del world.fake.directory["renewalInfo"]
    assert world.connect(account=False).renewal_info("x") is None


# What is odd, and still can be read


@pytest.mark.parametrize(
    "header",
    [
        '<{url}>;rel="alternate index"',
        "<{url}>; Rel=alternate",
        '<{url}>;REL = "Alternate"',
        '<{url}>;title="a;b=c";rel="alternate"',
        '<https://127.0.0.1/x>;rel="index",<{url}>;rel=alternate;title=x',
        '<https://127.0.0.1/x>;rel="alternates", <{url}> ; rel="alternate"',
        "</cert/1/1>;rel=alternate",
    ],
)
def test_links_are_found_however_they_are_written(world: World, header: str) -> None:
    client = world.connect()
    order = issued_order(client)
    [default] = client.chains(order)
    url = f"{world.fake.base}/cert/1/1"
    world.fake.script("/cert/1", Reply(200, raw=default, headers={"Link": header.format(url=url)}))
    world.fake.script("/cert/1/1", Reply(200, raw=FakeCA("Other Root").pem))
    assert len(client.chains(order, preferred="Other Root")) == 2


@pytest.mark.parametrize(
    "other",
    [
        {"type": "dns-persist-01", "status": "pending"},
        {"type": "device-attest-01", "url": 7, "token": []},
        {"type": "a type with spaces", "url": "https://x/2"},
        {},
        "text",
        None,
    ],
)
def test_challenges_that_are_not_ours_are_passed_by(world: World, other: object) -> None:
    client = world.connect()
    known = world.fake.authorization()["challenges"]
    world.fake.script("/authz/1", Reply(200, world.fake.authorization(challenges=[other, *known, other])))
    [challenge] = client.authorization(f"{world.fake.base}/authz/1").challenges
    assert challenge.type == "http-01"


def test_a_challenge_of_ours_that_cannot_be_read_is_an_error(world: World) -> None:
    client = world.connect()
    world.fake.script("/authz/1", Reply(200, world.fake.authorization(challenges=[{"type": "http-01"}])))
    with pytest.raises(AcmeUnavailable, match="missing required field `url`"):
        client.authorization(f"{world.fake.base}/authz/1")


def test_a_member_that_is_null_is_none(world: World) -> None:
    client = world.connect()
    none = {"wildcard": None, "expires": None, "challenges": None}
    world.fake.script("/authz/1", Reply(200, world.fake.authorization(status="valid", **none)))
    found = client.authorization(f"{world.fake.base}/authz/1")
    assert (found.wildcard, found.expires, found.challenges) == (False, None, ())
    challenge = {"type": "dns-01", "url": "https://x/1", "token": None, "status": None, "error": None}
    world.fake.script("/authz/1", Reply(200, world.fake.authorization(challenges=[challenge])))
    assert client.authorization(f"{world.fake.base}/authz/1").challenges[0].status == "pending"
    world.fake.script("/order/1", Reply(200, world.fake.order(expires=None, certificate=None, error=None)))
    assert client.order(f"{world.fake.base}/order/1").expires is None
    world.fake.script("/acct/1", Reply(200, {"status": "valid", "orders": None, "contact": None}))
    assert (client.account().orders_url, client.account().contacts) == (None, None)


@pytest.mark.parametrize(
    "meta",
    [None, {}, {"profiles": None, "externalAccountRequired": None}, {"profiles": {"tlsserver": None, "x": ["y"]}}],
)
def test_a_directory_says_as_little_as_it_likes(world: World, meta: object) -> None:
    named = {"keyChange": None, "revokeCert": None, "renewalInfo": None}
    world.fake.script("/dir", Reply(200, {**world.fake.directory, **named, "meta": meta}))
    directory = world.connect(account=False).directory
    assert (directory.key_change, directory.renewal_info, directory.meta.external_account_required) == (
        None,
        None,
        False,
    )


def test_profiles_without_descriptions(world: World) -> None:
    for profiles in ({"tlsserver": 7}, ["tlsserver"]):
        world.fake.directory["meta"]["profiles"] = profiles
        world.connect(account=False).directory.require_profile("tlsserver")


def test_text_around_the_certificates_of_a_chain_is_left_out(world: World) -> None:
    client = world.connect()
    order = issued_order(client)
    [chain] = client.chains(order)
    leaf, root = (part + b"-----END CERTIFICATE-----" for part in chain.split(b"-----END CERTIFICATE-----")[:2])
    texts = b"subject=/CN=a\nissuer=/CN=b\n" + leaf.strip() + b"\n - and its issuer\n" + root.strip() + b"\nbye"
    world.fake.script("/cert/1", Reply(200, raw=texts), Reply(200, raw=texts.replace(b"\n", b"\r\n")))
    assert client.chains(order) == [chain]
    assert client.chains(order) == [chain]


def test_a_list_of_orders_may_be_the_array_alone(world: World) -> None:
    client = world.connect()
    order = client.new_order(HOSTS)
    world.fake.script("/orders", Reply(200, [order.url]))
    assert client.find_pending_order(HOSTS) == order
