"""A CA that is not what it seems: nothing false is installed, nobody else is asked, and the record says why."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from issuer_job import vocabulary as v
from issuer_job.issuers.state import write_state
from issuer_job.record import transitions
from issuer_job.record.record import Phase, Problem
from tests.fakes.acme import Reply, Request
from tests.fakes.certs_ca import FakeCA, new_key, pem
from tests.fakes.hostile import HostileServer, hostile_server
from tests.worlds.check import state
from tests.worlds.crash import killed_after
from tests.worlds.job import HOST, JobWorld, assert_good_secret, ingress

pytestmark = pytest.mark.exhaustive

NOW = datetime.now(UTC)
DAY = timedelta(days=1)
ROOT = FakeCA.root(now=NOW - 30 * DAY)
MIDDLE = ROOT.intermediate()
OTHER = FakeCA.root("Other Root", now=NOW - 30 * DAY)


def trouble(world: JobWorld) -> Problem:
    retry = world.record().retry
    assert retry is not None
    return retry.problem


def leaf(key: Any, hosts: tuple[str, ...] = (HOST,), *, start: timedelta = -DAY, end: timedelta = 60 * DAY) -> bytes:
    return pem(MIDDLE.issue(hosts, key, not_before=NOW + start, not_after=NOW + end))


class _Public:
    """A key of which only the public half is known, where a fake CA wants one."""

    def __init__(self, csr: x509.CertificateSigningRequest) -> None:
        self._key = csr.public_key()

    def public_key(self) -> Any:
        return self._key


KEY_PEM = new_key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
FALSE: dict[str, tuple[Callable[[Any], bytes], str]] = {
    "for another key": (lambda key: leaf(new_key()) + pem(MIDDLE.certificate), "another key"),
    "for another host": (lambda key: leaf(key, ("bank.example.org",)), f"lacks {HOST}"),
    "for one host more": (lambda key: leaf(key, (HOST, "bank.example.org")), "also names bank.example.org"),
    "for a wildcard beside": (lambda key: leaf(key, (HOST, "*.certjob.dev")), r"also names \*\.certjob\.dev"),
    "for no host": (lambda key: leaf(key, ()), f"lacks {HOST}"),
    "expired": (lambda key: leaf(key, end=-timedelta(hours=1)), "expired at"),
    "of tomorrow": (lambda key: leaf(key, start=DAY), "not valid before"),
    "its chain the wrong way round": (
        lambda key: pem(ROOT.certificate, MIDDLE.certificate) + leaf(key),
        "another key",
    ),
    "its issuers the wrong way round": (
        lambda key: leaf(key) + pem(ROOT.certificate, MIDDLE.certificate),
        "not issued by the next",
    ),
    "under another CA": (lambda key: leaf(key) + pem(OTHER.certificate), "not issued by the next"),
    "under an expired intermediate": (lambda key: _under_expired(key), "expired at"),
    "under what is no CA": (lambda key: _under_no_ca(key), "not a CA"),
    "a chain of eleven": (lambda key: leaf(key) + pem(MIDDLE.certificate, *[ROOT.certificate] * 9), "more than 10"),
    "a chain of 100 KiB": (lambda key: leaf(key) + pem(ROOT.certificate) * 150, "larger than 65536 bytes"),
    "a chain of 1 MiB": (lambda key: leaf(key).ljust(1 << 20), "too big for a chain"),
    "with a private key": (lambda key: KEY_PEM + leaf(key), "is not a PEM chain"),
    "nothing": (lambda key: b"\n", "is not a PEM chain"),
    "a page": (lambda key: b"<html>not here</html>", "is not a PEM chain"),
    "its DER": (
        lambda key: x509.load_pem_x509_certificate(leaf(key)).public_bytes(Encoding.DER),
        "is not a PEM chain",
    ),
    "no certificate": (
        lambda key: b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        "not readable PEM",
    ),
}


def _under_expired(key: Any) -> bytes:
    middle = ROOT.intermediate("Expired", not_after=NOW - DAY)
    return pem(middle.issue((HOST,), key, not_before=NOW - DAY, not_after=NOW + DAY), middle.certificate)


def _under_no_ca(key: Any) -> bytes:
    middle = ROOT.intermediate("No CA", ca=False)
    return pem(middle.issue((HOST,), key, not_before=NOW - DAY, not_after=NOW + DAY), middle.certificate)


@pytest.mark.parametrize("what", FALSE)
def test_a_false_certificate_is_not_installed(world: JobWorld, what: str) -> None:
    make, words = FALSE[what]
    issue = world.ca._issue
    world.ca._issue = lambda csr: make(_Public(csr))  # type: ignore[method-assign]
    world.apply(ingress())
    assert world.run() is v.ExitCode.LATER
    assert world.record().phase is Phase.WAITING
    assert world.record().issued is None
    assert world.secret()["metadata"]["labels"][v.STATE] == "placeholder"
    assert 1 <= len(world.ca.ordered) <= 3
    assert re.search(words, trouble(world).detail)
    [(reason, note)] = world.events()
    assert reason == "CertificateFailed"
    assert "tried again after" in note
    world.ca._issue = issue  # type: ignore[method-assign]
    world.relaunch()
    assert world.run() is v.ExitCode.DONE
    assert_good_secret(world)


@pytest.fixture
def elsewhere() -> Iterator[HostileServer]:
    """Somebody whom nobody should ask."""
    with hostile_server() as server:
        yield server


def document(reply: Reply, **changes: Any) -> Reply:
    return Reply(reply.status, {**reply.body, **changes}, reply.headers)


def led_away(world: JobWorld, place: str, url: str) -> None:
    """The CA's answers lead to `url` in one place."""

    def before(request: Request) -> Reply | None:
        kind = request.path.split("/")[1]
        reply = world.ca._answer(request)
        if kind == "account" and place == "the account":
            return Reply(reply.status, reply.body, {"Location": url})
        if kind == "order" and place == "the order":
            return Reply(reply.status, reply.body, {"Location": url})
        if kind == "order" and place == "an authorization":
            return document(reply, authorizations=[url])
        if kind in {"order", "finalize"} and place == "finalize":
            return document(reply, finalize=url)
        if kind in {"order", "finalize"} and place == "the certificate" and "certificate" in reply.body:
            return document(reply, certificate=url)
        if kind == "authz" and place == "a challenge":
            return document(reply, challenges=[{**one, "url": url} for one in reply.body["challenges"]])
        if kind == "cert" and place == "an alternate chain":
            return Reply(200, raw=reply.raw, headers={"Link": f'<{url}>;rel="alternate"'})
        return reply

    world.ca.before = before


PLACES = [
    "the account",
    "the order",
    "an authorization",
    "a challenge",
    "finalize",
    "the certificate",
    "an alternate chain",
]


@pytest.mark.parametrize("place", PLACES)
def test_an_answer_that_leads_elsewhere_is_not_followed(
    world: JobWorld, elsewhere: HostileServer, place: str
) -> None:
    world.set_issuer(preferredChain="Another Root")
    led_away(world, place, f"{elsewhere.base}/x")
    world.apply(ingress())
    assert world.run() is v.ExitCode.LATER
    assert elsewhere.paths == []
    assert world.record().issued is None
    assert trouble(world).type == "foreignUrl"
    assert f"leads to {elsewhere.base.removeprefix('https://')}, which is not the CA's" in trouble(world).detail
    assert len(world.ca.ordered) <= 1
    world.ca.before = lambda request: None
    world.relaunch()
    assert world.run() is v.ExitCode.DONE
    assert len(world.ca.ordered) == (2 if place == "the order" else 1)  # that one's own URL was never known
    assert_good_secret(world)


def test_an_order_of_elsewhere_that_a_record_remembers_is_forgotten(
    world: JobWorld, elsewhere: HostileServer
) -> None:
    world.apply(ingress())
    attempt = world.pod()
    attempt.load()
    attempt.claim()
    state = {"directory": world.server, "account": ""}
    attempt.advance(transitions.ordering, **state)
    attempt.advance(transitions.authorizing, order_url=f"{elsewhere.base}/order/1", expires=None)
    assert world.run() is v.ExitCode.DONE
    assert elsewhere.paths == []
    assert len(world.ca.ordered) == 1
    assert_good_secret(world)


def test_an_account_of_elsewhere_is_asked_for_anew(world: JobWorld, elsewhere: HostileServer) -> None:
    world.apply(ingress())
    assert world.run() is v.ExitCode.DONE
    known = state(world)
    assert write_state(world.cluster, known, {"accountUrl": f"{elsewhere.base}/acct/1"})
    world.apply(ingress("two", secret="two-tls", hosts=("two.certjob.dev",)))
    assert world.run(secret="two-tls") is v.ExitCode.DONE
    assert elsewhere.paths == []
    assert state(world).account_url == known.account_url


@pytest.mark.parametrize("reader", ["an orders list", "its next page"])
def test_an_orders_list_of_elsewhere(world: JobWorld, elsewhere: HostileServer, reader: str) -> None:
    """It is none, and it is ordered anew."""

    def before(request: Request) -> Reply | None:
        if request.path.startswith("/acct/") and not request.path.endswith("orders") and reader == "an orders list":
            return Reply(200, {"status": "valid", "orders": f"{elsewhere.base}/orders"})
        if request.path.endswith("orders") and reader == "its next page":
            return Reply(200, {"orders": []}, {"Link": f'<{elsewhere.base}/orders>;rel="next"'})
        return None

    world.apply(ingress())
    killed_after(world, "/order")
    world.ca.before = before
    assert world.run() is v.ExitCode.DONE
    assert elsewhere.paths == []
    assert len(world.ca.ordered) == 2


def test_a_list_of_orders_without_an_end(world: JobWorld) -> None:
    pages = 0

    def before(request: Request) -> Reply | None:
        nonlocal pages
        if request.path.endswith("orders"):
            pages += 1
            listed = [f"{world.ca.base}/order/9{pages}{number}" for number in range(50)]
            return Reply(200, {"orders": listed}, {"Link": f'<{request.path}>;rel="next"'})
        if request.path.startswith("/order/9"):
            return Reply(404, {"type": "urn:ietf:params:acme:error:malformed"})
        return None

    world.apply(ingress())
    killed_after(world, "/order")
    world.ca.before = before
    assert world.run() is v.ExitCode.DONE
    looks = [request.path for request in world.ca.requests if request.path.startswith("/order/9")]
    assert (pages, len(looks), len(world.ca.ordered)) == (20, 100, 2)


@pytest.mark.parametrize(
    ("host", "wildcard"), [("bank.example.org", False), ("certjob.dev", True), ("shop.certjob.dev", True)]
)
def test_a_proof_for_a_host_that_was_not_ordered_is_not_given(world: JobWorld, host: str, wildcard: bool) -> None:
    def before(request: Request) -> Reply | None:
        if not request.path.startswith("/authz/"):
            return None
        identifier = {"type": "dns", "value": host}
        return document(world.ca._answer(request), identifier=identifier, wildcard=wildcard)

    world.ca.before = before
    world.apply(ingress())
    assert world.run() is v.ExitCode.LATER
    assert trouble(world).type == "foreignAuthorization"
    assert f"a proof for {host}, which was not ordered" in trouble(world).detail
    assert not [request for request in world.ca.requests if request.path.startswith("/chall/")]
    assert world.left_over() == []


def test_a_ca_that_knows_the_domain_above_already_needs_no_proof(world: JobWorld) -> None:
    def before(request: Request) -> Reply | None:
        for order in world.ca.ordered:
            order.status = "ready" if order.status == "pending" else order.status
        if not request.path.startswith("/authz/"):
            return None
        identifier = {"type": "dns", "value": HOST.partition(".")[2]}
        return document(world.ca._answer(request), identifier=identifier, status="valid")

    world.ca.before = before
    world.apply(ingress())
    assert world.run() is v.ExitCode.DONE
    assert_good_secret(world)


HOSTILE_TEXT = "\x1b[31m\ud800\u202e\u200b" + "x" * 100_000 + "\r\nlevel=error msg=forged"


@pytest.mark.parametrize("place", ["detail", "type", "status", "host", "challenge", "subproblem"])
def test_texts_of_the_ca_are_short_and_tame_wherever_they_go(world: JobWorld, place: str) -> None:
    def before(request: Request) -> Reply | None:
        kind = request.path.split("/")[1]
        if kind == "order" and place in {"detail", "type", "subproblem"}:
            body: dict[str, Any] = {"type": "urn:ietf:params:acme:error:dns", "detail": "no"}
            part = body | {"identifier": {"type": "dns", "value": HOSTILE_TEXT}, "detail": HOSTILE_TEXT}
            body |= {"subproblems": [part] * 50} if place == "subproblem" else {place: HOSTILE_TEXT}
            return Reply(400, body)
        reply = world.ca._answer(request)
        if kind == "order" and place == "status":
            return document(reply, status=HOSTILE_TEXT)
        if kind == "authz" and place == "host":
            return document(reply, identifier={"type": "dns", "value": HOSTILE_TEXT})
        if kind == "authz" and place == "challenge":
            error = {"type": HOSTILE_TEXT, "detail": HOSTILE_TEXT}
            failed = [{**one, "error": error, "status": "invalid"} for one in reply.body["challenges"]]
            return document(reply, status="invalid", challenges=failed)
        return reply

    world.ca.before = before
    world.apply(ingress())
    assert world.run() is v.ExitCode.LATER
    problem = trouble(world)
    assert len(str(problem)) < 2000
    assert len(problem.host) < 300
    told = json.dumps([world.events(), str(problem), problem.host], ensure_ascii=False)
    assert not set(told) & set("\x1b\ud800\u202e\u200b\r")
    assert "\\n" not in told
