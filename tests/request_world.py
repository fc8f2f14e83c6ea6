"""Secrets that ask for a certificate, as the webhook and the API server treat them, in a JobWorld."""

from __future__ import annotations

import time
from typing import Any

import jsonpatch

from issuer_job import vocabulary as v
from issuer_job.kube import SECRETS, Json
from issuer_job.launch import Launcher, Outcome
from issuer_job.settings import SettingsCache
from tests.job_world import HOST, JobWorld
from webhook.decide import Decision
from webhook.decide_request import decide
from webhook.review import SECRET, Review

NAME = "web-tls"


def asking(hosts: str = HOST, *, name: str = NAME, data: Any = None, **notes: str) -> Json:
    """A manifest in the namespace shop. Annotations as keywords: `key_algorithm="rsa-2048"`."""
    keys = {f"certjob.io/{key.replace('_', '-')}": value for key, value in notes.items()}
    metadata = {
        "name": name,
        "namespace": "shop",
        "labels": {v.REQUEST: "true", "team": "shop"},
        "annotations": {v.HOSTS: hosts, "example.org/note": "mine", **keys},
    }
    body = {"apiVersion": "v1", "kind": "Secret", "type": v.TLS_SECRET_TYPE, "metadata": metadata}
    return body if data is None else body | {"data": data}


def ask(world: JobWorld, body: Json, *, stored: bool = True) -> list[Outcome]:
    """`kubectl replace` or create of the manifest: admission, and then storage."""
    namespace, name = body["metadata"]["namespace"], body["metadata"]["name"]
    old = world.api.stored(SECRETS, namespace, name)
    if old is not None:
        known = {key: old["metadata"][key] for key in ("uid", "creationTimestamp")}
        body = body | {"metadata": body["metadata"] | known}
    decision = decided(world, body, old)
    assert decision.refused == ""
    settings = SettingsCache(world.cluster)
    launcher = Launcher(world.cluster, settings, clock=world.clock.read)
    outcomes = [
        launcher.launch(entry, namespace=namespace, deadline=time.monotonic() + 30, expect_new=old is None)
        for entry in decision.launch
    ]
    if stored:
        world.api.add(SECRETS, namespace, jsonpatch.apply_patch(body, list(decision.patch)))
    return outcomes


def decided(world: JobWorld, body: Json, old: Json | None) -> Decision:
    """The webhook's decision."""
    review = Review(
        uid="u",
        kind=SECRET,
        operation="CREATE" if old is None else "UPDATE",
        name=body["metadata"]["name"],
        namespace=body["metadata"]["namespace"],
        object=body,
        old_object=old,
    )
    return decide(review, issuers=SettingsCache(world.cluster).issuers(), now=world.clock.read())


def edit(world: JobWorld, *, name: str = NAME, labels: Json | None = None, **notes: str | None) -> None:
    """A change that the webhook missed. None takes an annotation, or a label, away."""
    stored = world.api.stored(SECRETS, "shop", name)
    assert stored is not None
    changes = {f"certjob.io/{key.replace('_', '-')}": value for key, value in notes.items()}
    for kind, wanted in (("labels", labels or {}), ("annotations", changes)):
        for key, value in wanted.items():
            stored["metadata"][kind].pop(key, None)
            if value is not None:
                stored["metadata"][kind][key] = value
    world.api.add(SECRETS, "shop", stored)


def delete(world: JobWorld, name: str = NAME) -> None:
    """The user deletes it."""
    world.api.remove(SECRETS, "shop", name)
