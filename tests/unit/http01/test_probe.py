"""The self-check against real sockets on the loopback."""

from __future__ import annotations

import datetime
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from issuer_job.attempt.solver import HostChallenge
from issuer_job.http01 import probe as probing
from issuer_job.http01 import probe_http
from issuer_job.http01.probe import ProbeResult, probe_endpoints, probe_host, probe_hosts
from issuer_job.http01.probe_http import ProbeReason, fetch
from tests.fakes.clock import QuickTime
from tests.fakes.site import Page, Site

TOKEN = "t" * 43
EXPECTED = f"{TOKEN}.{'h' * 43}"
PATH = f"/.well-known/acme-challenge/{TOKEN}"
HOST = "127.0.0.1"
TIME = QuickTime()

RIGHT: Page = (200, {}, EXPECTED.encode())
FOREIGN: Page = (404, {}, b"default backend - 404")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses between attempts pass at once; what is said to servers takes its time."""
    monkeypatch.setattr(probing, "time", TIME)
    monkeypatch.setattr(probe_http, "time", TIME)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "placeholder")])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + datetime.timedelta(days=1))
    encoding, private = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    pem = key.private_bytes(encoding, private, serialization.NoEncryption())
    path = tmp_path / "placeholder.pem"
    path.write_bytes(pem + builder.sign(key, hashes.SHA256()).public_bytes(encoding))
    return path


def site(stack: ExitStack, *answers: Page, certificate: Path | None = None) -> Site:
    return stack.enter_context(Site(list(answers), certificate))


def redirect(location: str, status: int = 301) -> Page:
    return status, {"Location": location}, b""


def closed_port() -> int:
    with socket.create_server((HOST, 0)) as server:
        return int(server.getsockname()[1])


def probe(port: int, *, foreign: float = 0.3, connect: float = 0.2, ports: tuple[int, ...] = ()) -> ProbeResult:
    return probe_host(
        HOST,
        TOKEN,
        EXPECTED,
        port=port,
        foreign_budget=foreign,
        connect_budget=connect,
        deadline=TIME.monotonic() + 5,
        redirect_ports=frozenset(ports),
    )


def raw_server(stack: ExitStack, talk: Callable[[socket.socket], None]) -> int:
    """A server that does what `talk` does to each connection."""
    server = stack.enter_context(socket.create_server((HOST, 0)))

    def accept() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                try:
                    talk(connection)
                except OSError:
                    continue

    thread = threading.Thread(target=accept)
    thread.start()
    stack.callback(thread.join)
    stack.callback(server.shutdown, socket.SHUT_RDWR)
    return int(server.getsockname()[1])


def test_the_right_answer_ends_it_at_once(stack: ExitStack) -> None:
    server = site(stack, RIGHT)
    result = probe(server.port)
    assert (result.ok, result.reason) == (True, ProbeReason.OK)
    assert server.asked == [PATH]


def test_whitespace_after_the_key_authorization_is_ignored(stack: ExitStack) -> None:
    assert probe(site(stack, (200, {}, EXPECTED.encode() + b"\r\n")).port).ok


@pytest.mark.parametrize(
    "answer",
    [
        (200, {}, EXPECTED.encode() + b"x"),
        (200, {}, b""),
        (201, {}, EXPECTED.encode()),
        (200, {}, b"x" * 5000),
        FOREIGN,
    ],
)
def test_a_foreign_answer_uses_its_budget(stack: ExitStack, answer: Page) -> None:
    server = site(stack, answer)
    result = probe(server.port, connect=60)
    assert (result.ok, result.reason) == (False, ProbeReason.FOREIGN)
    assert 0.15 < result.seconds < 4
    assert len(server.asked) >= 2
    assert "xxx" not in result.message


def test_a_foreign_answer_may_become_right(stack: ExitStack) -> None:
    assert probe(site(stack, FOREIGN, FOREIGN, RIGHT).port, foreign=5).ok


def test_no_connection_ends_after_its_own_budget() -> None:
    result = probe(closed_port(), foreign=60)
    assert (result.ok, result.reason) == (False, ProbeReason.UNREACHABLE)
    assert result.seconds < 4


def test_a_name_that_does_not_resolve() -> None:
    started = TIME.monotonic()
    result = probe_host("nothing.invalid", TOKEN, EXPECTED, connect_budget=0.1, deadline=started + 1)
    assert (result.ok, result.reason) == (False, ProbeReason.UNREACHABLE)


@pytest.mark.parametrize("host", ["a\r\nX: y", "a/b", "", "ü.example", "a" * 300])
def test_a_host_that_is_none(host: str) -> None:
    result = probe_host(host, TOKEN, EXPECTED, connect_budget=0.0, deadline=TIME.monotonic())
    assert (result.ok, result.reason) == (False, ProbeReason.UNREACHABLE)


def test_the_deadline_beats_the_budgets(stack: ExitStack) -> None:
    server = site(stack, FOREIGN)
    begun = TIME.monotonic()
    result = probe_host(HOST, TOKEN, EXPECTED, port=server.port, deadline=begun + 0.15)
    assert result.reason is ProbeReason.FOREIGN
    assert result.seconds < 4


def test_a_redirect_to_https_is_followed_without_verifying(stack: ExitStack, certificate: Path) -> None:
    secure = site(stack, RIGHT, certificate=certificate)
    plain = site(stack, redirect(f"https://{HOST}:{secure.port}{PATH}", 308))
    assert probe(plain.port, ports=(secure.port,)).ok
    assert secure.asked == [PATH]


def test_a_redirect_to_https_where_the_route_is_not_served(stack: ExitStack, certificate: Path) -> None:
    """As by an ingress controller that redirects all of port 80, routes too; which may change within its budget."""
    secure = site(stack, FOREIGN, certificate=certificate)
    plain = site(stack, redirect(f"https://{HOST}:{secure.port}{PATH}"))
    result = probe(plain.port, ports=(secure.port,))
    assert (result.ok, result.reason) == (False, ProbeReason.FOREIGN_OVER_HTTPS)
    assert result.message.endswith("it redirects to https, and there: HTTP 404 instead of the key authorization")
    assert len(secure.asked) > 1


def test_a_redirect_by_https_and_back_is_just_foreign(stack: ExitStack, certificate: Path) -> None:
    other = site(stack, FOREIGN)
    secure = site(stack, redirect(f"http://{HOST}:{other.port}{PATH}"), certificate=certificate)
    plain = site(stack, redirect(f"https://{HOST}:{secure.port}{PATH}"))
    assert probe(plain.port, ports=(secure.port, other.port)).reason is ProbeReason.FOREIGN


def test_a_bare_redirect_to_https_is_no_failure(stack: ExitStack) -> None:
    dead = closed_port()
    plain = site(stack, redirect(f"https://{HOST}:{dead}{PATH}"))
    result = probe(plain.port, foreign=60, ports=(dead,))
    assert (result.ok, result.reason) == (True, ProbeReason.REDIRECTS_TO_HTTPS)
    assert result.seconds < 4


def test_relative_redirects_up_to_five(stack: ExitStack) -> None:
    server = site(stack, *[redirect(f"/r{number}?a=b c") for number in range(5)], RIGHT)
    assert probe(server.port, foreign=0.0, ports=(server.port,)).ok
    assert server.asked == [PATH, *[f"/r{number}?a=b%20c" for number in range(5)]]
    endless = site(stack, redirect("/again"))
    assert probe(endless.port, foreign=0.0, ports=(endless.port,)).reason is ProbeReason.FOREIGN
    assert len(endless.asked) == 6


@pytest.mark.parametrize("location", ["http://{host}:{port}/", "ftp://{host}/", "http://[::1", "//:80/", "gopher:x"])
def test_redirects_elsewhere_are_not_followed(stack: ExitStack, location: str) -> None:
    target = site(stack, RIGHT)
    plain = site(stack, redirect(location.format(host=HOST, port=target.port)))
    result = probe(plain.port, foreign=0.0, ports=(80, 443))
    assert (result.ok, result.reason) == (False, ProbeReason.FOREIGN)
    assert target.asked == []


@pytest.mark.parametrize("name", ["localhost", "127.0.0.2", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0"])
def test_a_redirect_does_not_reach_this_machine(stack: ExitStack, name: str) -> None:
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as target:
        target.settimeout(0.05)
        port = target.getsockname()[1]
        plain = site(stack, redirect(f"http://{name}:{port}/"))
        assert not probe(plain.port, foreign=0.0, connect=0.0, ports=(port,)).ok
        with pytest.raises(TimeoutError):
            target.accept()


def test_a_server_that_drips_is_cut(stack: ExitStack) -> None:
    def drip(connection: socket.socket) -> None:
        connection.recv(4096)
        connection.sendall(b"HTTP/1.1 200 OK\r\n")
        while True:
            connection.sendall(b"X")
            time.sleep(0.02)

    port = raw_server(stack, drip)
    begun = TIME.monotonic()
    seen = fetch(HOST, port, PATH, EXPECTED, limit=begun + 0.3)
    assert seen.reason is ProbeReason.UNREACHABLE
    assert TIME.monotonic() - begun < 1.5


def test_a_server_that_floods_is_cut(stack: ExitStack) -> None:
    def flood(connection: socket.socket) -> None:
        connection.recv(4096)
        connection.sendall(b"HTTP/1.1 200 OK\r\n")
        while True:
            connection.sendall(b"X-Header: y\r\n" * 100)

    assert fetch(HOST, raw_server(stack, flood), PATH, EXPECTED).reason is ProbeReason.UNREACHABLE


def test_a_head_that_is_too_long(stack: ExitStack) -> None:
    port = site(stack, (200, {"X-Long": "y" * 20_000}, EXPECTED.encode())).port
    assert fetch(HOST, port, PATH, EXPECTED).reason is ProbeReason.UNREACHABLE


def test_what_is_not_http(stack: ExitStack) -> None:
    port = raw_server(stack, lambda connection: connection.sendall(b"220 smtp secret ready\r\n"))
    seen = fetch(HOST, port, PATH, EXPECTED)
    assert seen.reason is ProbeReason.UNREACHABLE
    assert "secret" not in seen.detail


def endpoints(*ports: int, foreign: float = 5, connect: float = 5, deadline: float = 5) -> ProbeResult:
    return probe_endpoints(
        [(HOST, port) for port in ports],
        TOKEN,
        EXPECTED,
        deadline=TIME.monotonic() + deadline,
        foreign_budget=foreign,
        connect_budget=connect,
    )


def test_all_endpoints_must_answer(stack: ExitStack) -> None:
    good, late = site(stack, RIGHT), site(stack, FOREIGN, FOREIGN, RIGHT)
    result = endpoints(good.port, late.port)
    assert (result.ok, result.reason) == (True, ProbeReason.OK)
    assert len(good.asked) == 1


def test_one_endpoint_that_does_not_answer(stack: ExitStack) -> None:
    result = endpoints(site(stack, RIGHT).port, closed_port(), foreign=60, connect=0.3, deadline=60)
    assert (result.ok, result.reason) == (False, ProbeReason.UNREACHABLE)
    assert "1 of 2" in result.message
    assert TOKEN not in result.message
    assert result.seconds < 4


def test_a_late_endpoint_is_waited_for_beside_one_that_cannot_be_reached(stack: ExitStack) -> None:
    late, dead = site(stack, *[FOREIGN] * 6, RIGHT), closed_port()
    result = endpoints(late.port, dead, foreign=60, connect=0.1, deadline=60)
    assert (result.ok, result.reason) == (False, ProbeReason.UNREACHABLE)
    assert "1 of 2" in result.message
    assert f"port {dead}" in result.message
    assert len(late.asked) == 7
    assert 0.5 < result.seconds < 10


def test_an_endpoint_without_the_token(stack: ExitStack) -> None:
    result = endpoints(site(stack, FOREIGN).port, foreign=0.2, connect=60, deadline=60)
    assert result.reason is ProbeReason.FOREIGN
    assert result.seconds < 4


def test_the_deadline_beats_the_endpoints_budgets(stack: ExitStack) -> None:
    result = endpoints(site(stack, FOREIGN).port, closed_port(), foreign=60, connect=60, deadline=0.2)
    assert not result.ok
    assert result.seconds < 4


def test_no_endpoints() -> None:
    assert endpoints().reason is ProbeReason.NO_ENDPOINTS


def test_many_hosts_share_one_budget(stack: ExitStack) -> None:
    server = site(stack, FOREIGN)
    challenges = [HostChallenge(HOST, TOKEN, EXPECTED)] * 80
    begun = TIME.monotonic()
    results = probe_hosts(challenges, port=server.port, foreign_budget=0.6, deadline=begun + 60)
    assert [result.reason for result in results] == [ProbeReason.FOREIGN] * 80
    assert TIME.monotonic() - begun < 4  # ten rounds of a budget each would take longer
    assert len(server.asked) >= 80


def test_many_hosts_keep_their_order(stack: ExitStack) -> None:
    server = site(stack, RIGHT)
    challenges = [HostChallenge(HOST, TOKEN, EXPECTED), HostChallenge(HOST, TOKEN, "another")] * 3
    results = probe_hosts(challenges, port=server.port, foreign_budget=0.1, deadline=TIME.monotonic() + 5)
    assert [result.ok for result in results] == [True, False] * 3
