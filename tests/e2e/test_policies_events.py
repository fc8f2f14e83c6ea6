"""Events say how certificates fare, in certjob's own name; nothing else is said about anything."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from issuer_job import vocabulary
from issuer_job.record.sources import SourceKind
from tests.e2e.api import Api, Json, path
from tests.e2e.attacks import assert_verdict

EVENTS = "events.events.k8s.io/v1"
CORE_EVENTS = "events"
UID = "11111111-1111-1111-1111-111111111111"
Identity = Callable[[str], Api]
ISSUER = {"apiVersion": "v1", "kind": "ConfigMap", "namespace": vocabulary.NAMESPACE, "name": "pebble", "uid": UID}


def event(about: Json, **changes: Any) -> Json:
    """One as certjob writes it."""
    body = {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": "e2e-policies", "namespace": about["namespace"]},
        "eventTime": "2026-01-01T00:00:00.000000Z",
        "reportingController": vocabulary.CONTROLLER,
        "reportingInstance": "certjob",
        "action": "Issue",
        "reason": "CertificateIssued",
        "type": "Normal",
        "note": "test",
        "regarding": about,
    }
    return body | changes


def about(kind: SourceKind, namespace: str = "default") -> Json:
    return kind.reference(namespace=namespace, name="web", uid=UID)


@pytest.mark.parametrize("service_account", ["job", "sweep"])
@pytest.mark.parametrize("kind", list(SourceKind))
def test_jobs_and_sweep_tell_whoever_asked(identity: Identity, service_account: str, kind: SourceKind) -> None:
    answer = identity(service_account).call("POST", path(EVENTS, "default"), event(about(kind)), dryRun="All")
    assert_verdict(answer, "ok")


def test_operators_are_told_of_an_issuer(identity: Identity) -> None:
    answer = identity("job").call("POST", path(EVENTS, vocabulary.NAMESPACE), event(ISSUER), dryRun="All")
    assert_verdict(answer, "ok")


INGRESS = about(SourceKind.INGRESS)
BAD: list[tuple[str, Json]] = [
    ("another controller's", event(INGRESS, reportingController="kubelet")),
    ("another action", event(INGRESS, action="Killing")),
    ("about a pod", event(INGRESS | {"apiVersion": "v1", "kind": "Pod"})),
    ("about a ConfigMap of a tenant", event(ISSUER | {"namespace": "default"})),
    ("about an Ingress of another version", event(INGRESS | {"apiVersion": "extensions/v1beta1"})),
    ("with something related", event(INGRESS, related=INGRESS | {"kind": "Pod"})),
    ("with an owner", event(INGRESS)),
]
BAD[-1][1]["metadata"]["ownerReferences"] = [{"apiVersion": "v1", "kind": "Node", "name": "n", "uid": UID}]


@pytest.mark.parametrize("service_account", ["job", "sweep"])
@pytest.mark.parametrize("body", [b[1] for b in BAD], ids=[b[0] for b in BAD])
def test_no_other_event_is_written(identity: Identity, service_account: str, body: Json) -> None:
    answer = identity(service_account).call("POST", path(EVENTS, "default"), body, dryRun="All")
    assert_verdict(answer, "certjob-event")


def test_in_certjobs_namespace_only_of_issuers(identity: Identity) -> None:
    body = event(about(SourceKind.SECRET, vocabulary.NAMESPACE))
    answer = identity("job").call("POST", path(EVENTS, vocabulary.NAMESPACE), body, dryRun="All")
    assert_verdict(answer, "certjob-event")


@pytest.mark.parametrize("service_account", ["webhook", "responder"])
def test_others_write_none(identity: Identity, service_account: str) -> None:
    answer = identity(service_account).call("POST", path(EVENTS, "default"), event(INGRESS), dryRun="All")
    assert answer.status == 403, answer


@pytest.fixture
def stored_event(admin: Api) -> Iterator[Json]:
    answer = admin.call("POST", path(EVENTS, "default"), event(INGRESS))
    assert answer.status == 201, answer
    yield answer.json
    admin.call("DELETE", path(EVENTS, "default", "e2e-policies"))


@pytest.mark.parametrize("service_account", ["job", "sweep"])
def test_none_is_changed_or_deleted(identity: Identity, stored_event: Json, service_account: str) -> None:
    api, where = identity(service_account), path(EVENTS, "default", "e2e-policies")
    changed = copy.deepcopy(stored_event) | {"note": "something else"}
    assert api.call("PUT", where, changed).status == 403
    assert api.call("DELETE", where).status == 403
    assert api.call("DELETE", path(CORE_EVENTS, "default", "e2e-policies")).status == 403
