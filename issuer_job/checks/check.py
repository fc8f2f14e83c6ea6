"""An issuer's own Job: tests the issuer, and does with its account and its credentials what no order does.

That is: takes over the account key of an earlier installation, gives the account a new key, corrects its addresses,
and removes TXT records that were left in DNS. The outcome is in the issuer's state, in an Event on its ConfigMap and
in the log.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec
from msgspec.structs import replace

from issuer_job import names
from issuer_job import vocabulary as v
from issuer_job.account import account
from issuer_job.account.rollover import roll_over_key
from issuer_job.acme_client import AcmeClient, AcmeError, AcmeUnavailable, ExternalAccountRefused
from issuer_job.attempt import events
from issuer_job.attempt.attempt import Attempt, Later, Resolved, Stop, Superseded
from issuer_job.checks.leftovers import clean_dns, is_dns_cleaning, only_clean_dns
from issuer_job.checks.questions import CHECKS, NO_CA, CheckReason, Context, Finding
from issuer_job.cluster.api import CONFIGMAPS, Json
from issuer_job.issuers.load import IssuerError, is_issuer, issuer_version, parse_issuer
from issuer_job.issuers.state import CONTACTS, note_in_state
from issuer_job.issuers.types import directory_of, type_of
from issuer_job.record.record import Problem
from issuer_job.tenant_secrets import access as secrets

CHECKED_VERSION = "checkedVersion"
CHECKED_AT = "checkedAt"
CHECKED_EPOCH = "checkedEpoch"
"""Of the Job that wrote the rest."""
CHECKED_FOR = "checkedFor"
"""The value of the annotation that asks for a check."""
LAUNCHED_FOR = "checkLaunchedFor"
"""Stands for what the last Job was launched to test; empty if it has to be launched again."""
RESULT = "checkResult"
FINDINGS = "checkFindings"
READY, NOT_READY = "ready", "notReady"
MAX_FINDINGS = 20
MAX_MESSAGE = 1000
AGAIN_IN = 3.0
"""Seconds before a CA that did not answer is asked once more."""
_REFUSALS = {
    "invalidContact": (CheckReason.CONTACT, "$.email"),
    "unsupportedContact": (CheckReason.CONTACT, "$.email"),
    "userActionRequired": (CheckReason.TERMS, "$.server"),
    "invalidProfile": (CheckReason.PROFILE, "$.profile"),
}


def check_issuer(attempt: Attempt) -> v.ExitCode:
    """Test the issuer that the pod names; PERMANENT if it is not ready. Raises KubeError."""
    try:
        config_map = _config_map(attempt)
        if not secrets.policies_in_force(attempt.cluster):
            detail = "certjob's admission policies are not in force: apply the manifests again"
            raise Later(Problem(type="policiesNotInForce", detail=detail, step="canary"))
        return _checked(attempt, config_map)
    except Stop as stop:
        attempt.step("stopped", reason=str(stop), exit_code=int(stop.exit_code))
        return stop.exit_code


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
    context = Context(attempt, name, issuer)
    if is_dns_cleaning(context):
        return only_clean_dns(context)
    findings = [finding for check in CHECKS for finding in check(context)]
    hopeless = any(finding.reason in NO_CA and not finding.warning for finding in findings)
    if type_of(issuer).has_account and not hopeless:
        try:
            findings += _ask_the_ca(context, config_map)
        except Later:  # another account key is in use than this Job has
            note_in_state(attempt.cluster, name, directory_of(issuer), {LAUNCHED_FOR: ""})
            raise
    code = _tell(attempt, config_map, directory_of(issuer), findings)
    clean_dns(context)
    return code


# What only the CA can say


def _ask_the_ca(context: Context, config_map: Json) -> list[Finding]:
    """Raises Later, OtherPod, KubeError."""
    attempt, used = context.attempt, context.state.account_url
    resolved = Resolved(context.name, context.issuer, context.issuer.key_algorithm, None, None)
    try:
        return list(_asked(context, resolved, config_map))
    except AcmeUnavailable as unavailable:
        attempt.step("ca-unavailable", problem=str(unavailable.problem), step=unavailable.step)
        attempt.sleep(AGAIN_IN)
    except AcmeError as refusal:
        if not account.is_gone(refusal):
            return [_finding(context, refusal)]
        attempt.step("account-gone", problem=str(refusal.problem))
        state = context.state
        account.require_current_key(attempt, resolved, state)
        account.drop_url(attempt, state, used)
    try:
        return list(_asked(context, resolved, config_map))
    except AcmeError as refusal:
        return [_finding(context, refusal)]


def _asked(context: Context, resolved: Resolved, config_map: Json) -> Iterator[Finding]:
    """The directory, the account, its addresses, the profile. Raises AcmeError, Later, OtherPod."""
    attempt, issuer = context.attempt, context.issuer
    request = (config_map["metadata"].get("annotations") or {}).get(v.ROLLOVER, "")
    try:
        roll_over_key(attempt, resolved, request)
        with account.connected(attempt, resolved) as client:
            found = client.account()
            if found.status != "valid":
                what = f"the account {found.url} is {found.status}"
                yield Finding(reason=CheckReason.ACCOUNT, message=what, path="$.server")
            yield from _corrected_contacts(context, client)
            if issuer.profile:
                client.directory.require_profile(issuer.profile)
    except Later as later:
        if later.problem.type == "accountReplaced":
            raise
        yield _account_finding(context, later.problem)


def _corrected_contacts(context: Context, client: AcmeClient) -> Iterator[Finding]:
    """The account has the issuer's addresses. newAccount changes nothing of an account that is there already."""
    contacts = context.issuer.contacts
    wanted = names.digest(*contacts) if contacts else ""
    if context.state.data.get(CONTACTS, "") == wanted:
        return
    try:
        client.update_contact(contacts)
    except AcmeUnavailable:
        raise
    except AcmeError as refusal:
        yield Finding(reason=CheckReason.CONTACT, message=str(refusal.problem), path="$.email")
        return
    note_in_state(context.attempt.cluster, context.name, context.issuer.server, {CONTACTS: wanted})
    context.attempt.step("contacts-corrected", addresses=len(contacts))


def _finding(context: Context, refusal: AcmeError) -> Finding:
    problem = refusal.problem
    if isinstance(refusal, ExternalAccountRefused):
        if context.issuer.external_account is None:
            return Finding(reason=CheckReason.EAB_NEEDED, message=problem.detail, path="$.externalAccount")
        return Finding(reason=CheckReason.EAB_REFUSED, message=str(problem), path="$.externalAccount.keyId")
    if refusal.step == "keyChange":
        return Finding(reason=CheckReason.ROLLOVER, message=str(problem))
    if isinstance(refusal, AcmeUnavailable):
        untrusted = "certificate verify failed" in problem.detail
        path = "$.caBundle" if untrusted else "$.server"
        return Finding(reason=CheckReason.UNREACHABLE, message=f"{refusal.step}: {problem}", path=path)
    reason, path = _REFUSALS.get(problem.type, (CheckReason.ACCOUNT, "$.server"))
    link = f"; see {refusal.link}" if refusal.link else ""
    return Finding(reason=reason, message=f"{problem}{link}", path=path)


def _account_finding(context: Context, problem: Problem) -> Finding:
    if context.issuer.existing_account_key and "existingAccountKey" in problem.detail:
        return Finding(reason=CheckReason.EXISTING_KEY, message=problem.detail, path="$.existingAccountKey")
    reason = CheckReason.ROLLOVER if problem.step == "keyChange" else CheckReason.ACCOUNT
    return Finding(reason=reason, message=problem.detail, path="$.server")


# The outcome


def _tell(attempt: Attempt, config_map: Json, directory: str, findings: list[Finding]) -> v.ExitCode:
    findings = [replace(finding, message=finding.message[:MAX_MESSAGE]) for finding in findings[:MAX_FINDINGS]]
    ready = all(finding.warning for finding in findings)
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
        RESULT: READY if ready else NOT_READY,
        FINDINGS: told,
    }
    note_in_state(attempt.cluster, metadata["name"], directory, result)
    note = "; ".join(map(finding_line, findings)) or "everything that can be tested without an order"
    about = {"apiVersion": "v1", "kind": "ConfigMap"} | {key: metadata[key] for key in ("namespace", "name", "uid")}
    events.tell_one(
        attempt.cluster,
        about,
        "IssuerReady" if ready else "IssuerNotReady",
        note,
        warning=not ready,
        now=attempt.clock(),
        unique=(metadata["uid"], version, asked, told),
    )
    attempt.step("checked", issuer=metadata["name"], result=result[RESULT], findings=len(findings))
    return v.ExitCode.DONE if ready else v.ExitCode.PERMANENT


def finding_line(finding: Finding) -> str:
    """One line for people."""
    kind = "warning, " if finding.warning else ""
    at = "" if f"`{finding.path}`" in finding.message or finding.path == "$" else f" - at `{finding.path}`"
    return f"{kind}{finding.reason}: {finding.message}{at}"


def read_findings(data: Mapping[str, str]) -> list[Finding]:
    """The findings in an issuer's state; none if there are none that can be read."""
    try:
        return msgspec.json.decode(data.get(FINDINGS, "[]"), type=list[Finding])
    except msgspec.DecodeError:
        return []
