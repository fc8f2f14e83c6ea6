"""Issuers of their own, for one test or one measurement, and what their accounts have made."""

from __future__ import annotations

import json
import os
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from issuer_job import names
from issuer_job import vocabulary as v
from issuer_job.acme_client import AcmeClient, Order
from issuer_job.acme_client.orders import read_order_urls
from issuer_job.checks.command import IssuerCommand
from issuer_job.checks.launch import find_issuer
from issuer_job.cluster.api import CONFIGMAPS, SECRETS, Json
from issuer_job.issuers.load import parse_issuer
from issuer_job.issuers.state import IssuerState
from tests.e2e.observe import cluster

DIRECTORY = os.environ.get("CERTJOB_PEBBLE_DIRECTORY", "")


def ca_pem() -> bytes:
    return Path(os.environ["CERTJOB_PEBBLE_CA"]).read_bytes()


@dataclass
class OwnIssuer:
    """An issuer of one test; `said` is what the commands have printed."""

    name: str
    said: list[str] = field(default_factory=list)

    def apply(self, *, check: str = "never", **fields: object) -> None:
        document = {"server": DIRECTORY, "caBundle": ca_pem().decode(), "privateNames": True, **fields}
        metadata: Json = {"name": self.name, "namespace": v.NAMESPACE, "labels": {v.ISSUER: "true"}}
        metadata["annotations"] = {v.CHECK: check}
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}
        body["data"] = {v.ISSUER_KEY: json.dumps({k: x for k, x in document.items() if x is not None})}
        cluster().delete(CONFIGMAPS, v.NAMESPACE, self.name)
        cluster().create(CONFIGMAPS, v.NAMESPACE, body)

    def credentials(self, keys: dict[str, bytes]) -> None:
        create_secret(v.NAMESPACE, names.credentials(self.name), keys)

    def check(self) -> v.ExitCode:
        return self._command.check()

    def roll_over(self) -> v.ExitCode:
        return self._command.roll_over()

    def reset_account(self) -> v.ExitCode:
        return self._command.reset_account()

    def replace_all(self, *, only_status: bool = False) -> v.ExitCode:
        return self._command.replace_all(only_status=only_status)

    @property
    def _command(self) -> IssuerCommand:
        return IssuerCommand(cluster=cluster(), name=self.name, clock=lambda: datetime.now(UTC), say=self.said.append)

    @property
    def state(self) -> IssuerState:
        found = find_issuer(cluster(), self.name)
        assert found is not None
        return found.state

    def clean_up(self) -> None:
        cluster().delete(CONFIGMAPS, v.NAMESPACE, self.name)
        cluster().delete(SECRETS, v.NAMESPACE, names.credentials(self.name))
        forget(self.name)


def create_secret(namespace: str, name: str, keys: dict[str, bytes]) -> None:
    data = {key: b64encode(value).decode() for key, value in keys.items()}
    body: Json = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": namespace}}
    cluster().create(SECRETS, namespace, body | {"data": data})


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
        forget(name)


def forget(issuer: str) -> None:
    """Delete its account keys and what is known of its accounts."""
    for resource, label, prefix in (
        (SECRETS, v.ACCOUNT, f"account-{issuer}-"),
        (CONFIGMAPS, v.ISSUER_STATE, f"issuer-state-{issuer}-"),
    ):
        for item in list(cluster().items(resource, v.NAMESPACE, labels=f"{label}=true")):
            if item["metadata"]["name"].startswith(prefix):
                cluster().delete(resource, v.NAMESPACE, item["metadata"]["name"])


def orders_of(issuer: str) -> list[Order]:
    """Every order that the issuer's accounts ever made, as the CA has them. Raises KubeError, AcmeError."""
    return orders_by(issuer, account_keys(issuer).values())


def account_keys(issuer: str) -> dict[str, bytes]:
    """The keys (PEM) of the issuer's accounts by their Secret's uid."""
    stored = cluster().items(SECRETS, v.NAMESPACE, labels=f"{v.ACCOUNT}=true")
    mine = [secret for secret in stored if secret["metadata"]["name"].startswith(f"account-{issuer}-")]
    return {secret["metadata"]["uid"]: b64decode(secret["data"][v.ACCOUNT_KEY]) for secret in mine}


def orders_by(issuer: str, keys: Iterable[bytes]) -> list[Order]:
    """Every order of the accounts with these keys at the issuer's CA."""
    config = parse_issuer(cluster().get(CONFIGMAPS, v.NAMESPACE, issuer))
    found: list[Order] = []
    for key in keys:
        with AcmeClient.connect(
            config.server,
            ca_bundle_pem=config.ca_bundle.encode() or None,
            account_key_pem=key,
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
