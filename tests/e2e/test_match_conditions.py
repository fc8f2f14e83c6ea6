"""Which requests the API server sends to which webhook entry, asked of a stand-in webhook."""

from __future__ import annotations

import base64
import json
import secrets
import ssl
import tempfile
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml

from certs.authority import make_authority, make_leaf
from issuer_job import vocabulary
from issuer_job.cli.doctoring.elsewhere import elsewhere
from issuer_job.cluster.api import MUTATING_WEBHOOKS as CONFIGURATIONS
from tests.e2e.api import INGRESSES, MERGE_PATCH, MUTATING_WEBHOOKS, SECRETS, Api, Json, NewNamespace, path, wait_for
from tests.e2e.observe import cluster

MANIFEST = Path(__file__).resolve().parents[2] / "manifests/base/mutating-webhook.yaml"
OURS = "e2e-match"


class StandIn(ThreadingHTTPServer):
    """Admits everything, and remembers which Ingress was sent to which path."""

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.seen: dict[str, set[str]] = defaultdict(set)
        authority = make_authority(now=datetime.now(UTC))
        leaf = make_leaf(authority, dns_names=["localhost"], now=datetime.now(UTC))
        self.ca_bundle = base64.b64encode(authority.cert_chain_pems).decode()
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        with tempfile.NamedTemporaryFile() as pair:
            pair.write(leaf.key_pem + leaf.cert_chain_pems)
            pair.flush()
            tls.load_cert_chain(pair.name)
        self.socket = tls.wrap_socket(self.socket, server_side=True)

    def taken(self, name: str) -> set[str]:
        """Paths that this Ingress was sent to since it was last asked."""
        return self.seen.pop(name, set())


class _Handler(BaseHTTPRequestHandler):
    server: StandIn

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["request"]
        self.server.seen[request["name"]].add(self.path.partition("?")[0])
        response = {"uid": request["uid"], "allowed": True}
        review = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}
        body = json.dumps(review).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Be quiet."""


@dataclass(frozen=True)
class Setting:
    """The stand-in, and two namespaces: one as it is, one in which every Ingress is opted in."""

    stand_in: StandIn
    plain: str
    enabled: str
    names: Iterator[int] = field(default_factory=lambda: iter(range(1_000_000)))


def configuration(stand_in: StandIn, mark: str) -> Json:
    """The manifest's configuration, but of the stand-in and for the marked namespaces only."""
    body: Json = elsewhere(yaml.safe_load(MANIFEST.read_text()), vocabulary.NAMESPACE)
    body["metadata"] = {"name": f"{OURS}-{mark}"}
    installed = cluster().get(CONFIGURATIONS, None, vocabulary.WEBHOOK_CONFIGURATION)
    rules = {webhook["name"]: webhook["rules"] for webhook in installed["webhooks"]}
    for webhook in body["webhooks"]:
        kind = webhook["name"].partition(".")[0]
        url = f"https://localhost:{stand_in.server_port}/mutate/{kind}"
        webhook |= {"clientConfig": {"url": url, "caBundle": stand_in.ca_bundle}, "failurePolicy": "Fail"}
        webhook["rules"] = rules[webhook["name"]]
        webhook["namespaceSelector"].setdefault("matchLabels", {})[OURS] = mark
    return body


@pytest.fixture(scope="module")
def setting(admin: Api, new_namespace: NewNamespace) -> Iterator[Setting]:
    mark = secrets.token_hex(4)
    plain = new_namespace("match", **{OURS: mark})
    enabled = new_namespace("match", **{OURS: mark, vocabulary.NAMESPACE_ENABLED: "true"})
    where = path(MUTATING_WEBHOOKS, None, f"{OURS}-{mark}")
    with StandIn() as stand_in:
        thread = threading.Thread(target=stand_in.serve_forever, args=(0.05,))
        thread.start()
        try:
            answer = admin.call("POST", path(MUTATING_WEBHOOKS), configuration(stand_in, mark))
            assert answer.status == 201, answer
            made = Setting(stand_in, plain, enabled)
            for namespace in (plain, enabled):
                wait_for(lambda ns=namespace: sent(admin, made, ns, None, TRUE) == ANNOTATED, what="it is asked")  # type: ignore[misc]
            yield made
        finally:
            admin.call("DELETE", where)
            stand_in.shutdown()
            thread.join()


def ingress(name: str, annotations: Json) -> Json:
    """Without a host, so that certjob's own webhook finds nothing to do for it."""
    backend = {"service": {"name": "none", "port": {"number": 80}}}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {"name": name, "annotations": annotations},
        "spec": {"ingressClassName": "e2e-none", "defaultBackend": backend},
    }


def sent(admin: Api, setting: Setting, namespace: str, old: Json | None, new: Json) -> set[str]:
    """Where a create (old is None) or an update is sent."""
    name = f"case-{next(setting.names)}"
    collection, where = path(INGRESSES, namespace), path(INGRESSES, namespace, name)
    if old is None:
        answer = admin.call("POST", collection, ingress(name, new), dryRun="All")
    else:
        stored = admin.call("POST", collection, ingress(name, old))
        assert stored.status == 201, stored
        setting.stand_in.taken(name)
        answer = admin.call("PUT", where, ingress(name, new), dryRun="All")
    assert answer.status in {200, 201}, answer
    return setting.stand_in.taken(name)


ANNOTATED, NAMESPACE, NOBODY = {"/mutate/annotated"}, {"/mutate/namespace"}, set[str]()
TRUE, UPPER, FALSE, OTHER = ({vocabulary.TLS_ACME: text} for text in ("true", "TRUE", "false", "maybe"))
UPPER_FALSE = {vocabulary.TLS_ACME: "False"}
ISSUER, EMPTY = {vocabulary.ISSUER: "pebble"}, {vocabulary.ISSUER: ""}

# old annotations (None: create), new annotations, who is asked in a plain namespace and in an enabled one
CASES: list[tuple[str, Json | None, Json, set[str], set[str]]] = [
    ("nothing", None, {}, NOBODY, NAMESPACE),
    ("true", None, TRUE, ANNOTATED, ANNOTATED),
    ("TRUE", None, UPPER, ANNOTATED, ANNOTATED),
    ("false", None, FALSE, NOBODY, NOBODY),
    ("False", None, UPPER_FALSE, NOBODY, NOBODY),
    ("another word", None, OTHER, NOBODY, NAMESPACE),
    ("issuer", None, ISSUER, ANNOTATED, ANNOTATED),
    ("empty issuer", None, EMPTY, NOBODY, NAMESPACE),
    ("issuer and true", None, ISSUER | TRUE, ANNOTATED, ANNOTATED),
    ("issuer and false", None, ISSUER | FALSE, NOBODY, NOBODY),
    ("issuer and another word", None, ISSUER | OTHER, ANNOTATED, ANNOTATED),
    ("nothing stays", {}, {}, NOBODY, NAMESPACE),
    ("true stays", TRUE, TRUE, ANNOTATED, ANNOTATED),
    ("false stays", FALSE, FALSE, NOBODY, NOBODY),
    ("true is added", {}, TRUE, ANNOTATED, ANNOTATED),
    ("true goes", TRUE, {}, ANNOTATED, ANNOTATED),
    ("true to false", TRUE, FALSE, ANNOTATED, ANNOTATED),
    ("false to true", FALSE, TRUE, ANNOTATED, ANNOTATED),
    ("false is added", {}, FALSE, NOBODY, NAMESPACE),
    ("false goes", FALSE, {}, NOBODY, NAMESPACE),
    ("issuer is added", {}, ISSUER, ANNOTATED, ANNOTATED),
    ("issuer goes", ISSUER, {}, ANNOTATED, ANNOTATED),
    ("issuer is switched off", ISSUER, ISSUER | FALSE, ANNOTATED, ANNOTATED),
    ("switched-off issuer goes", ISSUER | FALSE, {}, NOBODY, NAMESPACE),
]


@pytest.mark.parametrize(("old", "new", "plain", "enabled"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_who_is_asked_about_an_ingress(
    admin: Api, setting: Setting, old: Json | None, new: Json, plain: set[str], enabled: set[str]
) -> None:
    assert sent(admin, setting, setting.plain, old, new) == plain
    assert sent(admin, setting, setting.enabled, old, new) == enabled


def test_nobody_is_asked_about_an_ingress_that_is_being_deleted(admin: Api, setting: Setting) -> None:
    for namespace in (setting.plain, setting.enabled):
        body = ingress("leaving", TRUE)
        body["metadata"]["finalizers"] = ["example.test/hold"]
        assert admin.call("POST", path(INGRESSES, namespace), body).status == 201
        where = path(INGRESSES, namespace, "leaving")
        deleted = admin.call("DELETE", where)
        assert "deletionTimestamp" in deleted.json["metadata"], deleted
        setting.stand_in.taken("leaving")
        answer = admin.call("PATCH", where, {"metadata": {"finalizers": None}}, content_type=MERGE_PATCH)
        assert answer.status == 200, answer
        assert setting.stand_in.taken("leaving") == NOBODY


LONG = base64.b64encode(b"x" * 200).decode()
FULL, EMPTIED = {"tls.crt": LONG, "tls.key": LONG}, {"tls.crt": "", "tls.key": LONG}
MANAGED = {vocabulary.MANAGED: "true"}
LOST = {"/mutate/lost"}
SECRET_CASES: list[tuple[str, Json, str, Json | None, set[str]]] = [
    ("managed, deleted", MANAGED, "kubernetes.io/tls", None, LOST),
    ("managed, emptied", MANAGED, "kubernetes.io/tls", EMPTIED, LOST),
    ("managed, written", MANAGED, "kubernetes.io/tls", FULL, NOBODY),
    ("another type, deleted", MANAGED, "Opaque", None, NOBODY),
    ("another type, emptied", MANAGED, "Opaque", {}, NOBODY),
    ("not managed, deleted", {}, "kubernetes.io/tls", None, NOBODY),
    ("not managed, emptied", {}, "kubernetes.io/tls", EMPTIED, NOBODY),
]


def tls_secret(name: str, labels: Json, kind: str, data: Json) -> Json:
    return {"metadata": {"name": name, "labels": labels}, "type": kind, "data": data}


@pytest.mark.parametrize(
    ("labels", "kind", "after", "asked"), [c[1:] for c in SECRET_CASES], ids=[c[0] for c in SECRET_CASES]
)
def test_who_is_asked_about_a_secret(
    admin: Api, setting: Setting, labels: Json, kind: str, after: Json | None, asked: set[str]
) -> None:
    name = f"case-{next(setting.names)}"
    where = path(SECRETS, setting.plain, name)
    made = admin.call("POST", path(SECRETS, setting.plain), tls_secret(name, labels, kind, FULL))
    assert made.status == 201, made
    setting.stand_in.taken(name)
    body = None if after is None else tls_secret(name, labels, kind, after)
    verb = "DELETE" if after is None else "PUT"
    assert admin.call(verb, where, body, dryRun="All").status == 200
    assert setting.stand_in.taken(name) == NOBODY
    answer = admin.call(verb, where, body)
    assert answer.status == 200, answer
    assert setting.stand_in.taken(name) == asked


@pytest.mark.parametrize(
    "user",
    [
        "system:serviceaccount:kube-system:namespace-controller",
        "system:serviceaccount:kube-system:generic-garbage-collector",
        "system:kube-controller-manager",
        f"system:serviceaccount:{vocabulary.NAMESPACE}:sweep",
    ],
)
def test_nobody_is_asked_about_a_secret_that_is_cleared_away(admin: Api, setting: Setting, user: str) -> None:
    name = f"case-{next(setting.names)}"
    labels = MANAGED | {vocabulary.STATE: "placeholder"}
    body = tls_secret(name, labels, "kubernetes.io/tls", FULL)
    assert admin.call("POST", path(SECRETS, setting.plain), body).status == 201
    setting.stand_in.taken(name)
    with closing(admin.acting_as(user)) as acting:
        answer = acting.call("DELETE", path(SECRETS, setting.plain, name))
    assert answer.status in {200, 403}, answer  # 403: roles and policies, which come before and after
    assert setting.stand_in.taken(name) == NOBODY
