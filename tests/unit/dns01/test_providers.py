"""DNS providers: options of all of them, what is wrong with a configuration, and errors without secrets in them."""

from __future__ import annotations

import gzip
import json
import logging
import socket
import threading
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, HTTPServer, ThreadingHTTPServer
from typing import Any

import pytest
import requests
from requests.adapters import HTTPAdapter

from issuer_job.dns01.providers import lexicon as dns_lexicon
from issuer_job.dns01.providers import registry
from issuer_job.dns01.providers.errors import ProviderError, Scrubber, explain
from issuer_job.dns01.providers.provider import OpenZone, Scope
from issuer_job.dns01.providers.registry import check, find_provider, open_zone
from issuer_job.issuers.schema import Dns01
from tests.fakes.dns import FakeDns
from tests.fakes.provider import NAME, FakeProvider, fake_provider

TOKEN = "s3cret/to+ken"
VALUE = "v" * 43


@pytest.fixture
def fake() -> Iterator[FakeProvider]:
    with fake_provider(FakeDns(0)) as made:
        yield made


def opened(**fields: Any) -> OpenZone:
    """The fake provider, logged in."""
    dns01 = Dns01(provider=NAME, **fields)
    return open_zone(dns01, zone="example.org", mounted={"auth_token": TOKEN.encode() + b"\n"}.get)


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", sorted(registry.provider_names()))
def test_every_provider_has_options_that_can_be_checked(name: str) -> None:
    provider = find_provider(name)
    problems = check(Dns01(provider=name, options={"no_such_option": "x"}), [])
    if provider.lacks():
        assert problems == [(provider.lacks(), "$.provider")]
        return
    assert any(path == "$.options.no_such_option" for _, path in problems)
    given = {option: "x" for option in provider.options if option not in provider.secrets}
    assert check(Dns01(provider=name, options=given), provider.secrets) == []


def test_all_of_lexicons_providers_are_there_but_two() -> None:
    assert len(registry.provider_names()) >= 90
    assert not {"auto", "localzone"} & set(registry.provider_names())


@pytest.mark.parametrize(
    ("dns01", "keys", "problem", "path"),
    [
        (Dns01(provider="cloudflair"), [], "did you mean cloudflare?", "$.provider"),
        (Dns01(provider="acmedns"), [], "did you mean acme-dns?", "$.provider"),
        (Dns01(provider="auto"), [], "no provider", "$.provider"),
        (Dns01(provider="../x"), [], "no provider", "$.provider"),
        (Dns01(provider="oci"), [], "packages", "$.provider"),
        (Dns01(provider="cloudflare"), [], "needs auth_token, a key of the Secret", "$.options.auth_token"),
        (Dns01(provider="cloudflare", options={"zoneid": "x"}), ["auth_token"], "zone_id?", "$.options.zoneid"),
        (Dns01(provider="cloudflare", options={"auth_token": "x"}), [], "is a secret", "$.options.auth_token"),
        (Dns01(provider="ddns"), ["auth_token"], "needs ddns_server, an option", "$.options.ddns_server"),
        (Dns01(provider="powerdns"), ["auth_token"], "needs pdns_server", "$.options.pdns_server"),
        (Dns01(provider="acme-dns"), ["accounts"], "needs server", "$.options.server"),
        (Dns01(provider="acme-dns", options={"server": "x"}), [], "needs accounts, a key", "$.options.accounts"),
        (Dns01(provider="acme-dns", options={"accounts": "{}"}), [], "is a secret", "$.options.accounts"),
        (Dns01(provider="hetzner"), [], "no credentials", "$.provider"),
    ],
)
def test_a_wrong_configuration_is_named(dns01: Dns01, keys: list[str], problem: str, path: str) -> None:
    found = check(dns01, keys, path="$")
    assert [where for what, where in found if problem in what] == [path], found


@pytest.mark.parametrize("key", ["auth_token", "cloudflare.auth_token"])
def test_a_key_may_carry_its_providers_name(key: str) -> None:
    assert check(Dns01(provider="cloudflare"), [key]) == []


def test_route_53_may_get_its_credentials_from_the_pod() -> None:
    assert check(Dns01(provider="route53"), []) == []


@pytest.mark.parametrize(
    ("option", "secret"),
    [
        ("auth_token", True),
        ("auth_access_secret", True),
        ("auth_service_account_info", True),
        ("auth_psw", True),
        ("auth_username", False),
        ("zone_id", False),
        ("auth_key_id", False),
        ("auth_access_key", False),
        ("pdns_server", False),
    ],
)
def test_secret_options_are_known_by_their_names(option: str, secret: bool) -> None:
    assert dns_lexicon.is_secret(option) is secret


def test_a_provider_gets_its_zone_options_and_secrets(fake: FakeProvider) -> None:
    opened()
    assert fake.calls == [("login", "example.org", TOKEN)]


def test_the_key_with_the_providers_name_comes_first(fake: FakeProvider) -> None:
    keys = {"auth_token": b"other", f"{NAME}.auth_token": b"mine"}
    open_zone(Dns01(provider=NAME), zone="example.org", mounted=keys.get)
    assert fake.calls[0][2] == "mine"


def test_values_are_added_and_removed_one_by_one(fake: FakeProvider) -> None:
    provider = opened()
    for value in ("a" * 43, "b" * 43, "b" * 43):
        provider.add("x.example.org", value)
    provider.remove("x.example.org", "a" * 43)
    assert fake.world.values("x.example.org") == {"b" * 43}


def test_what_a_provider_refuses_without_an_error_is_one(fake: FakeProvider) -> None:
    fake.says_no = True
    with pytest.raises(ProviderError, match="the set is locked"):
        opened().add("x.example.org", VALUE)


def test_a_no_to_a_value_that_is_there_is_none(fake: FakeProvider) -> None:
    fake.says_no = True
    fake.world.add_text("x.example.org", VALUE)
    opened().add("x.example.org", VALUE)


def test_nothing_that_lexicon_logs_gets_into_our_log(fake: FakeProvider, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    provider = opened()
    logging.getLogger("lexicon._private.providers.cloudflare").error("token %s", TOKEN)
    provider.add("x.example.org", VALUE)
    assert TOKEN not in caplog.text


class Refused(requests.HTTPError):
    """What requests raises for an error answer."""

    def __init__(self, status: int, text: str = "") -> None:
        response = requests.Response()
        response.status_code, response._content = status, text.encode()
        super().__init__(
            f"{status} for url: https://api.example/v1?token={requests.utils.quote(TOKEN)}&n=1", response=response
        )


@pytest.mark.parametrize(
    ("error", "said", "passes"),
    [
        (Refused(401), "refused the credentials", False),
        (Refused(403), "refused the credentials", False),
        (Refused(422, "no such zone"), "no such zone", False),
        (Refused(429), "429", True),
        (Refused(503), "503", True),
        (requests.ConnectionError(f"to https://x/?key={TOKEN}"), "ConnectionError", True),
        (TimeoutError("timed out"), "TimeoutError", True),
        (KeyError(TOKEN), "KeyError", False),
        (ValueError(f"bad header Bearer {TOKEN}"), "ValueError", False),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_errors_say_what_is_wrong_and_no_secret(
    fake: FakeProvider, error: Exception, said: str, passes: bool
) -> None:
    fake.raises.append(error)
    with pytest.raises(ProviderError, match=said) as raised:
        opened().add("x.example.org", VALUE)
    assert raised.value.passes is passes
    assert raised.value.__suppress_context__
    for form in (TOKEN, requests.utils.quote(TOKEN), requests.utils.quote(TOKEN, safe="")):
        assert form not in str(raised.value)


def test_an_answer_that_a_provider_stumbles_over_is_found() -> None:
    error = KeyError("errors")
    error.__context__ = Refused(401)  # as when it is raised while the other one is handled
    assert "refused the credentials" in str(explain(error, Scrubber([])))


def test_the_parts_of_a_composed_secret_are_secret() -> None:
    scrub = Scrubber(["hmac-sha256:keyname:c2VjcmV0"])
    assert "c2VjcmV0" not in scrub("Non-base64 digit found in c2VjcmV0")


def test_a_provider_object_shows_no_secret(fake: FakeProvider) -> None:
    assert TOKEN not in repr(vars(opened()))


def test_a_password_in_a_tsig_key_of_the_wrong_form_is_not_shown() -> None:
    keys = {"auth_token": b"justasecret"}
    with pytest.raises(ProviderError, match="ALGORITHM:KEYNAME:SECRET") as raised:
        open_zone(Dns01(provider="ddns", options={"ddns_server": "127.0.0.1"}), zone="x.org", mounted=keys.get)
    assert "justasecret" not in str(raised.value)


def test_requests_of_providers_have_a_timeout(fake: FakeProvider) -> None:
    opened()
    assert getattr(HTTPAdapter.send, "bounded", False)
    seen: list[object] = []

    class Adapter(HTTPAdapter):
        def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> Any:
            class Connection:
                def urlopen(self, *args: Any, timeout: Any, **kwargs: Any) -> Any:
                    seen.append(timeout.read_timeout)
                    raise OSError("enough")

            return Connection()

    with requests.Session() as session:
        session.mount("http://", Adapter())
        with dns_lexicon.bounded(), pytest.raises(requests.ConnectionError):
            session.get("http://127.0.0.1/")
        with pytest.raises(requests.ConnectionError):
            session.get("http://127.0.0.1/")
    assert seen == [dns_lexicon.HTTP_TIMEOUT[1], None]


def test_connections_of_providers_have_a_timeout_and_nobody_elses(fake: FakeProvider) -> None:
    opened()

    def timeout(**given: float) -> float | None:
        with closing(HTTPConnection("127.0.0.1", listening.getsockname()[1], **given)) as connection:  # type: ignore[arg-type]
            connection.connect()
            assert connection.sock is not None
            found: float | None = connection.sock.gettimeout()
            return found

    with socket.create_server(("127.0.0.1", 0)) as listening:
        with dns_lexicon.bounded():
            assert timeout() == dns_lexicon.HTTP_TIMEOUT[1]
            assert timeout(timeout=3) == 3
        assert timeout() is None
    assert socket.getdefaulttimeout() is None


def test_whatever_a_providers_code_does_is_bounded(fake: FakeProvider) -> None:
    zone: Any = opened()
    seen: list[bool] = []

    class Provider:
        def __getattr__(self, name: str) -> Any:
            return lambda **asked: seen.append(dns_lexicon._bounded.get()) or []

    zone._provider = Provider()
    zone.add("_acme-challenge.example.org", VALUE)
    zone.remove("_acme-challenge.example.org", VALUE)
    assert seen == [True, True]
    assert not dns_lexicon._bounded.get()


@pytest.mark.parametrize(("size", "fits"), [(100, True), (101, False)])
def test_answers_of_providers_have_a_bound(
    fake: FakeProvider, size: int, fits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened()
    monkeypatch.setattr(dns_lexicon, "MAX_ANSWER", 100)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Encoding", "gzip")
            self.end_headers()
            self.wfile.write(gzip.compress(b"x" * size))

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server, requests.Session() as session:
        threading.Thread(target=server.handle_request, daemon=True).start()
        ask = partial(session.get, f"http://127.0.0.1:{server.server_port}/", timeout=5)
        if fits:
            with dns_lexicon.bounded():
                assert ask().text == "x" * size
        else:
            with dns_lexicon.bounded(), pytest.raises(requests.RequestException, match="larger than 100 bytes"):
                ask()


def test_providers_are_locked_unless_they_change_single_values() -> None:
    for scope, names in ((Scope.VALUE, ("ddns", "cloudflare", "acme-dns")), (Scope.NAME, ("powerdns", "route53"))):
        assert {find_provider(name).scope for name in names} == {scope}


@pytest.mark.parametrize("provider", ["joker", "namecheap", "online", "sakuracloud", "valuedomain"])
def test_providers_that_write_whole_zones_are_locked_by_zone(provider: str) -> None:
    assert find_provider(provider).scope is Scope.ZONE


def test_defaults_of_a_providers_own_parser_hold() -> None:
    parser = ArgumentParser()
    dns_lexicon._module("infoblox").Provider.configure_parser(parser)
    assert dns_lexicon.options("infoblox")["ib_view"].default == "default"


# acme-dns


class AcmeDnsServer(ThreadingHTTPServer):
    """Answers `/update`."""

    status = 200
    seen: list[tuple[str, str, dict[str, str]]]


class Handler(BaseHTTPRequestHandler):
    server: AcmeDnsServer

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.seen.append((self.headers["X-Api-User"], self.headers["X-Api-Key"], body))
        self.send_response(self.server.status)
        self.end_headers()
        self.wfile.write(f'{{"error": "about {self.headers["X-Api-Key"]}"}}'.encode())

    def log_message(self, *args: Any) -> None: ...


@pytest.fixture
def acme_dns() -> Iterator[AcmeDnsServer]:
    with AcmeDnsServer(("127.0.0.1", 0), Handler) as server:
        server.seen = []
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


ACCOUNTS = {
    "www.example.org": {
        "username": "user-1",
        "password": "pass-word-1",
        "fulldomain": "abc.auth.example.net",
        "subdomain": "abc",
        "allowfrom": [],
    }
}


def open_acme_dns(server: AcmeDnsServer, accounts: object = ACCOUNTS) -> OpenZone:
    """As configured."""
    url = f"http://127.0.0.1:{server.server_port}"
    keys = {"accounts": json.dumps(accounts).encode()}
    return open_zone(Dns01(provider="acme-dns", options={"server": url}), zone="auth.example.net", mounted=keys.get)


def test_acme_dns_gets_the_value_for_the_account_that_the_alias_leads_to(acme_dns: AcmeDnsServer) -> None:
    provider = open_acme_dns(acme_dns)
    provider.add("abc.auth.example.net", VALUE)
    provider.remove("abc.auth.example.net", VALUE)
    assert acme_dns.seen == [("user-1", "pass-word-1", {"subdomain": "abc", "txt": VALUE})]


def test_a_missing_alias_to_acme_dns_is_said(acme_dns: AcmeDnsServer) -> None:
    with pytest.raises(
        ProviderError, match=r"_acme-challenge.www.example.org must be a CNAME of abc.auth.example.net"
    ):
        open_acme_dns(acme_dns).add("_acme-challenge.www.example.org", VALUE)


def test_a_host_without_an_account_is_said(acme_dns: AcmeDnsServer) -> None:
    with pytest.raises(ProviderError, match=r"none is for other\.example\.org"):
        open_acme_dns(acme_dns).add("_acme-challenge.other.example.org", VALUE)


@pytest.mark.parametrize(("status", "said"), [(401, "refused the credentials"), (400, "400"), (500, "500")])
def test_acme_dns_says_no_without_secrets(acme_dns: AcmeDnsServer, status: int, said: str) -> None:
    acme_dns.status = status
    with pytest.raises(ProviderError, match=said) as raised:
        open_acme_dns(acme_dns).add("abc.auth.example.net", VALUE)
    assert raised.value.passes is (status == 500)
    assert "pass-word-1" not in str(raised.value)


def test_acme_dns_that_is_not_there_is_tried_again(acme_dns: AcmeDnsServer) -> None:
    options = {"server": "http://127.0.0.1:9"}
    keys = {"accounts": json.dumps(ACCOUNTS).encode()}
    provider = open_zone(Dns01(provider="acme-dns", options=options), zone="x", mounted=keys.get)
    with pytest.raises(ProviderError) as raised:
        provider.add("abc.auth.example.net", VALUE)
    assert raised.value.passes


def test_accounts_that_cannot_be_read_are_said(acme_dns: AcmeDnsServer) -> None:
    with pytest.raises(ProviderError, match="cannot be read"):
        open_acme_dns(acme_dns, accounts=[1])
