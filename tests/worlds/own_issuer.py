"""An issuer for one measurement, and the orders that its accounts have made."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec

from issuer_job import vocabulary as v
from issuer_job.acme_client import AcmeClient, Order
from issuer_job.acme_client.orders import read_order_urls
from issuer_job.cluster.api import CONFIGMAPS, SECRETS
from issuer_job.issuers.load import parse_issuer
from tests.observe import cluster

PEBBLE_ISSUER = "pebble"


@contextmanager
def stored_issuer(name: str, **fields: Any) -> Iterator[str]:
    """An issuer with just these fields, which no sweep tests."""
    body = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": name,
            "namespace": v.NAMESPACE,
            "labels": {v.ISSUER: "true"},
            "annotations": {v.CHECK: "never"},
        },
        "data": {v.ISSUER_KEY: msgspec.yaml.encode(fields).decode()},
    }
    cluster().create(CONFIGMAPS, v.NAMESPACE, body)
    try:
        yield name
    finally:
        cluster().delete(CONFIGMAPS, v.NAMESPACE, name)


@contextmanager
def own_issuer(name: str, **fields: Any) -> Iterator[str]:
    """A copy of the issuer `pebble` with some fields replaced: its account makes no orders but the caller's."""
    document = msgspec.yaml.decode(cluster().get(CONFIGMAPS, v.NAMESPACE, PEBBLE_ISSUER)["data"][v.ISSUER_KEY])
    try:
        with stored_issuer(name, **document | fields):
            yield name
    finally:
        for resource, label, prefix in (
            (SECRETS, v.ACCOUNT, f"account-{name}-"),
            (CONFIGMAPS, v.ISSUER_STATE, f"issuer-state-{name}-"),
        ):
            for item in cluster().items(resource, v.NAMESPACE, labels=f"{label}=true"):
                if item["metadata"]["name"].startswith(prefix):
                    cluster().delete(resource, v.NAMESPACE, item["metadata"]["name"])


def orders_of(issuer: str) -> list[Order]:
    """Every order that the issuer's accounts ever made, as the CA has them. Raises KubeError, AcmeError."""
    config = parse_issuer(cluster().get(CONFIGMAPS, v.NAMESPACE, issuer))
    found: list[Order] = []
    for secret in cluster().items(SECRETS, v.NAMESPACE, labels=f"{v.ACCOUNT}=true"):
        if not secret["metadata"]["name"].startswith(f"account-{issuer}-"):
            continue
        with AcmeClient.connect(
            config.server,
            ca_bundle_pem=config.ca_bundle.encode() or None,
            account_key_pem=b64decode(secret["data"][v.ACCOUNT_KEY]),
            account_url=None,
            user_agent="certjob-tests",
        ) as client:
            if client.find_account() is not None:
                found += [client.order(url) for url in _order_urls(client)]
    return found


def _order_urls(client: AcmeClient) -> list[str]:
    """All pages: the client's own search ends after twenty."""
    urls: dict[str, None] = {}
    page = client.account().orders_url
    while page is not None:
        answer = client._transport.post(page, step="orders")
        urls |= dict.fromkeys(answer.read(read_order_urls))
        page = next(iter(answer.links("next")), None)
    return list(urls)
