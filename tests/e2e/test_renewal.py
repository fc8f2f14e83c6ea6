"""Renewals by the sweep: when the CA suggests them, naming what they replace, and unnoticed by those who connect."""

from __future__ import annotations

import os
import socket
import ssl
import threading
from base64 import b64decode, urlsafe_b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from acme import client as acme
from acme import messages
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from josepy.jwa import ES256
from josepy.jwk import JWKEC
from msgspec.structs import replace

from certs.chain import has_key, parse_chain
from certs.keys import key_from_pem
from issuer_job import names
from issuer_job import vocabulary as v
from issuer_job.cluster.api import CONFIGMAPS, SECRETS, Json, KubeError
from issuer_job.record import transitions
from issuer_job.record.phases import LaunchReason
from issuer_job.record.record import Counted, Record
from tests.e2e import world
from tests.e2e.api import kubectl, wait_for
from tests.e2e.observe import cluster, root_pem
from tests.e2e.renewals import HOUR, edit, issued_of, make_due, secret_data, sweep_until_asked, wait_renewed
from tests.e2e.sweeps import run_sweep, sweep_until

PAUSE = 0.03
"""Seconds between the handshakes of one thread: the machine is for the renewals, too."""


def ordered(record: Record) -> list[str]:
    """The URLs of all orders of the record."""
    return [entry.detail for entry in record.history if entry.event == "ordered"]


def exempt(record: Record, kind: Counted) -> list[bool]:
    return [entry.exempt for entry in record.ledger if entry.kind is kind]


def pebble_knows(record: Record) -> bool:
    """Pebble finds no certificate by a CertID whose serial number begins with a zero byte (RFC 9773, section 4.1)."""
    serial = issued_of(record).cert_id.partition(".")[2]
    return urlsafe_b64decode(serial + "==")[0] != 0


def revoke(namespace: str, secret: str) -> None:
    """At Pebble, with the certificate's own key (RFC 8555, section 7.6)."""
    data = secret_data(namespace, secret)
    key = JWKEC(key=load_pem_private_key(data["tls.key"], None))
    authority: Any = os.environ["CERTJOB_PEBBLE_CA"]  # requests takes a path, too
    network = acme.ClientNetwork(key, alg=ES256, verify_ssl=authority)
    directory = messages.Directory.from_json(network.get(os.environ["CERTJOB_PEBBLE_DIRECTORY"]).json())
    acme.ClientV2(directory, network).revoke(x509.load_pem_x509_certificates(data["tls.crt"])[0], rsn=1)


def test_a_due_renewal_is_one_order_that_names_what_it_replaces(namespace: str) -> None:
    host = f"due.{namespace}.test"
    world.create(namespace, world.manifest("due", [host], tls_acme="true"))
    first = world.wait_issued(namespace, "due-tls", [host])
    before = secret_data(namespace, "due-tls")
    make_due(namespace, "due-tls")
    run_sweep()
    second = wait_renewed(namespace, "due-tls", first)
    after = secret_data(namespace, "due-tls")
    assert after["tls.key"] != before["tls.key"]
    assert issued_of(second).key_id != issued_of(first).key_id
    assert len(ordered(second)) == 2
    created = [line for line in world.job_logs(namespace) if line["event"] == "order-created"]
    assert [line["replaces"] for line in sorted(created, key=lambda line: str(line["time"]))] == [
        "",
        issued_of(first).cert_id if pebble_knows(first) else "",
    ]
    assert exempt(second, Counted.ORDER) == [False, pebble_knows(first)]
    assert exempt(second, Counted.CERTIFICATE) == [False, pebble_knows(first)]


def test_the_sweep_asks_the_ca_and_a_revoked_certificate_is_renewed(namespace: str) -> None:
    host = f"revoked.{namespace}.test"
    world.create(namespace, world.manifest("revoked", [host], tls_acme="true"))
    first = world.wait_issued(namespace, "revoked-tls", [host])
    suggested = sweep_until_asked(namespace, "revoked-tls")
    assert suggested.at is not None
    assert suggested.start is not None
    assert suggested.end is not None
    assert issued_of(first).not_before <= suggested.start <= suggested.at <= suggested.end
    assert suggested.end <= issued_of(first).not_after

    revoke(namespace, "revoked-tls")
    edit(
        namespace,
        "revoked-tls",
        lambda issued: replace(issued, renewal=replace(suggested, check_after=datetime.now(UTC))),
    )

    def is_launched() -> bool:
        found = world.record(namespace, "revoked-tls")
        return found is not None and found.epoch != first.epoch

    sweep_until(is_launched, what="the CA was asked again")
    second = wait_renewed(namespace, "revoked-tls", first)
    assert len(ordered(second)) == 2
    assert exempt(second, Counted.ORDER) == [False, False]  # the window of a revoked certificate is over


class Visitors:
    """Connect to the ingress controller all the time, and verify chain and host name; each time a new connection."""

    def __init__(self, hosts: list[str]) -> None:
        self._hosts = hosts
        self._stop = threading.Event()
        self._address = (os.environ["CERTJOB_TRAEFIK_ADDRESS"], 443)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._context.load_verify_locations(cadata=root_pem())
        self.failed: list[str] = []
        self.count = 0
        self.serials: dict[str, set[str]] = {host: set() for host in hosts}

    @contextmanager
    def connecting(self, threads: int) -> Iterator[None]:
        """Threads of visitors, each going round the hosts."""
        workers = [threading.Thread(target=self._visit, args=(number,)) for number in range(threads)]
        for worker in workers:
            worker.start()
        try:
            yield
        finally:
            self._stop.set()
            for worker in workers:
                worker.join()

    def _visit(self, number: int) -> None:
        while not self._stop.wait(PAUSE):
            host = self._hosts[number % len(self._hosts)]
            number += 1
            try:
                serial = self._handshake(host)
            except OSError as problem:
                self.failed.append(f"{datetime.now(UTC):%H:%M:%S} {host}: {problem}")
                continue
            self.count += 1
            self.serials[host].add(serial)

    def _handshake(self, host: str) -> str:
        with (
            socket.create_connection(self._address, 10) as raw,
            self._context.wrap_socket(raw, server_hostname=host) as tls,
        ):
            leaf = x509.load_der_x509_certificate(tls.getpeercert(binary_form=True) or b"")
            return f"{leaf.serial_number:x}"


class Pairs:
    """Sees every version of the namespace's Secrets: does the key belong to the certificate?"""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace
        self._stop = threading.Event()
        self.wrong: list[str] = []
        self.serials: set[str] = set()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """From the present on; the watch ends by itself a few seconds after the block."""
        version = next(cluster().pages(SECRETS, self._namespace)).version
        worker = threading.Thread(target=self._watch, args=(version,))
        worker.start()
        try:
            yield
        finally:
            self._stop.set()
            worker.join()

    def _watch(self, version: str) -> None:
        while not self._stop.is_set():
            try:
                for event in cluster().watch(
                    SECRETS, self._namespace, labels=f"{v.MANAGED}=true", resource_version=version, seconds=5
                ):
                    version = event["object"]["metadata"]["resourceVersion"]
                    if event["type"] in {"ADDED", "MODIFIED"}:
                        self._look(event["object"])
            except KubeError as problem:
                self.wrong.append(f"the watch broke: {problem}")
                return

    def _look(self, secret: Json) -> None:
        data = {key: b64decode(value) for key, value in secret["data"].items()}
        leaf = parse_chain(data["tls.crt"])[0]
        if not has_key(leaf, key_from_pem(data["tls.key"])):
            self.wrong.append(f"{secret['metadata']['name']} at {secret['metadata']['resourceVersion']}")
        self.serials.add(f"{leaf.serial_number:x}")


def test_nobody_who_connects_notices_ten_renewals(namespace: str) -> None:
    hosts = {f"s{number}-tls": f"s{number}.{namespace}.test" for number in range(5)}
    for secret, host in hosts.items():
        world.create(namespace, world.manifest(secret.removesuffix("-tls"), [host], tls_acme="true"))
    records = {secret: world.wait_issued(namespace, secret, [host]) for secret, host in hosts.items()}
    for host in hosts.values():
        world.wait_served(host)
    visitors, pairs = Visitors(list(hosts.values())), Pairs(namespace)
    serials: set[str] = set()
    named: dict[str, list[bool]] = {secret: [False] for secret in hosts}
    with visitors.connecting(threads=4), pairs.watching():
        for _ in range(2):
            for secret in hosts:
                make_due(namespace, secret)
                named[secret].append(pebble_knows(records[secret]))
            run_sweep()
            records = {secret: wait_renewed(namespace, secret, records[secret]) for secret in hosts}
            serials |= {issued_of(record).serial for record in records.values()}
            wait_for(
                lambda: all(issued_of(records[s]).serial in visitors.serials[hosts[s]] for s in hosts),  # noqa: B023
                what="the new certificates are served",
            )
    assert visitors.failed == []
    assert pairs.wrong == []
    assert len(serials) == 10
    assert serials <= pairs.serials
    assert visitors.count > 100
    for secret, record in records.items():
        assert len(ordered(record)) == 3
        assert exempt(record, Counted.ORDER) == named[secret]


def test_one_that_must_not_be_older_than_now_is_renewed_at_apply(namespace: str) -> None:
    """Not as long as it is younger than an hour; then at once, and never again for the same time."""
    host, name = f"anew.{namespace}.test", "anew-tls"
    world.create(namespace, world.manifest("anew", [host], tls_acme="true"))
    first = world.wait_issued(namespace, name, [host])
    asked = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    annotate = ("annotate", "ingress", "-n", namespace, "anew", "--overwrite")
    kubectl(*annotate, f"{v.RENEW}={asked}")
    noted = world.record(namespace, name)
    assert noted is not None
    assert (noted.epoch, noted.sources[0].renew is not None) == (first.epoch, True)
    edit(namespace, name, lambda issued: replace(issued, at=issued.at - 2 * HOUR))
    kubectl(*annotate, "touched=now")
    renewed = wait_renewed(namespace, name, first)
    assert transitions.attempt_of(renewed).reason == LaunchReason.RENEW_ASKED
    kubectl(*annotate, "touched=again")
    run_sweep()
    assert len(ordered(renewed)) == len(ordered(world.record(namespace, name) or first)) == 2


def test_an_operator_asks_on_the_record_and_the_sweep_takes_it_in(namespace: str) -> None:
    host, name = f"word.{namespace}.test", "word-tls"
    world.create(namespace, world.manifest("word", [host], tls_acme="true"))
    first = world.wait_issued(namespace, name, [host])
    edit(namespace, name, lambda issued: replace(issued, at=issued.at - 2 * HOUR))
    now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    kubectl("annotate", "configmap", "-n", v.NAMESPACE, names.record(namespace, name), f"{v.RENEW}={now}")
    run_sweep()
    renewed = wait_renewed(namespace, name, first)
    assert transitions.attempt_of(renewed).reason == LaunchReason.RENEW_ASKED
    assert renewed.renew is not None
    stored = cluster().get(CONFIGMAPS, v.NAMESPACE, names.record(namespace, name))
    assert v.RENEW not in stored["metadata"]["annotations"]
