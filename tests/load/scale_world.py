"""A cluster with thousands of certificates that were issued just now, made directly."""

from __future__ import annotations

import time
from base64 import b64encode
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property

from msgspec.structs import replace

from certs.authority import make_authority, make_leaf
from certs.chain import parse_chain
from certs.keys import CertifiedKey, key_from_pem, key_id
from issuer_job import names
from issuer_job import vocabulary as v
from issuer_job.cluster.api import CONFIGMAPS, INGRESSES, SECRETS, Json
from issuer_job.demand.ingress import wants
from issuer_job.demand.plan import plan
from issuer_job.hosts.claims import claim_body
from issuer_job.issuers.load import Issuers
from issuer_job.record import transitions
from issuer_job.record.record import IngressClass, Issued, Record
from issuer_job.record.store import from_config_map, to_config_map
from issuer_job.tenant_secrets.access import Look
from issuer_job.tenant_secrets.bodies import tls_secret
from issuer_job.upkeep.bootstrap import make_account_keys
from tests.e2e.observe import cluster
from tests.load.lifecycle import THREADS

NOWHERE = "https://127.0.0.1:9/dir"
"""The issuer's directory. Nothing listens there: what is launched ends at once, without an order."""
CLASS = "certjob-scale"
"""No controller handles it."""
LIFETIME = timedelta(days=90)
OLD = timedelta(days=80)
"""Age of a certificate that is due."""


@dataclass
class World:
    """`count` Ingresses with all that belongs to a certificate that was issued just now."""

    spaces: Sequence[str]
    issuer: str
    count: int

    def __post_init__(self) -> None:
        self._uids = set[str]()
        self.now = datetime.now(UTC)
        self.authority = make_authority(now=self.now - LIFETIME, lifetime=3 * LIFETIME)
        found = cluster().items(CONFIGMAPS, v.NAMESPACE, labels=f"{v.ISSUER}=true")
        self.issuers = Issuers.from_config_maps(found)
        # What the sweep would have to write, were it missing.
        make_account_keys(cluster(), self.issuers.valid)

    def make(self) -> None:
        """Everything, with a few requests at once."""
        start = time.monotonic()
        with ThreadPoolExecutor(THREADS) as pool:
            for number, _ in enumerate(pool.map(self._make_one, range(self.count)), 1):
                if number % 1000 == 0:
                    print(f"  made {number} of {self.count} in {time.monotonic() - start:.0f} s", flush=True)
        seconds = time.monotonic() - start
        print(f"{self.count} Ingresses in {len(self.spaces)} namespaces, with records, claims and Secrets: ", end="")
        print(f"made in {seconds:.0f} s", flush=True)

    def is_mine(self, write: str) -> bool:
        """Whether a write was about something of this run."""
        namespace, _, name = write.rsplit(" ", 1)[-1].partition("/")
        return namespace in self.spaces or not self._stems.isdisjoint({name, name.split(".")[0], *name.split("-")})

    @cached_property
    def _stems(self) -> frozenset[str]:
        """What tells our objects in certjob's namespace: claims, routes, records by namespace, Jobs by record."""
        known = set(self.spaces)
        for number in range(self.count):
            klass = IngressClass(field=CLASS).identity
            known |= {names.claim(self.host(number)), names.route(klass, self.host(number))}
        return frozenset(known | {names.digest(uid) for uid in self._uids})

    def space(self, number: int) -> str:
        """The namespace of a certificate."""
        return self.spaces[number % len(self.spaces)]

    def host(self, number: int) -> str:
        """Its only host."""
        return f"app-{number}.{self.space(number)}.certjob.test"

    def secret(self, number: int) -> str:
        """The name of its Secret."""
        return f"app-{number}-tls"

    def make_due(self, number: int) -> None:
        """Half of them a record whose certificate is due, the rest a Secret that is gone or has another key."""
        space, name = self.space(number), self.secret(number)
        match number % 4:
            case 0 | 1:
                stored = from_config_map(cluster().get(CONFIGMAPS, v.NAMESPACE, names.record(space, name)))
                old = self._certificate(number, age=OLD)
                due = replace(stored, issued=self._issued(stored, old))
                cluster().update(SECRETS, space, self._secret(due, old))
                cluster().update(CONFIGMAPS, v.NAMESPACE, to_config_map(due))
            case 2:
                cluster().delete(SECRETS, space, name)
            case _:
                secret = cluster().get(SECRETS, space, name)
                secret["data"]["tls.key"] = b64encode(self._certificate(number).key_pem).decode()
                cluster().update(SECRETS, space, secret)

    def _make_one(self, number: int) -> None:
        space, host = self.space(number), self.host(number)
        certified = self._certificate(number)
        stored = cluster().create(INGRESSES, space, self._ingress(number))
        cluster().create(CONFIGMAPS, v.NAMESPACE, claim_body(host, space))
        record = self._record(stored, certified)
        self._uids.add(cluster().create(CONFIGMAPS, v.NAMESPACE, to_config_map(record))["metadata"]["uid"])
        cluster().create(SECRETS, space, self._secret(record, certified))

    def _secret(self, record: Record, certified: CertifiedKey) -> Json:
        return tls_secret(
            record,
            Look(),
            v.SecretState.ISSUED,
            chain_pem=certified.cert_chain_pems,
            key_pem=certified.key_pem,
            issuer=self.issuer,
            not_after=parse_chain(certified.cert_chain_pems)[0].not_valid_after_utc,
            further={},
        )

    def _certificate(self, number: int, *, age: timedelta = timedelta(0)) -> CertifiedKey:
        """With its CA behind it: nearly as large as what a public CA issues."""
        begin = self.now - age
        leaf = make_leaf(self.authority, dns_names=[self.host(number)], now=begin, lifetime=LIFETIME)
        chain = leaf.cert_chain_pems + self.authority.cert_chain_pems
        return CertifiedKey(key_pem=leaf.key_pem, cert_chain_pems=chain)

    def _ingress(self, number: int) -> Json:
        host = self.host(number)
        backend = {"service": {"name": "app", "port": {"number": 80}}}
        rule = {"host": host, "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}
        notes = {v.TLS_ACME: "true", v.ISSUER: self.issuer}
        return {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "Ingress",
            "metadata": {"name": f"app-{number}", "annotations": notes},
            "spec": {
                "ingressClassName": CLASS,
                "tls": [{"hosts": [host], "secretName": self.secret(number)}],
                "rules": [rule],
            },
        }

    def _record(self, stored: Json, certified: CertifiedKey) -> Record:
        """Through the arrows that a real one goes, so that it is what the product would have stored."""
        entry = wants(stored, issuers=self.issuers).entries[0]
        namespace = stored["metadata"]["namespace"]
        decided = plan(None, entry, namespace=namespace, now=self.now)
        assert decided.record is not None
        record = transitions.claimed(decided.record, holder="scale", now=self.now)
        return transitions.issued(record, issued=self._issued(record, certified), now=self.now)

    def _issued(self, record: Record, certified: CertifiedKey) -> Issued:
        leaf = parse_chain(certified.cert_chain_pems)[0]
        return Issued(
            hosts=record.intent.hosts,
            intent_hash=record.intent.hash,
            directory=NOWHERE,
            account=f"{NOWHERE}/account",
            epoch=record.epoch,
            key_id=key_id(key_from_pem(certified.key_pem)),
            serial=f"{leaf.serial_number:x}",
            not_before=leaf.not_valid_before_utc,
            not_after=leaf.not_valid_after_utc,
            at=self.now,
        )
