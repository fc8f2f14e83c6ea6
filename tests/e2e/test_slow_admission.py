"""Another admission webhook, asked after ours, takes its time: the Job is there before the Ingress, or without."""

from __future__ import annotations

import json
import ssl
import tempfile
import threading
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from certs.authority import make_authority, make_leaf
from issuer_job.cluster.api import INGRESSES, ApiError, Json, Resource
from tests.e2e import world
from tests.e2e.api import Api, Endpoint, wait_for
from tests.e2e.attempts import Certificate
from tests.e2e.certificates import NewCertificates, certificates
from tests.e2e.checks import at_once
from tests.e2e.observe import cluster

pytestmark = pytest.mark.usefixtures("no_sweeps")

VALIDATING_WEBHOOKS = Resource("/apis/admissionregistration.k8s.io/v1", "validatingwebhookconfigurations")
DELAY = 8.0
REFUSAL = "not in my cluster"


@pytest.fixture(scope="module")
def new_certificate(cluster: tuple[Endpoint, Api]) -> Iterator[NewCertificates]:
    """Makes what the tests issue."""
    with certificates(cluster[0]) as made:
        yield made


class _Slow(BaseHTTPRequestHandler):
    """Answers a review after the delay: no to every Ingress whose name begins with "refused"."""

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["request"]
        time.sleep(DELAY)
        response: Json = {"uid": request["uid"], "allowed": not request["name"].startswith("refused")}
        if not response["allowed"]:
            response["status"] = {"code": 403, "message": REFUSAL}
        body = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}
        data = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


def _is_asked(namespace: str) -> bool:
    ingress = world.manifest("refused-first", [f"first.{namespace}.test"])
    try:
        cluster().create(INGRESSES, namespace, ingress, dry_run=True)
    except ApiError as problem:
        return REFUSAL in problem.message
    return False


@contextmanager
def slow_admission(namespace: str) -> Iterator[None]:
    """The API server asks it about every Ingress that is created in the namespace."""
    now = datetime.now(UTC)
    authority = make_authority(now=now)
    leaf = make_leaf(authority, dns_names=["localhost"], now=now)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as directory:
        pair = Path(directory) / "pair.pem"
        pair.touch(mode=0o600)
        pair.write_bytes(leaf.key_pem + leaf.cert_chain_pems)
        context.load_cert_chain(pair)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Slow)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    client = {
        "url": f"https://localhost:{server.server_port}/",
        "caBundle": b64encode(authority.cert_chain_pems).decode(),
    }
    webhook = {
        "name": "slow.certjob.test",
        "clientConfig": client,
        "rules": [
            {
                "apiGroups": ["networking.k8s.io"],
                "apiVersions": ["v1"],
                "operations": ["CREATE"],
                "resources": ["ingresses"],
            }
        ],
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
        "failurePolicy": "Fail",
        "sideEffects": "None",
        "timeoutSeconds": 20,
        "admissionReviewVersions": ["v1"],
    }
    cluster().create(VALIDATING_WEBHOOKS, None, {"metadata": {"name": namespace}, "webhooks": [webhook]})
    try:
        wait_for(lambda: _is_asked(namespace), what="the API server asks the webhook", seconds=60)
        yield
    finally:
        cluster().delete(VALIDATING_WEBHOOKS, None, namespace)
        server.shutdown()
        server.server_close()


def refusal(one: Certificate) -> str:
    """What the API server says when the Ingress is created."""
    try:
        one.store()
    except ApiError as problem:
        return problem.message
    return ""


def test_an_ingress_that_is_admitted_late_is_issued_and_one_that_is_refused_late_costs_no_order(
    new_certificate: NewCertificates, namespace: str
) -> None:
    admitted, refused = new_certificate(namespace, "admitted"), new_certificate(namespace, "refused")
    with slow_admission(namespace):
        said = at_once(admitted.store, lambda: refusal(refused))[1]
    assert REFUSAL in said
    world.wait_issued(namespace, admitted.secret, admitted.hosts)
    admitted.assert_issued()
    assert len(admitted.orders()) == len(admitted.jobs()) == 1
    record = world.wait_phase(namespace, refused.secret, "Unconfirmed")
    assert record.history[-1].event == "unconfirmed"
    assert len(refused.jobs()) == 1
    assert refused.orders() == []
