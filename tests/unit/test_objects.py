"""The objects that certjob writes, as the policies expect them."""

from __future__ import annotations

import copy
import re
from base64 import b64decode
from datetime import UTC, datetime

import pytest
from msgspec.structs import replace

from issuer_job import names, objects
from issuer_job import vocabulary as v
from issuer_job.cluster.api import Json
from issuer_job.record.record import Phase
from tests.worlds.job import pod_template
from tests.worlds.samples import NOW, PROBLEM, attempt, record

SERVER = "https://ca.certjob.dev/dir"


def secret(**fields: str) -> Json:
    return objects.tls_secret(
        namespace="shop",
        name="web-tls",
        state=v.SecretState.PLACEHOLDER,
        cert_chain_pem=b"chain",
        key_pem=b"key",
        hosts=("a.dev", "b.dev"),
        issuer="le",
        not_after=datetime(2026, 8, 3, 10, 0, 1, 999, tzinfo=UTC),
        **fields,
    )


def test_a_tls_secret_is_a_status_page() -> None:
    made = secret()
    assert made["type"] == "kubernetes.io/tls"
    assert made["metadata"] == {
        "name": "web-tls",
        "namespace": "shop",
        "labels": {v.MANAGED: "true", v.STATE: "placeholder", v.MANAGED_BY: "certjob"},
        "annotations": {v.HOSTS: "a.dev,b.dev", v.ISSUER: "le", v.NOT_AFTER: "2026-08-03T10:00:01Z"},
    }
    assert {key: b64decode(value) for key, value in made["data"].items()} == {"tls.crt": b"chain", "tls.key": b"key"}
    assert "immutable" not in made


def test_a_secret_that_replaces_names_what_it_replaces() -> None:
    metadata = secret(uid="u", resource_version="9")["metadata"]
    assert (metadata["uid"], metadata["resourceVersion"]) == ("u", "9")


def test_look_and_canary() -> None:
    look = objects.look_secret("shop", "web-tls")
    assert look["metadata"]["annotations"] == {v.LOOK: "true"}
    assert look["type"] == "kubernetes.io/tls"
    assert set(look["data"].values()) == {""}
    canary = objects.canary_secret()
    assert (canary["type"], canary["metadata"].get("labels"), canary["data"]) == ("Opaque", None, {})
    assert canary["metadata"]["namespace"] != v.NAMESPACE


def test_keys_are_immutable_and_named_as_the_policies_want() -> None:
    pending = objects.pending_secret(record(), b"k", name=names.pending_key("shop", "web-tls", 5))
    assert re.fullmatch("pending-[0-9a-f]{10}-[0-9]{1,20}", pending["metadata"]["name"])
    assert pending["metadata"]["ownerReferences"] == [record().owner_reference]
    account = objects.account_secret("le", SERVER, 2, b"k")
    assert re.fullmatch(
        "account-[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?-[0-9a-f]{10}-[0-9]{1,9}", account["metadata"]["name"]
    )
    assert "ownerReferences" not in account["metadata"]
    assert pending["immutable"] is account["immutable"] is True
    assert pending["type"] == account["type"] == "Opaque"


def test_the_job_differs_from_the_template_in_its_secrets_only() -> None:
    template = pod_template()
    before = copy.deepcopy(template)
    made = objects.job(record(), template, account_number=3, server=SERVER)
    assert template == before
    spec = made["spec"]["template"]["spec"]
    volumes = {volume["name"]: volume["secret"]["secretName"] for volume in spec["volumes"]}
    assert volumes == {
        "account": names.account("le", SERVER, 3),
        "pending": "pending-0123456789-1",  # inherited
        "credentials": "credentials-le",
        "next": "next-none",
    }
    assert {k: x for k, x in spec.items() if k != "volumes"} == {
        k: x for k, x in template["template"]["spec"].items() if k != "volumes"
    }
    own = objects.job(record(attempt=attempt(pending_key="")), template, account_number=1, server=SERVER)
    assert own["spec"]["template"]["spec"]["volumes"][1]["secret"]["secretName"] == names.pending_key(
        "shop", "web-tls", record().epoch
    )


def test_the_job_that_tests_an_issuer_has_its_keys_and_its_bare_name() -> None:
    issuer = {"metadata": {"name": "le", "uid": "issuer-uid"}}
    made = objects.check_job(issuer, pod_template(), account_number=3, directory=SERVER, epoch=5)
    spec, pod = made["spec"]["template"]["spec"], made["spec"]["template"]["metadata"]
    assert {volume["name"]: volume["secret"]["secretName"] for volume in spec["volumes"]} == {
        "account": names.account("le", SERVER, 3),
        "pending": "pending-none",
        "credentials": "credentials-le",
        "next": names.account("le", SERVER, 4),
    }
    assert pod["labels"] == made["metadata"]["labels"]
    assert (pod["labels"][v.ISSUER], pod["labels"][v.RECORD_UID], pod["labels"][v.EPOCH]) == ("le", "issuer-uid", "5")
    assert pod["annotations"] == made["metadata"]["annotations"] == {v.RECORD: "le"}


@pytest.mark.parametrize("issuer", ["le", "x" * 63, "a-" + "b" * 40])
def test_names_of_jobs_that_test_issuers(issuer: str) -> None:
    name = names.check_job(issuer, 1_700_000_000)
    assert re.fullmatch(r"check-[a-z0-9]([-a-z0-9]*[a-z0-9])?-[0-9a-f]{10}-1700000000", name)
    assert len(name) <= 57


def test_the_job_names_its_attempt() -> None:
    made = objects.job(record(), pod_template(), account_number=1, server=SERVER)
    pod = made["spec"]["template"]["metadata"]
    assert pod["labels"] == made["metadata"]["labels"]
    assert (pod["labels"][v.RECORD_UID], pod["labels"][v.EPOCH]) == ("record-uid", str(record().epoch))
    assert pod["annotations"] == {v.RECORD: "shop.web-tls"}
    assert all(re.fullmatch(r"[A-Za-z0-9][-A-Za-z0-9_.]{0,62}", value) for value in pod["labels"].values())


def test_exit_codes_of_the_job() -> None:
    spec = objects.job(record(), pod_template(), account_number=1, server=SERVER)["spec"]
    rules = {
        code: rule["action"]
        for rule in spec["podFailurePolicy"]["rules"]
        for code in rule.get("onExitCodes", {}).get("values", [])
    }
    assert rules == {10: "FailJob", 11: "FailJob", 12: "FailJob", 13: "Ignore"}
    assert spec["podFailurePolicy"]["rules"][2]["onPodConditions"] == [{"type": "DisruptionTarget", "status": "True"}]
    assert (spec["backoffLimit"], spec["podReplacementPolicy"]) == (3, "Failed")
    assert "activeDeadlineSeconds" not in spec


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("", 600), ("soon", 600), ("-1", 600)])
def test_how_long_a_finished_job_stays(text: str, seconds: int) -> None:
    template = pod_template()
    template["metadata"]["annotations"] = {v.TTL_AFTER_FINISHED: text}
    made = objects.job(record(), template, account_number=1, server=SERVER)
    assert made["spec"]["ttlSecondsAfterFinished"] == seconds


def test_an_event_is_named_by_its_occasion() -> None:
    ingress = {"metadata": {"name": "web", "namespace": "shop", "uid": "u"}}

    def event(reason: str, *unique: str) -> Json:
        return objects.event(ingress, reason=reason, note="n" * 2000, warning=True, now=NOW, unique=unique)

    made = event("Failed", "1")
    assert made["metadata"]["name"] == event("Failed", "1")["metadata"]["name"]
    assert len({event(*x)["metadata"]["name"] for x in (("Failed", "1"), ("Failed", "2"), ("Issued", "1"))}) == 3
    assert (made["type"], len(made["note"]), made["eventTime"]) == ("Warning", 1000, "2026-05-05T10:00:00.000000Z")
    assert made["regarding"]["uid"] == "u"


def test_what_people_read() -> None:
    assert objects.problem_note(PROBLEM) == "a.certjob.dev: no A record (dns)"
    assert objects.problem_note(replace(PROBLEM, host="")) == "no A record (dns)"


def test_claims_and_states_have_no_owner() -> None:
    claim = objects.claim("a.dev", "shop")
    assert claim["data"] == {"host": "a.dev", "namespace": "shop"}
    parent = names.claim_parent("*.dev")
    assert claim["metadata"]["labels"] == {v.CLAIM: "true", v.CLAIM_PARENT: parent, v.MANAGED_BY: "certjob"}
    state = objects.issuer_state("le", SERVER, {"accountUrl": "u"})
    assert state["metadata"]["labels"] == {v.ISSUER_STATE: "true", v.MANAGED_BY: "certjob"}
    challenge = objects.challenge(record(Phase.AUTHORIZING), {"t": "t.x"})
    assert challenge["metadata"]["ownerReferences"] == [record().owner_reference]
    assert challenge["metadata"]["labels"][v.CHALLENGE] == "true"
    for made in (claim, state, challenge):
        assert v.ISSUER not in made["metadata"]["labels"]
