"""Secrets that ask for a certificate, as the webhook and the API server treat them, in a JobWorld."""

from __future__ import annotations

import time
from base64 import b64encode
from dataclasses import replace as changed
from datetime import timedelta
from typing import Any

import jsonpatch
from cryptography import x509
from msgspec.structs import replace

from issuer_job import names
from issuer_job import vocabulary as v
from issuer_job.cluster.api import SECRETS, Json, Response
from issuer_job.launch.configuration import SettingsCache
from issuer_job.launch.launcher import Launcher
from issuer_job.launch.outcome import LaunchOutcome
from issuer_job.record.record import Renewal
from issuer_job.tenant_secrets.access import look_by_version
from tests.fakes.api import Attempt
from tests.worlds.job import HOST, ISSUER, JobWorld
from tests.worlds.reviews import decision_on
from tests.worlds.sweep import write
from webhook.decide_secret import WRITERS, SecretPolicy
from webhook.policy import Decision, untouched
from webhook.review import Review, UserInfo

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


def ask(world: JobWorld, body: Json, *, stored: bool = True) -> list[LaunchOutcome]:
    """`kubectl replace` or create of the manifest: admission, and then storage."""
    namespace, name = body["metadata"]["namespace"], body["metadata"]["name"]
    old = world.api.stored(SECRETS, namespace, name)
    if old is not None:
        known = {key: old["metadata"][key] for key in ("uid", "creationTimestamp")}
        body = body | {"metadata": body["metadata"] | known}
    decision, outcomes = admitted(world, body, old)
    if stored:
        world.api.add(SECRETS, namespace, jsonpatch.apply_patch(body, list(decision.patch)))
    return outcomes


def create_refused(world: JobWorld, body: Json) -> list[LaunchOutcome]:
    """`kubectl create` of what is there already: the API server refuses it only after admission."""
    return admitted(world, body, None)[1]


def admitted(world: JobWorld, body: Json, old: Json | None) -> tuple[Decision, list[LaunchOutcome]]:
    """The webhook's decision and its launches."""
    decision = decided(world, body, old)
    assert decision.refused == ""
    launcher = Launcher(world.cluster, SettingsCache(world.cluster), clock=world.clock.read)
    namespace, deadline = body["metadata"]["namespace"], time.monotonic() + 30
    return decision, [
        launcher.launch(entry, namespace=namespace, deadline=deadline, expect_new=old is None)
        for entry in decision.launch
    ]


def decided(world: JobWorld, body: Json, old: Json | None) -> Decision:
    """The webhook's decision."""
    review = Review(
        uid="u",
        kind=SecretPolicy.kind,
        operation="CREATE" if old is None else "UPDATE",
        name=body["metadata"]["name"],
        namespace=body["metadata"]["namespace"],
        object=body,
        old_object=old,
    )
    issuers = SettingsCache(world.cluster).issuers()
    return decision_on(review, SecretPolicy(), issuers=issuers, now=world.clock.read())


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


def issue_asked(world: JobWorld, body: Json | None = None) -> None:
    """Admission, Job, certificate."""
    ask(world, body or asking())
    assert world.run() is v.ExitCode.DONE


def make_due(world: JobWorld) -> None:
    """The CA suggests to renew it now."""
    record, now, hour = world.record(), world.clock.read(), timedelta(hours=1)
    assert record.issued is not None
    due = Renewal(check_after=now + 24 * hour, at=now - hour, start=now - hour, end=now + hour)
    write(world, replace(record, issued=replace(record.issued, renewal=due, at=now - timedelta(days=60))))


def passwords(world: JobWorld, **keys: str) -> None:
    """The issuer's credentials hold these keys."""
    data = {name.replace("_", "-"): b64encode(value.encode()).decode() for name, value in keys.items()}
    name = names.credentials(ISSUER)
    world.api.add(SECRETS, v.NAMESPACE, {"metadata": {"name": name}, "data": data})


def leaf(world: JobWorld) -> x509.Certificate:
    """The certificate in the Secret."""
    return x509.load_pem_x509_certificates(world.secret()["data"]["tls.crt"])[0]


def metadata(world: JobWorld) -> dict[str, Any]:
    """Of the Secret."""
    found: dict[str, Any] = world.secret()["metadata"]
    return found


def before_1_36(world: JobWorld) -> JobWorld:
    """No policy answers looks; the webhook is sent certjob's own writes to Secrets that ask, which are all here."""

    def admit(attempt: Attempt) -> Json | Response | None:
        new, old = attempt.new, attempt.old
        if new is not None and old is not None and (requested(new) or requested(old)):
            user = UserInfo(next(iter(WRITERS)))
            review = Review(
                uid="u",
                kind=SecretPolicy.kind,
                operation="UPDATE",
                namespace=attempt.namespace,
                dry_run=attempt.dry_run,
                user_info=user,
                object=new,
                old_object=old,
            )
            decision = untouched(review, SecretPolicy())
            assert decision is not None
            attempt = changed(attempt, new=jsonpatch.apply_patch(new, list(decision.patch)))
        return world.policies.secrets(attempt)

    world.looker, world.policies.look = look_by_version, False
    world.api.hooks["secrets"] = admit
    return world


def requested(secret: Json) -> bool:
    """Whether the API server's objectSelector matches."""
    return (secret["metadata"].get("labels") or {}).get(v.REQUEST) == "true"
