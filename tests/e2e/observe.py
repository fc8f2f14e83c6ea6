"""What really happens after an Ingress is applied: watches Secrets, pods and the served certificate."""

from __future__ import annotations

import http.client
import os
import socket
import ssl
import subprocess
import threading
import time
from base64 import b64decode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from urllib.parse import urlsplit

from cryptography import x509

from certs.placeholder import is_placeholder
from issuer_job import names
from issuer_job import vocabulary as v
from issuer_job.cluster.api import MUTATING_WEBHOOKS, SECRETS, Cluster, Json, KubeError, Resource
from issuer_job.cluster.transport import HttpTransport
from issuer_job.record.record import Intent, Settings

PODS = Resource("/api/v1", "pods")
POLL = 0.04
"""Seconds between handshakes: often enough to see, seldom enough not to take the machine from what is measured."""


@cache
def cluster() -> Cluster:
    """The local cluster as its administrator."""
    return Cluster(HttpTransport(connections=32), timeout=30)


def webhook_path(kind: str) -> str:
    """The way in for reviews of a kind (annotated, namespace, request), as the API server knows it."""
    configuration = cluster().get(MUTATING_WEBHOOKS, None, v.WEBHOOK_CONFIGURATION)
    [entry] = [entry for entry in configuration["webhooks"] if entry["name"] == f"{kind}.certjob.io"]
    path: str = entry["clientConfig"]["service"]["path"]
    return path


def root_pem(management: str = "CERTJOB_PEBBLE_MANAGEMENT") -> str:
    """Pebble's root, from its management port (the variable that has its URL): made anew at each start."""
    url = urlsplit(os.environ[management])
    context = ssl.create_default_context(cafile=os.environ["CERTJOB_PEBBLE_CA"])
    connection = http.client.HTTPSConnection(url.hostname or "", url.port, context=context, timeout=5)
    connection.request("GET", "/roots/0")
    pem = connection.getresponse().read().decode()
    connection.close()
    return pem


@dataclass(frozen=True)
class Served:
    """The leaf that the ingress controller served, and whether chain and host name verify against Pebble's root."""

    leaf: x509.Certificate
    trusted: bool


def served(host: str, *, timeout: float = 2.0) -> Served | None:
    """One TLS handshake with the ingress controller for `host`; None if it does not answer."""
    try:
        return Served(handshake(host, _trusting_context(), timeout), trusted=True)
    except ssl.SSLCertVerificationError:
        try:
            return Served(handshake(host, _any_context(), timeout), trusted=False)
        except OSError:
            return None
    except OSError:
        return None


def served_chain(host: str) -> list[x509.Certificate]:
    """The whole chain that the ingress controller sends, leaf first; needs the openssl program, empty without it."""
    address = f"{os.environ['CERTJOB_TRAEFIK_ADDRESS']}:443"
    command = ["openssl", "s_client", "-connect", address, "-servername", host, "-showcerts"]
    try:
        done = subprocess.run(command, input=b"", capture_output=True, check=False, timeout=10)
        return x509.load_pem_x509_certificates(done.stdout)
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return []


@cache
def _trusting_context() -> ssl.SSLContext:
    """Trusts the roots of the two Pebbles alone, and checks the host name."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=root_pem() + root_pem("CERTJOB_PEBBLE_DNS_MANAGEMENT"))
    return context


@cache
def _any_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def handshake(host: str, context: ssl.SSLContext, timeout: float) -> x509.Certificate:
    """The leaf that the ingress controller shows. Raises OSError, also where the context does not trust it."""
    address = (os.environ["CERTJOB_TRAEFIK_ADDRESS"], 443)
    with socket.create_connection(address, timeout) as raw, context.wrap_socket(raw, server_hostname=host) as tls:
        return x509.load_der_x509_certificate(tls.getpeercert(binary_form=True) or b"")


@dataclass
class Moments:
    """When things happened, in seconds of time.monotonic(), by name; each only once."""

    at: dict[str, float] = field(default_factory=dict)
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def mark(self, name: str) -> None:
        """Now, unless it happened before."""
        with self._changed:
            self.at.setdefault(name, time.monotonic())
            self._changed.notify_all()

    def wait(self, name: str, timeout: float) -> bool:
        """Whether it has happened within `timeout` seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: name in self.at, timeout)


class Observer:
    """Notes for every Secret of one namespace when its placeholder and its trusted certificate were there."""

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace
        self.moments = Moments()
        self._stop = threading.Event()

    def __enter__(self) -> Observer:
        self._spawn(lambda: self._watch(SECRETS, self.namespace, f"{v.MANAGED}=true", self._secret))
        self._spawn(lambda: self._watch(PODS, v.NAMESPACE, f"{v.APP_COMPONENT}=issue", self._pod))
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()

    def follow(self, host: str) -> None:
        """Handshake with the ingress controller until it serves a trusted certificate for the host."""

        def ask() -> None:
            while not self._stop.is_set():
                answer = served(host)
                if answer is not None and is_placeholder(answer.leaf):
                    self.moments.mark(f"placeholder served {host}")
                if answer is not None and answer.trusted:
                    self.moments.mark(f"served {host}")
                    return
                self._stop.wait(POLL)

        self._spawn(ask)

    def _secret(self, secret: Json) -> None:
        name, data = secret["metadata"]["name"], secret.get("data") or {}
        leaf = x509.load_pem_x509_certificate(b64decode(data.get("tls.crt", "")))
        self.moments.mark(f"{'placeholder' if is_placeholder(leaf) else 'issued'} {name}")

    def _pod(self, pod: Json) -> None:
        record = (pod["metadata"].get("annotations") or {}).get(v.RECORD, "")
        namespace, _, name = record.partition(".")
        if namespace != self.namespace:
            return
        self.moments.mark(f"job created {name}")
        for status in pod.get("status", {}).get("containerStatuses") or []:
            if status.get("state", {}).keys() & {"running", "terminated"}:
                self.moments.mark(f"job running {name}")

    def _watch(self, resource: Resource, namespace: str, labels: str, each: Callable[[Json], None]) -> None:
        while not self._stop.is_set():
            try:
                page = next(cluster().pages(resource, namespace, labels=labels))
                for item in page.objects():
                    each(item)
                version = page.version
                for event in cluster().watch(
                    resource, namespace, labels=labels, resource_version=version, seconds=300
                ):
                    if event["type"] in {"ADDED", "MODIFIED"}:
                        each(event["object"])
                    if self._stop.is_set():
                        return
            except KubeError:
                self._stop.wait(0.2)

    def _spawn(self, target: Callable[[], None]) -> None:
        threading.Thread(target=target, daemon=True).start()


def ingress(name: str, hosts: list[str], *, bare: bool = False, **more: Any) -> Json:
    """An opted-in Ingress whose Secret is `NAME-tls`; `bare`: without `tls`, as most people write it."""
    more = ({} if bare else {"tls": [{"hosts": hosts, "secretName": f"{name}-tls"}]}) | more
    backend = {"service": {"name": "app", "port": {"number": 80}}}
    rule = {"http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {"name": name, "annotations": {v.TLS_ACME: "true"}},
        "spec": {"rules": [{"host": host} | rule for host in hosts]} | more,
    }


def added_secret(*hosts: str, issuer: str = "pebble") -> str:
    """The Secret of the entry that certjob adds to an Ingress without `tls` for these hosts."""
    return names.added_secret(hosts, Intent(hosts=tuple(sorted(hosts)), settings=Settings(issuer=issuer)).hash)


@contextmanager
def namespace(name: str) -> Iterator[str]:
    """A namespace of its own, deleted afterwards."""
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    cluster().create(Resource("/api/v1", "namespaces"), None, body)
    try:
        yield name
    finally:
        cluster().delete(Resource("/api/v1", "namespaces"), None, name)
