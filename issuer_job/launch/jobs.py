"""The Jobs that attempts and checks run in: stamped from the PodTemplate, and which of them have finished."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

from issuer_job import names
from issuer_job import vocabulary as v
from issuer_job.cluster.api import Json
from issuer_job.record.record import Record

DEFAULT_TTL = 600
BACKOFF_LIMIT = 3
FINISHED = frozenset({"Complete", "SuccessCriteriaMet", "Failed", "FailureTarget"})
"""Conditions of a Job that is over, or whose pods are just being ended."""


def issue_job_body(record: Record, template: Json, *, account_number: int, directory: str) -> Json:
    """The Job of the record's current attempt, stamped from the PodTemplate; only its Secret volumes differ."""
    labels = _labels(record.issuer, record.uid, record.epoch)
    labels |= {v.RECORD_NAMESPACE: record.namespace, v.SECRET: names.label(record.secret_name)}
    secrets = {
        "account": names.account(record.issuer, directory, account_number),
        "pending": record.pending_name,
        "credentials": names.credentials(record.issuer),
    }
    return _stamped(template, name=record.job_name, labels=labels, about=record.name, secrets=secrets)


def check_job_body(config_map: Json, template: Json, *, account_number: int, directory: str, epoch: int) -> Json:
    """The Job that tests an issuer, by its ConfigMap. Its record is the issuer's bare name: others' have a dot."""
    issuer = config_map["metadata"]["name"]
    labels = _labels(issuer, config_map["metadata"]["uid"], epoch)
    secrets = {
        "account": names.account(issuer, directory, account_number),
        "next": names.account(issuer, directory, account_number + 1),
        "credentials": names.credentials(issuer),
    }
    return _stamped(template, name=names.check_job(issuer, epoch), labels=labels, about=issuer, secrets=secrets)


def is_finished(job: Json) -> bool:
    """Whether a Job is over, or about to be."""
    conditions: Iterator[Json] = iter((job.get("status") or {}).get("conditions") or [])
    return any(c.get("type") in FINISHED and c.get("status") == "True" for c in conditions)


def _labels(issuer: str, uid: str, epoch: int) -> dict[str, str]:
    labels = {v.APP_NAME: "certjob", v.APP_COMPONENT: "issue", v.ISSUER: issuer}
    return labels | {v.RECORD_UID: uid, v.EPOCH: str(epoch)}


def _stamped(template: Json, *, name: str, labels: dict[str, str], about: str, secrets: dict[str, str]) -> Json:
    pod_spec: dict[str, Any] = deepcopy(template["template"]["spec"])
    for volume in pod_spec.get("volumes", []):
        if volume["name"] in secrets:
            volume["secret"]["secretName"] = secrets[volume["name"]]
    ttl = (template["metadata"].get("annotations") or {}).get(v.TTL_AFTER_FINISHED, "")
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": v.NAMESPACE, "labels": labels, "annotations": {v.RECORD: about}},
        "spec": {
            "backoffLimit": BACKOFF_LIMIT,
            "ttlSecondsAfterFinished": names.number(ttl, default=DEFAULT_TTL),
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": {"rules": _pod_failure_rules()},
            "template": {"metadata": {"labels": labels, "annotations": {v.RECORD: about}}, "spec": pod_spec},
        },
    }


def _pod_failure_rules() -> list[Json]:
    def ended_with(*codes: v.ExitCode) -> Json:
        return {"containerName": "issue", "operator": "In", "values": [int(code) for code in codes]}

    fail = ended_with(v.ExitCode.PERMANENT, v.ExitCode.LATER, v.ExitCode.SUPERSEDED)
    return [
        {"action": "FailJob", "onExitCodes": fail},
        {"action": "Ignore", "onExitCodes": ended_with(v.ExitCode.OTHER_POD)},
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
    ]
