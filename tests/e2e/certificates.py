"""Makes certificates for tests, with issuers of their own, and takes everything away afterwards."""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from requests.adapters import HTTPAdapter

from issuer_job import names
from issuer_job import vocabulary as v
from issuer_job.cluster.api import CONFIGMAPS, INGRESSES, SECRETS, AlreadyExists, Conflict
from tests.e2e.api import Endpoint
from tests.e2e.attempts import Certificate, Identities
from tests.e2e.checks import parsed_issuer
from tests.e2e.observe import cluster
from tests.e2e.wire import wired_send

QUOTA_ROUNDS = 10


class NewCertificates:
    """Makes Certificates with an issuer of their own each, and takes everything away at the end."""

    def __init__(self, identities: Identities) -> None:
        self.identities = identities
        self._made: list[Certificate] = []
        self._issuers: list[str] = []
        self._root = tempfile.TemporaryDirectory()

    def issuer(self) -> str:
        """A new issuer, and so a new account: its list of orders is what one test has caused."""
        name = f"own-{secrets.token_hex(4)}"
        pebble = cluster().get(CONFIGMAPS, v.NAMESPACE, "pebble")
        metadata = {
            "name": name,
            "namespace": v.NAMESPACE,
            "labels": {v.ISSUER: "true"},
            "annotations": {v.CHECK: "never"},
        }
        for _ in range(QUOTA_ROUNDS):
            try:
                cluster().create(CONFIGMAPS, v.NAMESPACE, {"metadata": metadata, "data": pebble["data"]})
            except (AlreadyExists, Conflict):
                continue  # a 409 of the namespace's ResourceQuota, which others change as well
            break
        self._issuers.append(name)
        return name

    def __call__(
        self, namespace: str, name: str, hosts: Sequence[str] = (), *, issuer: str = "", secret: str = ""
    ) -> Certificate:
        made = Certificate(
            self.identities,
            Path(self._root.name),
            namespace,
            name,
            tuple(hosts) or (f"{name}.{namespace}.test",),
            issuer or self.issuer(),
            secret or f"{name}-tls",
        )
        self._made.append(made)
        return made

    def clean_up(self) -> None:
        """Records take routes, challenges and pending keys with them."""
        for one in self._made:
            cluster().delete(INGRESSES, one.namespace, one.name)
            cluster().delete(CONFIGMAPS, v.NAMESPACE, names.record(one.namespace, one.secret))
            for host in one.named:
                cluster().delete(CONFIGMAPS, v.NAMESPACE, names.claim(host))
        for name in self._issuers:
            server = parsed_issuer(name).server
            cluster().delete(CONFIGMAPS, v.NAMESPACE, name)
            cluster().delete(CONFIGMAPS, v.NAMESPACE, names.issuer_state(name, server))
            cluster().delete(SECRETS, v.NAMESPACE, names.account(name, server, 1))
        self._root.cleanup()


@contextmanager
def certificates(endpoint: Endpoint) -> Iterator[NewCertificates]:
    """Where certificates are made; while it is open, pods' requests to the CA go over their Wires."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(HTTPAdapter, "send", wired_send)
        made = NewCertificates(Identities(endpoint))
        try:
            yield made
        finally:
            made.clean_up()
