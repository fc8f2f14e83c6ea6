"""Challenge routes: one exact host's challenge path to the responder, and no other Ingress."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from issuer_job import names, vocabulary
from tests.e2e.api import CONFIGMAPS, INGRESSES, JSON_PATCH, MERGE_PATCH, Api, Json, path, wait_for
from tests.e2e.attacks import assert_verdict

CERTJOB = vocabulary.NAMESPACE
Identity = Callable[[str], Api]
Change = Callable[[Json], Any]

UID = "11111111-1111-1111-1111-111111111111"
OWNER = {"apiVersion": "v1", "kind": "ConfigMap", "name": "tenant.web", "uid": UID}
EPOCH = 1700000000


def route(host: str = "www.example.org") -> Json:
    """A challenge route as certjob makes it."""
    service = {"name": vocabulary.RESPONDER_SERVICE, "port": {"name": vocabulary.RESPONDER_PORT_NAME}}
    challenge = {"path": vocabulary.CHALLENGE_PATH, "pathType": "Prefix", "backend": {"service": service}}
    epoch = {vocabulary.EPOCH_PREFIX + UID: str(EPOCH)}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {
            "name": names.route("e2e-policies", host),
            "labels": {"certjob.io/route": "true", "app.kubernetes.io/managed-by": "certjob"},
            "annotations": vocabulary.ROUTE_ANNOTATIONS | epoch,
            "ownerReferences": [dict(OWNER)],
        },
        "spec": {"ingressClassName": "e2e-none", "rules": [{"host": host, "http": {"paths": [challenge]}}]},
    }


def rule(body: Json) -> Json:
    found: Json = body["spec"]["rules"][0]
    return found


def route_path(body: Json) -> Json:
    found: Json = rule(body)["http"]["paths"][0]
    return found


def annotate(key: str, value: str) -> Change:
    return lambda body: body["metadata"]["annotations"].update({key: value})


OTHER_OWNER = {"apiVersion": "v1", "kind": "Node", "name": "node", "uid": UID}
REFUSED_ROUTES: list[tuple[str, Change]] = [
    ("wildcard host", lambda b: rule(b).update(host="*.example.org")),
    ("no host", lambda b: rule(b).pop("host")),
    ("single label", lambda b: rule(b).update(host="localhost")),
    ("another path", lambda b: route_path(b).update(path="/")),
    ("longer path", lambda b: route_path(b).update(path="/.well-known/acme-challenge/x")),
    ("regular expression", lambda b: route_path(b).update(pathType="ImplementationSpecific")),
    ("another Service", lambda b: route_path(b)["backend"]["service"].update(name="certjob-webhook")),
    ("another port", lambda b: route_path(b)["backend"]["service"].update(port={"number": 8081})),
    ("a resource", lambda b: route_path(b).update(backend={"resource": {"kind": "Bucket", "name": "x"}})),
    ("second path", lambda b: rule(b)["http"]["paths"].append(route_path(b) | {"path": "/x"})),
    ("second rule", lambda b: b["spec"]["rules"].append(rule(b) | {"host": "a.example.org"})),
    ("rule without paths", lambda b: rule(b).pop("http")),
    ("no rules", lambda b: (b["spec"].pop("rules"), b["spec"].update(defaultBackend={"service": {
        "name": "certjob-responder", "port": {"name": "http"}}}))),
    ("default backend", lambda b: b["spec"].update(defaultBackend=route_path(b)["backend"])),
    ("tls", lambda b: b["spec"].update(tls=[{"hosts": ["www.example.org"], "secretName": "x"}])),
    ("snippet", annotate("nginx.ingress.kubernetes.io/configuration-snippet", "return 200;")),
    ("fixed annotation with another value", annotate("haproxy.org/ssl-redirect", "true")),
    ("opted in", annotate("kubernetes.io/tls-acme", "true")),
    ("label of others", lambda b: b["metadata"]["labels"].update({"example.org/x": "y"})),
    ("not labelled", lambda b: b["metadata"]["labels"].pop("certjob.io/route")),
    ("no owner", lambda b: b["metadata"].pop("ownerReferences")),
    ("51 owners", lambda b: b["metadata"].update(ownerReferences=[
        OWNER | {"uid": f"11111111-1111-1111-1111-1111111111{n:02}"} for n in range(51)])),
    ("another kind of owner", lambda b: b["metadata"].update(ownerReferences=[OTHER_OWNER])),
    ("blocking owner", lambda b: b["metadata"]["ownerReferences"][0].update(blockOwnerDeletion=True)),
    ("controlling owner", lambda b: b["metadata"]["ownerReferences"][0].update(controller=True)),
    ("finalizer", lambda b: b["metadata"].update(finalizers=["example.test/hold"])),
    ("another name", lambda b: b["metadata"].update(name="shop")),
    ("generateName", lambda b: b["metadata"].update(generateName="route-", name="")),
]  # fmt: skip
ALLOWED_ROUTES: list[tuple[str, Change]] = [
    ("as it is", lambda b: None),
    ("without class", lambda b: b["spec"].pop("ingressClassName")),
    ("with the old annotation", lambda b: (b["spec"].pop("ingressClassName"),
                                           annotate("kubernetes.io/ingress.class", "any")(b))),
    ("50 owners", lambda b: b["metadata"].update(ownerReferences=[
        OWNER | {"uid": f"11111111-1111-1111-1111-1111111111{n:02}"} for n in range(50)])),
]  # fmt: skip


@pytest.mark.parametrize("service_account", ["webhook", "job", "sweep"])
@pytest.mark.parametrize("change", [c[1] for c in ALLOWED_ROUTES], ids=[c[0] for c in ALLOWED_ROUTES])
def test_a_challenge_route_is_allowed(identity: Identity, change: Change, service_account: str) -> None:
    body = route()
    change(body)
    assert_verdict(identity(service_account).call("POST", path(INGRESSES, CERTJOB), body, dryRun="All"), "ok")


@pytest.mark.parametrize("service_account", ["webhook", "job"])
@pytest.mark.parametrize("change", [c[1] for c in REFUSED_ROUTES], ids=[c[0] for c in REFUSED_ROUTES])
def test_any_other_ingress_is_refused(identity: Identity, change: Change, service_account: str) -> None:
    body = route()
    change(body)
    answer = identity(service_account).call("POST", path(INGRESSES, CERTJOB), body, dryRun="All")
    assert_verdict(answer, "certjob-route")


def test_no_ingress_elsewhere_and_none_by_others(identity: Identity) -> None:
    for service_account in ("webhook", "job", "sweep"):
        answer = identity(service_account).call("POST", path(INGRESSES, "default"), route(), dryRun="All")
        assert answer.status == 403
    assert identity("responder").call("POST", path(INGRESSES, CERTJOB), route(), dryRun="All").status == 403


def test_jobs_and_sweep_join_a_route_and_release_it(admin: Api, identity: Identity) -> None:
    body = route("join.e2e-policies.test")
    collection, where = path(INGRESSES, CERTJOB), path(INGRESSES, CERTJOB, body["metadata"]["name"])
    # Owners that are missing are the garbage collector's, so the owner is one that exists.
    uid = admin.call("GET", path(CONFIGMAPS, CERTJOB, "kube-root-ca.crt")).json["metadata"]["uid"]
    body["metadata"]["ownerReferences"] = [OWNER | {"name": "kube-root-ca.crt", "uid": uid}]
    stored = identity("webhook").call("POST", collection, body).json
    stored["metadata"]["annotations"]["epoch.certjob.io/0123456789"] = "2"
    try:
        assert identity("webhook").call("PUT", where, stored).status == 403
        joined = identity("job").call("PUT", where, stored)
        assert_verdict(joined, "ok")
        assert identity("sweep").call("PUT", where, stored).status == 409
        taken = joined.json
        rule(taken)["host"] = "*.example.org"
        assert_verdict(identity("job").call("PUT", where, taken), "certjob-route")
        unlabelled = {"metadata": {"labels": {"certjob.io/route": None}}}
        assert admin.call("PATCH", where, unlabelled, content_type=MERGE_PATCH).status == 200
        body["metadata"]["ownerReferences"] = [dict(OWNER)]
        assert_verdict(identity("job").call("PUT", where, body, dryRun="All"), "certjob-route: who and where")
        assert_verdict(identity("job").call("DELETE", where), "ok")
    finally:
        admin.call("DELETE", where)


def test_what_others_annotate_is_in_nobodys_way_and_nobodys_to_change(admin: Api, identity: Identity) -> None:
    """As Rancher does with every Ingress."""
    body, endpoints = route("rancher.e2e-policies.test"), "field.cattle.io/publicEndpoints"
    where = path(INGRESSES, CERTJOB, body["metadata"]["name"])
    uid = admin.call("GET", path(CONFIGMAPS, CERTJOB, "kube-root-ca.crt")).json["metadata"]["uid"]
    body["metadata"]["ownerReferences"] = [OWNER | {"name": "kube-root-ca.crt", "uid": uid}]
    assert_verdict(identity("webhook").call("POST", path(INGRESSES, CERTJOB), body), "ok")
    try:
        seen = {"metadata": {"annotations": {endpoints: "[]"}}}
        stored = admin.call("PATCH", where, seen, content_type=MERGE_PATCH).json
        stored["metadata"]["annotations"]["epoch.certjob.io/0123456789"] = "2"
        for service_account in ("job", "sweep"):
            assert_verdict(identity(service_account).call("PUT", where, stored, dryRun="All"), "ok")
        for key, value in (endpoints, "[1]"), ("field.cattle.io/other", "[]"):
            changed = stored | {
                "metadata": stored["metadata"] | {"annotations": stored["metadata"]["annotations"] | {key: value}}
            }
            assert_verdict(identity("job").call("PUT", where, changed, dryRun="All"), "certjob-route: annotation")
        assert_verdict(identity("sweep").call("DELETE", where), "ok")
    finally:
        admin.call("DELETE", where)


def test_the_operator_may_allow_more_annotations_and_path_types(admin: Api, identity: Identity) -> None:
    where = path(CONFIGMAPS, CERTJOB, "certjob-route-policy")
    before = admin.call("GET", where).json.get("data")
    more, other = route(), route()
    annotate("example.org/redirect", "off")(more)
    route_path(more).update(pathType="ImplementationSpecific")
    annotate("example.org/redirect", "on")(other)

    def send(body: Json) -> int:
        return identity("job").call("POST", path(INGRESSES, CERTJOB), body, dryRun="All").status

    def set_data(data: Json | None) -> None:
        patch = [{"op": "add", "path": "/data", "value": data or {}}]
        assert admin.call("PATCH", where, [*patch], content_type=JSON_PATCH).status == 200

    assert send(more) == 403
    set_data({"annotations": "a.test/b=c\nexample.org/redirect=off", "pathTypes": "ImplementationSpecific"})
    try:
        wait_for(lambda: send(more) == 201, what="the policy has the operator's annotations")
        assert send(other) == 403
        assert send(route()) == 201
    finally:
        set_data(before)
    wait_for(lambda: send(more) == 403, what="the policy has the operator's annotations no more")
