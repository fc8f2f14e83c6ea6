"""Records as a command line finds them: one of each kind, in a cluster in memory."""

from __future__ import annotations

from datetime import timedelta

import msgspec
from msgspec.structs import replace

from issuer_job import names
from issuer_job import vocabulary as v
from issuer_job.attempt.findings import Finding
from issuer_job.cluster.api import CONFIGMAPS, JOBS, PODS, SECRETS, Json, Resource, Response
from issuer_job.hosts.claims import claim_body
from issuer_job.issuers.state import CHECK_FINDINGS, CHECK_RESULT, CHECKED_AT, NOT_READY, READY, state_body
from issuer_job.record import transitions
from issuer_job.record.phases import LaunchReason
from issuer_job.record.record import Issued, Phase, Problem, Record, Settings, Source
from issuer_job.record.store import from_config_map, to_config_map
from tests.fakes.api import FakeApi, status
from tests.worlds.cli import NOW, CommandLine

DAY, MINUTE = timedelta(days=1), timedelta(minutes=1)
SERVER = "https://acme-v02.api.letsencrypt.org/directory"
ZEROSSL = "https://acme.zerossl.com/v2/DV90"
CONNECTION = Problem(
    type="connection", detail="203.0.113.9: Timeout during connect", host="pay.certjob.dev", step="authorization"
)
CLAIMED = Problem(type="hostClaimed", detail="www.certjob.dev belongs to namespace team-a", host="www.certjob.dev")


def wanted(namespace: str, secret: str, *hosts: str, ingress: str = "web", issuer: str = "letsencrypt") -> Record:
    """A new record."""
    source = Source(
        hosts=hosts, settings=Settings(issuer=issuer), name=ingress, created=NOW - 25 * MINUTE, uid="ingress-uid"
    )
    return transitions.wanted(namespace=namespace, secret_name=secret, sources=(source,), now=NOW - 25 * MINUTE)


def launched(record: Record, *, seconds: float = 6, reason: LaunchReason = LaunchReason.NEW) -> Record:
    """Its attempt was launched so long ago."""
    return transitions.launched(record, NOW - timedelta(seconds=seconds), reason=reason)


def in_phase(record: Record, phase: Phase) -> Record:
    """In any phase."""
    return replace(record, phase=phase)


def issued(record: Record, *, left: timedelta = 61 * DAY, serial: str = "0a1b") -> Record:
    """With a certificate that lives 90 days."""
    made = Issued(
        hosts=record.intent.hosts,
        intent_hash=record.intent.hash,
        directory=SERVER,
        account="https://ca/acct/1",
        epoch=record.epoch,
        key_id="ab",
        serial=serial,
        not_before=NOW + left - 90 * DAY,
        not_after=NOW + left,
        at=NOW + left - 90 * DAY,
    )
    return replace(record, phase=Phase.ISSUED, issued=made, retry=None)


def failing(record: Record, problem: Problem = CONNECTION, *, times: int = 3) -> Record:
    """It waits after so many failures in a row, the last one just now."""
    for number in range(times, 0, -1):
        began = NOW - number * 6 * MINUTE
        record = transitions.launched(record, began, reason=LaunchReason.NEW)
        record = replace(record, phase=Phase.AUTHORIZING)
        record = transitions.waiting(record, began + MINUTE / 5, problem=problem, wait=10 * MINUTE)
    return record


def failed(record: Record, problem: Problem = CLAIMED) -> Record:
    """Only a change helps."""
    record = launched(record, seconds=60)
    return transitions.failed(replace(record, phase=Phase.CLAIMED), NOW - MINUTE, problem=problem)


def put(api: FakeApi, *records: Record) -> None:
    """Store them."""
    for record in records:
        body = to_config_map(replace(record, uid="", resource_version=""))
        api.add(CONFIGMAPS, v.NAMESPACE, body)


def issuer(name: str = "letsencrypt", text: str = f"server: {SERVER}\n", **annotations: str) -> Json:
    """An issuer's ConfigMap."""
    metadata = {"name": name, "labels": {v.ISSUER: "true"}, "annotations": annotations}
    return {"metadata": metadata, "data": {v.ISSUER_KEY: text}}


def four_certificates() -> CommandLine:
    """One of each: issued, waiting, renewing, failed; and one that is gone."""
    line = CommandLine()
    line.api.add(CONFIGMAPS, v.NAMESPACE, issuer(**{v.DEFAULT_ISSUER: "true"}))
    shop, pay = (
        wanted("shop", "shop-tls", "shop.certjob.dev", "a.shop.certjob.dev"),
        wanted("shop", "pay-tls", "pay.certjob.dev", ingress="pay"),
    )
    mail = issued(wanted("mail", "mail-tls", "mail.certjob.dev", "smtp.certjob.dev"), left=29 * DAY)
    www = wanted("team-b", "www-tls", "www.certjob.dev")
    old = in_phase(wanted("old", "old-tls", "old.certjob.dev"), Phase.RETIRED)
    renewing = in_phase(launched(mail, reason=LaunchReason.RENEWAL_DUE), Phase.AUTHORIZING)
    put(line.api, issued(shop), failing(pay), renewing, failed(www), old)
    return line


def two_issuers(line: CommandLine) -> CommandLine:
    """One that is ready, and one that its test found something wrong with."""
    solvers = "solvers:\n- dns01: {provider: cloudflare}\n"
    line.api.add(CONFIGMAPS, v.NAMESPACE, issuer("zerossl", f"server: {ZEROSSL}\n{solvers}"))
    wrong = Finding(
        reason="ExternalAccountKey",
        path="$.externalAccount",
        message="Secret credentials-zerossl lacks eab-hmac-key",
    )
    for name, server, minutes, found in (("letsencrypt", SERVER, 3, []), ("zerossl", ZEROSSL, 2, [wrong])):
        data = {
            CHECK_RESULT: NOT_READY if found else READY,
            CHECK_FINDINGS: msgspec.json.encode(found).decode(),
            CHECKED_AT: (NOW - minutes * MINUTE).isoformat(),
        }
        line.api.add(CONFIGMAPS, v.NAMESPACE, state_body(name, server, data))
    return line


def with_placeholder(line: CommandLine) -> CommandLine:
    """What `describe` finds of pay-tls besides its record: Secret, claim, and the Job, which has ended."""
    labels = {v.MANAGED: "true", v.STATE: "placeholder"}
    notes = {v.NOT_AFTER: "2026-12-04T14:02:00Z"}
    line.api.add(SECRETS, "shop", {"metadata": {"name": "pay-tls", "labels": labels, "annotations": notes}})
    line.api.add(CONFIGMAPS, v.NAMESPACE, claim_body("pay.certjob.dev", "shop"))
    job = job_of(line, "shop", "pay-tls")
    ended = [{"type": "Failed", "lastTransitionTime": NOW.isoformat()}]
    body: Json = {
        "metadata": {"name": job},
        "spec": {"ttlSecondsAfterFinished": 600},
        "status": {"conditions": ended},
    }
    line.api.add(JOBS, v.NAMESPACE, body)
    state = {"containerStatuses": [{"state": {"terminated": {"exitCode": 11}}}]}
    line.api.add(PODS, v.NAMESPACE, {"metadata": {"name": f"{job}-x", "labels": {"job-name": job}}, "status": state})
    return line


def job_of(line: CommandLine, namespace: str, secret: str) -> str:
    """The name of the Job of a certificate's attempt."""
    found = line.api.stored(CONFIGMAPS, v.NAMESPACE, names.record(namespace, secret))
    assert found is not None
    return from_config_map(found).job_name


def ingress(name: str, **annotations: str) -> Json:
    """What the records say asks, as somebody has written it."""
    return {"metadata": {"name": name, "annotations": {"example.org/team": "shop", **annotations}}, "spec": {}}


def annotations_of(api: FakeApi, resource: Resource, namespace: str, name: str) -> dict[str, str]:
    """Of an object."""
    found = api.stored(resource, namespace, name)
    assert found is not None
    return found["metadata"].get("annotations") or {}


def no_right(what: str, verb: str = "patch") -> Response:
    """As RBAC refuses it."""
    return status(403, "Forbidden", f'{what} is forbidden: User "jo" cannot {verb} resource "{what}"')
