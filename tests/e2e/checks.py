"""What an issued certificate has cost and left: orders at Pebble, the Secret's content, the challenge route."""

from __future__ import annotations

import threading
from base64 import b64decode
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from itertools import pairwise
from typing import Any

from cryptography import x509

from certs.chain import has_key
from certs.keys import key_from_pem
from issuer_job import names
from issuer_job import vocabulary as v
from issuer_job.acme_client import AcmeClient, Order
from issuer_job.cluster.api import CONFIGMAPS, INGRESSES, SECRETS, Json
from issuer_job.issuers.load import parse_issuer
from issuer_job.issuers.schema import Issuer
from issuer_job.record.record import IngressClass
from tests.e2e import world
from tests.e2e.observe import cluster, root_pem

INGRESS_CLASS = IngressClass(field="traefik")


def route(host: str) -> Json | None:
    """The host's challenge route."""
    return cluster().find(INGRESSES, v.NAMESPACE, names.route(INGRESS_CLASS.identity, host))


def parsed_issuer(name: str) -> Issuer:
    """The issuer as configured."""
    return parse_issuer(cluster().get(CONFIGMAPS, v.NAMESPACE, name))


def orders_of(issuer: str) -> list[Order]:
    """All orders of the issuer's account but the invalid ones, which Pebble does not list."""
    document = parsed_issuer(issuer)
    state = cluster().find(CONFIGMAPS, v.NAMESPACE, names.issuer_state(issuer, document.server))
    if state is None:
        return []
    key = cluster().get(SECRETS, v.NAMESPACE, names.account(issuer, document.server, 1))["data"][v.ACCOUNT_KEY]
    with AcmeClient.connect(
        document.server,
        ca_bundle_pem=document.ca_bundle.encode(),
        account_key_pem=b64decode(key),
        account_url=state["data"]["accountUrl"],
        user_agent="certjob/test",
    ) as client:
        return [client.order(url) for url in client._order_urls(client.account().orders_url)]


def assert_good_secret(namespace: str, secret: str, hosts: Sequence[str]) -> x509.Certificate:
    """Its certificate is Pebble's, for these hosts and for the key beside it."""
    stored = cluster().get(SECRETS, namespace, secret)
    data = {key: b64decode(value) for key, value in stored["data"].items()}
    chain = x509.load_pem_x509_certificates(data["tls.crt"])
    assert stored["metadata"]["labels"][v.STATE] == "issued"
    assert has_key(chain[0], key_from_pem(data["tls.key"]))
    assert world.dns_names(chain[0]) == set(hosts)
    chain.append(x509.load_pem_x509_certificate(root_pem().encode()))
    for below, above in pairwise(chain):
        below.verify_directly_issued_by(above)
    return chain[0]


def at_once(*tasks: Callable[[], Any]) -> list[Any]:
    """Run the tasks in a thread each, all let go at the same moment; what they returned."""
    barrier = threading.Barrier(len(tasks))
    results: list[Any] = [None] * len(tasks)

    def body(number: int) -> None:
        barrier.wait(30)
        results[number] = tasks[number]()

    threads = [threading.Thread(target=body, args=(number,), daemon=True) for number in range(len(tasks))]
    with ExitStack() as stack:
        for thread in threads:
            thread.start()
            stack.callback(thread.join, 60)
    return results
