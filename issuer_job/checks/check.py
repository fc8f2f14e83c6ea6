"""An issuer's own Job: tests the issuer, and does with its account and its credentials what no order does.

That is: takes over the account key of an earlier installation, gives the account a new key, corrects its addresses,
revokes certificates, and removes TXT records that were left in DNS. The outcome is in the issuer's state, in an Event
on its ConfigMap and in the log.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime

import msgspec
from msgspec.structs import replace

from issuer_job import vocabulary as v
from issuer_job.attempt import events
from issuer_job.attempt.attempt import Attempt, Later, Stop, Superseded
from issuer_job.attempt.findings import CheckReason, Finding, MountedIssuer, finding_line
from issuer_job.checks.leftovers import clear, is_clearing, only_clear
from issuer_job.checks.questions import QUESTIONS
from issuer_job.cluster.api import CONFIGMAPS, ApiError, Json, KubeError
from issuer_job.issue.obtaining.registry import obtaining_of
from issuer_job.issuers.load import IssuerError, is_issuer, issuer_version, parse_issuer
from issuer_job.issuers.state import (
    CHECK_FINDINGS,
    CHECK_RESULT,
    CHECKED_AT,
    CHECKED_EPOCH,
    CHECKED_FOR,
    CHECKED_VERSION,
    CREDENTIALS_SINCE,
    LAUNCHED_FOR,
    NOT_READY,
    READY,
    STOPPED,
    STOPPED_EPOCH,
    IssuerState,
    note_in_state,
)
from issuer_job.issuers.types import directory_of
from issuer_job.tenant_secrets.refused import refused_problem

MAX_FINDINGS = 20
MAX_MESSAGE = 1000


def check_issuer(attempt: Attempt) -> v.ExitCode:
    """Test the issuer that the pod names; PERMANENT if it is not ready. Raises KubeError."""
    try:
        config_map = _config_map(attempt)
        attempt.require_policies()
        return _checked(attempt, config_map)
    except ApiError as error:
        refused = refused_problem(error, step="write")
        if refused is None:
            raise
        return _tell(attempt, config_map, "", [Finding(reason=CheckReason.REFUSED, message=refused.detail)])
    except Stop as stop:
        attempt.step("stopped", reason=str(stop), exit_code=int(stop.exit_code))
        if isinstance(stop, Later):
            attempt.tally.problem = stop.problem.type
            _note_stop(attempt, config_map, stop)
        return stop.exit_code


def _note_stop(attempt: Attempt, config_map: Json, stop: Later) -> None:
    """For whoever waits for the Job; what the last test found stays."""
    why = {STOPPED: stop.problem.note[:MAX_MESSAGE], STOPPED_EPOCH: str(attempt.pod.epoch)}
    with suppress(IssuerError, KubeError):
        note_in_state(attempt.cluster, config_map["metadata"]["name"], directory_of(parse_issuer(config_map)), why)


def _config_map(attempt: Attempt) -> Json:
    found = attempt.cluster.find(CONFIGMAPS, v.NAMESPACE, attempt.pod.record)
    if found is None or not is_issuer(found) or found["metadata"]["uid"] != attempt.pod.record_uid:
        raise Superseded("the issuer is gone")
    return found


def _checked(attempt: Attempt, config_map: Json) -> v.ExitCode:
    name = config_map["metadata"]["name"]
    attempt.issuer_version = issuer_version(config_map)
    try:
        issuer = parse_issuer(config_map)
    except IssuerError as problem:
        findings = [Finding(reason=CheckReason.BROKEN, message=str(problem).removeprefix(f"issuer {name}: "))]
        return _tell(attempt, config_map, "", findings)
    mounted = MountedIssuer(attempt, name, issuer, config_map["metadata"].get("annotations") or {})
    if is_clearing(mounted):
        return only_clear(mounted)
    findings = [finding for question in QUESTIONS for finding in question(mounted)]
    try:
        findings += obtaining_of(issuer).examine(mounted)
    except Later:  # another Job has to, with another account key for instance
        note_in_state(attempt.cluster, name, directory_of(issuer), {LAUNCHED_FOR: ""})
        raise
    code = _tell(attempt, config_map, directory_of(issuer), findings)
    clear(mounted)
    return code


def _tell(attempt: Attempt, config_map: Json, directory: str, findings: list[Finding]) -> v.ExitCode:
    findings = sorted(findings, key=lambda finding: finding.warning)[:MAX_FINDINGS]  # no warning hides a fault
    findings = [replace(finding, message=finding.message[:MAX_MESSAGE]) for finding in findings]
    ready = all(finding.warning for finding in findings)
    attempt.tally.problem = "" if ready else findings[0].reason
    metadata, version = config_map["metadata"], attempt.issuer_version
    for finding in findings:
        attempt.step("finding", issuer=metadata["name"], **msgspec.to_builtins(finding))
    told = msgspec.json.encode(findings).decode()
    asked = (metadata.get("annotations") or {}).get(v.CHECK, "")
    result = {
        CHECKED_VERSION: version,
        CHECKED_AT: attempt.clock().isoformat(timespec="seconds"),
        CHECKED_EPOCH: str(attempt.pod.epoch),
        CHECKED_FOR: asked,
        CHECK_RESULT: READY if ready else NOT_READY,
        CHECK_FINDINGS: told,
    }
    note_in_state(attempt.cluster, metadata["name"], directory, result)
    note = "; ".join(map(finding_line, findings)) or "everything that can be tested without an order"
    about = {"apiVersion": "v1", "kind": "ConfigMap"} | {key: metadata[key] for key in ("namespace", "name", "uid")}
    unique, word = (metadata["uid"], version, asked, told), "IssuerReady" if ready else "IssuerNotReady"
    news = events.News(word, note, attempt.clock(), unique, warning=not ready)
    events.tell_one(attempt.cluster, about, news)
    attempt.step("checked", issuer=metadata["name"], result=result[CHECK_RESULT], findings=len(findings))
    return v.ExitCode.DONE if ready else v.ExitCode.PERMANENT


def ready_since(state: IssuerState) -> datetime | None:
    """When the last test found the issuer ready, or a Job found other credentials; None if neither was."""
    tested = state.moment(CHECKED_AT) if state.data.get(CHECK_RESULT) == READY else None
    return max(filter(None, (tested, state.moment(CREDENTIALS_SINCE))), default=None)
