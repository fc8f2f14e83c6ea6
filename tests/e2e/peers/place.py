"""Where a case meets a server: issuers, Ingresses and their certificates, hosts that lead elsewhere."""

from __future__ import annotations

import json
import secrets
from base64 import b64decode
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import msgspec
from cryptography import x509
from msgspec.structs import replace

from certs.chain import has_key
from certs.keys import key_from_pem
from issuer_job import names
from issuer_job import vocabulary as v
from issuer_job.cluster.api import CONFIGMAPS, INGRESSES, SECRETS, Json
from issuer_job.record.record import Phase, Record
from tests.e2e import renewals, world
from tests.e2e.api import kubectl, wait_for
from tests.e2e.observe import PODS, cluster, served_chain
from tests.e2e.own_issuer import OwnIssuer
from tests.e2e.peers.server import Server
from tests.fakes.fault_proxy import FaultProxy

ENDS_WITHIN = 300.0
"""An attempt may poll for more than four minutes before it gives up."""
NOWHERE = "10.200.0.99"
"""An address of the node's network that nobody has."""
ANOTHER = """
from http.server import BaseHTTPRequestHandler, HTTPServer
class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(b"something else")
HTTPServer(("", 80), Handler).serve_forever()
"""
NO_LIMITS = dict.fromkeys(("orders", "perRegisteredDomain", "perExactSet", "failedValidations"), 0)


@dataclass(frozen=True)
class Asked:
    """An Ingress and the certificate that it wants."""

    namespace: str
    name: str
    hosts: tuple[str, ...]

    @property
    def secret(self) -> str:
        return f"{self.name}-tls"

    @property
    def record(self) -> Record:
        found = world.record(self.namespace, self.secret)
        assert found is not None
        return found

    def issued(self, root_pem: bytes, *, seconds: float = world.ISSUED_WITHIN) -> x509.Certificate:
        """Wait for the certificate, which has its key, comes from the root and is served; what it is."""
        try:
            world.wait_issued(self.namespace, self.secret, self.hosts, seconds=seconds)
        except AssertionError as late:
            raise AssertionError(f"{late}; {self.trouble}") from late
        data = cluster().get(SECRETS, self.namespace, self.secret)["data"]
        chain = x509.load_pem_x509_certificates(b64decode(data["tls.crt"]))
        assert has_key(chain[0], key_from_pem(b64decode(data["tls.key"])))
        root = x509.load_pem_x509_certificate(root_pem)
        for below, above in pairwise([*(one for one in chain if one != root), root]):
            below.verify_directly_issued_by(above)
        host = self.hosts[0].replace("*", "any")
        wait_for(lambda: chain[0] in served_chain(host), what=f"{host} is served with the new certificate")
        return chain[0]

    @property
    def trouble(self) -> str:
        """What stands in the record's way, as people are told."""
        retry = self.record.retry
        return f"{self.record.phase}: {retry.problem.note}" if retry else str(self.record.phase)

    def fails(self, times: int = 1) -> str:
        """Wait until it has failed so often; what people are told."""

        def failed() -> bool:
            found = self.record
            assert found.phase is not Phase.ISSUED, "it was issued"
            return (
                found.phase in {Phase.WAITING, Phase.FAILED}
                and found.retry is not None
                and (found.retry.failures >= times)
            )

        wait_for(failed, what=f"{self.name} has failed {times} times", seconds=ENDS_WITHIN)
        retry = self.record.retry
        assert retry is not None
        return retry.problem.note

    def renewed(self, root_pem: bytes, former: x509.Certificate) -> x509.Certificate:
        """Ask for another certificate, as if the last one were some hours old, and wait for it."""
        self.age()
        self.annotate(v.RENEW)
        return self.another(root_pem, former)

    def age(self) -> None:
        """As if it were some hours old."""
        renewals.edit(self.namespace, self.secret, lambda issued: replace(issued, at=issued.at - timedelta(hours=3)))

    def another(self, root_pem: bytes, former: x509.Certificate) -> x509.Certificate:
        """Wait for the certificate after this one."""

        def another() -> bool:
            issued = self.record.issued
            return issued is not None and issued.serial != f"{former.serial_number:x}"

        wait_for(another, what=f"{self.name} is renewed ({self.trouble})", seconds=ENDS_WITHIN)
        return self.issued(root_pem)

    def annotate(self, annotation: str) -> None:
        """With the present time, as a user does it who does not want to wait."""
        value = f"{annotation}={datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
        kubectl("annotate", "ingress", "-n", self.namespace, self.name, value, "--overwrite")


@dataclass
class Place:
    """One server and one namespace. Everything that is made goes at the end of `place`."""

    server: Server
    namespace: str
    stack: ExitStack
    said: list[str] = field(default_factory=list)

    def say(self, what: str) -> None:
        """Something for whoever reads along."""
        self.said.append(what)

    def issuer(self, *, flavour: str = "", proxy: FaultProxy | None = None, **fields: Any) -> OwnIssuer:
        """An issuer of its own, as docs/issuers.md has it for a private CA."""
        own = OwnIssuer(f"peer-{secrets.token_hex(4)}")
        self.stack.callback(own.clean_up)
        own.apply(**self.fields(flavour=flavour, proxy=proxy, **fields))
        return own

    def fields(self, *, flavour: str = "", proxy: FaultProxy | None = None, **fields: Any) -> dict[str, Any]:
        """What such an issuer is configured with."""
        server, pem = (proxy.directory, proxy.ca_pem) if proxy else (self.server.use(flavour), self.server.root_pem())
        known = {"server": server, "caBundle": pem.decode(), "email": self.server.email or None, "limits": NO_LIMITS}
        return known | fields

    def edit(self, issuer: OwnIssuer, **fields: Any) -> None:
        """Change an issuer in its place; None takes a field away."""
        stored = cluster().get(CONFIGMAPS, v.NAMESPACE, issuer.name)
        document = msgspec.yaml.decode(stored["data"][v.ISSUER_KEY]) | fields
        stored["data"][v.ISSUER_KEY] = json.dumps(
            {key: value for key, value in document.items() if value is not None}
        )
        cluster().update(CONFIGMAPS, v.NAMESPACE, stored)

    def ready(self, issuer: OwnIssuer) -> None:
        assert issuer.check() is v.ExitCode.DONE, issuer.said

    def not_ready(self, issuer: OwnIssuer, *words: str) -> str:
        """What it is told, in which these words are."""
        assert issuer.check() is v.ExitCode.PERMANENT, issuer.said
        said = issuer.said[-1]
        assert all(word in said for word in words), f"{words} are not in: {said}"
        return said

    def ask(self, issuer: OwnIssuer, *hosts: str, count: int = 1, key_algorithm: str = "") -> Asked:
        """Apply an Ingress for these hosts, or for so many of its own."""
        name = f"w{secrets.token_hex(4)}"
        named = hosts or tuple(f"{letter}.{name}.{self.namespace}.test" for letter in "abcdefgh"[:count])
        self.stack.callback(self._forget, name)
        chosen = {"key_algorithm": key_algorithm} if key_algorithm else {}
        world.create(self.namespace, world.manifest(name, named, tls=None, bare=False, issuer=issuer.name, **chosen))
        return Asked(self.namespace, name, named)

    def _forget(self, name: str) -> None:
        cluster().delete(INGRESSES, self.namespace, name)
        cluster().delete(CONFIGMAPS, v.NAMESPACE, names.record(self.namespace, f"{name}-tls"))


@contextmanager
def place(server: Server, namespace: str) -> Iterator[Place]:
    """Where one case happens."""
    with ExitStack() as stack:
        yield Place(server, namespace, stack)


@contextmanager
def somewhere_else(namespace: str) -> Iterator[str]:
    """The address of a web server, a pod, that answers everything with something else."""
    name = f"another-{secrets.token_hex(3)}"
    container: Json = {"name": "web", "image": "localhost/certjob-job:dev", "imagePullPolicy": "Never"}
    container |= {"command": ["python", "-c", ANOTHER], "securityContext": {"runAsUser": 0}}
    spec = {"containers": [container], "terminationGracePeriodSeconds": 0}
    body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}
    cluster().create(PODS, namespace, body)
    try:
        kubectl("wait", "-n", namespace, f"pod/{name}", "--for=condition=Ready", "--timeout=60s")
        yield str(cluster().get(PODS, namespace, name)["status"]["podIP"])
    finally:
        cluster().delete(PODS, namespace, name)
