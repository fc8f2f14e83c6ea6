from __future__ import annotations

from typing import Any

import pytest

from issuer_job.issuers.load import Issuers
from tests.fakes.webhook_parts import ISSUERS
from tests.worlds.reviews import Golden, decision_on, golden_reviews, ingress, read, review
from webhook.decide_ingress import MAX_NAMES, IngressPolicy
from webhook.policy import MAX_ENTRIES, MAX_HOSTS, MAX_PLACED, Decision
from webhook.policy import AdmissionReason as R
from webhook.review import Review, warning_lines

GOLDEN = golden_reviews()


def decided(document: dict[str, Any], *, namespace_enabled: bool = False, issuers: Issuers = ISSUERS) -> Decision:
    return decision_on(as_review(document), IngressPolicy(namespace_enabled), issuers=issuers)


def as_review(document: dict[str, Any]) -> Review:
    return read(Golden("", False, document, {}).body)


@pytest.mark.parametrize("golden", GOLDEN, ids=[golden.name for golden in GOLDEN])
def test_golden_review(golden: Golden) -> None:
    decision = decision_on(read(golden.body), IngressPolicy(golden.namespace_enabled))
    launch = [
        {"secretName": entry.secret_name, "hosts": list(entry.hosts), "issuer": entry.source.settings.issuer}
        for entry in decision.launch
    ]
    assert {
        "reason": str(decision.reason),
        "launch": launch,
        "atOnce": decision.at_once,
        "later": decision.later,
        "patch": list(decision.patch),
        "warnings": warning_lines(decision.warnings),
    } == golden.expected


def test_the_golden_reviews_show_every_reason_but_one() -> None:
    shown = {golden.expected["reason"] for golden in GOLDEN}
    only_secrets = {R.NOT_A_REQUEST, R.OWN_WRITE, R.REFUSED, R.NOT_WRITTEN_DOWN, R.LOST}
    assert set(R) - only_secrets - {R.ISSUERS_UNKNOWN, R.INTERNAL_ERROR} - shown == {R.TOO_LARGE}


def test_a_huge_ingress_is_left_alone() -> None:
    decision = decided(review(ingress([f"h{n}.certjob.dev" for n in range(MAX_NAMES + 1)])))
    assert decision.reason is R.TOO_LARGE
    assert not decision.patch
    assert not decision.launch
    assert decision.warnings


def test_more_hosts_than_a_certificate_holds_are_a_warning() -> None:
    decision = decided(review(ingress([f"h{n}.certjob.dev" for n in range(101)])))
    assert decision.reason is R.NOTHING_TO_CERTIFY
    assert "at most 100" in decision.warnings[0]
    assert decision.patch == ()


def test_limits_of_one_admission_hold_for_all_entries_together() -> None:
    new = ingress()
    new["spec"]["tls"] = [
        {"secretName": f"s{n}", "hosts": [f"h{n}-{m}.certjob.dev" for m in range(6)]} for n in range(9)
    ]
    decision = decided(review(new))
    assert (decision.at_once, len(decision.launch), decision.later, len(decision.warnings)) == (False, 9, 0, 1)


@pytest.mark.parametrize(
    ("entries", "hosts", "at_once"), [(MAX_ENTRIES, 4, True), (MAX_ENTRIES, 5, False), (MAX_ENTRIES + 1, 1, False)]
)
def test_what_fits_into_one_admission_is_launched_at_once(entries: int, hosts: int, at_once: bool) -> None:
    new = ingress()
    new["spec"]["tls"] = [
        {"secretName": f"s{n}", "hosts": [f"h{n}-{m}.certjob.dev" for m in range(hosts)]} for n in range(entries)
    ]
    assert entries * hosts <= MAX_HOSTS or not at_once
    assert decided(review(new)).at_once is at_once


def test_so_many_that_one_admission_cannot_place_them_all_are_left_to_the_sweep() -> None:
    new = ingress()
    new["spec"]["tls"] = [{"secretName": f"s{n}", "hosts": [f"h{n}.certjob.dev"]} for n in range(35)]
    decision = decided(review(new))
    assert (len(decision.launch), decision.at_once, decision.later) == (MAX_PLACED, False, 10)
    assert "10 of 35" in decision.warnings[-1]


def test_the_namespace_is_the_requests_not_the_objects() -> None:
    new = ingress(namespace="vip")
    new["metadata"]["annotations"] = {"certjob.io/issuer": "picky"}
    assert "not for namespace shop" in decided(review(new)).warnings[0]
    assert decided(review(new, namespace="vip")).reason is R.WANTED


def test_a_dry_run_patches_and_launches_nothing() -> None:
    dry, wet = (decided(review(ingress(), dryRun=dry)) for dry in (True, False))
    assert dry.patch == wet.patch != ()
    assert dry.launch == ()
    assert len(wet.launch) == 1


def test_without_any_issuer_nothing_is_patched() -> None:
    decision = decided(review(ingress()), issuers=Issuers({}, {}))
    assert decision.reason is R.NOTHING_TO_CERTIFY
    assert decision.patch == ()
    assert "no default issuer" in decision.warnings[0]


def test_a_name_that_kubernetes_will_refuse_costs_no_launch() -> None:
    body = ingress()
    body["spec"]["tls"] = [{"secretName": "../../Web_1\n"}]
    decision = decided(review(body))
    assert not decision.patch
    assert not decision.launch
