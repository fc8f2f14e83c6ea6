"""Issuers of their own behind fault proxies, for tests of a CA that misbehaves."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from cryptography import x509
from msgspec import structs

from certs.chain import has_key
from certs.keys import key_from_pem
from issuer_job import names
from issuer_job import vocabulary as v
from issuer_job.acme_client import AcmeClient
from issuer_job.cluster.api import CONFIGMAPS, SECRETS, Conflict, Json
from issuer_job.record.record import Phase, Problem, Record
from issuer_job.record.store import to_config_map
from tests.e2e import world
from tests.e2e.observe import cluster
from tests.fakes.fault_proxy import FaultProxy, fault_proxy

ENDS_WITHIN = 240.0
"""Seconds, for a wait: what is launched after a namespace's first few has its turn later."""


@dataclass(frozen=True)
class Site:
    """An issuer of its own behind a proxy of its own, and an Ingress NAME with the host NAME.NAMESPACE.test."""

    name: str
    namespace: str
    proxy: FaultProxy
    issuer: str

    @property
    def state(self) -> str:
        """Name of the ConfigMap with the issuer's state."""
        return names.issuer_state(self.issuer, self.proxy.directory)

    def beside(self, namespace: str) -> Site:
        """The same issuer, for Ingresses of another namespace."""
        return replace(self, namespace=namespace)

    def host(self, name: str = "") -> str:
        return f"{name or self.name}.{self.namespace}.test"

    def apply(self, *ingresses: str) -> None:
        """Create Ingresses that name the issuer; without names the one that is called like the site."""
        for name in ingresses or (self.name,):
            world.create(self.namespace, world.manifest(name, [self.host(name)], issuer=self.issuer))

    def waits(self, name: str = "") -> Record:
        """The record once it waits for its next try."""
        return world.wait_phase(self.namespace, f"{name or self.name}-tls", Phase.WAITING, seconds=ENDS_WITHIN)

    def issued(self, name: str = "") -> Record:
        """The record once its certificate is installed, which matches its key."""
        secret = f"{name or self.name}-tls"
        record = world.wait_issued(self.namespace, secret, [self.host(name)], seconds=ENDS_WITHIN)
        data = cluster().get(SECRETS, self.namespace, secret)["data"]
        leaf = x509.load_pem_x509_certificates(b64decode(data["tls.crt"]))[0]
        assert has_key(leaf, key_from_pem(b64decode(data["tls.key"])))
        return record

    def make_due(self, name: str = "") -> None:
        """Let the wait of the record be over."""
        while True:
            record = world.record(self.namespace, f"{name or self.name}-tls")
            assert record is not None
            assert record.retry is not None
            past = datetime.now(UTC) - timedelta(seconds=1)
            due = structs.replace(record, retry=structs.replace(record.retry, not_before=past))
            try:
                cluster().update(CONFIGMAPS, v.NAMESPACE, to_config_map(due))
            except Conflict:
                continue
            return


NewSite = Callable[[str, str], Site]


@contextmanager
def sites_behind_proxies() -> Iterator[NewSite]:
    """Makes issuers behind proxies; they go at the end, and with them what is known of their accounts."""
    sites: list[Site] = []
    with ExitStack() as proxies:

        def make(namespace: str, name: str) -> Site:
            site = Site(name, namespace, proxies.enter_context(fault_proxy()), f"{namespace}-{name}")
            document = {
                "server": site.proxy.directory,
                "caBundle": site.proxy.ca_pem.decode(),
                "privateNames": True,
                "profile": "default",
            }
            metadata: Json = {
                "name": site.issuer,
                "namespace": v.NAMESPACE,
                "labels": {v.ISSUER: "true"},
                "annotations": {v.CHECK: "never"},
            }
            body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}
            cluster().create(CONFIGMAPS, v.NAMESPACE, body | {"data": {v.ISSUER_KEY: json.dumps(document)}})
            sites.append(site)
            return site

        yield make
    for site in sites:
        cluster().delete(CONFIGMAPS, v.NAMESPACE, site.issuer)
        cluster().delete(CONFIGMAPS, v.NAMESPACE, site.state)
        for number in (1, 2):
            cluster().delete(SECRETS, v.NAMESPACE, names.account(site.issuer, site.proxy.directory, number))


def trouble(record: Record) -> Problem:
    """What stands in the record's way."""
    assert record.retry is not None
    return record.retry.problem


def client_of(site: Site, number: int = 1) -> AcmeClient:
    """A client with the issuer's account of that number."""
    secret = cluster().get(SECRETS, v.NAMESPACE, names.account(site.issuer, site.proxy.directory, number))
    return AcmeClient.connect(
        site.proxy.directory,
        ca_bundle_pem=site.proxy.ca_pem,
        account_key_pem=b64decode(secret["data"][v.ACCOUNT_KEY]),
        account_url=site.proxy.accounts[number - 1],
        user_agent="certjob/test",
    )
