"""Deleting Secrets: only the sweep, only placeholders of its own, and no answer tells what another holds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from issuer_job import vocabulary
from tests.e2e.api import SECRETS, Api, Json, path
from tests.e2e.attacks import SENTINEL, UID, assert_verdict, create, encoded, tells, tls_secret

Identity = Callable[[str], Api]

MANAGED, STATE = vocabulary.MANAGED, vocabulary.STATE
PLACEHOLDER = {MANAGED: "true", STATE: "placeholder"}
REFUSED = "certjob-delete: only the sweep, only placeholders"


def secret(namespace: str, labels: dict[str, str], **changes: Any) -> Json:
    pair = {"tls.crt": encoded(SENTINEL), "tls.key": encoded(SENTINEL)}
    metadata = {"name": "target", "namespace": namespace, "labels": labels}
    return tls_secret(namespace, "target", metadata=metadata, **({"data": pair} | changes))


TARGETS: list[tuple[str, dict[str, str], Json]] = [
    ("issued", {MANAGED: "true", STATE: "issued"}, {}),
    ("handed over", {MANAGED: "true"}, {}),
    ("unlabelled", {}, {}),
    ("placeholder, not managed", {STATE: "placeholder"}, {}),
    ("placeholder, managed=false", {MANAGED: "false", STATE: "placeholder"}, {}),
    ("placeholder, managed=True", {MANAGED: "True", STATE: "placeholder"}, {}),
    ("state spelled otherwise", {MANAGED: "true", STATE: "Placeholder"}, {}),
    ("Opaque with the labels", PLACEHOLDER, {"type": "Opaque", "data": {"password": encoded(SENTINEL)}}),
    ("immutable, issued", {MANAGED: "true", STATE: "issued"}, {"immutable": True}),
]


def deletions(stored: Json) -> list[tuple[dict[str, str], Json]]:
    """Query and body of each way to delete it."""
    options = {"apiVersion": "v1", "kind": "DeleteOptions"}
    exact = {key: stored["metadata"][key] for key in ("uid", "resourceVersion")}
    bodies: list[Json] = [
        options,
        options | {"preconditions": exact},
        options | {"preconditions": {"uid": UID}},
        options | {"preconditions": {"resourceVersion": "1"}},
        options | {"propagationPolicy": "Foreground"},
        options | {"propagationPolicy": "Orphan"},
        options | {"gracePeriodSeconds": 0},
    ]
    return [(query, body) for body in bodies for query in ({}, {"dryRun": "All"})]


@pytest.mark.parametrize(("labels", "changes"), [t[1:] for t in TARGETS], ids=[t[0] for t in TARGETS])
def test_the_sweep_cannot_delete_what_is_no_placeholder_of_certjobs(
    admin: Api, identity: Identity, namespace: str, labels: dict[str, str], changes: Json
) -> None:
    stored = create(admin, secret(namespace, labels, **changes))
    where = path(SECRETS, namespace, "target")
    for query, body in deletions(stored):
        answer = identity("sweep").call("DELETE", where, body, **query)
        # 409: the precondition fails before any policy is asked.
        assert answer.status == 409 or REFUSED in answer.message, answer
        assert answer.status in {403, 409}, answer
        assert not tells(answer), answer
    assert_verdict(identity("sweep").call("DELETE", where), REFUSED)
    assert identity("sweep").call("DELETE", path(SECRETS, namespace)).status == 403
    assert admin.call("GET", where).json["data"] == stored["data"]


def test_a_refusal_says_the_same_whatever_the_secret_holds(admin: Api, identity: Identity, namespace: str) -> None:
    """No part of a refusal depends on the data."""
    where = path(SECRETS, namespace, "target")
    answers = []
    for data in (encoded(SENTINEL), ""):
        create(admin, secret(namespace, {}, data={"tls.crt": data, "tls.key": data}))
        answers.append(identity("sweep").call("DELETE", where).text)
        admin.call("DELETE", where)
    assert answers[0] == answers[1]


@pytest.mark.parametrize("service_account", ["webhook", "job", "responder", "default"])
def test_nobody_else_deletes_a_placeholder(
    admin: Api, identity: Identity, namespace: str, service_account: str
) -> None:
    create(admin, secret(namespace, PLACEHOLDER))
    answer = identity(service_account).call("DELETE", path(SECRETS, namespace, "target"))
    assert answer.status == 403
    assert not tells(answer)


def test_the_sweep_deletes_just_the_placeholder_that_it_has_seen(
    admin: Api, identity: Identity, namespace: str
) -> None:
    stored = create(admin, secret(namespace, PLACEHOLDER))
    where = path(SECRETS, namespace, "target")
    seen = {key: stored["metadata"][key] for key in ("uid", "resourceVersion")}
    for wrong in ({"uid": UID}, {"resourceVersion": "1"}):
        answer = identity("sweep").call("DELETE", where, {"preconditions": seen | wrong})
        assert answer.status == 409, answer
        assert not tells(answer)
    assert identity("sweep").call("DELETE", where, {"preconditions": seen}).status == 200
    assert admin.call("GET", where).status == 404
