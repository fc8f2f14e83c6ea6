"""The ACME client against a Pebble of its own that accepts every challenge; `pebble` is on PATH in the cluster."""

from __future__ import annotations

import base64
import json
import os
import socket
import ssl
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from certs.chain import choose_chain
from issuer_job.acme_client import (
    AccountKeyAlgorithm,
    AcmeClient,
    AcmeError,
    EabKey,
    ExternalAccountRefused,
    Order,
    new_account_key,
)
from issuer_job.polling import Poll
from tests.fakes.acme_ca import FakeCA, csr_for

T = TypeVar("T")
EAB = EabKey("kid-1", "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W")
START = timedelta(seconds=60)


@dataclass(frozen=True)
class Pebble:
    url: str
    management_url: str
    ca_pem: bytes

    def connect(self, key: bytes | None = None) -> AcmeClient:
        return AcmeClient.connect(
            self.url,
            ca_bundle_pem=self.ca_pem,
            account_key_pem=key or new_account_key(),
            account_url=None,
            user_agent="certjob/test",
        )

    def root_name(self, number: int) -> str:
        context = ssl.create_default_context(cadata=self.ca_pem.decode())
        with urllib.request.urlopen(f"{self.management_url}/roots/{number}", context=context) as answer:
            return top_issuer(answer.read())


@contextmanager
def running_pebble(directory: Path, *, config: dict[str, Any] | None = None, **environment: str) -> Iterator[Pebble]:
    tls_ca = FakeCA("Pebble's TLS CA")
    certificate, key = tls_ca.server_files(directory)
    port, management = free_port(), free_port()
    settings = {
        "listenAddress": f"127.0.0.1:{port}",
        "managementListenAddress": f"127.0.0.1:{management}",
        "certificate": str(certificate),
        "privateKey": str(key),
        "keyAlgorithm": "ecdsa",
        "domainBlocklist": ["blocked.example"],
        "profiles": {"shortlived": {"description": "6 days", "validityPeriod": 518400}},
        **(config or {}),
    }
    path = directory / "pebble.json"
    path.write_text(json.dumps({"pebble": settings}))
    variables = {**os.environ, "PEBBLE_VA_ALWAYS_VALID": "1", "PEBBLE_VA_NOSLEEP": "1", **environment}
    with (directory / "pebble.log").open("wb") as log:
        process = subprocess.Popen(["pebble", "-config", path], env=variables, stdout=log, stderr=log)
        try:
            wait_for_port(port, process)
            yield Pebble(f"https://127.0.0.1:{port}/dir", f"https://127.0.0.1:{management}", tls_ca.pem)
        finally:
            process.terminate()
            process.wait(timeout=10)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def wait_for_port(port: int, process: subprocess.Popen[bytes]) -> None:
    def connected() -> bool:
        assert process.poll() is None, "Pebble ended"
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", port)) == 0

    until(connected, bool)


def until(get: Callable[[], T], done: Callable[[T], bool]) -> T:
    started = datetime.now(UTC)
    poll = Poll(started=started, deadline=started + START)
    while not done(value := get()):
        delay = poll.delay(now=datetime.now(UTC))
        assert delay is not None, value
        time.sleep(delay.total_seconds())
    return value


def issue(client: AcmeClient, hosts: list[str], **options: Any) -> tuple[Order, bytes]:
    order = client.new_order(hosts, **options)
    for url in order.authorization_urls:
        authorization = client.authorization(url)
        if authorization.status == "pending":
            client.answer(next(item for item in authorization.challenges if item.type == "http-01"))
        final = until(lambda url=url: client.authorization(url), lambda seen: seen.is_final)  # type: ignore[misc]
        assert final.problem is None
    until(lambda: client.order(order.url), lambda seen: seen.status == "ready")
    client.finalize(order, csr_for(hosts))
    order = until(lambda: client.order(order.url), lambda seen: seen.status == "valid")
    return order, client.chains(order)[0]


def names(chain: bytes) -> list[str]:
    leaf = x509.load_pem_x509_certificates(chain)[0]
    found = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return sorted(found.get_values_for_type(x509.DNSName))


def top_issuer(chain: bytes) -> str:
    issuer = x509.load_pem_x509_certificates(chain)[-1].issuer
    return str(issuer.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)


def cert_id(chain: bytes) -> str:
    """RFC 9773 4.1."""
    leaf = x509.load_pem_x509_certificates(chain)[0]
    issuer = leaf.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    serial = leaf.serial_number.to_bytes(leaf.serial_number.bit_length() // 8 + 1, "big")
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in (issuer or b"", serial))


@pytest.fixture(scope="module")
def pebble(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pebble]:
    """One that refuses half of all good nonces."""
    with running_pebble(tmp_path_factory.mktemp("pebble"), PEBBLE_WFE_NONCEREJECT="50") as pebble:
        yield pebble


def test_a_hundred_orders_with_half_of_the_nonces_rejected(pebble: Pebble) -> None:
    with pebble.connect() as client:
        client.ensure_account(contact=["admin@example.org"], terms_agreed=True)
        for number in range(100):
            hosts = [f"a{number}.example.org", f"b{number}.example.org"]
            assert names(issue(client, hosts)[1]) == hosts


@pytest.mark.parametrize("algorithm", ["ES256", "ES384", "RS256"])
def test_every_kind_of_account_key(pebble: Pebble, algorithm: AccountKeyAlgorithm) -> None:
    with pebble.connect(new_account_key(algorithm)) as client:
        account = client.ensure_account(terms_agreed=True)
        assert client.find_account() == account
        issue(client, ["a.example.org"], profile="shortlived")


def test_the_open_order_is_found_again(pebble: Pebble) -> None:
    key = new_account_key()
    with pebble.connect(key) as client:
        client.ensure_account(terms_agreed=True)
        issue(client, ["other.example.org"])
        url = client.new_order(["a.example.org", "b.example.org"]).url
    with pebble.connect(key) as client:
        client.ensure_account(terms_agreed=True)
        found = client.find_pending_order(["b.example.org", "a.example.org"])
        assert found is not None
        assert found.url == url
        assert client.find_pending_order(["a.example.org"]) is None


def test_renewal_information_and_replacement(pebble: Pebble) -> None:
    with pebble.connect() as client:
        client.ensure_account(terms_agreed=True)
        replaced = cert_id(issue(client, ["a.example.org"])[1])
        info = client.renewal_info(replaced)
        assert info is not None
        assert info.start < info.end
        issue(client, ["a.example.org"], replaces=replaced)
        with pytest.raises(AcmeError) as caught:
            client.new_order(["a.example.org"], replaces=replaced)
        assert caught.value.is_already_replaced


def test_refusals_are_precise(pebble: Pebble) -> None:
    with pebble.connect() as client:
        with pytest.raises(AcmeError, match="userActionRequired: see data:text/plain"):
            client.ensure_account(terms_agreed=False)
        client.ensure_account(terms_agreed=True)
        with pytest.raises(AcmeError, match="newOrder: rejectedIdentifier") as caught:
            client.new_order(["blocked.example"])
        assert caught.value.is_permanent
        client.deactivate_account()
        with pytest.raises(AcmeError, match="newOrder: unauthorized: Account has been deactivated") as caught:
            client.new_order(["a.example.org"])
        assert not caught.value.is_permanent


def test_one_key_at_many_places_is_one_account(pebble: Pebble) -> None:
    key = new_account_key()

    def ensure(_: int) -> str:
        with pebble.connect(key) as client:
            return client.ensure_account(terms_agreed=True).url

    with ThreadPoolExecutor(12) as pool:
        assert len(set(pool.map(ensure, range(12)))) == 1


def test_external_account_binding(tmp_path: Path) -> None:
    config = {"externalAccountBindingRequired": True, "externalAccountMACKeys": {EAB.key_id: EAB.hmac_key}}
    with running_pebble(tmp_path, config=config) as pebble, pebble.connect() as client:
        for eab in (None, EabKey("unknown", EAB.hmac_key), EabKey(EAB.key_id, "c3dvcmRmaXNo" * 4)):
            with pytest.raises(ExternalAccountRefused):
                client.ensure_account(terms_agreed=True, eab=eab)
        client.ensure_account(terms_agreed=True, eab=EAB)
        issue(client, ["a.example.org"])


def test_the_preferred_chain(tmp_path: Path) -> None:
    with running_pebble(tmp_path, PEBBLE_ALTERNATE_ROOTS="2") as pebble, pebble.connect() as client:
        client.ensure_account(terms_agreed=True)
        order, default = issue(client, ["a.example.org"])
        for number in range(3):
            root = pebble.root_name(number)
            assert top_issuer(choose_chain(client.chains(order, preferred=root), root)) == root
        assert client.chains(order, preferred="No Such Root")[0] == default
