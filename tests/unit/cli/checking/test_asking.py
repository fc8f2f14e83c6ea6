"""What is asked of the network: much at once, bounded, and nothing that nobody named."""

from __future__ import annotations

import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from certs.keys import key_to_pem
from issuer_job.cli.checking.addresses import Led
from issuer_job.cli.checking.asking import Wish, ask
from issuer_job.dns01.lookup import Addresses, Caa, Lookup
from issuer_job.http01.probe_http import ProbeReason
from tests.fakes.certs_ca import FakeCA, new_key, pem
from tests.fakes.dns import FakeDns, fake_dns


@pytest.fixture
def dns() -> Iterator[FakeDns]:
    with fake_dns() as world:
        world.zone(".", servers=["127.0.0.1"])
        world.zone("example.org", servers=["127.0.0.2"])
        yield world


class _NotFound(BaseHTTPRequestHandler):
    """As certjob's responder answers for a token that nobody knows."""

    document: bytes = b""

    def do_GET(self) -> None:
        known = self.path == "/directory"
        self.send_response(200 if known else 404)
        self.send_header("Content-Length", str(len(self.document) if known else 0))
        self.end_headers()
        self.wfile.write(self.document if known else b"")

    def version_string(self) -> str:
        return "certjob"

    def log_message(self, format: str, *args: object) -> None:
        pass


class _Server(ThreadingHTTPServer):
    request_queue_size = 128


@contextmanager
def serving(*, context: ssl.SSLContext | None = None, document: bytes = b"") -> Iterator[int]:
    """A server on all of 127.0.0.0/8; its port."""
    handler = type("Handler", (_NotFound,), {"document": document})
    with _Server(("0.0.0.0", 0), handler) as server:
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


@dataclass
class Silent:
    """A socket that takes connections and says nothing."""

    listener: socket.socket = field(default_factory=lambda: socket.create_server(("127.0.0.9", 0)))

    def __enter__(self) -> int:
        return int(self.listener.getsockname()[1])

    def __exit__(self, *_: object) -> None:
        self.listener.close()


def test_addresses_and_aliases_are_looked_up(dns: FakeDns) -> None:
    dns.set("www.example.org", "CNAME", "lb.example.org.")
    dns.set("lb.example.org", "A", "192.0.2.1", "192.0.2.2")
    lookup = Lookup((dns.recursive,))
    found = lookup.addresses("www.example.org")
    assert set(found.addresses) == {"192.0.2.1", "192.0.2.2"}
    assert found.aliases == ("lb.example.org",)
    assert lookup.addresses("www.example.org", v6=True) == Addresses(True, (), ("lb.example.org",))
    assert lookup.addresses("nobody.example.org") == Addresses(False)


def test_caa_records_are_read_as_they_are(dns: FakeDns) -> None:
    dns.set("example.org", "CAA", '0 issue "ca.test; validationmethods=http-01"', '128 issuewild ";"')
    found = Lookup((dns.recursive,)).caa("example.org")
    assert set(found) == {Caa(0, "issue", "ca.test; validationmethods=http-01"), Caa(128, "issuewild", ";")}
    assert Lookup((dns.recursive,)).caa("www.example.org") == ()


def test_a_host_is_asked_at_its_own_addresses(dns: FakeDns) -> None:
    dns.set("www.example.org", "A", "127.0.0.5")
    with serving() as port:
        seen = ask(Wish(["www.example.org"], ["www.example.org"]), nameservers=(dns.recursive,), port=port)
    assert seen.led == (Led("www.example.org", Addresses(True, ("127.0.0.5",)), Addresses(True)),)
    [asked] = seen.port_80.asked
    assert (asked.address, asked.seen.status, asked.seen.server, asked.answered) == (
        "127.0.0.5",
        404,
        "certjob",
        True,
    )


def test_nothing_is_looked_up_but_the_hosts_and_the_names_above_them(dns: FakeDns) -> None:
    ask(Wish([], ["*.a.example.org", "b.example.org"]), nameservers=(dns.recursive,))
    assert {name for _, name, _ in dns.asked} == {"a.example.org", "b.example.org", "example.org", "org"}
    assert {kind for _, _, kind in dns.asked} == {"CAA"}


def test_a_dns_server_that_is_silent_is_an_answer_too(dns: FakeDns) -> None:
    dns.silent.add("127.0.0.1")
    seen = ask(Wish(["www.example.org"], ["www.example.org"]), nameservers=(dns.recursive,))
    assert seen.led[0].v4 == "127.0.0.1: Timeout"
    assert seen.caa["example.org"] == "127.0.0.1: Timeout"
    assert seen.port_80.asked == ()


def directory_server(tmp_path: Path) -> tuple[ssl.SSLContext, str]:
    now = datetime.now(UTC)
    ca, key = FakeCA.root("Directory CA", now=now - timedelta(days=1)), new_key()
    chain = ca.issue(("localhost",), key, not_before=now - timedelta(hours=1), not_after=now + timedelta(days=1))
    file = tmp_path / "pair.pem"
    file.write_bytes(pem(chain) + key_to_pem(key))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context, pem(ca.certificate).decode()


def test_what_the_ca_calls_itself_is_in_its_directory(dns: FakeDns, tmp_path: Path) -> None:
    context, bundle = directory_server(tmp_path)
    document = json.dumps({"newNonce": "x", "meta": {"caaIdentities": ["ca.test", 7]}}).encode()
    with serving(context=context, document=document) as port:
        url = f"https://localhost:{port}/directory"
        seen = ask(Wish([], [], {url: bundle, "http://ca.test": ""}), nameservers=(dns.recursive,))
        untrusted = ask(Wish([], [], {url: ""}), nameservers=(dns.recursive,))
    assert seen.named[url] == (("ca.test",), "")
    assert seen.named["http://ca.test"][0] is None
    assert untrusted.named[url] == (None, "its directory cannot be read from here (URLError)")


@pytest.mark.process
def test_twenty_hosts_three_of_them_silent_are_asked_within_ten_seconds(dns: FakeDns) -> None:
    hosts = [f"h{number}.example.org" for number in range(20)]
    with Silent() as port, serving_at(port):
        for number, host in enumerate(hosts):
            dns.set(host, "A", "127.0.0.9" if number < 3 else "127.0.0.8")
        begun = time.monotonic()
        seen = ask(Wish(hosts, hosts), nameservers=(dns.recursive,), port=port)
        assert time.monotonic() - begun < 10
    assert [one.seen.reason for one in seen.port_80.asked[:3]] == [ProbeReason.UNREACHABLE] * 3
    assert all(one.answered for one in seen.port_80.asked[3:])
    assert len(seen.port_80.asked) == 20


@contextmanager
def serving_at(port: int) -> Iterator[None]:
    with _Server(("127.0.0.8", port), _NotFound) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield
        server.shutdown()
        thread.join()
