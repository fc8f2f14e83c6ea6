"""Builders of the Kubernetes objects that certjob writes. Pure: they return plain dicts."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from copy import deepcopy
from datetime import datetime
from typing import Any

from issuer_job import names
from issuer_job import vocabulary as v
from issuer_job.cluster.api import Json
from issuer_job.issuers.schema import Issuer
from issuer_job.record.record import IngressClass, Problem, Record

DEFAULT_TTL = 600
_NOTHING: Mapping[str, bytes] = {}
_API_VERSIONS = {"Ingress": "networking.k8s.io/v1"}
"""Of what an Event is about; the others are of the core API."""
BACKOFF_LIMIT = 3


def tls_secret(
    *,
    namespace: str,
    name: str,
    state: v.SecretState,
    cert_chain_pem: bytes,
    key_pem: bytes,
    hosts: tuple[str, ...],
    issuer: str,
    not_after: datetime,
    uid: str = "",
    resource_version: str = "",
    further: Mapping[str, bytes] = _NOTHING,
    owners: Json | None = None,
) -> Json:
    """A managed Secret. With uid and resourceVersion it replaces just the object that was looked at.

    `further` are the formats that it has besides. `owners` is the metadata of a Secret that its owner makes: what is
    asked for is written there, in the same words in which certjob tells what is issued elsewhere, and stays.
    """
    labels = {v.MANAGED: "true", v.STATE: str(state)}
    notes = {v.NOT_AFTER: f"{not_after:%Y-%m-%dT%H:%M:%SZ}"}
    if owners is None:
        labels |= {v.MANAGED_BY: "certjob"}
        notes |= {v.HOSTS: ",".join(hosts), v.ISSUER: issuer}
    else:
        labels = _certjobs(owners.get("labels")) | labels
        notes = _certjobs(owners.get("annotations")) | notes
    metadata: Json = {"name": name, "namespace": namespace, "labels": labels, "annotations": notes}
    if resource_version:
        metadata |= {"uid": uid, "resourceVersion": resource_version}
    return _secret(metadata, v.TLS_SECRET_TYPE, {"tls.crt": cert_chain_pem, "tls.key": key_pem, **further})


def look_secret(namespace: str, name: str, *, asking: bool = False) -> Json:
    """The body of a look: sent with dryRun, answered with the stored data if the Secret is managed.

    With `asking` the webhook is sent it, although the stored Secret may have lost the label.
    """
    metadata = {
        "name": name,
        "namespace": namespace,
        "labels": {v.MANAGED: "true"} | ({v.REQUEST: "true"} if asking else {}),
        "annotations": {v.LOOK: "true"},
    }
    return _secret(metadata, v.TLS_SECRET_TYPE, {"tls.crt": b"", "tls.key": b""})


def canary_secret() -> Json:
    """What certjob must never be able to write: the policies have to refuse it (sent with dryRun)."""
    return _secret({"name": "certjob-canary", "namespace": v.CANARY_NAMESPACE}, "Opaque", {})


def account_secret(issuer: str, server: str, number: int, key_pem: bytes) -> Json:
    """An issuer's account key: made once, never changed. Its number lies beside it: a mount shows no name."""
    metadata = {
        "name": names.account(issuer, server, number),
        "namespace": v.NAMESPACE,
        "labels": {v.ACCOUNT: "true", v.MANAGED_BY: "certjob"},
    }
    data = {v.ACCOUNT_KEY: key_pem, v.ACCOUNT_NUMBER: str(number).encode()}
    return _secret(metadata, "Opaque", data) | {"immutable": True}


def pending_secret(record: Record, key_pem: bytes, *, name: str) -> Json:
    """The key of an attempt's order, kept until the certificate is installed."""
    metadata = {
        "name": name,
        "namespace": v.NAMESPACE,
        "labels": {v.PENDING: "true", v.RECORD_HASH: record.hash, v.MANAGED_BY: "certjob"},
        "ownerReferences": [record.owner_reference],
    }
    return _secret(metadata, "Opaque", {v.PENDING_KEY: key_pem}) | {"immutable": True}


def own_tls_secret(name: str, *, cert_chain_pem: bytes, key_pem: bytes) -> Json:
    """A certificate of certjob's own, in its own namespace."""
    metadata = {"name": name, "namespace": v.NAMESPACE, "labels": {v.MANAGED_BY: "certjob"}}
    return _secret(metadata, v.TLS_SECRET_TYPE, {"tls.crt": cert_chain_pem, "tls.key": key_pem})


def claim(host: str, namespace: str, *, checked: datetime | None = None) -> Json:
    """Says that a host belongs to a namespace, and since when that is `checked`.

    Created atomically: the first one holds it.
    """
    labels = {v.CLAIM: "true", v.CLAIM_PARENT: names.claim_parent(host)}
    body = _config_map(names.claim(host), labels, {"host": host, "namespace": namespace})
    if checked is not None:
        body["metadata"]["annotations"] = {v.CHECKED: checked.isoformat(timespec="seconds")}
    return body


def challenge(record: Record, key_authorizations: dict[str, str]) -> Json:
    """What the responder answers for one attempt: token -> key authorization (RFC 8555, section 8.3)."""
    name = names.challenge(record.namespace, record.secret_name, record.epoch)
    labels = {v.CHALLENGE: "true", v.RECORD_HASH: record.hash}
    return _config_map(name, labels, key_authorizations, owner=record)


def route(record: Record, host: str, ingress_class: IngressClass, issuer: Issuer) -> Json:
    """Ingress that leads the challenge path of one host, in the user's class, to the responder."""
    annotations = v.ROUTE_ANNOTATIONS | issuer.route_annotations
    annotations[v.EPOCH_PREFIX + record.hash] = str(record.epoch)
    if ingress_class.annotation is not None:
        annotations[v.INGRESS_CLASS] = ingress_class.annotation
    backend = {"service": {"name": v.RESPONDER_SERVICE, "port": {"name": v.RESPONDER_PORT_NAME}}}
    path = {"path": v.CHALLENGE_PATH, "pathType": str(issuer.path_type), "backend": backend}
    spec: Json = {"rules": [{"host": host, "http": {"paths": [path]}}]}
    if ingress_class.field is not None:
        spec["ingressClassName"] = ingress_class.field
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {
            "name": names.route(ingress_class.identity, host),
            "namespace": v.NAMESPACE,
            "labels": {v.ROUTE: "true", v.MANAGED_BY: "certjob"},
            "annotations": annotations,
            "ownerReferences": [record.owner_reference],
        },
        "spec": spec,
    }


def job(record: Record, template: Json, *, account_number: int, server: str) -> Json:
    """The Job of the record's current attempt, stamped from the PodTemplate; only its Secret volumes differ."""
    epoch = record.epoch
    issuer = record.issuer
    labels = {
        v.APP_NAME: "certjob",
        v.APP_COMPONENT: "issue",
        v.ISSUER: issuer,
        v.RECORD_UID: record.uid,
        v.RECORD_HASH: record.hash,
        v.EPOCH: str(epoch),
        v.RECORD_NAMESPACE: record.namespace,
    }
    inherited = record.attempt.pending_key if record.attempt else ""
    secrets = {
        "account": names.account(issuer, server, account_number),
        "pending": inherited or names.pending_key(record.namespace, record.secret_name, epoch),
        "credentials": names.credentials(issuer),
    }
    name = names.job(record.namespace, record.secret_name, epoch)
    return _stamped(template, name=name, labels=labels, about=record.name, secrets=secrets)


def check_job(config_map: Json, template: Json, *, account_number: int, directory: str, epoch: int) -> Json:
    """The Job that tests an issuer, by its ConfigMap. Its record is the issuer's bare name: others' have a dot."""
    issuer = config_map["metadata"]["name"]
    labels = {
        v.APP_NAME: "certjob",
        v.APP_COMPONENT: "issue",
        v.ISSUER: issuer,
        v.RECORD_UID: config_map["metadata"]["uid"],
        v.EPOCH: str(epoch),
    }
    secrets = {
        "account": names.account(issuer, directory, account_number),
        "next": names.account(issuer, directory, account_number + 1),
        "credentials": names.credentials(issuer),
    }
    return _stamped(template, name=names.check_job(issuer, epoch), labels=labels, about=issuer, secrets=secrets)


def _stamped(template: Json, *, name: str, labels: dict[str, str], about: str, secrets: dict[str, str]) -> Json:
    pod_spec: dict[str, Any] = deepcopy(template["template"]["spec"])
    for volume in pod_spec.get("volumes", []):
        if volume["name"] in secrets:
            volume["secret"]["secretName"] = secrets[volume["name"]]
    ttl = (template["metadata"].get("annotations") or {}).get(v.TTL_AFTER_FINISHED, "")
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": name,
            "namespace": v.NAMESPACE,
            "labels": labels,
            "annotations": {v.RECORD: about},
        },
        "spec": {
            "backoffLimit": BACKOFF_LIMIT,
            "ttlSecondsAfterFinished": int(ttl) if ttl.isdigit() else DEFAULT_TTL,
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": {"rules": _pod_failure_rules()},
            "template": {"metadata": {"labels": labels, "annotations": {v.RECORD: about}}, "spec": pod_spec},
        },
    }


def event(about: Json, *, reason: str, note: str, warning: bool, now: datetime, unique: tuple[str, ...]) -> Json:
    """An Event on a user's Ingress, or on what `about` says of its kind. `unique` names the occasion: writing the
    same one twice is a 409.
    """
    metadata, kind = about["metadata"], about.get("kind", "Ingress")
    time = f"{now:%Y-%m-%dT%H:%M:%S.%fZ}"
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": names.event(metadata["name"], reason, *unique), "namespace": metadata["namespace"]},
        "eventTime": time,
        "reportingController": v.CONTROLLER,
        "reportingInstance": "certjob",
        "action": "Issue",
        "reason": reason,
        "type": "Warning" if warning else "Normal",
        "note": note[:1000],
        "regarding": {
            "apiVersion": _API_VERSIONS.get(kind, "v1"),
            "kind": kind,
            "namespace": metadata["namespace"],
            "name": metadata["name"],
            "uid": metadata.get("uid", ""),
        },
    }


def issuer_state(issuer: str, server: str, data: dict[str, str]) -> Json:
    """What is known of an issuer's account at one directory."""
    return _config_map(names.issuer_state(issuer, server), {v.ISSUER_STATE: "true"}, data)


def problem_note(problem: Problem) -> str:
    """One line for people: what went wrong, with the host it is about."""
    about = f"{problem.host}: " if problem.host else ""
    return f"{about}{problem.detail} ({problem.type})"


def _pod_failure_rules() -> list[Json]:
    fail = [int(v.ExitCode.PERMANENT), int(v.ExitCode.LATER), int(v.ExitCode.SUPERSEDED)]
    return [
        {"action": "FailJob", "onExitCodes": {"containerName": "issue", "operator": "In", "values": fail}},
        {
            "action": "Ignore",
            "onExitCodes": {"containerName": "issue", "operator": "In", "values": [int(v.ExitCode.OTHER_POD)]},
        },
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
    ]


def _certjobs(owners: Mapping[str, str] | None) -> dict[str, str]:
    """certjob's own labels or annotations; those of others are kept by the API server's policy."""
    return {key: x for key, x in (owners or {}).items() if key.startswith(v.PREFIX) and key != v.LOOK}


def _secret(metadata: Json, kind: str, data: dict[str, bytes]) -> Json:
    encoded = {key: b64encode(value).decode() for key, value in data.items()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": kind, "data": encoded}


def _config_map(name: str, labels: dict[str, str], data: dict[str, str], owner: Record | None = None) -> Json:
    metadata: Json = {"name": name, "namespace": v.NAMESPACE, "labels": labels | {v.MANAGED_BY: "certjob"}}
    if owner is not None:
        metadata["ownerReferences"] = [owner.owner_reference]
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}
