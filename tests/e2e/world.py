"""What the end-to-end tests say in one line each: apply, look at records, Events, orders, the served certificate."""

from __future__ import annotations

import http.client
import json
import os
from base64 import b64decode
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cryptography import x509

from certs.placeholder import is_placeholder
from issuer_job import names
from issuer_job import vocabulary as v
from issuer_job.cluster.api import CONFIGMAPS, INGRESSES, SECRETS, Json, Resource
from issuer_job.record.record import Record
from issuer_job.record.store import from_config_map
from tests.e2e.api import kubectl, wait_for
from tests.e2e.observe import cluster, served

CORE_EVENTS = Resource("/api/v1", "events")
ISSUED_WITHIN = 180.0
"""Seconds, for a wait. What is launched after a namespace's first few waits for the attempts of others, too."""


def manifest(
    name: str, hosts: Sequence[str], *, tls: list[Json] | None = None, bare: bool = False, **annotations: str
) -> Json:
    """An Ingress with a rule for each host. Annotations as keywords: `tls_acme="true"`, `issuer="x"`.

    One that opts in has the Secret `NAME-tls` for all of them, if `tls` says nothing else; `bare`: none.
    """
    if tls is None and not bare and (annotations.get("tls_acme") == "true" or "issuer" in annotations):
        tls = [{"hosts": list(hosts), "secretName": f"{name}-tls"}]
    known = {"tls_acme": v.TLS_ACME, "issuer": v.ISSUER, "key_algorithm": v.KEY_ALGORITHM}
    backend = {"service": {"name": "app", "port": {"number": 80}}}
    paths = {"http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}
    spec: Json = {"rules": [{"host": host} | paths for host in hosts]}
    if tls is not None:
        spec["tls"] = tls
    metadata: Json = {"name": name, "annotations": {known[key]: value for key, value in annotations.items()}}
    return {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": metadata, "spec": spec}


def apply(namespace: str, ingress: Json, *arguments: str) -> str:
    """`kubectl apply`; what it printed."""
    return kubectl("apply", "-n", namespace, "-f", "-", *arguments, stdin=json.dumps(ingress))


def create(namespace: str, ingress: Json) -> Json:
    """POST the Ingress and return what was stored."""
    return cluster().create(INGRESSES, namespace, ingress)


def live(namespace: str, name: str) -> Json:
    """The Ingress as stored."""
    return cluster().get(INGRESSES, namespace, name)


def wait_noticed(namespace: str, name: str) -> None:
    """Wait until the ingress controller has written the Ingress's status: from then on it lets it be."""
    wait_for(
        lambda: bool(live(namespace, name)["status"]["loadBalancer"].get("ingress")),
        what=f"the ingress controller has noticed {name}",
    )


def wait_admitting(namespace: str) -> None:
    """Wait until the API server reaches a pod of the webhook: one that is not ready is sent nothing."""

    def is_asked() -> bool:
        probe = manifest("probe", [f"probe.{namespace}.test"], bare=True, tls_acme="true")
        return "tls" in cluster().create(INGRESSES, namespace, probe, dry_run=True)["spec"]

    wait_for(is_asked, what="the webhook is asked")


def record(namespace: str, secret: str) -> Record | None:
    """The certificate record of a Secret."""
    found = cluster().find(CONFIGMAPS, v.NAMESPACE, names.record(namespace, secret))
    return None if found is None else from_config_map(found)


def phase(namespace: str, secret: str) -> str:
    """Where the record stands, empty without one."""
    found = record(namespace, secret)
    return found.phase if found else ""


def wait_phase(namespace: str, secret: str, *phases: str, seconds: float = ISSUED_WITHIN) -> Record:
    """Wait until the record is in one of the phases; it as it was then."""
    seen: list[Record] = []

    def is_there() -> bool:
        found = record(namespace, secret)
        seen.extend([found] if found is not None and found.phase in phases else [])
        return bool(seen)

    wait_for(is_there, what=f"record of {namespace}/{secret} is {' or '.join(phases)}", seconds=seconds)
    return seen[0]


def leaf(namespace: str, secret: str) -> x509.Certificate | None:
    """The leaf in a Secret, None without one."""
    found = cluster().find(SECRETS, namespace, secret)
    if found is None:
        return None
    return x509.load_pem_x509_certificates(b64decode(found["data"]["tls.crt"]))[0]


def holds_placeholder(namespace: str, secret: str) -> bool:
    """Whether the Secret holds certjob's placeholder."""
    found = leaf(namespace, secret)
    return found is not None and is_placeholder(found)


def dns_names(certificate: x509.Certificate | None) -> set[str]:
    """Names of a certificate."""
    assert certificate is not None
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return set(names.get_values_for_type(x509.DNSName))


def wait_issued(namespace: str, secret: str, hosts: Sequence[str], *, seconds: float = ISSUED_WITHIN) -> Record:
    """Wait until a certificate for just these hosts, not self-signed, is in the Secret and in the record."""
    found = wait_phase(namespace, secret, "Issued", seconds=seconds)
    certificate = leaf(namespace, secret)
    assert certificate is not None
    assert not is_placeholder(certificate)
    assert dns_names(certificate) == set(hosts)
    assert found.issued is not None
    assert found.issued.serial == f"{certificate.serial_number:x}"
    return found


def wait_served(host: str, *, seconds: float = 60) -> None:
    """Wait until the ingress controller serves a certificate that verifies against Pebble's root."""

    def trusted() -> bool:
        answer = served(host)
        return answer is not None and answer.trusted

    wait_for(trusted, what=f"a trusted certificate is served for {host}", seconds=seconds)


def events(namespace: str, name: str, reason: str) -> list[str]:
    """Messages of the Events of one reason that `kubectl describe ingress` shows."""
    found = cluster().items(CORE_EVENTS, namespace)
    return [
        f"{event['type']}: {event['message']}"
        for event in found
        if event["involvedObject"].get("name") == name and event["reason"] == reason
    ]


def wait_event(namespace: str, name: str, reason: str, *, seconds: float = ISSUED_WITHIN) -> str:
    """The first Event of that reason on the Ingress."""
    wait_for(lambda: bool(events(namespace, name, reason)), what=f"Event {reason} on {name}", seconds=seconds)
    return events(namespace, name, reason)[0]


def accounts() -> int:
    """How many accounts Pebble has."""
    log = Path(os.environ["CERTJOB_CLUSTER_STATE"]) / "logs/pebble.log"
    marks = [line for line in log.read_text(errors="replace").splitlines() if "There are now" in line]
    return int(next(line.split("There are now ")[1].split()[0] for line in reversed(marks) if "accounts" in line))


def break_dns(host: str) -> None:
    """Make every question for the host fail with SERVFAIL."""
    _challtestsrv("/set-servfail", {"host": host})


def mend_dns(host: str) -> None:
    """Take the failure back."""
    _challtestsrv("/clear-servfail", {"host": host})


def lead_elsewhere(host: str, address: str) -> None:
    """Let the host's name lead to another address than the node's."""
    _challtestsrv("/add-a", {"host": host, "addresses": [address]})


def lead_back(host: str) -> None:
    """Take that back."""
    _challtestsrv("/clear-a", {"host": host})


def job_logs(namespace: str) -> list[dict[str, Any]]:
    """Every line that the issue Jobs of a namespace have logged."""
    text = kubectl(
        "logs", "-n", v.NAMESPACE, "-l", f"{v.RECORD_NAMESPACE}={namespace}", "--tail=-1", "--max-log-requests=200"
    )
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def _challtestsrv(path: str, body: Json) -> None:
    url = urlsplit(os.environ["CERTJOB_CHALLTESTSRV"])
    connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=5)
    connection.request("POST", path, json.dumps(body))
    assert connection.getresponse().status == 200
    connection.close()
