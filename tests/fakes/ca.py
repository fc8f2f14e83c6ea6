"""A CA with many accounts, orders and authorizations, on the fake ACME server: for tests of the whole issue flow."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from enum import StrEnum
from typing import Any

from acme import jws
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from josepy.b64 import b64decode

from tests.fakes.acme import FakeAcme, Reply, Request, _Handler, _Server, problem, signing_key
from tests.fakes.acme_ca import FakeCA, csr_for
from tests.fakes.serving import served

ISSUING = FakeCA("Fake Root")
NO_ANSWER = Reply(hang=True)


@dataclass
class FakeOrder:
    """One order; `answered` are the hosts whose challenge the CA was told to look at, `failed` why in vain."""

    number: int
    account: str
    hosts: list[str]
    status: str = "pending"
    answered: set[str] = field(default_factory=set)
    chain: bytes | None = None
    failed: dict[str, dict[str, str]] = field(default_factory=dict)


class Failing(StrEnum):
    """What becomes of an order when a CA has looked at a host in vain."""

    ORDER = "the order is invalid"
    """As RFC 8555, section 7.1.6, has it."""
    AUTHORIZATION = "authorization and challenge are invalid, without a reason; the order stays pending"
    CHALLENGE = "the challenge is invalid; authorization and order stay pending"
    NOTHING = "all stays pending, the challenge with an error; the CA looks again when it is told to"


class FakeOrders(FakeAcme):
    """Validates at once. `orders` is everything that was ever ordered.

    `lists_orders`: accounts have an orders list, as at Pebble; `reuses`: newOrder answers with an open order for
    the same account and names, as at Let's Encrypt; `failing`: problem by host, and `fails` what comes of it;
    `stolen`: so many orders are finalized by somebody else just before us; `before` is called with every request
    and may answer it, `latency` before that, for several requests at a time; `backwards`: orders list their
    authorizations so; `refuses_redundant`: names that a wildcard beside them covers, as Let's Encrypt does and
    Pebble does not; `clock` is its own. `revoked` has reasons by serial number, `reasons` are those that it
    takes. `life`: of its certificates from now on; if None a day, and an hour before now.
    """

    def __init__(self, base: str) -> None:
        super().__init__(base)
        self.ordered: list[FakeOrder] = []
        self.accounts: list[str] = []
        self.directory["keyChange"] = f"{base}/key-change"
        self.directory["revokeCert"] = f"{base}/revoke"
        self.revoked: dict[str, int | None] = {}
        self.contacts: dict[str, list[str]] = {}
        self.lists_orders = True
        self.reuses = False
        self.failing: dict[str, dict[str, str]] = {}
        self.fails = Failing.ORDER
        self.stolen = 0
        self.backwards = False
        self.refuses_redundant = True
        self.before: Callable[[Request], Reply | None] = lambda request: None
        self.latency: Callable[[str], None] = lambda path: None
        self.clock: Callable[[], datetime] = lambda: datetime.now(UTC)
        self.tells_time = True
        self.life: timedelta | None = None
        self.finalized = 0
        self.reasons = (1, 3, 4, 5, 9)
        self._lock = threading.Lock()

    def forget_account(self, url: str) -> None:
        """As if it had never been made."""
        del self._keys[url]
        self.accounts.remove(url)

    def handle(self, request: Request, body: bytes) -> Reply:
        self.latency(request.path)
        with self._lock:
            reply = super().handle(request, body)
        date = format_datetime(self.clock(), usegmt=True) if self.tells_time else ""
        return replace(reply, headers={"Date": date, **reply.headers})

    def _default(self, request: Request) -> Reply:
        reply = self.before(request)
        return reply if reply is not None else self._answer(request)

    def _answer(self, request: Request) -> Reply:
        account = str(request.protected.get("kid", ""))
        match request.path.split("/")[1:]:
            case ["account"]:
                return self._new_account(request)
            case ["key-change"]:
                return self._change_key(request.payload, account)
            case ["revoke"]:
                return self._revoke(request.payload, account)
            case ["acct", _] if request.payload:
                self.contacts[account] = request.payload["contact"]
                return Reply(200, {"status": "valid"})
            case ["acct", _]:
                return Reply(
                    200, {"status": "valid", **({"orders": f"{account}/orders"} if self.lists_orders else {})}
                )
            case ["acct", _, "orders"]:
                mine = [order for order in self.ordered if order.account == account and order.status != "invalid"]
                return Reply(200, {"orders": [self._url("order", order) for order in mine]})
            case ["order"]:
                return self._new_order(request, account)
            case [kind, number, *rest] if kind in {"order", "authz", "chall", "finalize", "cert"}:
                order = self.ordered[int(number) - 1]
                if order.account != account:
                    return problem("unauthorized", "another account's", status=403)
                return self._of_order(kind, order, rest, request)
        return super()._default(request)

    def _new_account(self, request: Request) -> Reply:
        key = signing_key(request.protected["jwk"])
        known = [url for url in self.accounts if self._keys[url] == key]
        if not known and request.payload.get("onlyReturnExisting"):
            return problem("accountDoesNotExist")
        if not known:
            known = [f"{self.base}/acct/{len(self.accounts) + 1 + self._count}"]
            self.accounts += known
            self._keys[known[0]] = key
        return Reply(201, {"status": "valid"}, {"Location": known[0]})

    def _change_key(self, inner: dict[str, Any], account: str) -> Reply:
        """RFC 8555, section 7.3.5."""
        signed = jws.JWS.from_json(inner)
        protected, payload = json.loads(signed.signature.protected), json.loads(signed.payload)
        new = signing_key(protected["jwk"])
        if not signed.verify(new) or "nonce" in protected or protected["url"] != f"{self.base}/key-change":
            return problem("malformed", "the inner signature")
        if payload["account"] != account or signing_key(payload["oldKey"]) != self._keys[account]:
            return problem("malformed", "not this account's key")
        holder = next((url for url in self.accounts if self._keys[url] == new), None)
        if holder is not None:
            return problem("conflict", "another account has it", status=409, headers={"Location": holder})
        self._keys[account] = new
        return Reply(200, {"status": "valid"})

    def _revoke(self, payload: dict[str, Any], account: str) -> Reply:
        """RFC 8555, section 7.6."""
        leaf = x509.load_der_x509_certificate(b64decode(payload["certificate"]))
        serial = f"{leaf.serial_number:x}"
        orders = [order for order in self.ordered if order.chain and leaf.public_bytes(Encoding.PEM) in order.chain]
        if not orders or orders[0].account != account:
            return problem("unauthorized", "another account's", status=403)
        if serial in self.revoked:
            return problem("alreadyRevoked", "it was")
        if payload.get("reason") not in (None, *self.reasons):
            return problem("badRevocationReason", "not that one")
        self.revoked[serial] = payload.get("reason")
        return Reply(200, {})

    def _new_order(self, request: Request, account: str) -> Reply:
        hosts = [item["value"] for item in request.payload["identifiers"]]
        for host in hosts if self.refuses_redundant else ():
            if f"*.{host.partition('.')[2]}" in hosts and not host.startswith("*."):
                return problem("malformed", f"{host} is redundant with a wildcard domain in the same request")
        for order in self.ordered if self.reuses else []:
            if (order.account, order.hosts) == (account, hosts) and order.status in ("pending", "ready"):
                return Reply(201, self._document(order), {"Location": self._url("order", order)})
        order = FakeOrder(len(self.ordered) + 1, account, hosts)
        self.ordered.append(order)
        return Reply(201, self._document(order), {"Location": self._url("order", order)})

    def _of_order(self, kind: str, order: FakeOrder, rest: list[str], request: Request) -> Reply:
        if kind == "order":
            return Reply(200, self._document(order))
        if kind == "cert":
            return Reply(200, raw=order.chain)
        if kind == "finalize":
            return self._finalize(order, x509.load_der_x509_csr(b64decode(request.payload["csr"])))
        host = order.hosts[int(rest[0])]
        if kind == "chall":
            self._look(order, host)
            return Reply(200, self._authorization(order, host)["challenges"][0])
        return Reply(200, self._authorization(order, host))

    def _look(self, order: FakeOrder, host: str) -> None:
        """At a host, unless one of its challenges is met or failed for good."""
        if host in order.answered and not (host in order.failed and self.fails is Failing.NOTHING):
            return
        order.answered.add(host)
        order.failed.pop(host, None)
        if host in self.failing:
            order.failed[host] = self.failing[host]
            if self.fails is Failing.ORDER:
                order.status = "invalid"
        elif order.answered - order.failed.keys() >= set(order.hosts):
            order.status = "ready"

    def _finalize(self, order: FakeOrder, csr: x509.CertificateSigningRequest) -> Reply:
        if self.stolen:
            self.stolen -= 1
            csr = x509.load_der_x509_csr(csr_for(order.hosts))
            order.status, order.chain = "valid", self._issue(csr)
        if order.status != "ready":
            return problem("orderNotReady", f"the order is {order.status}", status=403)
        order.status, order.chain = "valid", self._issue(csr)
        self.finalized += 1
        return Reply(200, self._document(order))

    def _issue(self, csr: x509.CertificateSigningRequest) -> bytes:
        names = csr.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        now, life = self.clock(), self.life
        leaf = ISSUING._sign(x509.Name([]), csr.public_key(), ca=False, names=list(names), now=now, life=life)
        return leaf.public_bytes(Encoding.PEM) + ISSUING.pem

    def _url(self, kind: str, order: FakeOrder) -> str:
        return f"{self.base}/{kind}/{order.number}"

    def _document(self, order: FakeOrder) -> dict[str, Any]:
        authorizations = [f"{self._url('authz', order)}/{index}" for index in range(len(order.hosts))]
        document = {
            "status": order.status,
            "expires": "2096-05-06T10:00:00Z",
            "identifiers": [{"type": "dns", "value": host} for host in order.hosts],
            "authorizations": authorizations[::-1] if self.backwards else authorizations,
            "finalize": self._url("finalize", order),
        }
        return document | ({"certificate": self._url("cert", order)} if order.chain else {})

    def _authorization(self, order: FakeOrder, host: str) -> dict[str, Any]:
        index = order.hosts.index(host)
        state = "valid" if host in order.answered or order.status == "valid" else "pending"
        challenge: dict[str, Any] = {
            "url": f"{self._url('chall', order)}/{index}",
            "token": f"token-of-order-{order.number:04d}-host-{index:04d}",
        }
        challenge["status"] = state
        if host in order.failed:
            challenge["status"] = "pending" if self.fails is Failing.NOTHING else "invalid"
            state = "pending" if self.fails in {Failing.CHALLENGE, Failing.NOTHING} else "invalid"
            if self.fails is not Failing.AUTHORIZATION:
                challenge["error"] = order.failed[host]
        kinds = ["dns-01"] if host.startswith("*.") else ["http-01", "dns-01"]
        return {
            "identifier": {"type": "dns", "value": host.removeprefix("*.")},
            "wildcard": host.startswith("*."),
            "status": state,
            "challenges": [challenge | {"type": kind} for kind in kinds],
            "expires": "2096-05-06T10:00:00Z",
        }


NewCa = Callable[[], tuple[FakeOrders, bytes]]


@contextmanager
def acme_server(host: str = "localhost") -> Iterator[NewCa]:
    """Run a server; each call gives it a new CA behind the same address, and the PEM that its TLS is trusted by.

    `host` is what its certificate names besides addresses.
    """
    tls_ca = FakeCA("Fake TLS CA")
    context = tls_ca.server_context(host)
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)

        def fresh() -> tuple[FakeOrders, bytes]:
            fake = FakeOrders(f"https://127.0.0.1:{server.server_address[1]}")
            server.fake = fake
            return fake, tls_ca.pem

        fresh()
        with served(server):
            yield fresh
