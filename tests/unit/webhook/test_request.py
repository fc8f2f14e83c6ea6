"""The webhook's decision about a Secret that asks for a certificate, and its answers."""

from __future__ import annotations

import json
import logging
from base64 import b64decode, b64encode
from datetime import timedelta
from typing import Any

import pytest

from certs.chain import dns_names
from certs.placeholder import is_placeholder, make_placeholder
from certs.validity import StoredCertificate, judge_stored
from issuer_job import vocabulary as v
from issuer_job.issuers.load import Issuers
from issuer_job.issuers.schema import Http01, Issuer, Solver
from issuer_job.launch.outcome import LaunchOutcome, OutcomeReason
from issuer_job.record.record import SourceKind
from tests.fakes.webhook_parts import ISSUERS, FakeLauncher, FakeSettings
from tests.worlds.reviews import decision_on
from tests.worlds.secret_reviews import (
    HOSTS,
    JOB,
    NAMES,
    NOW,
    admitted,
    applied,
    as_review,
    client_of,
    decided,
    encoded,
    issued,
    leaf_of,
    other_key,
    pair,
    response_of,
    review_of,
    secret,
    without_label,
)
from webhook.decide_secret import SecretPolicy
from webhook.policy import AdmissionReason


def test_a_bare_manifest_gets_a_placeholder_for_its_hosts_and_is_launched() -> None:
    new = secret()
    decision = decided(new)
    assert decision.reason is AdmissionReason.WANTED
    stored = applied(new, decision)
    leaf = leaf_of(stored)
    assert is_placeholder(leaf)
    assert set(dns_names(leaf)) == NAMES
    data = {name: b64decode(x) for name, x in stored["data"].items()}
    verdict = judge_stored(StoredCertificate(data["tls.crt"], data["tls.key"]), hosts=NAMES, now=NOW)
    assert verdict.reason == "Placeholder"
    labels, notes = stored["metadata"]["labels"], stored["metadata"]["annotations"]
    assert labels == {v.REQUEST: "true", "team": "db", v.MANAGED: "true", v.STATE: "placeholder"}
    assert set(notes) == {v.HOSTS, v.NOT_AFTER}
    assert notes[v.HOSTS] == HOSTS
    (entry,) = decision.launch
    assert entry.secret_name == "db-tls"
    assert set(entry.hosts) == NAMES
    source = entry.source
    assert (source.kind, source.name, source.settings.issuer) == (SourceKind.SECRET, "db-tls", "staging")
    assert entry.problem is None


@pytest.mark.parametrize("data", [{"tls.crt": "", "tls.key": ""}, {}, {"tls.crt": None, "tls.key": None}])
def test_empty_data_is_filled(data: dict[str, Any]) -> None:
    assert is_placeholder(leaf_of(admitted(secret(data=data))))


def test_one_with_many_hosts_is_written_down_and_launched_after_the_answer() -> None:
    names = [f"h{n}.certjob.dev" for n in range(21)]
    for asked, at_once in ((names, False), (names[:20], True)):
        decision = decided(secret(",".join(asked)))
        assert ([entry.hosts for entry in decision.launch], decision.at_once) == ([tuple(sorted(asked))], at_once)


def test_the_patch_twice_is_the_patch_once() -> None:
    stored = admitted(secret())
    assert decided(stored).patch == ()
    assert decided(stored, stored).patch == ()
    assert decided(secret(), stored).patch == decided(secret(), stored).patch


@pytest.mark.parametrize("data", [None, {"tls.crt": "", "tls.key": ""}])
def test_the_same_manifest_again_changes_nothing_of_what_is_stored(data: Any) -> None:
    stored = issued(admitted(secret()))
    stored["metadata"]["annotations"][v.NOT_AFTER] = f"{leaf_of(stored).not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}"
    again = admitted(secret(data=data, metadata={"uid": "s-1"}), stored)
    assert again == stored


def test_a_manifest_with_an_old_placeholder_in_it_takes_no_certificate_away() -> None:
    exported = admitted(secret())
    stored = issued(exported)
    again = admitted(exported, stored)
    assert again["data"] == stored["data"]
    assert again["metadata"]["labels"][v.STATE] == "issued"


def test_a_good_certificate_that_its_owner_brought_stays() -> None:
    data = pair()
    stored = admitted(secret(data=data))
    assert stored["data"] == data
    assert stored["metadata"]["labels"][v.STATE] == "issued"


def test_another_good_certificate_of_its_owner_takes_the_place_of_ours() -> None:
    data = pair()
    assert admitted(secret(data=data), issued(admitted(secret())))["data"] == data


@pytest.mark.parametrize(
    "data",
    [
        pair(days=-1, age=30),
        other_key(),
        {"tls.crt": b64encode(b"x").decode(), "tls.key": b64encode(b"s3cret").decode()},
        {"tls.crt": "!!", "tls.key": "!!"},
        {"tls.crt": "", "tls.key": pair()["tls.key"]},
    ],
)
def test_what_does_not_work_is_replaced_by_a_placeholder(data: dict[str, str]) -> None:
    decision = decided(secret(data=data))
    assert is_placeholder(leaf_of(applied(secret(data=data), decision)))
    assert bool(data["tls.crt"]) is any("does not work" in warning for warning in decision.warnings)


def test_other_hosts_mean_a_new_placeholder_only_where_nothing_works() -> None:
    changed = secret("new.certjob.dev")
    before = admitted(secret())
    assert set(dns_names(leaf_of(admitted(changed, before)))) == {"new.certjob.dev"}
    working = issued(before)
    decision = decided(changed, working)
    assert applied(changed, decision)["data"] == working["data"]
    assert decision.launch[0].hosts == ("new.certjob.dev",)


def test_a_dry_run_patches_and_launches_nothing() -> None:
    decision = decided(secret(), dryRun=True)
    assert decision.patch
    assert decision.launch == ()


def test_text_formats_come_with_the_placeholder_and_stay_with_their_certificate() -> None:
    wanted = secret(notes={"formats": "ca.crt, tls-combined.pem, keystore.p12, pem"})
    decision = decided(wanted)
    stored = applied(wanted, decision)
    assert set(stored["data"]) == {"tls.crt", "tls.key", "ca.crt", "tls-combined.pem"}
    assert decision.warnings == ("certjob.io/formats: unknown format 'pem'",)
    assert decision.launch[0].source.settings.formats == ("ca.crt", "tls-combined.pem", "keystore.p12")
    later = issued(stored)
    later["data"] |= {"ca.crt": "Y2E=", "tls-combined.pem": "cGVt", "keystore.p12": "cDEy", "truststore.jks": "amtz"}
    again = admitted(wanted, later)["data"]
    assert again == {name: x for name, x in later["data"].items() if name != "truststore.jks"}


REFUSED = [
    (secret(""), "no hosts"),
    (secret("localhost"), "localhost"),
    (secret("10.0.0.1"), "10.0.0.1"),
    (secret(",".join(f"h{n}.certjob.dev" for n in range(101))), "at most 100"),
    (secret(notes={"key_algorithm": "dsa"}), "key-algorithm"),
    (secret(notes={"profile": "x" * 101}), "longer than 100"),
    (secret(immutable=True), "immutable"),
    (secret(metadata={"name": None, "generateName": "db-"}), "generateName"),
    (secret(metadata={"name": "Not_A_Name"}), "cannot be the name"),
]


@pytest.mark.parametrize(("new", "why"), REFUSED)
def test_what_its_owner_has_to_correct_is_refused_with_the_reason(new: dict[str, Any], why: str) -> None:
    decision = decided(new)
    assert decision.reason is AdmissionReason.REFUSED
    assert why in decision.refused
    assert decision.launch == ()


def test_without_a_default_issuer_it_has_to_name_one() -> None:
    nobody = Issuers({"staging": ISSUERS.valid["staging"]}, {})
    assert "no default issuer" in decided(secret(), issuers=nobody).refused
    assert decided(secret(notes={"issuer": "staging"}), issuers=nobody).reason is AdmissionReason.WANTED


@pytest.mark.parametrize(
    ("hosts", "issuer", "type"),
    [
        (HOSTS, "nobody", "unknownIssuer"),
        (HOSTS, "broken", "brokenIssuer"),
        (HOSTS, "picky", "notCertifiable"),
        ("*.certjob.dev", "staging", "notCertifiable"),
    ],
)
def test_what_an_operator_has_to_put_right_is_admitted_told_and_written_down(
    hosts: str, issuer: str, type: str
) -> None:
    new = secret(hosts, notes={"issuer": issuer})
    decision = decided(new)
    assert decision.reason is AdmissionReason.WANTED
    assert is_placeholder(leaf_of(applied(new, decision)))
    assert decision.warnings
    (entry,) = decision.launch
    assert entry.problem is not None
    assert entry.problem.type == type


def test_routes_have_the_issuers_own_class() -> None:
    solvers = (Solver(http01=Http01(ingress_class="inner")),)
    issuers = Issuers({"a": Issuer(server="https://ca.dev/d", solvers=solvers)}, {}, default="a")
    assert decided(secret(), issuers=issuers).launch[0].source.ingress_class.name == "inner"
    assert decided(secret()).launch[0].source.ingress_class.name is None


def test_an_update_that_leaves_an_old_mistake_as_it_is_passes_with_its_certificate() -> None:
    stored = issued(admitted(secret()))
    stored["metadata"]["annotations"][v.HOSTS] = "localhost"  # was possible once
    touched = secret("localhost")
    touched["metadata"]["labels"]["new"] = "label"
    decision = decided(touched, stored)
    assert decision.reason is AdmissionReason.NOTHING_TO_CERTIFY
    assert decision.refused == ""
    after = applied(touched, decision)
    assert after["data"] == stored["data"]
    assert after["metadata"]["labels"][v.STATE] == "issued"
    assert after["metadata"]["labels"]["new"] == "label"


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (review_of(without_label(), secret()), AdmissionReason.NOT_A_REQUEST),
        (review_of(secret(type="Opaque"), secret(type="Opaque")), AdmissionReason.NOT_A_REQUEST),
        (review_of(secret(metadata={"deletionTimestamp": "2026-05-05T10:00:00Z"})), AdmissionReason.NOT_A_REQUEST),
        (review_of(secret(), namespace="certjob"), AdmissionReason.EXCLUDED_NAMESPACE),
        (review_of(secret(), namespace="kube-system"), AdmissionReason.EXCLUDED_NAMESPACE),
        (review_of(secret(), subResource="status"), AdmissionReason.OTHER_KIND),
        (review_of(secret(), kind={"group": "", "version": "v1", "kind": "ConfigMap"}), AdmissionReason.OTHER_KIND),
    ],
)
def test_what_is_left_alone(document: dict[str, Any], reason: AdmissionReason) -> None:
    decision = decision_on(as_review(document), SecretPolicy())
    assert decision.reason is reason
    assert decision.patch == ()
    assert decision.launch == ()
    assert decision.refused == ""


def test_a_write_of_certjobs_own_keeps_what_its_owner_wrote() -> None:
    stored = issued(admitted(secret(notes={"issuer": "private"})))
    body = secret()
    body["metadata"] = {"name": "db-tls", "labels": {v.MANAGED: "true", v.STATE: "issued"}, "annotations": {}}
    decision = decided(body, stored, userInfo={"username": JOB})
    assert decision.reason is AdmissionReason.OWN_WRITE
    after = applied(body, decision)["metadata"]
    assert after["labels"] == stored["metadata"]["labels"]
    assert after["annotations"] == stored["metadata"]["annotations"]
    assert decision.launch == ()
    look = decided(body, stored, userInfo={"username": JOB}, dryRun=True)
    assert (look.reason, look.patch) == (AdmissionReason.OWN_WRITE, ())


@pytest.mark.parametrize("field", ["labels", "annotations"])
def test_metadata_of_a_wrong_type_is_refused_in_words(field: str) -> None:
    decision = decided(secret(metadata={field: {"a": 1}}))
    assert decision.reason is AdmissionReason.MALFORMED
    assert decision.refused


# Through HTTP.


def test_it_is_launched_told_and_admitted() -> None:
    launcher = FakeLauncher({"db-tls": LaunchOutcome(OutcomeReason.LAUNCHED, "db-tls", 7)})
    response = response_of(client_of(launcher), review_of(secret()))
    assert response["allowed"] is True
    assert launcher.launched == [("shop", "db-tls")]
    assert response["warnings"] == ["certjob: Secret db-tls: certificate for 2 hosts is being ordered from staging"]
    assert "patch" in response


def test_a_wrong_one_is_refused() -> None:
    launcher = FakeLauncher()
    response = response_of(client_of(launcher), review_of(secret("")))
    assert response["allowed"] is False
    assert response["status"]["code"] == 403
    assert response["status"]["message"].startswith("certjob: no hosts")
    assert launcher.launched == []


def test_a_new_one_that_could_not_be_written_down_is_to_be_tried_again() -> None:
    launcher = FakeLauncher({"db-tls": LaunchOutcome(OutcomeReason.LATER, "db-tls", warning="later")})
    response = response_of(client_of(launcher), review_of(secret()))
    assert response["allowed"] is False
    assert response["status"]["code"] == 503


def test_a_known_one_that_could_not_be_written_down_is_found_by_the_sweep() -> None:
    launcher = FakeLauncher({"db-tls": LaunchOutcome(OutcomeReason.LATER, "db-tls", warning="later")})
    response = response_of(client_of(launcher), review_of(secret("x.certjob.dev"), admitted(secret())))
    assert response["allowed"] is True
    assert response["warnings"] == ["certjob: later"]


def test_without_issuers_it_is_to_be_tried_again() -> None:
    response = response_of(client_of(known=FakeSettings(known=None)), review_of(secret()))
    assert response["allowed"] is False
    assert response["status"]["code"] == 503


def test_no_private_key_is_logged_or_told_whatever_breaks(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    data = pair()
    key = b64decode(data["tls.key"]).decode()
    launcher = FakeLauncher({"db-tls": RuntimeError(key)})
    client = client_of(launcher)
    answers = [response_of(client, review_of(secret(data=data)))]
    broken = secret(data=data | {"tls.crt": 5})
    answers += [response_of(client, review_of(broken)), response_of(client_of(), review_of(secret(data=other_key())))]
    assert answers[0]["status"]["code"] == 500
    assert answers[1]["allowed"] is False
    told = json.dumps([{k: x for k, x in answer.items() if k != "patch"} for answer in answers])
    said = caplog.text + "".join(str(record.__dict__) for record in caplog.records) + told
    for secret_text in (data["tls.key"], data["tls.key"][40:80], key.splitlines()[1]):
        assert secret_text not in said


def test_a_placeholder_of_ours_is_recognized() -> None:
    made = make_placeholder(sorted(NAMES), now=NOW)
    data = encoded(made.cert_chain_pems, made.key_pem)
    assert admitted(secret(data=data))["data"] == data


def test_a_placeholder_that_has_ended_is_made_anew() -> None:
    made = make_placeholder(sorted(NAMES), now=NOW - timedelta(days=100))
    data = encoded(made.cert_chain_pems, made.key_pem)
    assert admitted(secret(data=data))["data"] != data
