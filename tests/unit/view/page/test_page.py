"""The page as a browser gets it: strict HTML, whole links, twins in JSON, and nothing that is more than text."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from html.parser import HTMLParser
from urllib.parse import urljoin, urlsplit

import html5lib
import jsonschema
import pytest
from msgspec.structs import replace

from issuer_job.status.document import CertificateStatusList, IssuerStatusList
from tests.schema import DOCS
from tests.worlds.page import HOUR, NASTY, NOW, PageWorld, asked, failing, hostile, problem
from tests.worlds.view import stored
from webhook.view.page.app import create_page
from webhook.view.page.document import Overview

PAGES = (
    "/",
    "/certificates",
    "/certificates?namespace=shop&state=Issued&issuer=letsencrypt&q=example&sort=-expires&refresh=30",
    "/certificates?problem=connection&due=24h&ends=7d",
    "/certificates/shop/pay-tls",
    "/certificates/team-b/app-tls",
    "/certificates/saas/tenants-tls",
    "/certificates/team-a/broken-tls",
    "/certificates/team-a/gone-tls",
    "/issuers",
)
REFUSED = {"/nowhere": 404, "/certificates/shop/nothing": 404, "/certificates?page=0": 400, "/certificates/": 404}
CSP = (
    "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)


@pytest.fixture(scope="module")
def world() -> PageWorld:
    return PageWorld.of_fleet()


class Links(HTMLParser):
    """Every address that a page names, its ids, and whatever could act."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.addresses: set[str] = set()
        self.ids: list[str] = []
        self.acting: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """See HTMLParser."""
        for name, value in attrs:
            if name in {"href", "src", "action"} and value is not None:
                self.addresses.add(value)
            if name == "id" and value:
                self.ids.append(value)
            if name.startswith("on") or name == "style":
                self.acting.append(f"{tag} {name}")
        if tag in {"script", "style", "iframe", "object", "embed", "base", "noscript"}:
            self.acting.append(tag)


def strict(text: str) -> None:
    """Raises ParseError for anything that a parser would have to put right."""
    html5lib.HTMLParser(strict=True).parse(text)


@pytest.mark.exhaustive
@pytest.mark.parametrize("address", [*PAGES, *REFUSED])
def test_every_page_is_strict_html_without_anything_that_acts(world: PageWorld, address: str) -> None:
    found = world.get(address)
    assert found.status_code == REFUSED.get(address, 200)
    assert found.mimetype == "text/html"
    strict(found.text)
    links = Links(found.text)
    assert links.acting == []
    assert len(links.ids) == len(set(links.ids))


@pytest.mark.exhaustive
def test_every_link_leads_somewhere(world: PageWorld) -> None:
    todo, pages = ["/"], dict[str, Links | None]()
    fragments = set[tuple[str, str]]()
    while todo:
        address = todo.pop()
        if address in pages:
            continue
        found = world.get(address)
        assert found.status_code == 200, address
        links = pages[address] = Links(found.text) if found.mimetype == "text/html" else None
        for link in links.addresses if links is not None else ():
            whole = urlsplit(urljoin(f"http://localhost{address}", link))
            assert whole.netloc == "localhost"
            if whole.fragment:
                fragments.add((whole.path, whole.fragment))
            # Orders of all filters are endless; one of each shows how.
            if whole.query.count("=") < 2 and "refresh" not in whole.query:
                todo.append(f"{whole.path}?{whole.query}".removesuffix("?"))
    assert len([page for page in pages if re.fullmatch(r"/certificates/[^/]+/[^/]+(?<!json)", page)]) == 46
    assert {"/style.css", "/icon.svg", "/overview.json", "/certificates.json", "/issuers.json"} <= set(pages)
    for path, fragment in fragments - {("/issuers", "issuer-vault")}:  # an issuer that is gone
        there = pages[path]
        assert there is not None
        assert fragment in there.ids


@pytest.mark.exhaustive
@pytest.mark.parametrize("address", [*PAGES, *REFUSED, "/style.css", "/icon.svg", "/issuers.json"])
def test_every_answer_has_the_headers(world: PageWorld, address: str) -> None:
    headers = world.get(address).headers
    assert headers["Content-Security-Policy"] == CSP
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cache-Control"] == "no-store"
    assert "Set-Cookie" not in headers
    assert ("Refresh" in headers) == ("refresh=30" in address)


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])
def test_nothing_is_written(world: PageWorld, method: str) -> None:
    for address in ("/", "/certificates/shop/pay-tls", "/style.css"):
        found = world.get(address, method=method)
        assert found.status_code == 405
        assert sorted(found.headers["Allow"].split(", ")) == ["GET", "HEAD"]


@pytest.mark.exhaustive
@pytest.mark.parametrize("address", PAGES)
def test_a_head_is_the_page_without_the_page(world: PageWorld, address: str) -> None:
    head, page = world.get(address, method="HEAD"), world.get(address)
    assert head.data == b""
    assert head.headers == page.headers


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("host", "known"),
    [
        ("localhost", True),
        ("LOCALHOST:8080", True),
        ("127.0.0.1:41087", True),
        ("[::1]:8080", True),
        ("certs.example.com", True),
        ("certs.example.com:8443", True),
        ("", False),
        ("evil.example", False),
        ("localhost.evil.example", False),
        ("evil.certs.example.com", False),
        ("127.0.0.1.evil.example:80", False),
        ("localhost:8080,evil.example", False),
        ("localhost:", False),
        ("localhost:99999999", False),
        ("user@localhost", False),
        ("[::1", False),
        ("0.0.0.0", False),
    ],
)
def test_it_answers_to_its_own_names_only(host: str, known: bool) -> None:
    world = PageWorld(hosts=["certs.example.com"])
    for address in ("/", "/issuers.json", "/style.css", "/nowhere"):
        found = world.get(address, host=host)
        assert (found.status_code == 421) is not known, address
        if not known:
            assert "letsencrypt" not in found.text


def test_a_forwarded_host_is_no_name(world: PageWorld) -> None:
    assert world.get("/", **{"X-Forwarded-Host": "evil.example"}).status_code == 200
    assert world.get("/", host="evil.example", **{"X-Forwarded-Host": "localhost"}).status_code == 421


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("/overview.json", Overview),
        ("/certificates.json", CertificateStatusList),
        ("/certificates.json?state=Failed", CertificateStatusList),
        ("/certificates/shop/pay-tls.json", CertificateStatusList),
        ("/certificates/team-a/broken-tls.json", CertificateStatusList),
        ("/issuers.json", IssuerStatusList),
    ],
)
def test_the_twins_are_as_the_schema_says(world: PageWorld, address: str, kind: type) -> None:
    found = world.get(address)
    assert found.mimetype == "application/json"
    assert found.json is not None
    jsonschema.validate(found.json, json.loads((DOCS / "status.schema.json").read_text()))
    assert found.json["kind"] == kind.__name__
    page = world.get(address.replace(".json", "").replace("/overview", "/")).text
    assert f'href="{address.replace("&", "&amp;")}"' in page


def test_refusals_of_twins_are_json(world: PageWorld) -> None:
    for address in ("/certificates/a/b.json", "/certificates.json?page=x"):
        assert set(world.get(address).json or ()) == {"error"}


@pytest.mark.exhaustive
def test_twins_of_long_lists_say_where_the_next_page_is() -> None:
    world = PageWorld([stored(asked("shop", f"n-{n}", f"host-{n}.example.com", since=HOUR)) for n in range(201)])
    address, names = "/certificates.json?q=host", []
    while address:
        found = world.get(address)
        assert found.json is not None
        names += [one["name"] for one in found.json["items"]]
        following = re.search(r'<([^>]+)>; rel="next"', found.headers.get("Link", ""))
        address = following[1] if following else ""
    assert len(set(names)) == len(names) == 201
    assert "Page 1 of 3" in world.get("/certificates").text


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", ["a.json", "a.html", "a.json.html", "a.json.json", "a"])
def test_a_secret_whose_name_ends_as_an_address_does_has_its_page_and_its_twin(name: str) -> None:
    names = ["a", "a.json", "a.html", "a.json.html", "a.json.json"]
    world = PageWorld([stored(asked("shop", one, f"{n}.example.com", since=HOUR)) for n, one in enumerate(names)])
    links = Links(world.get("/certificates?q=" + f"{names.index(name)}.example.com").text).addresses
    [address] = [link for link in links if link.startswith("/certificates/")]
    page = world.get(address)
    assert page.mimetype == "text/html"
    assert f"shop/{name} " in page.text
    [twin] = [link for link in Links(page.text).addresses if link.endswith(".json")]
    found = world.get(twin).json
    assert found is not None
    assert [one["name"] for one in found["items"]] == [name]


def test_nothing_is_said_before_everything_is_known(world: PageWorld) -> None:
    early = PageWorld()
    early.source.complete = False
    for address in ("/", "/certificates.json", "/certificates/a/b"):
        found = early.get(address)
        assert (found.status_code, found.headers["Retry-After"]) == (503, "2")
    strict(early.get("/").text)


def test_it_says_when_the_api_server_was_not_heard(world: PageWorld) -> None:
    silent = PageWorld.of_fleet()
    silent.source.heard = NOW - timedelta(minutes=3)
    assert "was not heard since" in silent.get("/").text
    strict(silent.get("/").text)
    assert "was not heard since" not in world.get("/").text


def test_a_bug_is_told_without_its_words(capsys: pytest.CaptureFixture[str]) -> None:
    world = PageWorld()
    world.source.rows = lambda: 1 / 0  # type: ignore[method-assign, return-value, assignment]
    found = world.get("/")
    assert found.status_code == 500
    assert "division" not in found.text
    assert found.headers["Content-Security-Policy"] == CSP


def test_hostile_texts_stay_text() -> None:
    world = PageWorld([*hostile()])
    every = [
        "/",
        "/issuers",
        "/certificates",
        f"/certificates/{NASTY}/{NASTY}",
        "/certificates?q=" + "%3Cscript%3E%00",
    ]
    for address in [*every, *(f"/certificates/shop/{name}" for name in ("evil-tls", "odd-tls", "no"))]:
        found = world.get(address)
        strict(found.text)
        assert Links(found.text).acting == []
        for char in "\x00\x1b\u202e":
            assert char not in found.text
        assert "1337" not in found.text
        if found.status_code == 200 and "evil-tls" in address:
            assert "&lt;script&gt;alert(1)&lt;/script&gt;" in found.text


@pytest.mark.exhaustive
def test_pages_are_bounded_whatever_stands_in_records() -> None:
    hosts = tuple(f"{'x' * 60}.{number}.{'y' * 150}.example.com" for number in range(100))
    text = "<&>" * 30_000
    large = failing(asked("shop", "large-tls", *hosts, since=HOUR), problem("dns", text, hosts[0]), HOUR, wait=HOUR)
    many = [stored(replace(large, secret_name=f"large-{number}-tls", history=())) for number in range(100)]
    world = PageWorld(many)
    assert len(world.get("/certificates").data) < 300_000
    assert len(world.get("/").data) < 300_000
    assert len(world.get("/certificates/shop/large-1-tls").data) < 300_000


@pytest.mark.parametrize(
    "address", ["//evil.example/", "//evil.example/certificates", "/certificates//x", "/\\evil.example"]
)
def test_no_address_leads_elsewhere(world: PageWorld, address: str) -> None:
    found = world.app.test_client().get("/", headers={"Host": "localhost"}, environ_overrides={"PATH_INFO": address})
    assert found.status_code == 404
    assert "Location" not in found.headers
    assert "evil" not in found.text


def test_what_is_configured_by_nobody_is_not_read_from_the_request(world: PageWorld) -> None:
    assert create_page(world.source).secret_key is None
