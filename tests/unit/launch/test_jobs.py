"""The Jobs that certjob makes, as the policies expect them."""

from __future__ import annotations

import copy
import re

import pytest

from issuer_job import names
from issuer_job import vocabulary as v
from issuer_job.launch import jobs
from issuer_job.launch.jobs import check_job_body
from tests.worlds.job import pod_template
from tests.worlds.samples import attempt, record

SERVER = "https://ca.certjob.dev/dir"


def test_the_job_differs_from_the_template_in_its_secrets_only() -> None:
    template = pod_template()
    before = copy.deepcopy(template)
    made = jobs.issue_job_body(record(), template, account_number=3, directory=SERVER)
    assert template == before
    spec = made["spec"]["template"]["spec"]
    volumes = {volume["name"]: volume["secret"]["secretName"] for volume in spec["volumes"]}
    assert volumes == {
        "account": names.account("le", SERVER, 3),
        "pending": "pending-record-uid-1",  # inherited
        "credentials": "credentials-le",
        "next": "next-none",
    }
    assert {k: x for k, x in spec.items() if k != "volumes"} == {
        k: x for k, x in template["template"]["spec"].items() if k != "volumes"
    }
    own = jobs.issue_job_body(record(attempt=attempt(pending_key="")), template, account_number=1, directory=SERVER)
    assert own["spec"]["template"]["spec"]["volumes"][1]["secret"]["secretName"] == names.pending_key(
        record().uid, record().epoch
    )


def test_the_job_that_tests_an_issuer_has_its_keys_and_its_bare_name() -> None:
    issuer = {"metadata": {"name": "le", "uid": "issuer-uid"}}
    made = check_job_body(issuer, pod_template(), account_number=3, directory=SERVER, epoch=5)
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
    made = jobs.issue_job_body(record(), pod_template(), account_number=1, directory=SERVER)
    pod = made["spec"]["template"]["metadata"]
    assert pod["labels"] == made["metadata"]["labels"]
    assert (pod["labels"][v.RECORD_UID], pod["labels"][v.EPOCH]) == ("record-uid", str(record().epoch))
    assert (pod["labels"][v.RECORD_NAMESPACE], pod["labels"][v.SECRET]) == ("shop", "web-tls")
    assert made["metadata"]["name"].startswith("shop-web-tls-")
    assert pod["annotations"] == {v.RECORD: "shop.web-tls"}
    assert all(re.fullmatch(r"[A-Za-z0-9][-A-Za-z0-9_.]{0,62}", value) for value in pod["labels"].values())


def test_exit_codes_of_the_job() -> None:
    spec = jobs.issue_job_body(record(), pod_template(), account_number=1, directory=SERVER)["spec"]
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
    made = jobs.issue_job_body(record(), template, account_number=1, directory=SERVER)
    assert made["spec"]["ttlSecondsAfterFinished"] == seconds
